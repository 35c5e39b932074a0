"""A track is worth the mean overlap over the true seconds."""

import json

import pytest

from onethinker.core.errors import AnswerError
from onethinker.core.geometry import Box
from onethinker.tasks import find_task, grade_response

TASK = find_task("tracking", "video")
BOX = [100, 100, 300, 300]


def respond(boxes: dict[str, list[int]]) -> str:
    return f"<think>x</think><answer>{json.dumps({'boxes': boxes})}</answer>"


def test_tracking_counts_missing_seconds_as_zero() -> None:
    truth = json.dumps({"boxes": {str(key): BOX for key in range(1, 5)}})
    grade = grade_response(respond({"1": BOX, "2": [100, 100, 300, 200]}), truth, task=TASK)
    assert grade.accuracy == (1 + 0.5) / 4
    assert {name: grade.metrics[name] for name in ("AO", "R@0.3", "R@0.5", "R@0.7")} == {
        "AO": 0.375,
        "R@0.3": 1.0,
        "R@0.5": 0.0,
        "R@0.7": 0.0,
    }


def test_surplus_seconds_cost_nothing() -> None:
    grade = grade_response(
        respond({str(key): BOX for key in range(1, 33)}), json.dumps({"boxes": {"1": BOX}}), task=TASK
    )
    assert grade.accuracy == 1


def test_the_release_pays_for_the_share_of_seconds_that_have_a_box() -> None:
    truth = json.dumps({"boxes": {str(key): BOX for key in range(1, 5)}})
    grade = grade_response(respond({"1": BOX}), truth, task=TASK, reward_scheme="release")
    assert grade.structure == 0.25 + 0.25 / 4
    assert grade.reward == pytest.approx(0.9 * 0.25 + 0.1 + 0.3125)


def test_key_k_is_second_k_minus_1() -> None:
    assert TASK.parse('{"boxes": {"2": [0, 0, 1, 1], "1": [1, 1, 2, 2]}}').boxes == {
        0: Box(1, 1, 2, 2),
        1: Box(0, 0, 1, 1),
    }


@pytest.mark.parametrize("key", ["0", "33"])
def test_keys_go_from_1_to_32(key: str) -> None:
    with pytest.raises(AnswerError, match=f"keys from 1 to 32, got {key}"):
        TASK.parse(json.dumps({"boxes": {key: BOX}}))
