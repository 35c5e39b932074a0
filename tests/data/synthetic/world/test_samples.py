"""The list of questions about things: the same every time, several about one scene, as files and from the command
line.
"""

import json
from collections import Counter
from typing import get_args

import numpy as np
import pytest

from onethinker.cli import main
from onethinker.core.errors import DataError
from onethinker.data.mixture import Mixture
from onethinker.data.synthetic import KINDS, make_sample
from onethinker.data.synthetic.world.samples import WORLDS
from onethinker.data.synthetic.worlds import WorldName

EACH_KIND = pytest.mark.parametrize(("problem_type", "data_type"), KINDS, ids=lambda value: value)


def test_every_world_has_a_name():
    assert {"shapes", *WORLDS} == set(get_args(WorldName))


@EACH_KIND
def test_a_sample_is_the_same_every_time_and_in_any_order(problem_type, data_type):
    kind = {"problem_type": problem_type, "data_type": data_type, "world": "things"}
    samples = [make_sample(7, index, **kind) for index in range(25)]
    for index in (20, 3, 0):  # by now the last scenes only are remembered
        again = make_sample(7, index, **kind)
        assert (samples[index].problem, samples[index].response, samples[index].masks) == (
            again.problem,
            again.response,
            again.masks,
        )
        assert (samples[index].media[0].frames == again.media[0].frames).all()


def test_questions_about_one_scene_are_about_the_very_same_picture():
    first, *others = (
        make_sample(1, 4, problem_type="multiple choice", data_type="image", world="things", question=k)
        for k in range(6)
    )
    assert all(other.media[0] is first.media[0] for other in others)
    assert len({sample.problem for sample in (first, *others)}) > 2
    assert len({sample.id for sample in (first, *others)}) == 6


def test_a_mixture_asks_several_questions_about_a_scene_in_turn():
    mixture = Mixture.open(
        (), ("spatial grounding", "multiple choice/image"), {}, seed=2, questions_per_clip=4, world="things"
    )
    samples = [mixture.sample(number) for number in range(24)]
    assert all(len({id(sample.media[0]) for sample in samples[k : k + 4]}) == 1 for k in range(0, 24, 4))
    assert len({id(sample.media[0]) for sample in samples}) == 6
    assert Counter(sample.problem_type for sample in samples) == {"spatial grounding": 12, "multiple choice": 12}


def test_shapes_have_one_question_each_whatever_is_asked_for():
    mixture = Mixture.open((), ("spatial grounding",), {}, seed=2, questions_per_clip=4)
    assert len({sample.problem for sample in map(mixture.sample, range(8))}) > 2
    assert mixture.together == 1


def test_a_larger_painting_shows_the_same_scene():
    small, large = (
        make_sample(3, 5, problem_type="spatial grounding", world="things", side_px=side).media[0].frames[0]
        for side in (128, 448)
    )
    assert large.shape == (448, 448, 3)
    shrunk = large[:, :, None].reshape(64, 7, 64, 7, 3).mean((1, 3))
    coarse = small.reshape(64, 2, 64, 2, 3).mean((1, 3))
    assert np.abs(shrunk - coarse).mean() < 12


@pytest.mark.parametrize("wrong", [{"world": "moon"}, {"split": "dev"}, {"question": -1}], ids=str)
def test_what_cannot_be_made_is_named(wrong):
    with pytest.raises(DataError, match=r"moon|dev|-1"):
        make_sample(0, 0, **{"world": "things", **wrong})


def test_the_command_writes_things(tmp_path):
    with pytest.raises(SystemExit) as left:
        main(["data", "synthetic", "--output", str(tmp_path / "data"), "--num-samples", "11", "--world", "things"])
    assert left.value.code in (0, None)
    records = [json.loads(line) for line in (tmp_path / "data" / "samples.jsonl").read_text().splitlines()]
    assert len({record["problem_type"] for record in records}) == 11


def test_clips_with_texts_have_large_frames_and_a_quarter_of_the_others():
    def widths(problem_type: str, count: int) -> Counter[int]:
        shown = (
            make_sample(2, k, problem_type=problem_type, data_type="video", world="things").media[0]
            for k in range(count)
        )
        return Counter(clip.width for clip in shown)

    assert widths("OCR", 6) == {192: 6}
    assert widths("math", 6) == {192: 6}
    of_things = widths("open-ended", 60)
    assert set(of_things) == {96, 192}
    assert 6 <= of_things[192] <= 24


def test_pictures_are_as_large_as_they_were():
    pictures = [make_sample(2, k, problem_type="OCR", data_type="image", world="things") for k in range(3)]
    assert {sample.media[0].width for sample in pictures} == {128}
