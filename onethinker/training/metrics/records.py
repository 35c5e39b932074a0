"""What the journal says of a step: every field with its unit.

A journal is one JSON object a line, a line a step. This file is the only place that names its fields.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from onethinker.training.metrics.engine_difference import EngineDifference
from onethinker.training.metrics.stopwatch import Phase


@dataclass(frozen=True)
class TaskRow:
    """What the journal says of one task in one step of RL; sums and means are over all processes.

    Means of answers are over all that were sampled, those of dropped groups included. What the loss measures is over
    the groups that were kept, and None where there are none.
    """

    reward: float
    """Mean reward, in the units of the reward scheme."""
    accuracy: float
    """Mean accuracy, 0 to 1."""
    format: float
    """Fraction of the answers in the right form, 0 to 1."""
    sigma: float
    """Standard deviation of rewards that the moving averages stand for after this step; `ema_grpo` divides by it."""
    mean_abs_advantage: float
    """Mean of |advantage| over the answers of kept groups; 0 without any."""
    logp_gradient_fraction: float | None
    """The task's part of Σ |∂loss/∂log p| over all scored tokens of the step, 0 to 1: how hard it pulls at the
    probabilities of its answers; None also where nothing pulls. The gradient of the weights themselves is not divided
    by task, which would cost one backward pass for each."""
    kl: float | None
    """Mean k3 divergence from the reference model a token, in nats, with the loss's weights."""
    entropy: float | None
    """Mean entropy of the next token, in nats, with the loss's weights."""
    clip_fraction: float | None
    """Fraction of the loss's weight on tokens whose policy ratio is outside the clip range."""
    ratio: float | None
    """Mean ratio of the policy's probability of a token to that at sampling (of whole answers with "gspo"), with the
    loss's weights: 1 where one update follows each rollout."""
    answer_tokens: float
    """Mean length of an answer, in tokens with the end token."""
    longest_answer_tokens: int
    """Length of the longest answer, in tokens."""
    prompt_tokens: float
    """Mean length of a prompt with its pictures, in tokens."""
    answers: int
    """Answers sampled."""
    truncated_answers: int
    """Answers that had not ended at `rollout.max_new_tokens`."""
    groups: int
    """Prompts asked whose groups of answers were graded; a group without grades is in no number of a task."""
    dropped_groups: int
    """Those of them without a signal: all their answers right or all wrong."""
    commonest_answer: str
    """What most answers say, shortened; "" if no answer has an answer block."""
    same_answer_fraction: float
    """Fraction of the answers that say just that, over all prompts of the task, 0 to 1."""
    whole_frame_fraction: float
    """Fraction of the answers whose boxes cover the whole frame, on average over their boxes; 0 for tasks without
    boxes.
    """
    rewards: dict[str, float] = field(default_factory=dict)
    """Mean of each term of the reward before its weight, where the recipe adds some (`grading.rewards`)."""


