"""Settings of what a run logs, and the thresholds of its alarms."""

from typing import Literal

from pydantic import Field

from onethinker.core.settings import Settings


class LogSettings(Settings):
    """Where a run reports progress, besides its journal."""

    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    """Also send the journal's numbers to "tensorboard" (in the run's folder), "wandb" or "trackio"; each needs its own
    package."""
    project: str = Field("onethinker", pattern=r"^[\w.-]+$")
    """Name of the project in the trackers; the run has the name of its folder."""


class RunAlarmSettings(Settings):
    """Thresholds of the alarms for a run that seems to learn nothing; all look at the last rows of the journal."""

    window: int = Field(10, ge=0)
    """Number of last steps that alarms look at (for a task: last steps that contain it); 0 switches alarms off."""
    no_gradient: float = Field(1e-8, ge=0)
    """Alarm no_gradient: the gradient norm is at most this in every step."""
    bad_steps: float = Field(0.2, gt=0, le=1)
    """Alarm bad_steps: at least this fraction of the steps skipped an update because it was not finite."""
    skipped_samples: float = Field(0.05, gt=0, le=1)
    """Alarm skipped_samples: at least this fraction of the samples could not be read."""
    slow: float = Field(4.0, gt=1)
    """Alarm slow: a token takes this many times as long as in the `window` steps before, or as in the first steps."""
    rounding: float = Field(4e-5, ge=0)
    """Alarm rounding: weights are stored in bfloat16 and optimizer.learning_rate is below this, so that most updates
    are rounded away."""
    give_up_after: int = Field(100, ge=0)
    """The run ends after this many steps in a row that cannot have changed a weight: no gradient, no group with a
    signal, or a bad step. 0 never ends it."""


class SftAlarmSettings(RunAlarmSettings):
    """Thresholds of the alarms for SFT that seems to learn nothing."""

    flat_after: int = Field(300, ge=50)
    """Alarm no_progress: looked for from this step on; see `flat`."""
    flat: float = Field(0.98, gt=0)
    """Alarm no_progress: the mean loss of the last 50 steps is at least this fraction of that of the first steps."""
    rising: float = Field(1.5, gt=1)
    """Alarm rising_loss: the mean loss is this many times that of the first steps."""
    empty_responses: float = Field(3.0, ge=1)
    """Alarm empty_responses: responses have fewer tokens than this on average, end token included."""


class AlarmSettings(RunAlarmSettings):
    """Thresholds of the alarms for a hacked reward, or for RL that seems to learn nothing."""

    form: float = Field(0.9, ge=0, le=1)
    """Alarm form_without_accuracy: at least this fraction of the answers has the right form; see `wrong`."""
    wrong: float = Field(0.05, ge=0, le=1)
    """Alarm form_without_accuracy: and their mean accuracy is at most this."""
    right: float = Field(0.75, ge=0, le=1)
    """Alarms same_answer and whole_frame are not raised when the mean accuracy is at least this: such answers are then
    right."""
    same_answer: float = Field(0.9, gt=0, le=1)
    """Alarm same_answer: at least this fraction of the answers to all prompts is the same."""
    whole_frame: float = Field(0.5, gt=0, le=1)
    """Alarm whole_frame: at least this fraction of the answers is boxes around the whole frame."""
    growth: float = Field(2.0, gt=1)
    """Alarm length: answers are this many times as long as in the `window` steps before, and not more accurate."""
    cut: float = Field(0.5, gt=0, le=1)
    """Alarm length: or at least this fraction of the answers is cut off at rollout.max_new_tokens."""
    entropy: float = Field(0.01, ge=0)
    """Alarm entropy: the mean entropy of the next token, in nats, is at most this while less than `right` of the
    answers are right."""
    kl: float = Field(1.0, gt=0)
    """Alarm kl: the mean KL divergence from the reference is at least this, in nats per token."""
    clipped: float = Field(0.5, gt=0, le=1)
    """Alarm clipped: at least this fraction of the loss's weight is on tokens outside the clip range."""
    engine_difference: float = Field(0.05, gt=0, le=1)
    """Alarm engine_difference: at least this fraction of the tokens sampled by servers has log-probabilities that
    differ by more than 0.1 nats from those of the model in training."""
    ungraded: float = Field(0.25, gt=0, le=1)
    """Alarm ungraded: at least this fraction of the groups could not be graded."""


class SftLogSettings(LogSettings):
    """Where a run of SFT reports progress, besides its journal."""

    alarms: SftAlarmSettings = SftAlarmSettings()
    """Thresholds of the alarms."""


class RlLogSettings(LogSettings):
    """Where a run of RL reports progress, besides its journal."""

    answers_every: int = Field(50, ge=0)
    """Write a page of sampled answers with their pictures every this many steps, in answers/ of the run's folder; 0
    writes none."""
    rollouts_mb: float = Field(0.0, ge=0)
    """Megabytes (compressed) of sampled answers to keep in rollouts/, with the parts of their rewards and their
    advantages. The oldest steps are removed first. 0 keeps none."""
    alarms: AlarmSettings = AlarmSettings()
    """Thresholds of the alarms."""
