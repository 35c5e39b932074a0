"""Laws that every task obeys, whatever it is about."""

import json
import math
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from onethinker.core.errors import AnswerError, DataError
from onethinker.core.frames import Clip
from onethinker.core.sample import Sample
from onethinker.data.synthetic import make_sample
from onethinker.data.synthetic.samples import KINDS
from onethinker.tasks import Grade, Task, all_tasks, find_task, grade_response, max_reward
from onethinker.tasks.base import RewardScheme

OPTIONS = ("A. a cat", "B. a dog", "C. a hat", "D. nothing")
PROFILES: tuple[RewardScheme, ...] = ("paper", "release")
STRUCTURED = [task for task in all_tasks() if task.structured]

every_task = pytest.mark.parametrize("task", all_tasks(), ids=lambda task: task.key)
every_structured_task = pytest.mark.parametrize("task", STRUCTURED, ids=lambda task: task.key)
every_profile = pytest.mark.parametrize("reward_scheme", PROFILES)


def respond(answer: str) -> str:
    return f"<think>Look closely.</think><answer>{answer}</answer>"


def random_response(rng: random.Random, task: Task[Any]) -> str:
    """Return a text that is anything: noise, pieces of the grammar, or an answer with a few characters changed."""
    pieces = [
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "{",
        "}",
        "[",
        "]",
        '"',
        ",",
        ":",
        "\\",
        "NaN",
        "1e999",
        "true",
        "null",
        "boxes",
    ]
    pieces += [
        "time",
        "\x00",
        "\ud800",
        "\ufeff",
        "٣",
        "½",
        "𝟘",
        "\u202e",
        " ",
        "\n",
        "-",
        "0",
        "7",
        "1000",
        "A",
        "(B)",
        "\\frac{",
        "$",
        "^",
        "…",
    ]
    noise = "".join(rng.choice(pieces) for _ in range(rng.randrange(40)))
    kind = rng.randrange(4)
    if kind == 0:
        return noise
    if kind == 1:
        return respond(noise)
    changed = list(task.example if kind == 2 else respond(task.example))
    for _ in range(rng.randrange(1, 4)):
        changed[rng.randrange(len(changed))] = rng.choice(pieces)
    return respond("".join(changed)) if kind == 2 else "".join(changed)


def assert_sound(grade: Grade, task: Task[Any], reward_scheme: RewardScheme) -> None:
    assert 0 <= grade.accuracy <= 1
    assert grade.format in (0, 1)
    assert 0 <= grade.structure <= 0.5
    assert 0 <= grade.reward <= max_reward(task, reward_scheme) + 1e-12
    assert all(math.isfinite(value) for value in grade.metrics.values())
    json.dumps([grade.reward, grade.metrics, grade.problems]).encode()


def samples_of(task: Task[Any], seed: int, count: int) -> list[Sample]:
    """Synthetic samples of a task; of one that no scene asks, its example with the right answer and two wrong ones."""
    medium = task.key.partition("/")[2] or None
    if any(problem_type.lower() == task.problem_type for problem_type, _ in KINDS):
        return [make_sample(seed, index, problem_type=task.problem_type, data_type=medium) for index in range(count)]
    sample = Sample("example", "?", task.problem_type, task.data_types[0], (), task.example, OPTIONS)
    return [replace(sample, response=respond(text)) for text in (task.example, "", "?")]


def test_every_task_has_a_key_of_its_own() -> None:
    assert len({task.key for task in all_tasks()}) == len(all_tasks())


@pytest.mark.parametrize("name", ["OCR", "ocr", " Multiple Choice", "spatial-temporal grounding"])
def test_tasks_are_found_in_any_case(name: str) -> None:
    assert find_task(name, "Video" if "temporal" in name else "image").problem_type == name.strip().lower()


