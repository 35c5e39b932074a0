"""Alarms on journals made of real grades: policies that cheat and runs that learn nothing are named, those that learn
are not.
"""

import json
import random
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from onethinker.core.errors import TrainingError
from onethinker.core.sample import Sample
from onethinker.data.synthetic import make_sample
from onethinker.rl.advantages import ema_grpo
from onethinker.rl.loop import train_rl
from onethinker.tasks import find_task, grade_response
from onethinker.training.config import RlRecipe, SftRecipe
from onethinker.training.metrics.alarms import Alarm, Watch, find_alarms
from onethinker.training.metrics.records import SftRow, as_record
from onethinker.training.metrics.rl_rules import RL_RULES, TASK_RULES
from onethinker.training.metrics.run_rules import RECIPE_RULES, RUN_RULES, SFT_RULES
from onethinker.training.metrics.task_rows import Summary, covers_whole_frame, note_answer, task_rows
from tests.training.test_adapters import rl_recipe

RL = RlRecipe(log={"alarms": {"window": 5}})
SFT = SftRecipe(steps=1000, log={"alarms": {"window": 5}})
RL_STEP = {
    "stage": "rl",
    "loss": 0.02,
    "kl": 0.01,
    "entropy": 0.6,
    "clip_fraction": 0.02,
    "grad_norm": 0.4,
    "updates": 1,
    "groups": 2,
}
RL_STEP |= {
    "seconds": 2.0,
    "seconds_by_phase": {"rollout": 1.2, "update": 0.7},
    "tokens_by_phase": {"rollout": 900, "update": 800},
}
RL_STEP |= {"dropped_groups": 0, "surplus_groups": 0, "ungraded": [], "skipped_samples": [], "bad_steps": []}
"""A step of RL that learns, without its tasks."""
Policy = Callable[[Sample, random.Random], str]
"""Gives a whole response to a sample."""


def respond(answer: str, thinking: str = "I look.") -> str:
    return f"<think>{thinking}</think><answer>{answer}</answer>"


def boxes(*sides: float) -> str:
    return respond(json.dumps({"boxes": sides}))


def journal(
    problem: str,
    policy: Policy,
    *,
    steps: int = 10,
    data_type: str = "image",
    limit: int | None = None,
    drop: bool = False,
):
    """Return rows of a run with two prompts a step and four answers a prompt, graded as in training; tokens are words.

    Groups that are all right or all wrong are dropped if `drop` says so.
    """
    task, chance, rows, ema = find_task(problem, data_type), random.Random(3), [], {}
    for step in range(steps):
        summaries = []
        for index in range(2):
            sample = make_sample(9, 2 * step + index, problem_type=problem, data_type=data_type)
            texts = [policy(sample, chance) for _ in range(4)]
            texts = [" ".join(text.split()[:limit]) for text in texts]
            grades = [grade_response(text, sample.truth, task=task, options=sample.options) for text in texts]
            accuracy = sum(grade.accuracy for grade in grades) / 4
            summaries.append(
                Summary(
                    index=index,
                    task=task.key,
                    rewards=tuple(grade.reward for grade in grades),
                    accuracy=accuracy,
                    format=sum(grade.format for grade in grades) / 4,
                    dropped=(
                        ("all_wrong" if accuracy <= 0.01 else "all_right" if accuracy >= 0.99 else None)
                        if drop
                        else None
                    ),
                    prompt_tokens=40,
                    lengths=tuple(len(text.split()) for text in texts),
                    truncated=sum(limit is not None and len(text.split()) == limit for text in texts),
                    answers=tuple(map(note_answer, texts)),
                    whole_frames=tuple(covers_whole_frame(text, task, sample.options) for text in texts),
                )
            )
        kept = [summary for summary in summaries if summary.kept]
        rewards = torch.tensor([summary.rewards for summary in kept], dtype=torch.float64).reshape(-1, 4)
        advantages, ema = ema_grpo(
            rewards, [task.key] * len(kept), ema, ema_decay=0.9, min_sigma=1e-3, clip=10.0, guard="clip"
        )
        sizes = {summary.index: float(row.abs().mean()) for summary, row in zip(kept, advantages, strict=True)}
        found = task_rows(summaries, sizes, {name: moments.sigma for name, moments in ema.items()}, {})
        counts = {"groups": len(kept), "dropped_groups": 2 - len(kept), "updates": min(1, len(kept))}
        # As the journal's reader gets it.
        tasks = {name: asdict(row) for name, row in found.items()}
        rows.append(json.loads(json.dumps({**RL_STEP, **counts, "step": step + 1, "tasks": tasks})))
    return rows


