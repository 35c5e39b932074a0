"""Alarms of runs and tasks that learn nothing: each is named with what to do, and a run that learns is silent."""

import random
from pathlib import Path

import pytest

from onethinker.core.errors import TrainingError
from onethinker.core.sample import Sample
from onethinker.rl.loop import train_rl
from onethinker.training.config import RlRecipe, SftRecipe
from onethinker.training.metrics.alarms import Watch, find_alarms
from onethinker.training.metrics.rl_rules import RL_RULES, TASK_RULES
from onethinker.training.metrics.run_rules import RECIPE_RULES, RUN_RULES, SFT_RULES
from tests.training.journals import RL, SFT, Policy, all_names, boxes, journal, learning, respond, sft, sometimes_right
from tests.training.test_adapters import rl_recipe

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
    "engine_difference": (learning(engine_difference={"mean": 0.04, "max": 2.5, "beyond": 0.07}), RL),
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
        (learning(engine_difference={"mean": 0.01, "max": 0.5, "beyond": 0.01}), RL),
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
        "servers round differently",
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
    assert "mostly in the phase data" in alarm.text
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
    "all wrong": (journal("numerical", always(0), drop=True), RL, ["no_signal"] * 2, "Run SFT on this task for longer"),
    "all right": (journal("numerical", always(1), drop=True), RL, ["no_signal"] * 2, "The task is learned"),
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
