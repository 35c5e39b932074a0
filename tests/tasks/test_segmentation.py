"""A selection is worth its box, its points and, in a video, its moment."""

import json
import math

import pytest

from onethinker.core.errors import AnswerError
from onethinker.tasks import find_task, grade_response

IMAGE, VIDEO = find_task("segmentation", "image"), find_task("segmentation", "video")
POINTS = [[100, 100], [200, 100], [300, 100]]
TRUTH = {"boxes": [100, 100, 300, 300], "positive_points": POINTS, "negative_points": POINTS}
HALF = [100, 100, 300, 200]
G = math.exp(-1 / 2)
MOVED = [[300, 150], [100, 150], [200, 150]]
"""The points in another order, each 50 thousandths away."""


def respond(answer: dict[str, object]) -> str:
    return f"<think>x</think><answer>{json.dumps(answer)}</answer>"


def test_a_picture_adds_box_and_points() -> None:
    answer = {**TRUTH, "boxes": HALF, "positive_points": MOVED}
    paper, release = (
        grade_response(respond(answer), json.dumps(TRUTH), task=IMAGE, reward_scheme=p) for p in ("paper", "release")
    )
    assert paper.reward == pytest.approx(0.5 + G + 1 + 1)
    assert paper.accuracy == pytest.approx((0.5 + G + 1) / 3)
    assert release.accuracy == pytest.approx(0.5 * 0.5 + 0.25 * G + 0.25)
    assert release.reward == pytest.approx(0.9 * release.accuracy + 0.1 + 0.5)
    assert paper.metrics == {"IoU": 0.5, "positive_points": pytest.approx(G), "negative_points": 1.0, "R@0.5": 1.0}


def test_a_video_adds_its_moment_each_profile_with_its_own_kernel() -> None:
    answer = {**TRUTH, "time": 5.0}
    truth = json.dumps({**TRUTH, "time": 3.0})
    paper, release = (grade_response(respond(answer), truth, task=VIDEO, reward_scheme=p) for p in ("paper", "release"))
    assert paper.reward == pytest.approx(3 + math.exp(-2) + 1)
    assert release.accuracy == pytest.approx(0.3 + 0.3 * math.exp(-1) + 0.2 + 0.2)


def test_a_far_point_is_worth_nothing_and_raises_nothing() -> None:
    answer = {**TRUTH, "time": 1e300}
    grade = grade_response(respond(answer), json.dumps({**TRUTH, "time": 3.0}), task=VIDEO)
    assert grade.metrics["time"] == 0.0


@pytest.mark.parametrize("count", [0, 2, 4])
def test_there_are_three_points_of_either_kind(count: int) -> None:
    with pytest.raises(AnswerError, match="'negative_points' must be 3 points"):
        IMAGE.parse(json.dumps({**TRUTH, "negative_points": [[1, 1]] * count}))


def test_a_picture_has_no_time_and_a_video_has_one() -> None:
    with pytest.raises(AnswerError, match="got 'time' too"):
        IMAGE.parse(json.dumps({**TRUTH, "time": 1}))
    with pytest.raises(AnswerError, match="'time' is missing"):
        VIDEO.parse(json.dumps(TRUTH))
