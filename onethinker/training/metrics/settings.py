"""Settings of what a run logs, and the thresholds of its alarms."""

from typing import Literal

from pydantic import Field

from onethinker.core.settings import Settings


class LogSettings(Settings):
    """Where a run says how it goes, besides its journal."""

    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    """Also put the journal's numbers there: "tensorboard" (in the run's folder), "wandb", "trackio"; each needs its own
    package.
    """
    project: str = Field("onethinker", pattern=r"^[\w.-]+$")
    """The project at the trackers; the run is named like its folder."""


class RunAlarmSettings(Settings):
    """From where on a run looks as if it learned nothing; every number is about the last rows of the journal."""

    window: int = Field(10, ge=0)
    """Steps that are looked at, of a task those with it; 0 looks at none and is silent."""
    no_gradient: float = Field(1e-8, ge=0)
    """no_gradient: the norm of the gradient is at most this in every step."""
    bad_steps: float = Field(0.2, gt=0, le=1)
    """bad_steps: at least this fraction of the steps had an optimizer step that could not be taken."""
    skipped_samples: float = Field(0.05, gt=0, le=1)
    """skipped_samples: at least this fraction of the samples could not be read."""
    slow: float = Field(4.0, gt=1)
    """slow: a token takes so many times as long as in as many steps before, or as in the first ones."""
    rounding: float = Field(4e-5, ge=0)
    """rounding: weights are stored in bfloat16 and optimizer.learning_rate is below this, so that most steps are
    rounded away.
    """
    give_up_after: int = Field(100, ge=0)
    """The run ends when so many steps in a row can have changed no weight: no gradient, no group with a signal, or bad;
    0 goes on.
    """


class SftAlarmSettings(RunAlarmSettings):
    """From where on SFT looks as if it learned nothing."""

    flat_after: int = Field(300, ge=50)
    """no_progress: from this step on …"""
    flat: float = Field(0.98, gt=0)
    """… the mean loss of the last 50 steps is at least this fraction of that of the first ones."""
    rising: float = Field(1.5, gt=1)
    """rising_loss: the mean loss is this many times that of the first steps."""
    empty_responses: float = Field(3.0, ge=1)
    """empty_responses: responses have fewer tokens than this in the mean, their end included."""


class AlarmSettings(RunAlarmSettings):
    """From where on something looks like a hacked reward, or RL as if it learned nothing."""

    form: float = Field(0.9, ge=0, le=1)
    """form_without_accuracy: at least this fraction of the answers has the right form …"""
    wrong: float = Field(0.05, ge=0, le=1)
    """… and their mean accuracy is at most this."""
    right: float = Field(0.75, ge=0, le=1)
    """same_answer and whole_frame are silent where the mean accuracy is at least this: then they are true."""
    same_answer: float = Field(0.9, gt=0, le=1)
    """same_answer: at least this fraction of the answers to all prompts says the same."""
    whole_frame: float = Field(0.5, gt=0, le=1)
    """whole_frame: at least this fraction of the answers is boxes around the whole frame."""
    growth: float = Field(2.0, gt=1)
    """length: answers are this many times as long as in as many steps before, and no more right …"""
    cut: float = Field(0.5, gt=0, le=1)
    """… or at least this fraction of them is cut at rollout.max_new_tokens."""
    entropy: float = Field(0.01, ge=0)
    """entropy: the mean entropy of the next token, in nats, is at most this while less than `right` of the answers are
    right.
    """
    kl: float = Field(1.0, gt=0)
    """kl: the mean divergence from the reference is at least this, in nats a token."""
    clipped: float = Field(0.5, gt=0, le=1)
    """clipped: at least this fraction of the loss's weight is on tokens outside the clip range."""
    engine_difference: float = Field(0.05, gt=0, le=1)
    """engine_difference: at least this fraction of the tokens that servers sampled has log-probabilities more than 0.1
    nats apart."""
    ungraded: float = Field(0.25, gt=0, le=1)
    """ungraded: at least this fraction of the groups could not be graded."""


class SftLogSettings(LogSettings):
    """Where a run of SFT says how it goes, besides its journal."""

    alarms: SftAlarmSettings = SftAlarmSettings()
    """From where on a run looks as if it learned nothing."""


class RlLogSettings(LogSettings):
    """Where a run of RL says how it goes, besides its journal."""

    answers_every: int = Field(50, ge=0)
    """Steps between pages of sampled answers with their pictures, in answers/ of the run's folder; 0 writes none."""
    rollouts_mb: float = Field(0.0, ge=0)
    """Megabytes (compressed) of sampled answers that are kept in rollouts/, with rewards by part and advantages; the
    oldest steps go first. 0 keeps none."""
    alarms: AlarmSettings = AlarmSettings()
    """From where on something looks like a hacked reward, or a run as if it learned nothing."""