def test_an_unknown_task_is_refused_with_the_known_ones() -> None:
    with pytest.raises(DataError, match=r"no task 'juggling'\..*tracking"):
        find_task("juggling", "image")
    with pytest.raises(DataError, match="'segmentation' is asked about image or video, not about 'audio'"):
        find_task("segmentation", "audio")
    with pytest.raises(DataError, match="'tracking' is asked about video, not about 'image'"):
        find_task("tracking", "image")


@every_task
@every_profile
def test_the_example_of_a_task_graded_against_itself_is_the_maximum(
    task: Task[Any], reward_scheme: RewardScheme
) -> None:
    grade = grade_response(respond(task.example), task.example, task=task, options=OPTIONS, reward_scheme=reward_scheme)
    assert grade.reward == pytest.approx(
        max_reward(task, reward_scheme), abs=1e-12
    )  # sums of thirds round in the last digit
    assert grade.problems == {}
    assert max_reward(task, reward_scheme) == (1.5 if reward_scheme == "release" else task.terms + 1)


@every_task
@every_profile
def test_whatever_is_lost_has_a_reason(task: Task[Any], reward_scheme: RewardScheme) -> None:
    samples = samples_of(task, 11, 6)
    for sample, other in zip(samples, [*samples[1:], samples[0]], strict=True):
        assert other.response is not None
        for response in (other.response, other.response.replace("<think>", ""), "nothing"):
            grade = grade_response(
                response, sample.truth, task=task, options=sample.options, reward_scheme=reward_scheme
            )
            lost = grade.reward < max_reward(task, reward_scheme) - 1e-6
            assert bool(grade.problems) == lost, (response, sample.truth, grade)


@every_task
@every_profile
def test_synthetic_truth_graded_against_itself_is_the_maximum(task: Task[Any], reward_scheme: RewardScheme) -> None:
    for sample in samples_of(task, 7, 5):
        if sample.id == "example" and sample.response != respond(task.example):
            continue
        assert sample.response is not None
        grade = grade_response(
            sample.response, sample.truth, task=task, options=sample.options, reward_scheme=reward_scheme
        )
        assert grade.reward == pytest.approx(max_reward(task, reward_scheme), abs=1e-12)


@every_task
def test_any_string_at_all_is_graded(task: Task[Any]) -> None:
    rng = random.Random(task.key)
    names = grade_response("", task.example, task=task, options=OPTIONS).metrics.keys()
    for number in range(200):
        reward_scheme = PROFILES[number % 2]
        grade = grade_response(
            random_response(rng, task), task.example, task=task, options=OPTIONS, reward_scheme=reward_scheme
        )
        assert_sound(grade, task, reward_scheme)
        assert grade.metrics.keys() == names


@every_task
@pytest.mark.parametrize("text", ["", "no", "<think>x</think>", "<think>x</think><answer>", "</answer><answer>"])
def test_a_response_without_an_answer_is_worth_nothing_and_says_why(task: Task[Any], text: str) -> None:
    grade = grade_response(text, task.example, task=task, options=OPTIONS)
    assert grade.reward == 0
    assert any("answer block" in problem for problem in grade.problems.values())


@every_structured_task
@pytest.mark.parametrize(
    "hostile",
    ["NaN", "Infinity", "-Infinity", "1e999", "true", "false", "null", '"7"', "[7]", "9" * 5000, "0x7", "1_0"],
)
def test_hostile_numbers_are_refused_wherever_they_stand(task: Task[Any], hostile: str) -> None:
    """Each number of the example in turn is replaced."""
    value = json.loads(task.example)
    for path in _numbers(value):
        text = json.dumps(_replaced(value, path, "@@")).replace('"@@"', hostile)
        with pytest.raises(AnswerError):
            task.parse(text)
        grade = grade_response(respond(text), task.example, task=task)
        assert (grade.format, grade.structure) == (0, 0)
        assert grade.accuracy < 1
        assert 0 < len(grade.problems.get("form", grade.problems.get("answer", ""))) < 400


