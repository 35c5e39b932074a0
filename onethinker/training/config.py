"""Recipes: all settings of a training run in one typed model each, read from TOML."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from onethinker.errors import ConfigError
from onethinker.media.budget import MediaBudget
from onethinker.training.advantages import Algorithm, Guard
from onethinker.training.loss import Aggregate

R = TypeVar("R", bound="Recipe")
BUILT_IN = Path(__file__).parents[1] / "recipes"
"""Where the recipes that come with OneThinker lie."""


class Settings(BaseModel):
    """Base of every group of settings: unknown keys fail, nothing changes once it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSettings(Settings):
    """What is learned from."""

    files: tuple[Path, ...] = ()
    """Sample files (JSON or JSONL in the released form); media paths are relative to each file. None: synthetic scenes, endless."""
    problem_types: tuple[str, ...] = ()
    """Only these problem types, such as "tracking" or "numerical/image"; empty means all. Each task has the same share of the samples, and
    each medium the same share of a task; segmentation of pictures and of clips are two tasks."""
    weights: dict[str, Annotated[int, Field(gt=0)]] = {}
    """How often a problem type (or one of its media) comes in a round in which the others come once."""
    seed: int = Field(0, ge=0)
    """Decides the order of samples, or which scenes are drawn."""


class OptimizerSettings(Settings):
    """AdamW with a warm-up and a cosine or constant schedule."""

    learning_rate: float = Field(1e-5, gt=0)
    """The highest rate of the schedule."""
    final_learning_rate_share: float = Field(0.0, ge=0, le=1)
    """The schedule ends at this share of the highest rate; 1 keeps the rate constant after the warm-up."""
    warmup_steps: int = Field(0, ge=0)
    """Steps over which the rate grows from zero."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay, on matrices only."""
    beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of the gradient's moving average."""
    beta2: float = Field(0.999, ge=0, lt=1)
    """Decay of the squared gradient's moving average."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Larger gradients are scaled down to this norm."""


class Recipe(Settings):
    """What SFT and RL share."""

    model: str = "tiny"
    """A hub id, a folder, or "tiny"."""
    steps: int = Field(100, ge=1)
    """Optimizer steps (SFT) or rollout batches (RL)."""
    seed: int = Field(0, ge=0)
    """Decides the sampling of answers, and the weights when the model is "tiny"."""
    max_row_tokens: int = Field(16_384, ge=64)
    """Tokens of one packed row; a batch becomes as many rows as it needs."""
    save_every: int = Field(100, ge=1)
    """Steps between checkpoints; the last step is always saved."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Kind of number of the weights; bfloat16 halves the memory and rounds small steps away."""
    frozen: tuple[str, ...] = ()
    """Parts that keep their weights, by the beginning of their parameters' names, such as "model.visual"."""
    budget: MediaBudget | None = None
    """Frames and pixels; by default what the model's folder says, else the general default."""
    data: DataSettings = DataSettings()
    """What is learned from."""
    optimizer: OptimizerSettings = OptimizerSettings()
    """How weights change."""

    @classmethod
    def load(cls: type[R], name: str | Path, overrides: Sequence[str] = ()) -> R:
        """Return a recipe from a TOML file, or by name one that comes with OneThinker ("tiny_sft"), with overrides put in.

        An override is "dotted.name=value", the value in TOML; a text needs no quotes.

        Raises: ConfigError: naming the file or override and each wrong field.
        """
        path = BUILT_IN / f"{name}.toml" if str(name) in built_in_recipes() else Path(name)
        try:
            settings = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ConfigError(f"{path}: no such recipe; by name there are {', '.join(built_in_recipes())}") from error
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{path}: not a recipe: {error}") from error
        for override in overrides:
            _put_in(settings, override)
        try:
            return cls.model_validate(settings)
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
            raise ConfigError(f"{' '.join([str(path), *overrides])}: {wrong}") from error


def built_in_recipes() -> tuple[str, ...]:
    """Return the names of the recipes that come with OneThinker."""
    return tuple(sorted(path.stem for path in BUILT_IN.glob("*.toml")))


def _put_in(settings: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not (name and equals):
        raise ConfigError(f"--set takes name=value such as optimizer.learning_rate=1e-4, got {override!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *groups, last = name.split(".")
    for group in groups:
        settings = settings.setdefault(group, {})
        if not isinstance(settings, dict):
            raise ConfigError(f"--set {override}: {group!r} is a single setting, not a group")
    settings[last] = value


class SftRecipe(Recipe):
    """Supervised fine-tuning on whole responses, thinking included."""

    batch_size: int = Field(32, ge=1)
    """Samples of one optimizer step, over all processes."""


class RolloutSettings(Settings):
    """How answers are sampled."""

    prompts_per_step: int = Field(128, ge=1)
    """Groups in one batch, over all processes."""
    answers_per_prompt: int = Field(8, ge=2)
    """G, the size of a group."""
    max_new_tokens: int = Field(4096, ge=1)
    """An answer that has not ended by then is cut, and graded as it is."""
    temperature: float = Field(1.0, gt=0)
    """Divides the logits before a token is drawn."""
    prompts_at_once: int = Field(8, ge=1)
    """Groups that a process decodes together."""
    min_accuracy: float = 0.01
    """Groups whose mean accuracy is not above this are dropped: all their answers are wrong."""
    max_accuracy: float = 0.99
    """Groups whose mean accuracy is not below this are dropped: all their answers are right."""
    max_refills: int = Field(4, ge=0)
    """Further batches of prompts that are tried to replace dropped groups; then the step goes on with the groups there are."""

    @model_validator(mode="after")
    def _check_range(self) -> "RolloutSettings":
        if self.min_accuracy >= self.max_accuracy:
            raise ValueError(f"min_accuracy must be below max_accuracy, got {self.min_accuracy} and {self.max_accuracy}")
        return self


class AdvantageSettings(Settings):
    """How rewards become advantages."""

    algorithm: Algorithm = "ema_grpo"
    """ema_grpo, or its relatives for comparison."""
    decay: float = Field(0.99, ge=0, lt=1)
    """Beta of the moving averages."""
    floor: float = Field(1e-3, gt=0)
    """Smallest sigma."""
    limit: float = Field(5.0, gt=0)
    """Advantages beyond it are treated by the guard."""
    guard: Guard = "clip"
    """clip (the paper), or group_std (the released code)."""


class LossSettings(Settings):
    """How advantages become a loss."""

    clip_low: float = Field(0.2, gt=0, lt=1)
    """The policy ratio is clipped below 1 less this."""
    clip_high: float = Field(0.2, gt=0)
    """The policy ratio is clipped above 1 plus this."""
    kl: float = Field(0.01, ge=0)
    """Weight of the k3 divergence from the model that RL started with; 0 keeps no copy of it."""
    aggregate: Aggregate = "token_mean"
    """token_mean, or sequence_mean as in the paper's equation 12."""
    updates_per_batch: int = Field(1, ge=1)
    """Optimizer steps taken on each batch of rollouts."""


class RlRecipe(Recipe):
    """Multi-task reinforcement learning with verifiable rewards."""

    rewards: Literal["paper", "release"] = "paper"
    """The reward profile."""
    rollout: RolloutSettings = RolloutSettings()
    """How answers are sampled."""
    advantage: AdvantageSettings = AdvantageSettings()
    """How rewards become advantages."""
    loss: LossSettings = LossSettings()
    """How advantages become a loss."""
