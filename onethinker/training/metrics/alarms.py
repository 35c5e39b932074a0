"""Signs that a model earns its reward without doing its task, or that a run learns little or nothing, read from the
journal.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from onethinker.core.errors import TrainingError
from onethinker.core.grammar import show
from onethinker.training.metrics.records import RlRow, SftRow, as_record

if TYPE_CHECKING:
    from onethinker.training.config import RlRecipe, SftRecipe

FEWEST_PROMPTS = 4
"""Fewer prompts than these show nothing of a task: their truths may well be alike."""
FIRST_STEPS = 10
"""Steps at the beginning of a run that later ones are compared with."""
LONG_WINDOW = 50
"""Steps over which a loss that hardly moves is averaged."""
Rows = Sequence[Mapping[str, Any]]
"""Rows of the journal, or of one task in it (`TaskRow` as the journal holds it), oldest first."""


@dataclass(frozen=True)
class Alarm:
    """One sign in one task, or in the whole run ("" as its task), with a sentence that says what is seen and what to
    do.
    """

    name: str
    task: str
    text: str


@dataclass(frozen=True)
class View:
    """What a rule looks at: the last rows of a run or of one task, the first rows of the run, and its recipe."""

    history: Rows
    first: Rows
    recipe: Any

    @property
    def settings(self) -> Any:
        """From where on something is a sign."""
        return self.recipe.log.alarms

    @property
    def rows(self) -> Rows:
        """The last `window` rows."""
        return self.history[-self.settings.window :]

    @property
    def before(self) -> Rows:
        """The `window` rows before these; fewer at the beginning."""
        return self.history[-2 * self.settings.window : -self.settings.window]

    def sum(self, name: str) -> Any:
        """Return the sum of a field over the rows, or of the lengths of a list."""
        return sum(len(row[name]) if isinstance(row[name], list) else row[name] for row in self.rows)

    def mean(self, name: str) -> float | None:
        """Return the mean of a field over the rows that have it, or None where fewer than half have."""
        values = [row[name] for row in self.rows if row.get(name) is not None]
        return fmean(values) if 2 * len(values) >= len(self.rows) else None

    def task_mean(self, name: str) -> float:
        """Return the mean of a field of a task over all its groups."""
        return _group_mean(self.rows, name)


Finds = Callable[[View], str | None]
"""Says what is seen where a sign is, None where there is none."""


@dataclass(frozen=True)
class Rule:
    """A sign by its name, how it is found, and what to do then."""

    name: str
    finds: Finds
    advice: str


class Watch:
    """The rows of a run that alarms look at: its first ones and its last ones."""

    def __init__(self, recipe: "SftRecipe | RlRecipe", rows: Rows) -> None:
        """Begin with the rows that the journal has already."""
        self._recipe, self._settings = recipe, recipe.log.alarms
        self._first = [row for row in rows if row["step"] <= FIRST_STEPS]
        self._kept = max(2 * self._settings.window, self._settings.give_up_after, LONG_WINDOW)
        self._last = list(rows)[-self._kept :]

    def complete(self, row: SftRow | RlRow) -> dict[str, Any]:
        """Return a new row as the journal holds it, with its alarms."""
        record = as_record(row)
        if record["step"] <= FIRST_STEPS:
            self._first.append(record)
        self._last = [*self._last, record][-self._kept :]
        record["alarms"] = [asdict(alarm) for alarm in find_alarms(self._last, self._recipe, self._first)]
        return record

    def check(self) -> None:
        """Raises: TrainingError: so many of the last steps have changed no weight that the run is given up."""
        idle = idle_steps(self._last, self._settings.no_gradient)
        if self._settings.give_up_after and idle >= self._settings.give_up_after:
            raise TrainingError(
                f"the last {idle} steps, up to step {self._last[-1]['step']}, have changed no weight:"
                f" {_why_idle(self._last[-1])}. Nothing is lost by ending here. Change data or settings (alarms in the"
                " journal say which), or set log.alarms.give_up_after = 0 to go on all the same"
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
    return (
        "no group of answers gave a signal"
        if row.get("updates") == 0
        else f"the norm of the gradient is {row['grad_norm']:.2g}"
    )


def find_alarms(journal: Rows, recipe: "SftRecipe | RlRecipe", first: Rows = ()) -> tuple[Alarm, ...]:
    """Return what the end of a journal shows; `first` are the rows that it began with.

    Signs of a run need `window` rows. A task has alarms while it is in the last row and has been in `window` of the
    last 2 · `window`.
    """
    window = recipe.log.alarms.window
    if not window or not journal:
        return ()
    is_rl = journal[-1]["stage"] == "rl"
    view = View(journal, first, recipe)
    rules = RECIPE_RULES if len(journal) < window else (*RECIPE_RULES, *RUN_RULES, *(RL_RULES if is_rl else SFT_RULES))
    found = list(_apply(rules, view, ""))
    for task in sorted(journal[-1]["tasks"]) if is_rl else ():
        mine = View([row["tasks"][task] for row in journal[-2 * window :] if task in row["tasks"]], (), recipe)
        if len(mine.rows) == window and mine.sum("groups") >= FEWEST_PROMPTS:
            found += _apply(TASK_RULES, mine, task)
    return tuple(found)


def _apply(rules: Sequence[Rule], view: View, task: str) -> Iterator[Alarm]:
    for rule in rules:
        if seen := rule.finds(view):
            yield Alarm(rule.name, task, f"{seen}. {rule.advice}")


def _warmup(view: View) -> str | None:
    steps, warmup = view.recipe.steps, view.recipe.optimizer.warmup_steps
    return (
        f"optimizer.warmup_steps = {warmup} is not below steps = {steps}: the rate never reaches its height"
        if warmup >= steps > 1
        else None
    )


def _rounding(view: View) -> str | None:
    rate, stored = view.recipe.optimizer.learning_rate, view.recipe.dtype
    if stored != "bfloat16" or view.recipe.lora is not None or rate >= view.settings.rounding:
        return None
    return f"weights are stored in bfloat16, which rounds most steps of optimizer.learning_rate = {rate:g} away"


def _no_gradient(view: View) -> str | None:
    norms = [row["grad_norm"] for row in view.rows]
    if any(norm is None or norm > view.settings.no_gradient for norm in norms):
        return None
    return f"the norm of the gradient has been at most {max(norms):.2g} for {len(norms)} steps: no weight changes"


def _bad_steps(view: View) -> str | None:
    bad, steps = sum(bool(row.get("bad_steps")) for row in view.rows), len(view.rows)
    if bad < view.settings.bad_steps * steps:
        return None
    return f"{bad} of the last {steps} steps had a loss or gradient that is not finite and was not learned from"


def _drawn(view: View) -> int:
    """Return how many samples the steps have used or dropped."""
    if "tasks" not in view.rows[-1]:
        return int(view.recipe.batch_size * len(view.rows))
    return int(view.sum("groups") + view.sum("dropped_groups") + view.sum("surplus_groups"))


def _skipped_samples(view: View) -> str | None:
    skipped = view.sum("skipped_samples")
    asked = _drawn(view) + skipped
    return (
        f"{skipped} of the last {asked} samples could not be read"
        if skipped and skipped >= view.settings.skipped_samples * asked
        else None
    )


def _seconds_a_token(rows: Rows) -> float | None:
    """Return the median time that a token takes in a step, or None where no step has any."""
    paces = [row["seconds"] / tokens for row in rows if (tokens := max(row["tokens_by_phase"].values(), default=0))]
    return median(paces) if paces else None


def _slow(view: View) -> str | None:
    # Against the beginning and against the steps just before: a run that begins slowly, or becomes slow little by
    # little, is seen.
    is_later = len(view.first) == FIRST_STEPS and view.first[-1]["step"] < view.rows[0]["step"]
    compared = [view.first if is_later else [], view.before if len(view.before) == view.settings.window else []]
    now, usual = (
        _seconds_a_token(view.rows),
        [pace for rows in compared if (pace := _seconds_a_token(rows)) is not None],
    )
    if now is None or not usual or now < view.settings.slow * min(usual):
        return None
    phases = sorted({phase for row in view.rows for phase in row["seconds_by_phase"]})
    longest = max(
        phases, key=lambda phase: fmean(row["seconds_by_phase"].get(phase, 0.0) for row in view.rows), default="unknown"
    )
    return (
        f"a token takes {now / min(usual):.1f} times as long as before ({now * 1e3:.3g} ms), most of it in the phase"
        f" {longest}"
    )


def _losses(rows: Rows) -> list[float]:
    return [row["loss"] for row in rows if row["loss"] is not None and not row.get("bad_steps")]


def _rising_loss(view: View) -> str | None:
    begun, now = _losses(view.first), _losses(view.rows)
    if (
        not begun
        or not now
        or view.rows[-1]["step"] < 2 * FIRST_STEPS
        or fmean(now) < view.settings.rising * fmean(begun)
    ):
        return None
    return (
        f"the mean loss of the last {len(now)} steps is {fmean(now):.3g}, that of the first ones was {fmean(begun):.3g}"
    )


def _no_progress(view: View) -> str | None:
    begun, now, share = _losses(view.first), _losses(view.history[-LONG_WINDOW:]), view.settings.flat
    late = view.rows[-1]["step"] >= view.settings.flat_after
    if not begun or not now or not late or not share * fmean(begun) <= fmean(now) < view.settings.rising * fmean(begun):
        return None
    return (
        f"the mean loss of the last {len(now)} steps is {fmean(now):.3g}, that of the first ones was"
        f" {fmean(begun):.3g}: nothing is learned"
    )


def _empty_responses(view: View) -> str | None:
    tokens = view.sum("answer_tokens") / _drawn(view)
    if tokens >= view.settings.empty_responses:
        return None
    return f"responses have {tokens:.1f} tokens in the mean, their end included: there is hardly anything to learn"


def _all_dropped(view: View) -> str | None:
    if any(row["updates"] or row.get("bad_steps") for row in view.rows):
        return None
    return f"no group of answers of the last {len(view.rows)} steps gave a signal, and no weight has changed"


def _entropy(view: View) -> str | None:
    entropy, accuracy = (
        view.mean("entropy"),
        fmean(task["accuracy"] for row in view.rows for task in row["tasks"].values()),
    )
    if entropy is None or entropy > view.settings.entropy or accuracy >= view.settings.right:
        return None
    return (
        f"the mean entropy of a token has fallen to {entropy:.2g} nats with {accuracy:.0%} of the answers right: all"
        " are alike"
    )


def _kl(view: View) -> str | None:
    kl = view.mean("kl")
    if kl is None or kl < view.settings.kl:
        return None
    return (
        f"the divergence from the model that RL started with is {kl:.3g} nats a token: what it could do before is being"
        " lost"
    )


def _clipped(view: View) -> str | None:
    clipped = view.mean("clip_fraction")
    if clipped is None or clipped < view.settings.clipped:
        return None
    return (
        f"{clipped:.0%} of the tokens are outside the clip range: the policy has moved too far from the one that"
        " sampled"
    )


def _ungraded(view: View) -> str | None:
    lost = view.sum("ungraded")
    asked = _drawn(view) + lost
    if not lost or lost < view.settings.ungraded * asked:
        return None
    last = [each for row in view.rows for each in row["ungraded"]][-1]
    return f"{lost} of {asked} groups could not be graded, the last because: {show(last['text'])}"


def _form_without_accuracy(view: View) -> str | None:
    accuracy, form = view.task_mean("accuracy"), view.task_mean("format")
    if form < view.settings.form or accuracy > view.settings.wrong:
        return None
    return (
        f"{form:.0%} of the answers have the right form, the mean accuracy is {accuracy:.2f}: only the form is rewarded"
    )


def _same_answer(view: View) -> str | None:
    (answer, share), accuracy = _commonest(view.rows), view.task_mean("accuracy")
    if accuracy >= view.settings.right or share < view.settings.same_answer:
        return None
    return (
        f"{share:.0%} of the answers to all prompts are {show(answer)}, the mean accuracy is {accuracy:.2f}: the"
        " question is not read"
    )


def _whole_frame(view: View) -> str | None:
    whole, accuracy = view.task_mean("whole_frame_share"), view.task_mean("accuracy")
    if accuracy >= view.settings.right or whole < view.settings.whole_frame:
        return None
    return (
        f"{whole:.0%} of the answers are boxes around the whole frame, the mean accuracy is {accuracy:.2f}: nothing is"
        " looked at"
    )


def _cut(view: View) -> float:
    return float(view.sum("truncated_answers") / view.sum("answers"))


def _cut_answers(view: View) -> str | None:
    cut = _cut(view)
    return (
        f"{cut:.0%} of the answers are cut at rollout.max_new_tokens before they end"
        if cut >= view.settings.cut
        else None
    )


def _growing_answers(view: View) -> str | None:
    if _cut(view) >= view.settings.cut or len(view.before) < view.settings.window:
        return None
    now, then = view.task_mean("answer_tokens"), _group_mean(view.before, "answer_tokens")
    if now < view.settings.growth * then or view.task_mean("accuracy") > _group_mean(view.before, "accuracy"):
        return None
    return f"answers have grown from {then:.0f} to {now:.0f} tokens and are no more right than before"


def _task_dropped(view: View, *, learned: bool) -> str | None:
    groups, accuracy = view.sum("groups"), view.task_mean("accuracy")
    if groups > view.sum("dropped_groups") or (accuracy >= view.settings.right) is not learned:
        return None
    return f"all {groups} groups of the last {len(view.rows)} steps are dropped, mean accuracy {accuracy:.2f}"


def _constant_reward(view: View) -> str | None:
    if view.sum("groups") == view.sum("dropped_groups") or any(row["mean_abs_advantage"] for row in view.rows):
        return None
    return (
        f"all answers to a prompt have had the same reward for {len(view.rows)} steps, in the mean"
        f" {view.task_mean('reward'):.3g}"
    )


def _sigma_floor(view: View) -> str | None:
    settings = view.recipe.advantage
    if settings.algorithm != "ema_grpo" or any(
        row["sigma"] > settings.min_sigma or not row["mean_abs_advantage"] for row in view.rows
    ):
        return None
    return (
        f"rewards differ less than advantage.min_sigma = {settings.min_sigma:g}, which they are divided by"
        " instead of their deviation"
    )


BACK = "or go back to a checkpoint from before"
SLOWER = f"Lower optimizer.learning_rate, lengthen optimizer.warmup_steps, {BACK}"

RECIPE_RULES = (
    Rule("warmup", _warmup, "Shorten the warm-up, or train longer"),
    Rule("rounding", _rounding, 'Set dtype = "mixed", train adapters (lora), or raise the rate'),
)
"""Of the recipe alone; from the first step on."""
RUN_RULES = (
    Rule(
        "no_gradient",
        _no_gradient,
        "Look at what is frozen, at the answers to learn and, in RL, at whether rewards within a group differ",
    ),
    Rule(
        "bad_steps",
        _bad_steps,
        "Lower optimizer.learning_rate, or look at the samples that bad_steps in the journal names",
    ),
    Rule(
        "skipped_samples", _skipped_samples, "skipped_samples in the journal names them: mend the files or their disk"
    ),
    Rule(
        "slow",
        _slow,
        "See whether another process shares this machine, a disk or server has become slow, or memory is swapped",
    ),
)
SFT_RULES = (
    Rule("rising_loss", _rising_loss, SLOWER),
    Rule(
        "no_progress",
        _no_progress,
        "Raise optimizer.learning_rate, look at what is frozen and whether responses follow from questions",
    ),
    Rule("empty_responses", _empty_responses, "Look at the field response of the data"),
)
RL_RULES = (
    Rule(
        "no_signal",
        _all_dropped,
        "Train longer by SFT first, take other data, or widen rollout.min_accuracy and rollout.max_accuracy",
    ),
    Rule("entropy", _entropy, f"Raise loss.clip_high or loss.kl_coefficient, lower optimizer.learning_rate, {BACK}"),
    Rule("kl", _kl, f"Raise loss.kl_coefficient, lower optimizer.learning_rate, {BACK}"),
    Rule("clipped", _clipped, "Lower optimizer.learning_rate or loss.updates_per_batch"),
    Rule("ungraded", _ungraded, "See to the reward model, or raise grading.seconds"),
)
TASK_RULES = (
    Rule(
        "form_without_accuracy",
        _form_without_accuracy,
        "Look at answers/, and train longer by SFT or take easier data before more RL",
    ),
    Rule("same_answer", _same_answer, f"Check that the truths differ, raise loss.kl_coefficient, {BACK}"),
    Rule("whole_frame", _whole_frame, f"Take data with smaller objects, raise loss.kl_coefficient, {BACK}"),
    Rule("length", _cut_answers, f"Raise it, shorten the responses of the SFT data, {BACK}"),
    Rule("length", _growing_answers, f'Try loss.reduction = "sequence_mean", lower optimizer.learning_rate, {BACK}'),
    Rule(
        "no_signal", lambda view: _task_dropped(view, learned=False), "Train it longer by SFT, or take easier samples"
    ),
    Rule(
        "no_signal",
        lambda view: _task_dropped(view, learned=True),
        "It is learned: lower its data.weights, or take harder samples",
    ),
    Rule(
        "constant_reward",
        _constant_reward,
        "Look at answers/, and let groups without a signal be dropped (rollout.min_accuracy, rollout.max_accuracy)",
    ),
    Rule(
        "sigma_floor",
        _sigma_floor,
        "What is learned is noise: look at answers/, and lower the floor only if such differences mean something",
    ),
)
"""Of one task in RL."""


def _group_mean(rows: Rows, name: str) -> float:
    """Return the mean of a field over all groups of the rows."""
    return float(sum(row[name] * row["groups"] for row in rows) / sum(row["groups"] for row in rows))


def _commonest(rows: Rows) -> tuple[str, float]:
    """Return the answer that led most often, and its share of all answers; of steps in which another one led it is
    counted 0.
    """
    counts: dict[str, float] = {}
    for row in rows:
        if row["commonest_answer"]:
            counts[row["commonest_answer"]] = (
                counts.get(row["commonest_answer"], 0.0) + row["same_answer_share"] * row["answers"]
            )
    answer = max(counts, key=lambda name: counts[name], default="")
    return answer, counts.get(answer, 0.0) / sum(row["answers"] for row in rows)
