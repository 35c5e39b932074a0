"""A tube is worth its span and its boxes; seconds that only one side has count nothing."""

import json

import pytest

from onethinker.core.errors import AnswerError
from onethinker.tasks import find_task, grade_response

TASK = find_task("spatial-temporal grounding", "video")
BOX, HALF = [100, 100, 300, 300], [100, 100, 300, 200]


def tube(start: float, end: float, boxes: dict[str, list[int]]) -> str:
    return json.dumps({"time": [start, end], "boxes": boxes})


def respond(answer: str) -> str:
    return f"<think>x</think><answer>{answer}</answer>"


def test_boxes_are_compared_over_the_union_of_seconds() -> None:
    truth = tube(2, 5, {"2": BOX, "3": BOX, "4": BOX, "5": BOX})
    answer = tube(4, 6, {"4": BOX, "5": HALF, "6": BOX})
    grade = grade_response(respond(answer), truth, task=TASK)
    tiou, siou = 1 / 4, 1.5 / 5
    assert grade.accuracy == pytest.approx((tiou + siou) / 2)
    assert grade.reward == pytest.approx(tiou + siou + 1)
    assert grade.metrics == {
        "tIoU": tiou,
        "tIoU@0.5": 0.0,
        "sIoU": 0.75,
        "sIoU@0.5": 1.0,
        "vIoU": pytest.approx(siou),
        "vIoU@0.3": 1.0,
        "vIoU@0.5": 0.0,
    }


def test_the_release_compares_boxes_over_the_common_seconds_only() -> None:
    truth = tube(2, 5, {"2": BOX, "3": BOX, "4": BOX, "5": BOX})
    grade = grade_response(respond(tube(2, 5, {"4": BOX})), truth, task=TASK, reward_scheme="release")
    assert grade.accuracy == 1.0
    assert grade.structure == 0.25 + 0.25 / 4
    assert grade.reward == pytest.approx(0.9 + 0.1 + 0.3125)


def test_one_confident_box_does_not_earn_the_reward_of_all() -> None:
    truth = tube(2, 5, {"2": BOX, "3": BOX, "4": BOX, "5": BOX})
    assert grade_response(respond(tube(2, 5, {"4": BOX})), truth, task=TASK).accuracy == (1 + 1 / 4) / 2


def test_tubes_without_a_common_second_earn_no_boxes() -> None:
    grade = grade_response(respond(tube(2, 3, {"2": BOX})), tube(2, 3, {"3": BOX}), task=TASK, reward_scheme="release")
    assert grade.accuracy == 0.5
    assert grade.metrics["sIoU"] == grade.metrics["vIoU"] == 0


def test_a_box_stands_inside_the_span_or_at_its_torn_seconds() -> None:
    assert set(TASK.parse(tube(2.4, 3.6, {"2": BOX, "3": BOX, "4": BOX})).boxes) == {2, 3, 4}
    with pytest.raises(AnswerError, match=r"whole seconds of the time \[2.4, 3.6\] as keys, got 5"):
        TASK.parse(tube(2.4, 3.6, {"5": BOX}))
