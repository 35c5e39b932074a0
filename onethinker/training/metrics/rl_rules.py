"""Alarms of RL, as a whole and of one task in it: how each sign is measured, and the tables of rules."""

from statistics import fmean

from onethinker.core.grammar import show
from onethinker.training.metrics.view import BACK, Rows, Rule, View, group_mean


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
        f"the mean entropy of a token has fallen to {entropy:.2g} nats with {accuracy:.0%} of the answers right:"
        " answers hardly vary any more"
    )


def _kl(view: View) -> str | None:
    kl = view.mean("kl")
    if kl is None or kl < view.settings.kl:
        return None
    return (
        f"the KL divergence from the reference model is {kl:.3g} nats per token: the model is losing what it could do"
        " before"
    )


def _clipped(view: View) -> str | None:
    clipped = view.mean("clip_fraction")
    if clipped is None or clipped < view.settings.clipped:
        return None
    return (
        f"{clipped:.0%} of the tokens are outside the clip range: the policy has moved too far from the one that"
        " sampled the answers"
    )


def _engine_difference(view: View) -> str | None:
    apart = [row["engine_difference"] for row in view.rows if row.get("engine_difference")]
    beyond = fmean(each["beyond"] for each in apart) if apart else 0.0
    if not apart or beyond < view.settings.engine_difference:
        return None
    return (
        f"{beyond:.0%} of the tokens that servers sampled have log-probabilities that differ by more than 0.1 nats from"
        f" those of the model in training (maximum {max(each['max'] for each in apart):.2g}): the servers have other"
        " weights, or compute differently"
    )


def _ungraded(view: View) -> str | None:
    lost = view.sum("ungraded")
    asked = view.drawn() + lost
    if not lost or lost < view.settings.ungraded * asked:
        return None
    last = [each for row in view.rows for each in row["ungraded"]][-1]
    return f"{lost} of {asked} groups could not be graded; reason of the last: {show(last['text'])}"


def _form_without_accuracy(view: View) -> str | None:
    accuracy, form = view.task_mean("accuracy"), view.task_mean("format")
    if form < view.settings.form or accuracy > view.settings.wrong:
        return None
    return (
        f"{form:.0%} of the answers have the right form, but the mean accuracy is {accuracy:.2f}: only the form is"
        " rewarded"
    )


def _same_answer(view: View) -> str | None:
    (answer, fraction), accuracy = _commonest(view.rows), view.task_mean("accuracy")
    if accuracy >= view.settings.right or fraction < view.settings.same_answer:
        return None
    return (
        f"{fraction:.0%} of the answers to all prompts are {show(answer)}, and the mean accuracy is {accuracy:.2f}: the"
        " model ignores the question"
    )


def _whole_frame(view: View) -> str | None:
    whole, accuracy = view.task_mean("whole_frame_fraction"), view.task_mean("accuracy")
    if accuracy >= view.settings.right or whole < view.settings.whole_frame:
        return None
    return (
        f"{whole:.0%} of the answers are boxes around the whole frame, and the mean accuracy is {accuracy:.2f}: the"
        " model does not look"
    )


def _cut(view: View) -> float:
    return float(view.sum("truncated_answers") / view.sum("answers"))


def _cut_answers(view: View) -> str | None:
    cut = _cut(view)
    return f"{cut:.0%} of the answers are cut off at rollout.max_new_tokens" if cut >= view.settings.cut else None


def _growing_answers(view: View) -> str | None:
    if _cut(view) >= view.settings.cut or len(view.before) < view.settings.window:
        return None
    now, then = view.task_mean("answer_tokens"), group_mean(view.before, "answer_tokens")
    if now < view.settings.growth * then or view.task_mean("accuracy") > group_mean(view.before, "accuracy"):
        return None
    return f"answers have grown from {then:.0f} to {now:.0f} tokens and are not more accurate than before"