@dataclass(frozen=True)
class RlRow:
    """What the journal says of one step of RL; sums and means are over all processes, seconds are the main
    process's.
    """

    step: int
    """Steps done, this one included."""
    stage: Literal["rl"]
    """Which loop wrote the row."""
    loss: float | None
    """The loss, in the mean over the optimizer steps of this batch; None, like the next four, when there was none."""
    kl: float | None
    """As in `TaskRow`, over all tasks."""
    entropy: float | None
    """As in `TaskRow`, over all tasks."""
    clip_fraction: float | None
    """As in `TaskRow`, over all tasks."""
    ratio: float | None
    """As in `TaskRow`, over all tasks."""
    grad_norm: float | None
    """Norm of the weights' gradient before clipping, in the mean over the optimizer steps."""
    updates: int
    """Optimizer steps taken; 0 when no group gave a signal."""
    learning_rate: float
    """Rate of the optimizer steps."""
    groups: int
    """Groups that the update used."""
    dropped_groups: int
    """Groups that were sampled and cannot be learned from."""
    dropped: dict[str, int]
    """How many of them for which reason: "all_right", "all_wrong", "grading_failed", "reward_failed"."""
    surplus_groups: int
    """Groups with a signal that did not fit into the batch."""
    ungraded: list[dict[str, Any]]
    """Each group without grades: index in the order, task, reason and text."""
    skipped_samples: list[dict[str, Any]]
    """Each sample that could not be read: index in the order, id and reason."""
    seconds: float
    """Wall clock of the step, without the checkpoint after it."""
    seconds_by_phase: dict[Phase, float]
    """Wall clock of each phase; "checkpoint" is the one saved after the step before, which came after that step's
    row.
    """
    tokens_by_phase: dict[Phase, int]
    """Tokens that each phase has read or written: "data" prompts; "rollout" prompts, each once, and answers; "grading"
    answers; "reference" and "update" packed rows, each prompt once."""
    shared_prompt_tokens: dict[Phase, int]
    """Prompt tokens that each phase did not have to read because the G answers of a group share theirs: (G - 1) ·
    prompt, summed over groups. A batch with one row an answer would have read them in addition."""
    tasks: dict[str, TaskRow]
    """Each task of the step by its task key."""
    engine_difference: EngineDifference | None = None
    """How far the log-probabilities of servers that sample are from those of the model in training; None where that one
    samples itself."""
    answers_by_version: dict[str, int] = field(default_factory=dict)
    """Answers that servers sampled, by the steps that their weights had learned: `step` - 1, or with `rollout.lag = 1`
    also `step` - 2; {} where the model in training samples."""
    router_loss: float | None = None
    """Of a mixture of experts, how unevenly learned tokens go to the experts: `num_experts_per_tok` where all are used
    alike, the number of experts at most; before the coefficient, and not part of `loss`. None without experts."""
    router_coefficient: float | None = None
    """What the routers' loss is multiplied by before it is added to the loss, 0 where it is off; None without
    experts."""
    moved_tokens: float | None = None
    """Fraction of the sampled tokens that the update sends to other experts, in some layer, than the rollout did, 0 to
    1; with `rollout.replay_experts` that its routers would send there. None without experts, and where servers
    sample."""
    passes: dict[str, float] = field(default_factory=dict)
    """How often the records of each task and medium ("tracking/video", as in `data.weights`) have been drawn since the
    run began, in passes over all of them; {} for scenes, which have no end."""
    file_passes: dict[str, float] = field(default_factory=dict)
    """The same of each file of `data.files`."""
    memory_gib: float | None = None
    """GPU memory that torch held at most since the row before, in GiB, the most of any process; None on a CPU."""
    bad_steps: list[dict[str, Any]] = field(default_factory=list)
    """Each optimizer step that was not taken because something was not finite: what, the samples' ids, the largest
    |gradient| by part of the model (None where it is not finite), the last good step, the learning rate, and all that
    as a text."""
    alarms: list[dict[str, str]] = field(default_factory=list)
    """What looks like a hacked reward or a run that learns nothing: name, task ("" for the whole run) and text (see
    `alarms.py`).
    """
    not_finite: list[str] = field(default_factory=list)
    """Fields of this row, dotted, that were not finite; JSON has no such numbers, and null stands in their place."""


