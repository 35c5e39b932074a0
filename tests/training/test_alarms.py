"""Alarms on journals made of real grades: policies that cheat are named, those that learn are not."""

import json
import random
from collections.abc import Callable
from dataclasses import asdict

import pytest

from onethinker.data.sample import Sample
from onethinker.synthetic import make_sample
from onethinker.tasks import find_task, grade_response
from onethinker.training.alarms import find_alarms
from onethinker.training.config import AlarmSettings
from onethinker.training.monitoring import Summary, covers_whole_frame, note_answer, task_rows

SETTINGS = AlarmSettings(window=5)
Policy = Callable[[Sample, random.Random], str]
"""Gives a whole response to a sample."""


def respond(answer: str, thinking: str = "I look.") -> str:
    return f"<think>{thinking}</think><answer>{answer}</answer>"


def boxes(*sides: float) -> str:
    return respond(json.dumps({"boxes": sides}))


def journal(problem: str, policy: Policy, *, steps: int = 10, data_type: str = "image", limit: int | None = None) -> list[dict]:
    """Return rows of a run with two prompts a step and four answers a prompt, graded as in training; tokens are words."""
    task, chance, rows = find_task(problem, data_type), random.Random(3), []
    for step in range(steps):
        summaries = []
        for number in range(2):
            sample = make_sample(9, 2 * step + number, problem_type=problem, data_type=data_type)
            texts = [policy(sample, chance) for _ in range(4)]
            texts = [" ".join(text.split()[:limit]) for text in texts]
            grades = [grade_response(text, sample.truth, task=task, options=sample.options) for text in texts]
            summaries.append(
                Summary(
                    number=number,
                    task=task.statistics,
                    rewards=tuple(grade.reward for grade in grades),
                    accuracy=sum(grade.accuracy for grade in grades) / 4,
                    format=sum(grade.format for grade in grades) / 4,
                    dropped=None,
                    prompt_tokens=40,
                    lengths=tuple(len(text.split()) for text in texts),
                    cut=sum(limit is not None and len(text.split()) == limit for text in texts),
                    answers=tuple(map(note_answer, texts)),
                    whole_frames=tuple(covers_whole_frame(text, task, sample.options) for text in texts),
                )
            )
        tasks = {name: asdict(row) for name, row in task_rows(summaries, {}, {}, {}).items()}
        # As the journal's reader gets it.
        rows.append(json.loads(json.dumps({"step": step + 1, "tasks": tasks})))
    return rows


def names(rows: list[dict]) -> list[str]:
    return [alarm.name for alarm in find_alarms(rows, SETTINGS)]


def sometimes_right(sample: Sample, chance: random.Random) -> str:
    """Right in six of ten answers, else one of many wrong ones."""
    if chance.random() < 0.6:
        return respond(sample.truth)
    if sample.problem_type == "spatial grounding":
        left, top = chance.randrange(0, 500), chance.randrange(0, 500)
        return boxes(left, top, left + chance.randrange(50, 500), top + chance.randrange(50, 500))
    return respond(chance.choice(["A", "B", "C", "D", "7", "12"]))


def jittered_frame(sample: Sample, chance: random.Random) -> str:
    return boxes(chance.randrange(5), chance.randrange(5), 1000 - chance.randrange(5), 1000 - chance.randrange(5))


HACKS: dict[str, tuple[str, Policy, list[str]]] = {
    "the same letter for every prompt": ("multiple choice", lambda sample, _: respond("A"), ["same_answer"]),
    "the same box for every prompt": ("spatial grounding", lambda sample, _: boxes(250, 250, 750, 750), ["same_answer"]),
    "the whole frame, each time a little different": ("spatial grounding", jittered_frame, ["whole_frame"]),
    "the whole frame, always the same": ("spatial grounding", lambda sample, _: boxes(0, 0, 1000, 1000), ["same_answer", "whole_frame"]),
    "form alone": ("numerical", lambda _, chance: respond(str(chance.randrange(10**6, 10**9))), ["form_without_accuracy"]),
    "empty thoughts and a wrong word": (
        "ocr",
        lambda _, chance: respond("".join(chance.choices("qxzvkj", k=12)), thinking=""),
        ["form_without_accuracy"],
    ),
}