def _task_dropped(view: View, *, learned: bool) -> str | None:
    groups, accuracy = view.sum("groups"), view.task_mean("accuracy")
    if groups > view.sum("dropped_groups") or (accuracy >= view.settings.right) is not learned:
        return None
    return f"all {groups} groups of the last {len(view.rows)} steps were dropped, mean accuracy {accuracy:.2f}"


def _constant_reward(view: View) -> str | None:
    if view.sum("groups") == view.sum("dropped_groups") or any(row["mean_abs_advantage"] for row in view.rows):
        return None
    return (
        f"all answers to a prompt have had the same reward for {len(view.rows)} steps, {view.task_mean('reward'):.3g}"
        " on average"
    )


def _sigma_floor(view: View) -> str | None:
    settings = view.recipe.advantage
    if settings.algorithm != "ema_grpo" or any(
        row["sigma"] > settings.min_sigma or not row["mean_abs_advantage"] for row in view.rows
    ):
        return None
    return (
        f"rewards differ by less than advantage.min_sigma = {settings.min_sigma:g}, so advantages are divided by that"
        " floor and not by the standard deviation"
    )


def _commonest(rows: Rows) -> tuple[str, float]:
    """Return the answer that led most often, and its fraction of all answers; of steps in which another one led it is
    counted 0.
    """
    counts: dict[str, float] = {}
    for row in rows:
        if row["commonest_answer"]:
            counts[row["commonest_answer"]] = (
                counts.get(row["commonest_answer"], 0.0) + row["same_answer_fraction"] * row["answers"]
            )
    answer = max(counts, key=lambda name: counts[name], default="")
    return answer, counts.get(answer, 0.0) / sum(row["answers"] for row in rows)


RL_RULES = (
    Rule(
        "no_signal",
        _all_dropped,
        "Run SFT for longer first, use other data, or widen rollout.min_accuracy and rollout.max_accuracy",
    ),
    Rule("entropy", _entropy, f"Raise loss.clip_high or loss.kl_coefficient, lower optimizer.learning_rate, {BACK}"),
    Rule("kl", _kl, f"Raise loss.kl_coefficient, lower optimizer.learning_rate, {BACK}"),
    Rule("clipped", _clipped, "Lower optimizer.learning_rate or loss.updates_per_batch"),
    Rule(
        "engine_difference",
        _engine_difference,
        "Serve the recipe's model in the dtype of training, with --logprobs-mode processed_logprobs if"
        " rollout.temperature is not 1, and set loss.rollout_correction = 2 to weight tokens",
    ),
    Rule("ungraded", _ungraded, "Check the reward model, or raise grading.seconds"),
)
TASK_RULES = (
    Rule(
        "form_without_accuracy",
        _form_without_accuracy,
        "Look at answers/, and run SFT for longer or use easier data before more RL",
    ),
    Rule("same_answer", _same_answer, f"Check that the reference answers differ, raise loss.kl_coefficient, {BACK}"),
    Rule("whole_frame", _whole_frame, f"Use data with smaller objects, raise loss.kl_coefficient, {BACK}"),
    Rule("length", _cut_answers, f"Raise that limit, shorten the responses of the SFT data, {BACK}"),
    Rule("length", _growing_answers, f'Try loss.reduction = "sequence_mean", lower optimizer.learning_rate, {BACK}'),
    Rule(
        "no_signal",
        lambda view: _task_dropped(view, learned=False),
        "Run SFT on this task for longer, or use easier samples",
    ),
    Rule(
        "no_signal",
        lambda view: _task_dropped(view, learned=True),
        "The task is learned: lower its data.weights, or use harder samples",
    ),
    Rule(
        "constant_reward",
        _constant_reward,
        "Look at answers/, and let groups without a signal be dropped (rollout.min_accuracy, rollout.max_accuracy)",
    ),
    Rule(
        "sigma_floor",
        _sigma_floor,
        "The model learns noise: look at answers/, and lower the floor only if such small differences mean something",
    ),
)
"""Of one task in RL."""
