"""Signs that a run learns little or nothing, read from the journal; one that goes on for long ends the run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean, median
from typing import Any

from onethinker.errors import TrainingError
from onethinker.response import show
from onethinker.training.alarms import FEWEST_PROMPTS, Alarm, find_alarms
from onethinker.training.config import RlRecipe, SftRecipe
from onethinker.training.monitoring import RlRow, SftRow, as_record

FIRST_STEPS = 10
"""Steps at the beginning of a run that later ones are compared with."""
LONG_WINDOW = 50
"""Steps over which a loss that hardly moves is averaged."""
Rows = Sequence[Mapping[str, Any]]
"""Rows of the journal, oldest first."""


class Watch:
    """The rows of a run that alarms look at: its first ones and its last ones."""

    def __init__(self, recipe: SftRecipe | RlRecipe, rows: Rows) -> None:
        """Begin with the rows that the journal has already."""
        self._recipe = recipe
        self._first = [row for row in rows if row["step"] <= FIRST_STEPS]
        self._kept = max(2 * recipe.log.alarms.window, recipe.log.alarms.give_up_after, LONG_WINDOW)
        self._last = list(rows)[-self._kept :]

    def complete(self, row: SftRow | RlRow) -> dict[str, Any]:
        """Return a new row as the journal holds it, with its alarms."""
        record = as_record(row)
        if record["step"] <= FIRST_STEPS:
            self._first.append(record)
        self._last = [*self._last, record][-self._kept :]
        alarms = find_run_alarms(self._first, self._last, self._recipe)
        if isinstance(self._recipe, RlRecipe):
            alarms += find_alarms(self._last, self._recipe.log.alarms)
        record["alarms"] = [asdict(alarm) for alarm in alarms]
        return record

    def check(self) -> None:
        """Raises: TrainingError: so many of the last steps have changed no weight that the run is given up."""
        most = self._recipe.log.alarms.give_up_after
        idle = idle_steps(self._last, self._recipe.log.alarms.no_gradient)
        if most and idle >= most:
            raise TrainingError(
                f"the last {idle} steps, up to step {self._last[-1]['step']}, have changed no weight: "
                f"{_why_idle(self._last[-1])}. Nothing is lost by ending here: the weights are those of before. "
                "Change data or settings (the journal's alarms say which), or set log.alarms.give_up_after = 0 to "
                "go on all the same"
            )


def idle_steps(journal: Rows, no_gradient: float) -> int:
    """Return how many rows at the end of a journal are of steps that have changed no weight.

    >>> rl = {"stage": "rl", "updates": 1, "grad_norm": 0.5}
    >>> idle_steps([rl, {**rl, "updates": 0, "grad_norm": None}, {**rl, "grad_norm": 0.0}], 1e-8)
    2
    """
    count = 0
    for row in reversed(journal):
        taken = row["updates"] if row["stage"] == "rl" else not row.get("bad_steps")
        if taken and (row["grad_norm"] is None or row["grad_norm"] > no_gradient):
            break
        count += 1
    return count


def _why_idle(row: Mapping[str, Any]) -> str:
    if row.get("bad_steps"):
        return str(row["bad_steps"][-1]["text"])
    return "no group of answers gave a signal" if row.get("updates") == 0 else f"the norm of the gradient is {row['grad_norm']:.2g}"


def find_run_alarms(first: Rows, journal: Rows, recipe: SftRecipe | RlRecipe) -> tuple[Alarm, ...]:
    """Return what a run shows that learns little or nothing; `first` are its first rows, `journal` its last ones.

    Signs of the recipe itself show from the first step on, all others need `window` steps.
    """
    window = recipe.log.alarms.window
    if not window or not journal:
        return ()
    found = [Alarm(name, "", text) for name, text in _recipe_signs(recipe)]
    rows = journal[-window:]
    if len(rows) == window:
        found += [Alarm(name, "", text) for name, text in _run_signs(first, journal, recipe)]
        if isinstance(recipe, SftRecipe):
            found += [Alarm(name, "", text) for name, text in _sft_signs(first, journal, recipe)]
        else:
            found += [Alarm(name, "", text) for name, text in _rl_signs(rows, recipe)]
            found += _task_signs(rows, recipe)
    return tuple(found)


def _recipe_signs(recipe: SftRecipe | RlRecipe) -> Iterator[tuple[str, str]]:
    settings = recipe.optimizer
    if settings.warmup_steps >= recipe.steps > 1:
        yield (
            "warmup",
            f"optimizer.warmup_steps = {settings.warmup_steps} is not below steps = {recipe.steps}: the rate never "
            "reaches optimizer.learning_rate. Shorten the warm-up, or train longer",
        )
    if recipe.dtype == "bfloat16" and recipe.lora is None and settings.learning_rate < recipe.log.alarms.rounding:
        yield (
            "rounding",
            "weights are stored in bfloat16, which rounds most steps of optimizer.learning_rate = "
            f'{settings.learning_rate:g} away. Set dtype = "mixed", train adapters (lora), or raise the rate',
        )


def _run_signs(first: Rows, journal: Rows, recipe: SftRecipe | RlRecipe) -> Iterator[tuple[str, str]]:
    settings = recipe.log.alarms
    rows, before = journal[-settings.window :], journal[-2 * settings.window : -settings.window]
    norms = [row["grad_norm"] for row in rows]
    if all(norm is not None and norm <= settings.no_gradient for norm in norms):
        yield (
            "no_gradient",
            f"the norm of the gradient has been at most {max(norms):.2g} for {len(rows)} steps: no weight changes. "
            "Look at what is frozen, at what the answers to learn are and, in RL, at whether rewards within a group "
            "differ",
        )
    bad = sum(bool(row.get("bad_steps")) for row in rows)
    if bad >= settings.bad_steps * len(rows):
        yield (
            "bad_steps",
            f"{bad} of the last {len(rows)} steps had a loss or gradient that is not finite and was not learned "
            "from. Lower optimizer.learning_rate, or look at the samples that bad_steps in the journal names",
        )
    drawn = sum(_drawn(row, recipe) for row in rows)
    skipped = sum(len(row["skipped_samples"]) for row in rows)
    if skipped and skipped >= settings.skipped_samples * (drawn + skipped):
        yield (
            "skipped_samples",
            f"{skipped} of the last {drawn + skipped} samples could not be read. skipped_samples in the journal "
            "names them: mend the files or their disk; the others are seen more often instead",
        )
    pace = _seconds_a_token(rows)
    compared = [first] if len(first) == FIRST_STEPS and first[-1]["step"] < rows[0]["step"] else []
    compared += [before] if len(before) == settings.window else []
    usual = min((earlier for some in compared if (earlier := _seconds_a_token(some)) is not None), default=None)
    if pace is not None and usual is not None and pace >= settings.slow * usual:
        slowest = _slowest_phase(rows)
        yield (
            "slow",
            f"a token takes {pace / usual:.1f} times as long as before ({pace * 1e3:.3g} ms), most of it in the "
            f"phase {slowest}. See whether another process shares this machine, a disk or server has become slow, or "
            "memory is swapped",
        )


def _drawn(row: Mapping[str, Any], recipe: SftRecipe | RlRecipe) -> int:
    """Return how many samples a step has used or dropped."""
    if isinstance(recipe, SftRecipe):
        return recipe.batch_size
    return int(row["groups"] + row["dropped_groups"] + row["surplus_groups"])


def _seconds_a_token(rows: Rows) -> float | None:
    """Return the median time that a token takes in a step, or None where no step has any."""
    paces = [row["seconds"] / tokens for row in rows if (tokens := max(row["tokens_by_phase"].values(), default=0))]
    return median(paces) if paces else None


def _slowest_phase(rows: Rows) -> str:
    phases = {phase for row in rows for phase in row["seconds_by_phase"]}
    return max(sorted(phases), key=lambda phase: sum(row["seconds_by_phase"].get(phase, 0.0) for row in rows), default="unknown")


def _losses(rows: Rows) -> list[float]:
    return [row["loss"] for row in rows if row["loss"] is not None and not row.get("bad_steps")]


def _sft_signs(first: Rows, journal: Rows, recipe: SftRecipe) -> Iterator[tuple[str, str]]:
    settings = recipe.log.alarms
    rows = journal[-settings.window :]
    step, begun, now, long = rows[-1]["step"], _losses(first), _losses(rows), _losses(journal[-LONG_WINDOW:])
    if begun and now and step >= 2 * FIRST_STEPS and fmean(now) >= settings.rising * fmean(begun):
        yield (
            "rising_loss",
            f"the mean loss of the last {len(rows)} steps is {fmean(now):.3g}, that of the first ones was "
            f"{fmean(begun):.3g}: training makes the model worse. Lower optimizer.learning_rate, lengthen "
            "optimizer.warmup_steps, and go back to a checkpoint from before",
        )
    elif begun and long and step >= settings.flat_after and fmean(long) >= settings.flat * fmean(begun):
        yield (
            "no_progress",
            f"the mean loss of the last {len(long)} steps is {fmean(long):.3g}, that of the first ones was "
            f"{fmean(begun):.3g}: nothing has been learned in between. Raise optimizer.learning_rate, look at what "
            "is frozen, and at whether the responses follow from the questions",
        )
    tokens = sum(row["answer_tokens"] for row in rows) / (recipe.batch_size * len(rows))
    if tokens < settings.empty_responses:
        yield (
            "empty_responses",
            f"responses have {tokens:.1f} tokens in the mean, their end included: there is hardly anything to learn. "
            "Look at the field response of the data",
        )


def _rl_signs(rows: Rows, recipe: RlRecipe) -> Iterator[tuple[str, str]]:
    settings = recipe.log.alarms
    if all(row["updates"] == 0 and not row.get("bad_steps") for row in rows):
        yield (
            "no_signal",
            f"no group of answers of the last {len(rows)} steps gave a signal, and no weight has changed. Train "
            "longer by SFT first, choose other data, widen rollout.min_accuracy and rollout.max_accuracy, or allow "
            "more rollout.max_refills",
        )
    accuracies = [task["accuracy"] for row in rows for task in row["tasks"].values()]
    entropy = _mean_of(rows, "entropy")
    if entropy is not None and entropy <= settings.entropy and fmean(accuracies) < settings.right:
        yield (
            "entropy",
            f"the mean entropy of a token has fallen to {entropy:.2g} nats with {fmean(accuracies):.0%} of the "
            "answers right: all answers to a prompt are alike, and there is nothing to choose from. Raise "
            "loss.clip_high or loss.kl, lower optimizer.learning_rate, or go back to a checkpoint from before",
        )
    kl = _mean_of(rows, "kl")
    if kl is not None and kl >= settings.kl:
        yield (
            "kl",
            f"the divergence from the model that RL started with is {kl:.3g} nats a token: what it could do before "
            "is being lost. Raise loss.kl, lower optimizer.learning_rate, or go back to a checkpoint from before",
        )
    clipped = _mean_of(rows, "clipped_share")
    if clipped is not None and clipped >= settings.clipped:
        yield (
            "clipped",
            f"{clipped:.0%} of the tokens are outside the clip range and are hardly learned from: the policy has "
            "moved too far from the one that sampled. Lower optimizer.learning_rate or loss.updates_per_batch",
        )
    lost, asked = sum(len(row["ungraded"]) for row in rows), sum(_drawn(row, recipe) for row in rows)
    if lost and lost >= settings.ungraded * asked:
        yield (
            "ungraded",
            f"{lost} of {asked} groups could not be graded; the last because: "
            f"{show(rows[-1]['ungraded'][-1]['text'] if rows[-1]['ungraded'] else '')}. See to the reward model, or "
            "raise grading.seconds",
        )


def _mean_of(rows: Rows, name: str) -> float | None:
    """Return the mean of a field over the rows that have it, or None where fewer than half have."""
    values = [row[name] for row in rows if row.get(name) is not None]
    return fmean(values) if 2 * len(values) >= len(rows) else None


def _task_signs(rows: Rows, recipe: RlRecipe) -> Iterator[Alarm]:
    """Yield what is to be said of tasks that are in every row."""
    floor = recipe.advantage.floor
    for task in sorted(set.intersection(*(set(row["tasks"]) for row in rows))):
        mine = [row["tasks"][task] for row in rows]
        groups, dropped = sum(row["groups"] for row in mine), sum(row["dropped_groups"] for row in mine)
        if groups < FEWEST_PROMPTS:
            continue
        accuracy, reward = (fmean(row[name] for row in mine) for name in ("accuracy", "reward"))
        if groups == dropped:
            advice = (
                "it is learned: lower its weight in data.weights, or take harder samples"
                if accuracy >= recipe.log.alarms.right
                else "train it longer by SFT, or take easier samples"
            )
            text = f"all {groups} groups of the last {len(rows)} steps are dropped, mean accuracy {accuracy:.2f}: {advice}"
            yield Alarm("no_signal", task, text)
        elif all(row["mean_abs_advantage"] == 0 for row in mine):
            yield Alarm(
                "constant_reward",
                task,
                f"all answers to a prompt have had the same reward for {len(rows)} steps, in the mean "
                f"{reward:.3g}: nothing is learned from them. Look at answers/, and let groups "
                "without a signal be dropped (rollout.min_accuracy, rollout.max_accuracy)",
            )
        elif recipe.advantage.algorithm == "ema_grpo" and all(row["sigma"] <= floor for row in mine):
            yield Alarm(
                "sigma_floor",
                task,
                f"rewards differ less than advantage.floor = {floor:g}, which they are divided by instead of their "
                "deviation: what is learned is noise, or rewards that hardly count. Look at answers/, and lower the "
                "floor only if such differences mean something",
            )
