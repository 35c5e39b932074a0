"""Settings of grading: workers, time limits, the served model for free text."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator, model_validator

from onethinker.core.addresses import split_addresses
from onethinker.core.errors import ConfigError
from onethinker.core.nearest import no_such
from onethinker.core.plugins import load_plugins
from onethinker.core.settings import Settings
from onethinker.rewards.extra import TASK, check_settings
from onethinker.tasks.registry import all_tasks, no_task

OWN_GRADERS = ("judge", "polar")
GRADERS = "onethinker.graders"
"""The group under which other distributions name what makes an `AnswerGrader` of `RewardModelSettings`."""


class JudgeSettings(Settings):
    """A chat model on a server that grades free-text answers, and how its server is called."""

    address: str
    """Address of the server: "http://host:8000/v1"; several servers of the same model separated by commas, or as a
    list."""
    model: str
    """Name of the model on the server."""
    key_variable: str = "ONETHINKER_REWARD_KEY"
    """Environment variable with the server's key, if it needs one; the key itself is never written to a file."""
    max_concurrent: int = Field(32, ge=1)
    """Requests that one training process has in flight per server."""
    max_tries: int = Field(5, ge=1)
    """How often a request is tried before its group is dropped: after no answer, status 408, 425, 429 or 5xx, or an
    unusable score."""
    first_wait_s: float = Field(1.0, gt=0)
    """Seconds to wait before the second try; each further wait is twice as long."""
    timeout_s: float = Field(60.0, gt=0)
    """Seconds after which a try counts as failed."""
    patience_s: float = Field(0.0, ge=0)
    """Seconds for which a server that is down or busy is retried at least, whatever max_tries says; before the run
    begins at least 10 s."""
    max_tokens: int = Field(1024, ge=16)
    """Maximum tokens of the judge's reply, including its reasoning."""

    @field_validator("address", mode="before")
    @classmethod
    def _join(cls, address: Any) -> Any:
        """Return a list of addresses as the one text that graders of other packages are given too."""
        return (
            ",".join(address)
            if isinstance(address, list | tuple) and all(isinstance(each, str) for each in address)
            else address
        )


class RewardModelSettings(JudgeSettings):
    """The model that grades free-text answers during training."""

    kind: str
    """ "judge": any chat model behind an OpenAI-compatible address, which we ask for a score from 0 to 1 for each
    answer. "polar": POLAR served by vLLM or LMDeploy (POST /pooling), which compares each answer with the reference;
    its scores are spread over 0 to 1 within a group. Or the name of an entry point in the group onethinker.graders."""
    address: str = ""
    """Address of the server: "http://host:8000/v1" for a judge, "http://host:8000" for polar. Several servers of the
    same model are separated by commas, or given as a list: each answer goes to the least busy one, and to another one
    if that fails."""
    model: str = ""
    """Name of the model on the server."""

    @model_validator(mode="after")
    def _check_kind(self) -> "RewardModelSettings":
        if self.kind in OWN_GRADERS:
            if not (self.address and self.model):
                raise ValueError(f"kind = {self.kind!r} needs an address and a model")
            try:
                split_addresses(self.address, field="address")
            except ConfigError as error:
                raise ValueError(str(error)) from error
        elif self.kind not in (known := [plugin.name for plugin in load_plugins(GRADERS)]):
            raise ValueError(no_such("grader", self.kind, (*OWN_GRADERS, *known)))
        return self


class RewardSettings(Settings):
    """An additional reward, and its weight."""

    weight: float = 1.0
    """Weight in the sum of rewards. For "task", the task's own reward, 0 replaces it by the others."""
    problem_types: tuple[str, ...] = ()
    """Apply it only to these problem types; empty means all."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments for the reward function, such as { buffer_tokens = 256 }."""


class GradingSettings(Settings):
    """How answers are graded, while the next ones are sampled."""

    workers: int = Field(2, ge=0)
    """Grading processes per training process; 0 grades in the training process itself, between two groups."""
    seconds: float = Field(30.0, gt=0)
    """Time limit for grading an answer; a group with an answer that takes longer is dropped."""
    reward_model: RewardModelSettings | None = None
    """What grades open-ended answers; by default ROUGE."""
    rewards: dict[str, RewardSettings] = Field(default_factory=dict)
    """Additional rewards by name: overlong, length, repetition, or those of other packages (entry points
    onethinker.rewards, or `plugins`). The name "task" sets the weight of the task's own reward, which is 1 otherwise.
    Groups are still dropped by accuracy alone (`rollout.min_accuracy`, `rollout.max_accuracy`)."""

    @field_validator("rewards")
    @classmethod
    def _check_rewards(cls, rewards: dict[str, RewardSettings]) -> dict[str, RewardSettings]:
        for name, each in rewards.items():
            if name == TASK and each.settings:
                raise ValueError(f"task: the task's own reward takes no settings, got {each.settings}")
            try:
                if name != TASK:
                    check_settings(name, each.settings)
                for problem_type in each.problem_types:
                    if problem_type.strip().lower() not in {task.problem_type for task in all_tasks()}:
                        raise ConfigError(no_task(problem_type))
            except ConfigError as error:
                raise ValueError(f"{name}: {error}") from error
        return rewards

    def rewards_of(self, problem_type: str) -> dict[str, tuple[float, dict[str, Any]]]:
        """Return weight and settings of each reward that a problem type has beside its own; {} for none."""
        return rewards_of(self.rewards, problem_type)


def rewards_of(rewards: Mapping[str, RewardSettings], problem_type: str) -> dict[str, tuple[float, dict[str, Any]]]:
    """Return weight and settings of each of the rewards that is for a problem type; {} for none."""
    return {
        name: (each.weight, each.settings)
        for name, each in rewards.items()
        if not each.problem_types or problem_type in {own.strip().lower() for own in each.problem_types}
    }


def term_names(rewards: Mapping[str, RewardSettings], problem_type: str) -> tuple[str, ...]:
    """Return the metrics that rewards add to an evaluation of a problem type; none where it has its own alone."""
    weights = rewards_of(rewards, problem_type)
    return tuple(map(term_name, dict.fromkeys((TASK, *weights)))) if weights else ()


def term_name(reward: str) -> str:
    """Return what the metric of a reward is called.

    >>> term_name("overlong")
    'overlong (reward)'
    """
    return f"{reward} (reward)"