def names(rows: list[dict]) -> list[str]:
    """Return the alarms of the task, without those of learning."""
    return [name for name in all_names(rows) if name not in ("no_signal", "constant_reward", "sigma_floor")]


def of_the_task(rows: list[dict]) -> list[Alarm]:
    return [alarm for alarm in find_alarms(rows, RL) if alarm.name in names(rows)]


def all_names(rows: list[dict], recipe: RlRecipe | SftRecipe = RL) -> list[str]:
    return [alarm.name for alarm in find_alarms(rows, recipe, rows[:10])]


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


def learning(**changes: object) -> list[dict]:
    """Return rows of a run of RL that learns, changed in its last five steps."""
    rows = journal("numerical", sometimes_right)
    return [*rows[:5], *({**row, **changes} for row in rows[5:])]


def sft(count: int = 30, **changes: object) -> list[dict]:
    """Return rows of a run of SFT that learns, changed after its tenth step."""
    rows = []
    for step in range(1, count + 1):
        row = SftRow(
            step, "sft", 3.0 * 0.97**step, 0.5, 0.8, 1e-4, 4000, 2.0, {"update": 1.9}, {"update": 9000}, {}, []
        )
        rows.append({**as_record(row), **(changes if step > 10 else {})})
    return rows


LOST = {"index": 7, "task": "caption", "reason": "reward_failed", "text": "HTTP 503"}
UNREAD = [{"index": 3, "id": "q3", "reason": "cut short"}]
BAD = [{"what": "the loss (nan)", "text": "the loss (nan) is not finite"}]
RUNS: dict[str, tuple[list[dict], RlRecipe | SftRecipe]] = {
    "no_gradient": (sft(grad_norm=0.0), SFT),
    "bad_steps": (sft(loss=None, grad_norm=None, bad_steps=BAD), SFT),
    "skipped_samples": (sft(skipped_samples=UNREAD * 4), SFT),
    "slow": (sft(seconds=9.0, seconds_by_phase={"data": 8.0, "update": 1.0}), SFT),
    "rising_loss": (sft(loss=9.0), SFT),
    "no_progress": (sft(320, loss=2.7), SFT),
    "empty_responses": (sft(answer_tokens=2 * SFT.batch_size), SFT),
    "no_signal": (learning(updates=0, loss=None, grad_norm=None), RL),
    "entropy": (learning(entropy=0.003), RL),
    "kl": (learning(kl=1.4), RL),
    "clipped": (learning(clip_fraction=0.6), RL),
    "ungraded": (learning(ungraded=[LOST]), RL),
    "warmup": (
        sft(3),
        SFT.model_copy(update={"steps": 50, "optimizer": SFT.optimizer.model_copy(update={"warmup_steps": 50})}),
    ),
    "rounding": (sft(3), SFT.model_copy(update={"dtype": "bfloat16"})),
}


@pytest.mark.parametrize("sign", RUNS)
def test_a_run_that_learns_nothing_is_named(sign):
    assert all_names(*RUNS[sign]) == [sign]


@pytest.mark.parametrize(
    ("rows", "recipe"),
    [
        (sft(320), SFT),
        (learning(), RL),
        # Each of them once is no sign: a bad batch, a file that is gone, a group that is lost, a step without a signal.
        ([*sft(29), {**sft(30)[-1], "skipped_samples": UNREAD}], SFT),
        ([*sft(29), {**sft(30)[-1], "grad_norm": 0.0}], SFT),
        ([*sft(27), *({**row, "seconds": 60.0} for row in sft(29)[-2:])], SFT),
        (sft(seconds=20.0, tokens_by_phase={"update": 90000}), SFT),
        (sft(seconds=5.0), SFT),
        ([*learning()[:-1], {**learning()[-1], "ungraded": [LOST]}], RL),
        ([*learning()[:-1], {**learning()[-1], "updates": 0, "grad_norm": None, "entropy": None, "kl": None}], RL),
    ],
    ids=[
        "sft",
        "rl",
        "one file",
        "one step without gradient",
        "two slow steps",
        "long rows",
        "half the pace",
        "one group lost",
        "one step without signal",
    ],
)
def test_a_run_that_learns_is_silent(rows, recipe):
    assert all_names(rows, recipe) == []


