"""Alarms of answers that earn a reward without doing the task: policies that cheat are named, others are not."""

import json
import random

import pytest

from onethinker.core.sample import Sample
from onethinker.tasks import find_task
from onethinker.training.config import RlRecipe
from onethinker.training.metrics.alarms import Alarm, find_alarms
from tests.training.journals import RL, RL_STEP, Policy, all_names, boxes, journal, respond, sometimes_right


def names(rows: list[dict]) -> list[str]:
    """Return the alarms of the task, without those of learning."""
    return [name for name in all_names(rows) if name not in ("no_signal", "constant_reward", "sigma_floor")]


def of_the_task(rows: list[dict]) -> list[Alarm]:
    return [alarm for alarm in find_alarms(rows, RL) if alarm.name in names(rows)]


def jittered_frame(sample: Sample, chance: random.Random) -> str:
    return boxes(chance.randrange(5), chance.randrange(5), 1000 - chance.randrange(5), 1000 - chance.randrange(5))


HACKS: dict[str, tuple[str, Policy, list[str]]] = {
    "the same letter for every prompt": ("multiple choice", lambda sample, _: respond("A"), ["same_answer"]),
    "the same box for every prompt": (
        "spatial grounding",
        lambda sample, _: boxes(250, 250, 750, 750),
        ["same_answer"],
    ),
    "the whole frame, each time a little different": ("spatial grounding", jittered_frame, ["whole_frame"]),
    "the whole frame, always the same": (
        "spatial grounding",
        lambda sample, _: boxes(0, 0, 1000, 1000),
        ["same_answer", "whole_frame"],
    ),
    "form alone": (
        "numerical",
        lambda _, chance: respond(str(chance.randrange(10**6, 10**9))),
        ["form_without_accuracy"],
    ),
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

    alarms = find_alarms(journal(problem, policy, data_type=data_type), RL)
    assert ("whole_frame", task.key) in [(alarm.name, alarm.task) for alarm in alarms]
    assert any("whole frame" in alarm.text for alarm in alarms)


def test_answers_that_fill_the_limit_are_named():
    def rambling(sample: Sample, chance: random.Random) -> str:
        return respond(sample.truth, thinking=" ".join(["so"] * chance.randrange(30, 90)))

    (alarm,) = of_the_task(journal("numerical", rambling, limit=20))
    assert alarm.name == "length"
    assert "100% of the answers are cut off at rollout.max_new_tokens" in alarm.text


def test_growing_answers_that_are_no_more_right_are_named():
    lengths = iter([10] * 40 + [25] * 40)

    def growing(sample: Sample, chance: random.Random) -> str:
        return respond(sample.truth if chance.random() < 0.5 else "0", thinking=" ".join(["so"] * next(lengths)))

    rows = journal("numerical", growing)
    assert names(rows[:5]) == [], "there is nothing to compare with yet"
    # The same accuracy before and after, so that length alone decides.
    for row in rows:
        row["tasks"]["numerical"]["accuracy"] = 0.5
    (alarm,) = of_the_task(rows)
    assert alarm.name == "length"
    assert "from 10 to 25 tokens" in alarm.text
    rows[-1]["tasks"]["numerical"]["accuracy"] = 0.9
    assert names(rows) == [], "longer and more right is what training is for"


@pytest.mark.parametrize("problem", ["multiple choice", "spatial grounding", "numerical"])
@pytest.mark.parametrize(
    "policy", [sometimes_right, lambda sample, _: respond(sample.truth)], ids=["learning", "always right"]
)
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
    assert find_alarms(rows, RlRecipe(log={"alarms": {"window": 0}})) == ()
    assert find_alarms([*rows, {**RL_STEP, "step": 11, "tasks": {}}], RL) == (), "the task is not in the last step"


def test_what_a_model_says_cannot_reach_the_terminal_raw():
    rows = journal("multiple choice", lambda sample, _: respond("\x1b[2J\x07 A"))
    (alarm,) = [alarm for alarm in find_alarms(rows, RL) if alarm.name == "same_answer"]
    assert alarm.text.isprintable()