@pytest.mark.parametrize("hack", HACKS)
def test_a_hack_is_named(hack):
    problem, policy, expected = HACKS[hack]
    assert names(journal(problem, policy)) == expected


@pytest.mark.parametrize(("problem", "data_type"), [("tracking", "video"), ("segmentation", "image")])
def test_whole_frames_are_seen_in_every_task_with_boxes(problem, data_type):
    task = find_task(problem, data_type)

    def policy(sample: Sample, chance: random.Random) -> str:
        answer = json.loads(sample.truth)
        if problem == "tracking":
            answer["boxes"] = {second: [0, 0, 1000, 1000 - chance.randrange(9)] for second in answer["boxes"]}
        else:
            answer["boxes"] = [0, 0, 1000, 1000 - chance.randrange(9)]
        return respond(json.dumps(answer))

    alarms = find_alarms(journal(problem, policy, data_type=data_type), SETTINGS)
    assert [(alarm.name, alarm.task) for alarm in alarms] == [("whole_frame", task.statistics)]
    assert "whole frame" in alarms[0].text


def test_answers_that_fill_the_limit_are_named():
    def rambling(sample: Sample, chance: random.Random) -> str:
        return respond(sample.truth, thinking=" ".join(["so"] * chance.randrange(30, 90)))

    (alarm,) = find_alarms(journal("numerical", rambling, limit=20), SETTINGS)
    assert alarm.name == "length"
    assert "100% of the answers are cut at rollout.max_new_tokens" in alarm.text


def test_growing_answers_that_are_no_more_right_are_named():
    lengths = iter([10] * 40 + [25] * 40)

    def growing(sample: Sample, chance: random.Random) -> str:
        return respond(sample.truth if chance.random() < 0.5 else "0", thinking=" ".join(["so"] * next(lengths)))

    rows = journal("numerical", growing)
    assert names(rows[:5]) == [], "there is nothing to compare with yet"
    # The same accuracy before and after, so that length alone decides.
    for row in rows:
        row["tasks"]["numerical"]["accuracy"] = 0.5
    (alarm,) = find_alarms(rows, SETTINGS)
    assert alarm.name == "length"
    assert "from 10 to 25 tokens" in alarm.text
    rows[-1]["tasks"]["numerical"]["accuracy"] = 0.9
    assert names(rows) == [], "longer and more right is what training is for"


@pytest.mark.parametrize("problem", ["multiple choice", "spatial grounding", "numerical"])
@pytest.mark.parametrize("policy", [sometimes_right, lambda sample, _: respond(sample.truth)], ids=["learning", "always right"])
def test_a_healthy_run_is_silent(problem, policy):
    rows = journal(problem, policy)
    assert all(names(rows[:count]) == [] for count in range(len(rows) + 1))


def test_one_answer_to_all_is_no_alarm_where_it_is_the_truth():
    rows = journal("multiple choice", lambda sample, _: respond("A"))
    for row in rows:
        row["tasks"]["multiple choice"]["accuracy"] = 1.0
    assert names(rows) == []


def test_an_alarm_needs_a_whole_window_and_enough_prompts():
    rows = journal("multiple choice", lambda sample, _: respond("A"), steps=5)
    assert names(rows[:4]) == []
    assert names(rows) == ["same_answer"]
    for row in rows[:4]:
        row["tasks"]["multiple choice"]["groups"] = 0
    assert names(rows) == [], "two prompts show nothing"


def test_an_alarm_ends_when_its_reason_ends_and_a_window_of_nothing_is_silent():
    rows = journal("multiple choice", lambda sample, _: respond("A"))
    assert names([*rows, *journal("multiple choice", sometimes_right, steps=5)]) == []
    assert find_alarms(rows, AlarmSettings(window=0)) == ()
    assert find_alarms([*rows, {"step": 11, "tasks": {}}], SETTINGS) == (), "the task is not in the last step"


def test_what_a_model_says_cannot_reach_the_terminal_raw():
    rows = journal("multiple choice", lambda sample, _: respond("\x1b[2J\x07 A"))
    (alarm,) = [alarm for alarm in find_alarms(rows, SETTINGS) if alarm.name == "same_answer"]
    assert alarm.text.isprintable()
