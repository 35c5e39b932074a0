"""What is wrong in one place costs that place and the form point, and never earns more than leaving it out."""

import json
import random
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest

from onethinker.core.geometry import Box
from onethinker.data.synthetic import make_sample
from onethinker.tasks import Grade, Task, all_tasks, find_task, grade_response
from onethinker.tasks.base import RewardScheme

STRUCTURED = [task for task in all_tasks() if task.structured]
TUBE, TRACK = find_task("spatial-temporal grounding", "video"), find_task("tracking", "video")
PICTURE, SPAN, CUT = (
    find_task("spatial grounding", "image"),
    find_task("temporal grounding", "video"),
    find_task("segmentation", "image"),
)
BOX = [100, 100, 300, 300]
POINTS = [[100, 100], [200, 100], [300, 100]]
FULL_TUBE = {"time": [2, 4], "boxes": {"2": BOX, "3": BOX, "4": BOX}}
FULL_CUT = {"boxes": BOX, "positive_points": POINTS, "negative_points": POINTS}


def grade(task: Task[Any], answer: object, truth: object, reward_scheme: RewardScheme = "paper") -> Grade:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    response = f"<think>x</think><answer>{text}</answer>"
    return grade_response(response, json.dumps(truth), task=task, reward_scheme=reward_scheme)


@pytest.mark.parametrize(
    ("task", "answer", "truth", "accuracy", "fault"),
    [
        pytest.param(
            PICTURE, {"boxes": BOX, "label": "cat"}, {"boxes": BOX}, 1, "got 'label' too", id="a key too many"
        ),
        pytest.param(
            PICTURE,
            {"boxes": [100, 0, 1012, 1000]},
            {"boxes": [100, 0, 1000, 1000]},
            1,
            "'boxes' must lie between 0 and 1000, got 1012",
            id="a side beyond the frame",
        ),
        pytest.param(
            PICTURE, {"boxes": [-3, 0, 9, 9]}, {"boxes": [0, 0, 9, 9]}, 1, "got -3", id="a side before the frame"
        ),
        pytest.param(SPAN, {"time": [-1, 5]}, {"time": [0, 5]}, 1, "at least 0 seconds, got -1", id="before the start"),
        pytest.param(
            SPAN, {"time": [1, 5], "event": "jump"}, {"time": [1, 5]}, 1, "got 'event' too", id="an event too"
        ),
        pytest.param(
            TRACK,
            {"boxes": {"1": BOX, "2": BOX[:3]}},
            {"boxes": {"1": BOX, "2": BOX}},
            1 / 2,
            "'boxes' at 2 must be four thousandths [x1, y1, x2, y2], got [100, 100, 300]",
            id="a malformed box",
        ),
        pytest.param(
            TRACK,
            {"boxes": {"1": BOX, "33": BOX, "0": BOX}},
            {"boxes": {"1": BOX}},
            1,
            "keys from 1 to 32, got 33; 'boxes' must have keys from 1 to 32, got 0",
            id="keys beyond the last and before the first",
        ),
        pytest.param(
            TRACK,
            {"boxes": {"1": BOX, "2": BOX[::-1]}},
            {"boxes": {"1": BOX, "2": BOX}},
            1 / 2,
            "'boxes' at 2 must have x1 < x2",
            id="swapped corners",
        ),
        pytest.param(
            TRACK,
            '{"boxes": {"1": [100, 100, 300, 300], "2": [100, 100, NaN, 300]}}',
            {"boxes": {"1": BOX, "2": BOX}},
            1 / 2,
            "'boxes' at 2 must be a number: expected finite numbers, got NaN",
            id="a side that is no number",
        ),
        pytest.param(
            TRACK,
            '{"boxes": {"1": [100, 100, 300, 300], "2": [100, 100, 300, 300], "2": [0, 0, 9, 9]}}',
            {"boxes": {"1": BOX, "2": BOX}},
            1 / 2,
            "expected each key once, got '2' twice",
            id="a second twice",
        ),
        pytest.param(
            TUBE,
            {"time": [2, 4], "boxes": {"2": BOX, "3": BOX, "4": BOX, "9": BOX}},
            FULL_TUBE,
            1,
            "'boxes' must have whole seconds of the time [2, 4] as keys, got 9",
            id="a box outside the time",
        ),
        pytest.param(
            TUBE, {"boxes": FULL_TUBE["boxes"]}, FULL_TUBE, 1 / 2, "'time' is missing", id="boxes without a time"
        ),
        pytest.param(TUBE, {"time": [2, 4]}, FULL_TUBE, 1 / 2, "'boxes' is missing", id="a time without boxes"),
        pytest.param(
            TUBE, {**FULL_TUBE, "time": [4, 2]}, FULL_TUBE, 1 / 2, "must end after it starts", id="swapped times"
        ),
        pytest.param(
            CUT, {**FULL_CUT, "boxes": BOX[:3]}, FULL_CUT, 2 / 3, "'boxes' must be four", id="points without a box"
        ),
        pytest.param(
            CUT,
            {**FULL_CUT, "positive_points": [*POINTS, [0, 0]]},
            FULL_CUT,
            1,
            "'positive_points' must be 3 points, got 4",
            id="a point too many",
        ),
        pytest.param(
            CUT,
            {**FULL_CUT, "positive_points": POINTS[:2]},
            FULL_CUT,
            2 / 3,
            "'positive_points' must be 3 points, got [[100, 100], [200, 100]]",
            id="a point too few",
        ),
        pytest.param(
            CUT,
            {**FULL_CUT, "negative_points": [*POINTS[:2], [300, 1001]]},
            {**FULL_CUT, "negative_points": [*POINTS[:2], [300, 1000]]},
            1,
            "'negative_points' must lie between 0 and 1000, got 1001",
            id="a point beyond the frame",
        ),
    ],
)
def test_a_fault_costs_its_own_place_and_the_form_point(
    task: Task[Any], answer: object, truth: object, accuracy: float, fault: str
) -> None:
    paper, release = grade(task, answer, truth), grade(task, answer, truth, "release")
    assert paper.accuracy == pytest.approx(accuracy)
    assert paper.reward == pytest.approx(task.terms * accuracy)
    assert fault in paper.problems["form"]
    assert (paper.format, release.format, release.structure) == (0, 1, 0)
    assert release.reward == pytest.approx(0.9 * release.accuracy + 0.1)