def test_a_run_that_becomes_slow_little_by_little_is_seen_with_its_phase():
    rows = [
        {**row, "seconds": 2.0 * 1.1 ** row["step"], "seconds_by_phase": {"data": 1.1 ** row["step"], "update": 0.9}}
        for row in sft(40)
    ]
    (alarm,) = find_alarms(rows[-20:], SFT, rows[:10])
    assert alarm.name == "slow"
    assert "most of it in the phase data" in alarm.text
    assert find_alarms(rows[:15], SFT, rows[:10]) == ()


def test_an_old_journal_without_the_new_fields_is_read():
    assert (
        all_names(
            [{key: value for key, value in row.items() if key not in ("bad_steps", "not_finite")} for row in sft()], SFT
        )
        == []
    )


def always(accuracy: float) -> Policy:
    return lambda sample, _: respond(sample.truth if accuracy else "-1")


def barely(sample: Sample, chance: random.Random) -> str:
    """Return boxes that differ by a thousandth of the frame and never fit: rewards of a group are nearly the same."""
    return boxes(0, 0, 1000, 999 + chance.randrange(2))


TASKS: dict[str, tuple[list[dict], RlRecipe, list[str], str]] = {
    "all wrong": (journal("numerical", always(0), drop=True), RL, ["no_signal"] * 2, "Train it longer by SFT"),
    "all right": (journal("numerical", always(1), drop=True), RL, ["no_signal"] * 2, "It is learned"),
    "one reward": (journal("numerical", always(1)), RL, ["constant_reward"], "the same reward for 5 steps"),
    "sigma at its floor": (
        journal("numerical", sometimes_right),
        RL.model_copy(update={"advantage": RL.advantage.model_copy(update={"min_sigma": 2.0})}),
        ["sigma_floor"],
        "advantage.min_sigma = 2",
    ),
}


@pytest.mark.parametrize("case", TASKS)
def test_a_task_that_is_not_learned_is_named_with_what_to_do(case):
    rows, recipe, expected, said = TASKS[case]
    alarms = [
        alarm for alarm in find_alarms(rows, recipe) if alarm.name not in ("form_without_accuracy", "same_answer")
    ]
    assert [alarm.name for alarm in alarms] == expected
    assert any(alarm.task == "numerical" and said in alarm.text for alarm in alarms)


@pytest.mark.parametrize(
    "end", [journal("numerical", always(0), drop=True, steps=20), sft(20, grad_norm=0.0)[10:]], ids=["rl", "sft"]
)
def test_a_run_is_given_up_when_no_weight_has_changed_for_long(end):
    changes = {"window": 5, "give_up_after": len(end)}
    kind = RlRecipe if end[0]["stage"] == "rl" else SftRecipe
    with pytest.raises(TrainingError, match=f"the last {len(end)} steps, .*give_up_after = 0") as raised:
        Watch(kind(log={"alarms": changes}), end).check()
    assert "\n" not in str(raised.value)
    Watch(kind(log={"alarms": {**changes, "give_up_after": len(end) + 1}}), end).check()
    Watch(kind(log={"alarms": {**changes, "give_up_after": 0}}), end).check()


def test_the_journal_of_a_real_run_is_silent(tmp_path, taught):
    # So slow that it goes on answering A or B by chance, as it was taught to.
    optimizer = {"learning_rate": 1e-6, "warmup_steps": 1}
    recipe = rl_recipe(
        taught, steps=6, optimizer=optimizer, log={"alarms": {"window": 3}, "answers_every": 0}, grading={"workers": 0}
    )
    said: list[str] = []
    train_rl(recipe, tmp_path / "run", on_step=lambda row: said.extend(alarm["name"] for alarm in row["alarms"]))
    assert said == []


def test_every_alarm_has_its_row_in_the_docs():
    page = (Path(__file__).parents[2] / "docs/training.md").read_text()
    rules = (*RECIPE_RULES, *RUN_RULES, *SFT_RULES, *RL_RULES, *TASK_RULES)
    assert [rule.name for rule in rules if f"| `{rule.name}` |" not in page] == []
