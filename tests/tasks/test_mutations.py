"""What is wrong earns no more than what it stands in place of, for every task, read strictly and leniently."""

import json
import random
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from onethinker.core.sample import Sample
from onethinker.data.synthetic import make_sample
from onethinker.tasks import Grade, Reader, ReadingMode, Task, all_tasks, grade_response

MODES: tuple[ReadingMode, ...] = ("strict", "lenient")
STRUCTURED = [task for task in all_tasks() if task.structured]
SEEDS = range(6)


@cache
def sample_of(task: Task[Any], seed: int) -> Sample:
    return make_sample(seed, 0, problem_type=task.problem_type, data_type=task.key.partition("/")[2] or None)


def grade(task: Task[Any], sample: Sample, text: str, mode: ReadingMode) -> Grade:
    return grade_response(
        f"<think>x</think><answer>{text}</answer>",
        sample.truth,
        task=task,
        options=sample.options,
        reader=Reader(mode),
    )


def moved(box: list[float], by: float) -> list[float]:
    return [side + by for side in box]


def wrongs(right: dict[str, Any], rng: random.Random) -> Iterator[tuple[str, str, str]]:
    """Yield a name, an answer with something wrong in it, and the same without it: right there, or left out."""
    exact = json.dumps(right)
    boxes, by = right.get("boxes"), rng.choice((-700, -90, 40, 1500))
    if isinstance(boxes, dict):
        key = rng.choice(list(boxes))
        rest = {**right, "boxes": {other: box for other, box in boxes.items() if other != key}}
        yield "moved", json.dumps({**right, "boxes": {**boxes, key: moved(boxes[key], by)}}), exact
        yield "not a box", json.dumps({**right, "boxes": {**boxes, key: [1, 2, 3]}}), json.dumps(rest)
        yield "no numbers", json.dumps({**right, "boxes": {**boxes, key: "left"}}), json.dumps(rest)
        yield "null", json.dumps({**right, "boxes": {**boxes, key: None}}), json.dumps(rest)
        yield "two boxes", json.dumps({**right, "boxes": {**boxes, key: [boxes[key], [0, 0, 9, 9]]}}), json.dumps(rest)
        yield "a point", json.dumps({**right, "boxes": {**boxes, key: [5, 5, 5, 5]}}), json.dumps(rest)
        many = {str(number): boxes[key] for number in range(200)}
        yield "everywhere", json.dumps({**right, "boxes": {**many, **boxes}}), exact
        yield "beyond", json.dumps({**right, "boxes": {**boxes, "99": boxes[key]}}), exact
        twice = f'"{key}": {json.dumps(boxes[key])}, "{key}": [0, 0, 9, 9]'
        others = "".join(f', "{other}": {json.dumps(box)}' for other, box in boxes.items() if other != key)
        head = f'"time": {json.dumps(right["time"])}, ' if "time" in right else ""
        yield "a key twice", f'{{{head}"boxes": {{{twice}{others}}}}}', exact
        yield "no boxes", json.dumps({**right, "boxes": {}}), exact
    elif boxes is not None:
        without = json.dumps({name: part for name, part in right.items() if name != "boxes"})
        yield "moved", json.dumps({**right, "boxes": moved(boxes, by)}), exact
        yield "two boxes", json.dumps({**right, "boxes": [boxes, [0, 0, 9, 9]]}), without
        yield "a side too many", json.dumps({**right, "boxes": [*boxes, 9]}), without
        yield "the whole frame", json.dumps({**right, "boxes": [-99, -99, 2000, 2000]}), exact
    if isinstance(time := right.get("time"), list):
        without = json.dumps({name: part for name, part in right.items() if name != "time"})
        yield "two times", json.dumps({**right, "time": [time, [0, 1]]}), without
        yield "for ever", json.dumps({**right, "time": [time[0], 1e9]}), exact
        yield "three times", json.dumps({**right, "time": [*time, 99]}), without
        yield "no time at all", json.dumps({**right, "time": [time[0], time[0]]}), without
    for name in ("positive_points", "negative_points"):
        if name in right:
            points = right[name]
            yield "points moved", json.dumps({**right, name: [moved(point, by) for point in points]}), exact
            yield "one point", json.dumps({**right, name: points[:1]}), exact
            yield "many points", json.dumps({**right, name: [*points, *([[x, x] for x in range(0, 1000, 9)])]}), exact
            yield "the same points", json.dumps({**right, name: [points[0]] * 3}), exact
    yield "a key too many", json.dumps({**right, "confidence": 1.0}), exact


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("task", STRUCTURED, ids=lambda task: task.key)
def test_what_is_wrong_earns_no_more_than_the_answer_without_it(task: Task[Any], mode: ReadingMode) -> None:
    for seed in SEEDS:
        sample, rng = sample_of(task, seed), random.Random(seed)
        for name, wrong, without in wrongs(json.loads(sample.truth), rng):
            faulty, honest = (grade(task, sample, text, mode) for text in (wrong, without))
            assert faulty.accuracy <= honest.accuracy + 1e-9, (name, wrong, without)
            assert faulty.reward <= honest.reward + 1e-9, (name, wrong, without)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("task", STRUCTURED, ids=lambda task: task.key)
def test_the_order_of_keys_and_boxes_changes_nothing(task: Task[Any], mode: ReadingMode) -> None:
    def turned(value: Any) -> Any:
        return {key: turned(value[key]) for key in reversed(value)} if isinstance(value, dict) else value

    for seed in SEEDS:
        sample = sample_of(task, seed)
        assert grade(task, sample, json.dumps(turned(json.loads(sample.truth))), mode) == grade(
            task, sample, sample.truth, mode
        )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("task", all_tasks(), ids=lambda task: task.key)
@pytest.mark.parametrize("nothing", ["", " ", "{}", "[]", "null", "None", "```json\n```", "()", '{"answer": null}'])
def test_nothing_earns_nothing(task: Task[Any], nothing: str, mode: ReadingMode) -> None:
    for seed in range(3):
        assert grade(task, sample_of(task, seed), nothing, mode).accuracy == 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("between", [" or ", "\n", ", ", " and ", " vs ", " maybe "])
@pytest.mark.parametrize(
    "name", ["spatial grounding", "temporal grounding", "multiple choice", "numerical", "regression"]
)
def test_two_answers_at_once_earn_no_more_than_the_wrong_one(name: str, between: str, mode: ReadingMode) -> None:
    task = next(task for task in all_tasks() if task.problem_type == name)
    for seed in SEEDS:
        sample = sample_of(task, seed)
        other = next(text for n in range(1, 99) if (text := sample_of(task, seed + n).truth) != sample.truth)
        wrong = grade(task, sample, other, mode).accuracy
        for text in (f"{sample.truth}{between}{other}", f"{other}{between}{sample.truth}"):
            assert grade(task, sample, text, mode).accuracy <= wrong + 1e-9, text
