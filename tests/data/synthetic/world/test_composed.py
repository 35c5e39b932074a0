"""Questions composed of two: what is beside a thing, and how long or when that is there."""

import json
import re

import pytest

from onethinker.data.synthetic import make_sample
from onethinker.data.synthetic.world.asking import center_of
from onethinker.data.synthetic.world.samples import ask_about_things
from onethinker.data.synthetic.world.splits import SPLITS

COMPOSED = pytest.mark.parametrize("problem_type", ["regression", "temporal grounding"])
AXES = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}


def asked(problem_type: str, world: str, split: str = "test", count: int = 40):
    kind = (problem_type, "video")
    return [ask_about_things(2, index, kind=kind, split=split, world=world) for index in range(count)]


@COMPOSED
def test_the_answer_is_that_of_the_one_thing_on_that_side_of_the_other(problem_type):
    for question in asked(problem_type, "composed"):
        shot, things = question.painting, question.painting.scene.things
        (staying,) = (n for n, thing in enumerate(things) if thing.visible is None)
        anchor = things[staying].kind.name
        side = re.search(rf" thing (left of|right of|above|below) the {anchor}\b", question.problem).group(1)
        axis, sign = AXES[side]
        fitting = []
        for n, thing in enumerate(things):
            if n != staying:
                frame = shot.frame_at(thing.visible.start)
                places = [center_of(shot.box(m, frame))[axis] for m in (n, staying)]
                fitting += [n] if sign * (places[0] - places[1]) > 0 else []
        (n,) = fitting
        span = things[n].visible
        if problem_type == "regression":
            assert float(question.answer) == span.end - span.start
        else:
            assert json.loads(question.answer)["time"] == list(span)


@COMPOSED
def test_the_same_scene_is_asked_about_by_the_name_of_the_thing(problem_type):
    for index in range(10):
        how = {"problem_type": problem_type, "data_type": "video", "split": "test"}
        composed, named = (make_sample(5, index, world=world, **how) for world in ("composed", "by-name"))
        assert (composed.media[0].frames == named.media[0].frames).all()
        assert (composed.truth, composed.response) == (named.truth, named.response)
        assert " thing " in composed.problem
        assert " thing " not in named.problem


@COMPOSED
def test_another_thing_comes_and_goes_so_one_has_to_be_told_from_the_other(problem_type):
    questions = asked(problem_type, "composed")
    assert all(
        sum(thing.visible is not None for thing in question.painting.scene.things) == 2 for question in questions
    )
    assert len({question.answer for question in questions}) > 4


def test_no_other_kind_of_question_changes():
    for world in ("composed", "by-name"):
        how = {"problem_type": "tracking", "data_type": "video", "split": "test"}
        assert make_sample(5, 1, world=world, **how).truth == make_sample(5, 1, world="things", **how).truth


def test_every_split_has_such_questions():
    for split in SPLITS:
        assert asked("regression", "composed", split, 3)