@every_structured_task
def test_keys_given_twice_are_refused(task: Task[Any]) -> None:
    doubled = task.example[:-1] + ", " + task.example[1:]
    assert "twice" in grade_response(respond(doubled), task.example, task=task).problems["answer"]


@every_task
@pytest.mark.parametrize(
    "unit",
    ["<answer> ", "<think>", "9", "[", '{"a":', '"', "\\", "a / b ", " ", "(", "^9", "A. ", "$"],
    ids=lambda unit: repr(unit),
)
def test_a_megabyte_of_anything_is_graded_soon(task: Task[Any], unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    started_s = time.perf_counter()
    grade = grade_response(respond(text), task.example, task=task, options=OPTIONS)
    assert time.perf_counter() - started_s < 5
    assert_sound(grade, task, "paper")
    assert sum(map(len, grade.reasons)) < 1000


@every_task
@pytest.mark.parametrize("answer", ["", "x" * 5000, "<think>", "{}"])
def test_a_truth_is_either_an_answer_or_an_error_of_the_data(task: Task[Any], answer: str) -> None:
    try:
        task.parse(answer, OPTIONS)
    except AnswerError:
        with pytest.raises(DataError, match="the truth"):
            grade_response(respond(task.example), answer, task=task, options=OPTIONS)


IN_A_PROCESS = """
import json, pickle, sys
from dataclasses import asdict, replace
from onethinker.tasks import all_tasks, grade_response
calls = [(text, all_tasks()[number].example, all_tasks()[number]) for number, text in json.load(sys.stdin)]
kept = pickle.loads(pickle.dumps(calls))
print(json.dumps([asdict(grade_response(text, truth, task=task, options={options})) for text, truth, task in kept]))
"""


def test_verdicts_are_the_same_from_every_thread_and_process() -> None:
    """The tasks are pickled in the other process, as a pool of workers would."""
    rng = random.Random(0)
    asked = [
        (n, text)
        for n, task in enumerate(all_tasks())
        for text in (respond(task.example), *(random_response(rng, task) for _ in range(5)))
    ]

    def grade(call: tuple[int, str]) -> dict[str, Any]:
        return json.loads(
            json.dumps(
                asdict(
                    grade_response(call[1], all_tasks()[call[0]].example, task=all_tasks()[call[0]], options=OPTIONS)
                )
            )
        )

    here = [grade(call) for call in asked]
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(grade, asked)) == here
    code = IN_A_PROCESS.replace("{options}", repr(OPTIONS))
    worker = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(asked), capture_output=True, text=True, check=True
    )
    assert json.loads(worker.stdout) == here


@every_task
def test_an_answer_is_drawn_into_a_clip_of_the_same_form(task: Task[Any]) -> None:
    kind = task.data_types[0]
    num_frames = 1 if kind == "image" else 8
    frames = np.full((num_frames, 96, 128, 3), 90, dtype=np.uint8)
    clip = Clip(
        kind, frames, tuple(map(float, range(num_frames))), tuple(range(num_frames)), 128, 96, float(num_frames), "test"
    )
    drawn = task.draw(clip, task.parse(task.example, OPTIONS))
    assert drawn.frames.shape == clip.frames.shape
    assert (drawn.frames != 90).any()


def test_importing_the_tasks_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'scipy', 'cv2', 'supervision', 'matplotlib', 'transformers', 'pycocotools'}"
    code = f"import sys, onethinker.tasks, onethinker.core.masks; print(sorted({heavy} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def _numbers(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in _numbers(item, (*path, key))]
    if isinstance(value, list):
        return [found for place, item in enumerate(value) for found in _numbers(item, (*path, place))]
    return [path]


def _replaced(value: Any, path: tuple[Any, ...], new: object) -> Any:
    if not path:
        return new
    items = dict(value) if isinstance(value, dict) else list(value)
    items[path[0]] = _replaced(value[path[0]], path[1:], new)
    return items
