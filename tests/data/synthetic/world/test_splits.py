"""No combination of training is asked about in validation or in tests."""

import json
import re
from collections import Counter
from hashlib import sha256

import pytest

from onethinker.core.errors import DataError
from onethinker.core.geometry import Box
from onethinker.data.synthetic.world.asking import cell_name
from onethinker.data.synthetic.world.samples import ask_about_things
from onethinker.data.synthetic.world.splits import SPLITS, split_of


def asked(problem_type: str, data_type: str, split: str, count: int, seed: int = 0):
    return [ask_about_things(seed, index, kind=(problem_type, data_type), split=split) for index in range(count)]


def test_splits_share_all_combinations_between_them_80_to_10_to_10():
    counts = Counter(split_of(f"thing {n}", "red", "top left", "locate") for n in range(20_000))
    assert set(counts) == set(SPLITS)
    for split, hundredths in SPLITS.items():
        assert counts[split] / 20_000 == pytest.approx(len(hundredths) / 100, abs=0.01)


def test_every_question_where_a_thing_is_stays_within_its_split():
    seen: dict[str, set[tuple[str, str | None, str]]] = {}
    for split in SPLITS:
        for question in asked("spatial grounding", "image", split, 150):
            shot, box = question.painting, Box(*json.loads(question.answer)["boxes"])
            (number,) = (n for n in range(len(shot.scene.things)) if shot.box(n) == box)
            thing = shot.scene.things[number]
            if sum(other.kind == thing.kind for other in shot.scene.things) > 1:
                continue
            color = (
                thing.color if re.search(f"{thing.color} {thing.kind.name}", question.problem, re.IGNORECASE) else ""
            )
            assert split_of(thing.kind.name, thing.color, cell_name(box), f"locate:{color}") == split
            seen.setdefault(split, set()).add((thing.kind.name, thing.color, f"{cell_name(box)} {color}"))
    assert min(map(len, seen.values())) > 20
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["validation"]
    assert not seen["validation"] & seen["test"]


def test_no_sum_is_asked_in_two_splits():
    sums = {
        split: {
            question.painting.scene.writings[0].lines[0].rstrip("=?")
            for seed in (0, 1)
            for question in asked("math", "image", split, 300, seed)
            if not question.painting.scene.things
        }
        for split in SPLITS
    }
    assert min(map(len, sums.values())) > 30
    assert not sums["train"] & sums["test"]
    assert not sums["train"] & sums["validation"]
    assert not sums["validation"] & sums["test"]


def test_no_picture_is_in_two_splits_or_seeds():
    lists = [asked("numerical", "image", split, 60) for split in SPLITS] + [
        asked("numerical", "image", "train", 60, seed=1)
    ]
    digests = [
        sha256(question.painting.clip.frames.tobytes()).digest() for questions in lists for question in questions
    ]
    assert len(set(digests)) == len(digests)


def test_an_unknown_split_is_named():
    with pytest.raises(DataError, match="no split 'dev'; did you mean 'validation'"):
        ask_about_things(0, 0, kind=("OCR", "image"), split="dev")
