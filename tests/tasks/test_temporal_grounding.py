"""One span of a video is worth its overlap with the true one."""

import pytest

from onethinker.tasks import find_task, grade_response

TASK = find_task("temporal grounding", "video")


def test_a_span_is_worth_its_tiou() -> None:
    grade = grade_response('<think>x</think><answer>{"time": [2, 6]}</answer>', '{"time": [0.0, 4.0]}', task=TASK)
    assert grade.accuracy == pytest.approx(2 / 6)
    assert grade.reward == pytest.approx(1 + 2 / 6)
    assert grade.metrics == {"tIoU": grade.accuracy, "R@0.3": 1.0, "R@0.5": 0.0, "R@0.7": 0.0}


def test_an_unreadable_span_has_the_worst_metrics() -> None:
    grade = grade_response("<think>x</think><answer>4 to 6</answer>", '{"time": [0.0, 4.0]}', task=TASK)
    assert grade.metrics == {"tIoU": 0.0, "R@0.3": 0.0, "R@0.5": 0.0, "R@0.7": 0.0}