def test_where_nothing_can_be_used_every_fault_is_the_reason() -> None:
    wrong = grade(TRACK, {"boxes": {"40": BOX, "2": [1]}}, {"boxes": {"1": BOX}})
    assert wrong.accuracy == 0
    assert "'boxes' at 2" in wrong.problems["answer"]
    assert "got 40" in wrong.problems["answer"]


def truths() -> Iterator[tuple[Task[Any], dict[str, Any]]]:
    for task in STRUCTURED:
        for index in range(4):
            sample = make_sample(5, index, problem_type=task.problem_type, data_type=task.key.partition("/")[2] or None)
            yield task, json.loads(sample.truth)


def numbers(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every number."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from numbers(item, (*path, key))
    else:
        yield path


def put(value: Any, path: tuple[Any, ...], new: object) -> Any:
    changed = deepcopy(value)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    if new is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = new
    return changed


def mutations(answer: Any, rng: random.Random) -> Iterator[tuple[str, Any, Any]]:
    """Yield a name, an answer with one fault, and the answer without it: left out, or moved to the nearest edge."""
    yield "a key too many", {**answer, "note": "x"}, answer
    path = rng.choice(list(numbers(answer)))
    for wrong, edge in ((-3, 0), (-1e9, 0), *(((1012, 1000), (5000, 1000)) if path[0] != "time" else ())):
        yield f"{wrong} at {path}", put(answer, path, wrong), put(answer, path, edge)
    # A box, a span and a set of points are left out together with the number in them that is none.
    part = path[: 2 if isinstance(answer.get("boxes"), dict) and path[0] == "boxes" else 1]
    for wrong in ("7", True, [7], {"a": 1}):
        yield f"{wrong!r} at {path}", put(answer, path, wrong), put(answer, part, None)
    yield f"nothing of {part}", put(answer, part, []), put(answer, part, None)
    boxes = answer.get("boxes")
    if isinstance(boxes, dict):
        key, box = rng.choice(list(boxes.items()))
        yield "corners swapped", put(answer, ("boxes", key), [*box[2:], *box[:2]]), put(answer, ("boxes", key), None)
        for outside in ("-1", "01", "1.5", "x", "999"):
            yield f"a box at {outside}", put(answer, ("boxes", outside), box), answer
    elif boxes is not None:
        yield "corners swapped", put(answer, ("boxes",), [*boxes[2:], *boxes[:2]]), put(answer, ("boxes",), None)
    if isinstance(answer.get("time"), list):
        yield "times swapped", put(answer, ("time",), answer["time"][::-1]), put(answer, ("time",), None)
    for name in ("positive_points", "negative_points"):
        if name in answer:
            yield "a point too many", put(answer, (name,), [*answer[name], [0, 0]]), answer


def worsened(answer: Any, rng: random.Random) -> Any:
    """Return an answer of the same form that is only partly right."""
    for path in list(numbers(answer)):
        if rng.random() < 0.3:
            value = answer
            for key in path:
                value = value[key]
            answer = put(answer, path, max(0, min(value + rng.choice((-20, 20)), 1000)) if path[0] != "time" else value)
    return answer


@pytest.mark.parametrize("reward_scheme", ["paper", "release"])
def test_nothing_that_is_wrong_earns_more_than_leaving_it_out(reward_scheme: RewardScheme) -> None:
    rng, count = random.Random(3), 0
    for task, truth in truths():
        for answer in (truth, worsened(truth, rng), worsened(truth, rng)):
            for name, wrong, without in mutations(answer, rng):
                faulty, honest = (grade(task, text, truth, reward_scheme) for text in (wrong, without))
                where = (task.key, name, wrong, truth, faulty, honest)
                assert faulty.accuracy <= honest.accuracy + 1e-12, where
                assert faulty.reward <= honest.reward + 1e-12, where
                assert all(faulty.metrics[key] <= value + 1e-12 for key, value in honest.metrics.items()), where
                assert faulty.structure == 0, where
                assert faulty.problems.keys() & {"form", "answer"}, where
                count += 1
    assert count > 500


def test_a_clipped_box_is_worth_what_the_box_at_the_edge_is() -> None:
    rng = random.Random(1)
    for _ in range(200):
        sides = [rng.uniform(-200, 1200) for _ in range(4)]
        edge = [min(max(side, 0), 1000) for side in sides]
        truth = {"boxes": [*Box(200, 300, 900, 1000)]}
        assert grade(PICTURE, {"boxes": sides}, truth).accuracy == grade(PICTURE, {"boxes": edge}, truth).accuracy
