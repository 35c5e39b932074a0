"""Alarms of any run and of SFT: how each sign is measured, and the tables of rules."""

from statistics import fmean, median

from onethinker.training.metrics.view import BACK, FIRST_STEPS, LONG_WINDOW, Rows, Rule, View


def _warmup(view: View) -> str | None:
    steps, warmup = view.recipe.steps, view.recipe.optimizer.warmup_steps
    return (
        f"optimizer.warmup_steps = {warmup} is not below steps = {steps}: the learning rate never reaches its peak"
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
    return f"the gradient norm has been at most {max(norms):.2g} for {len(norms)} steps: no weight changes"


def _bad_steps(view: View) -> str | None:
    bad, steps = sum(bool(row.get("bad_steps")) for row in view.rows), len(view.rows)
    if bad < view.settings.bad_steps * steps:
        return None
    return f"{bad} of the last {steps} steps had a loss or gradient that is not finite; their update was skipped"


def _skipped_samples(view: View) -> str | None:
    skipped = view.sum("skipped_samples")
    asked = view.drawn() + skipped
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
        f"a token takes {now / min(usual):.1f} times as long as before ({now * 1e3:.3g} ms), mostly in the phase"
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
    begun, now, flat = _losses(view.first), _losses(view.history[-LONG_WINDOW:]), view.settings.flat
    late = view.rows[-1]["step"] >= view.settings.flat_after
    if not begun or not now or not late or not flat * fmean(begun) <= fmean(now) < view.settings.rising * fmean(begun):
        return None
    return (
        f"the mean loss of the last {len(now)} steps is {fmean(now):.3g}, that of the first ones was"
        f" {fmean(begun):.3g}: the model learns nothing"
    )


def _empty_responses(view: View) -> str | None:
    tokens = view.sum("answer_tokens") / view.drawn()
    if tokens >= view.settings.empty_responses:
        return None
    return f"responses have {tokens:.1f} tokens on average, end token included: there is hardly anything to learn"


SLOWER = f"Lower optimizer.learning_rate, lengthen optimizer.warmup_steps, {BACK}"

RECIPE_RULES = (
    Rule("warmup", _warmup, "Shorten the warm-up, or train longer"),
    Rule("rounding", _rounding, 'Set dtype = "mixed", train adapters (lora), or raise optimizer.learning_rate'),
)
"""Of the recipe alone; from the first step on."""
RUN_RULES = (
    Rule(
        "no_gradient",
        _no_gradient,
        "Check what is frozen, the target answers and, in RL, whether rewards within a group differ",
    ),
    Rule(
        "bad_steps",
        _bad_steps,
        "Lower optimizer.learning_rate, or check the samples that bad_steps in the journal names",
    ),
    Rule(
        "skipped_samples", _skipped_samples, "skipped_samples in the journal names them: repair the files or their disk"
    ),
    Rule(
        "slow",
        _slow,
        "Check whether another process uses this machine, a disk or server has become slow, or memory is swapped",
    ),
)
SFT_RULES = (
    Rule("rising_loss", _rising_loss, SLOWER),
    Rule(
        "no_progress",
        _no_progress,
        "Raise optimizer.learning_rate, and check what is frozen and whether responses match their questions",
    ),
    Rule("empty_responses", _empty_responses, "Check the field 'response' of the data"),
)