@dataclass(frozen=True)
class SftRow:
    """What the journal says of one step of SFT; sums and means are over all processes, seconds are the main
    process's.
    """

    step: int
    """Steps done, this one included."""
    stage: Literal["sft", "dpo"]
    """Which loop wrote the row."""
    loss: float
    """Mean negative log-probability of a response's token, in nats; in DPO the mean loss of a preference."""
    entropy: float
    """Mean entropy of the next token over the responses, in nats."""
    grad_norm: float
    """Norm of the weights' gradient before clipping."""
    learning_rate: float
    """Rate of the optimizer step."""
    answer_tokens: int
    """Tokens of all responses, which are the ones that count."""
    seconds: float
    """Wall clock of the step, without the checkpoint after it."""
    seconds_by_phase: dict[Phase, float]
    """Wall clock of each phase, as in `RlRow`."""
    tokens_by_phase: dict[Phase, int]
    """Tokens that each phase has read, as in `RlRow`."""
    shared_prompt_tokens: dict[Phase, int]
    """Prompt tokens that the update did not have to read because n questions about one clip share it: (n - 1) · what
    they share.
    """
    skipped_samples: list[dict[str, Any]]
    """Each sample that could not be read: index in the order, id and reason."""
    router_loss: float | None = None
    """As in `RlRow`."""
    router_coefficient: float | None = None
    """As in `RlRow`."""
    passes: dict[str, float] = field(default_factory=dict)
    """As in `RlRow`."""
    file_passes: dict[str, float] = field(default_factory=dict)
    """As in `RlRow`."""
    memory_gib: float | None = None
    """As in `RlRow`."""
    bad_steps: list[dict[str, Any]] = field(default_factory=list)
    """As in `RlRow`, at most one; loss and gradient of the row are then what they were."""
    alarms: list[dict[str, str]] = field(default_factory=list)
    """As in `RlRow`."""
    not_finite: list[str] = field(default_factory=list)
    """As in `RlRow`."""


@dataclass(frozen=True)
class DpoRow(SftRow):
    """What the journal says of one step of DPO: what that of SFT does, of chosen and rejected responses together, and
    what these earn, beta times the log of how much likelier each has become.
    """

    chosen_reward: float = field(kw_only=True)
    """Mean over the chosen responses."""
    rejected_reward: float = field(kw_only=True)
    """Mean over the rejected responses."""
    margin: float = field(kw_only=True)
    """Mean of what a chosen response earns above its rejected one."""
    preference_accuracy: float = field(kw_only=True)
    """Fraction of the preferences whose chosen response earns more, 0 to 1; 0 where the model is the reference."""


def as_record(row: RlRow | SftRow) -> dict[str, Any]:
    """Return a row as the journal holds it: None for every number that is not finite, with its name under
    `not_finite`.
    """
    names: list[str] = []
    record: dict[str, Any] = _finite(asdict(row), "", names)
    return {**record, "not_finite": names}


def _finite(value: Any, name: str, names: list[str]) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        names.append(name)
        return None
    if isinstance(value, Mapping):
        return {key: _finite(each, f"{name}.{key}" if name else str(key), names) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each, f"{name}.{index}", names) for index, each in enumerate(value)]
    return value


def scalars(record: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return the numbers of a row by names with slashes, as trackers want them; `step`, texts and what is None are left
    out.

    >>> scalars({"step": 3, "loss": 0.5, "tasks": {"ocr": {"reward": 1, "kl": None}}, "stage": "rl"})
    {'loss': 0.5, 'tasks/ocr/reward': 1.0}
    """
    found: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            found |= scalars(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and name != "step":
            found[f"{prefix}{name}"] = float(value)
    return found


def derived_scalars(record: Mapping[str, Any]) -> dict[str, float]:
    """Return what trackers show besides a step's own numbers: means over its tasks, each counting the same, the tokens
    a second of each phase, and how many samples could not be read.

    >>> derived_scalars({"tasks": {"a": {"reward": 1.0}, "b": {"reward": 0.0}}, "skipped_samples": [{}]})
    {'reward': 0.5, 'skipped_samples': 1.0}
    """
    tasks, seconds = list(record.get("tasks", {}).values()), record.get("seconds_by_phase", {})
    found: dict[str, float] = {}
    for name in ("reward", "accuracy", "format"):
        if values := [task[name] for task in tasks if task.get(name) is not None]:
            found[name] = sum(values) / len(values)
    for phase, tokens in record.get("tokens_by_phase", {}).items():
        if seconds.get(phase):
            found[f"tokens_per_second/{phase}"] = tokens / seconds[phase]
    return {**found, "skipped_samples": float(len(record.get("skipped_samples", ())))}
