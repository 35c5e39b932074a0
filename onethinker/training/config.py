"""Recipes: all settings of a training run in one typed model each, read from TOML."""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator

from onethinker.core.errors import ConfigError
from onethinker.core.plugins import load_plugins
from onethinker.core.settings import Settings
from onethinker.data.synthetic.worlds import WorldName
from onethinker.data.validate import Need
from onethinker.families.base import Part
from onethinker.media.budget import MediaBudget
from onethinker.rewards.config import GradingSettings

R = TypeVar("R", bound="Recipe")
Guard = Literal["clip", "group_std"]
Reduction = Literal["token_mean", "sequence_mean", "constant_length"]
BUILT_IN_ESTIMATORS = ("ema_grpo", "grpo", "dr_grpo", "rloo")
ESTIMATORS_GROUP = "onethinker.estimators"
"""The group of entry points under which other packages offer advantage estimators."""
Dealing = Literal["fsdp2", "zero2"]
"""What processes share: weights, gradients and moments of the language model, or gradients and moments of all that is
trained.
"""
FREE_SETTINGS = frozenset(
    {
        "save_every",
        "log",
        "optimizer.max_bad_steps",
        "grading.workers",
        "grading.reward_model.address",
        "grading.reward_model.key_variable",
    }
)
"""What may change when a run goes on: it decides what is written or who works, not what is learned."""
BUILT_IN = Path(__file__).parents[1] / "recipes"
"""Where the recipes that come with OneThinker lie."""


class DataSettings(Settings):
    """What is learned from."""

    files: tuple[Path, ...] = ()
    """Sample files (JSON or JSONL in the released form); media paths are relative to each file. None: synthetic scenes,
    endless.
    """
    world: WorldName = "shapes"
    """What synthetic scenes show: "shapes", or named "things"; the other worlds are kept for tests (docs/world.md)."""
    problem_types: tuple[str, ...] = ()
    """Only these problem types, such as "tracking" or "numerical/image"; empty means all. Each task has the same share
    of the samples, and each medium the same share of a task; segmentation of pictures and of clips are two tasks."""
    weights: dict[str, Annotated[int, Field(gt=0)]] = Field(default_factory=dict)
    """How often a problem type (or one of its media) comes in a round in which the others come once."""
    seed: int = Field(0, ge=0)
    """Decides the order of samples, or which scenes are drawn."""
    questions_per_clip: int = Field(1, ge=1)
    """Up to so many records of a task about the same media come one after the other: the media are then decoded once,
    and in SFT encoded and attended to once. A task's turn is so many samples long, so a batch should be a multiple.
    Shapes have one question each."""
    max_corrupt_share: float = Field(0.01, ge=0, le=1)
    """A run does not begin when the media of more than this share of the records cannot be read, and stops when it
    turns out so later, of the samples drawn (counted as at least 1,000, or as all records where there are fewer). Each
    of them is named and replaced by another record of its task."""
    invalid: Literal["error", "skip"] = "error"
    """Records that are surely wrong (a box in pixels, a time after the end of the clip, an answer that is none): the
    run does not begin and names them, or they are left out and named."""
    too_long: Literal["error", "skip", "truncate"] = "error"
    """Records longer than `max_row_tokens` (in RL: their prompt with `rollout.max_new_tokens`): the run does not begin
    and names them, they are left out and named, or (SFT only) the end of their response is cut; a prompt is never
    cut."""


class OptimizerSettings(Settings):
    """The optimizer with a warm-up and a cosine or constant schedule."""

    kind: Literal["adamw", "muon"] = "adamw"
    """adamw (the paper), or muon for the matrices inside the layers, which teaches a small model twice as fast."""
    learning_rate: float = Field(1e-5, gt=0)
    """The highest rate of the schedule."""
    final_learning_rate_share: float = Field(0.0, ge=0, le=1)
    """The schedule ends at this share of the highest rate; 1 keeps the rate constant after the warm-up."""
    warmup_steps: int = Field(0, ge=0)
    """Steps over which the rate grows from zero."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay, on matrices only."""
    beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of AdamW's moving average of the gradient."""
    beta2: float = Field(0.999, ge=0, lt=1)
    """Decay of AdamW's moving average of the squared gradient."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Larger gradients are scaled down to this norm."""
    max_bad_steps: int = Field(3, ge=0)
    """An optimizer step whose loss or gradient is not finite is not taken: weights and moving averages stay as they
    are, and the journal says why. The run ends, with the last good checkpoint, when more than so many in a row are
    bad."""


class LoraSettings(Settings):
    """Low-rank adapters on the linear layers of chosen parts; all other weights stay as they are."""

    rank: int = Field(16, ge=1)
    """Inner width of an adapter."""
    alpha: float = Field(32.0, gt=0)
    """An adapter's change is multiplied by alpha / rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of an adapter's inputs that are left out at random in SFT; RL needs 0, or answers would be scored by
    another model.
    """
    parts: tuple[Part, ...] = Field(("language",), min_length=1)
    """Which parts get adapters: "language", "vision", "merger"."""
    four_bit: bool = False
    """Store the weights below the adapters in 4 bits (NF4); needs an NVIDIA GPU and `pip install
    'onethinker[4bit]'`.
    """


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
    """bad_steps: at least this share of the steps had an optimizer step that could not be taken."""
    skipped_samples: float = Field(0.05, gt=0, le=1)
    """skipped_samples: at least this share of the samples could not be read."""
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
    """… the mean loss of the last 50 steps is at least this share of that of the first ones."""
    rising: float = Field(1.5, gt=1)
    """rising_loss: the mean loss is this many times that of the first steps."""
    empty_responses: float = Field(3.0, ge=1)
    """empty_responses: responses have fewer tokens than this in the mean, their end included."""


class AlarmSettings(RunAlarmSettings):
    """From where on something looks like a hacked reward, or RL as if it learned nothing."""

    form: float = Field(0.9, ge=0, le=1)
    """form_without_accuracy: at least this share of the answers has the right form …"""
    wrong: float = Field(0.05, ge=0, le=1)
    """… and their mean accuracy is at most this."""
    right: float = Field(0.75, ge=0, le=1)
    """same_answer and whole_frame are silent where the mean accuracy is at least this: then they are true."""
    same_answer: float = Field(0.9, gt=0, le=1)
    """same_answer: at least this share of the answers to all prompts says the same."""
    whole_frame: float = Field(0.5, gt=0, le=1)
    """whole_frame: at least this share of the answers is boxes around the whole frame."""
    growth: float = Field(2.0, gt=1)
    """length: answers are this many times as long as in as many steps before, and no more right …"""
    cut: float = Field(0.5, gt=0, le=1)
    """… or at least this share of them is cut at rollout.max_new_tokens."""
    entropy: float = Field(0.01, ge=0)
    """entropy: the mean entropy of the next token, in nats, is at most this while less than `right` of the answers are
    right.
    """
    kl: float = Field(1.0, gt=0)
    """kl: the mean divergence from the reference is at least this, in nats a token."""
    clipped: float = Field(0.5, gt=0, le=1)
    """clipped: at least this share of the loss's weight is on tokens outside the clip range."""
    ungraded: float = Field(0.25, gt=0, le=1)
    """ungraded: at least this share of the groups could not be graded."""


class SftLogSettings(LogSettings):
    """Where a run of SFT says how it goes, besides its journal."""

    alarms: SftAlarmSettings = SftAlarmSettings()
    """From where on a run looks as if it learned nothing."""


class RlLogSettings(LogSettings):
    """Where a run of RL says how it goes, besides its journal."""

    answers_every: int = Field(50, ge=0)
    """Steps between pages of sampled answers with their pictures, in answers/ of the run's folder; 0 writes none."""
    alarms: AlarmSettings = AlarmSettings()
    """From where on something looks like a hacked reward, or a run as if it learned nothing."""


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
    dtype: Literal["float32", "bfloat16", "mixed"] = "float32"
    """Kind of number of the weights. bfloat16 halves the memory and rounds small steps away, except those of adapters,
    which are always float32; mixed keeps float32 weights and multiplies in bfloat16."""
    frozen: tuple[str, ...] = ()
    """What keeps its weights: parts ("language", "vision", "merger") or beginnings of parameters' names,
    as transformers spells them.
    """
    lora: LoraSettings | None = None
    """Train adapters instead of the weights themselves; by default all that is not frozen is trained."""
    gradient_checkpointing: bool = False
    """Compute activations a second time instead of keeping them: less memory, about a third more time, the same
    gradients.
    """
    budget: MediaBudget | None = None
    """Frames and pixels; by default what the model's folder says, else the general default."""
    data: DataSettings = DataSettings()
    """What is learned from."""
    optimizer: OptimizerSettings = OptimizerSettings()
    """How weights change."""
    log: LogSettings = LogSettings()
    """Where it says how it goes."""
    need: ClassVar[Need]
    """What a record must have to be learned from."""

    @property
    def weights_dtype(self) -> str:
        """The kind of number that weights are stored in; adapters are always in float32."""
        return "bfloat16" if self.dtype == "bfloat16" else "float32"

    @classmethod
    def load(cls: type[R], name: str | Path, overrides: Sequence[str] = ()) -> R:
        """Return a recipe from a TOML file, or by name one that comes with OneThinker ("tiny_sft"), with overrides put
        in.

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


def find_accelerate_config(name: str) -> Path:
    """Return the file of a config that comes with OneThinker, such as "fsdp2", or the file of that name. Raises:
    ConfigError.
    """
    path = BUILT_IN / f"{name}.yaml"
    if path.is_file():
        return path
    if not Path(name).is_file():
        there = ", ".join(sorted(file.stem for file in BUILT_IN.glob("*.yaml")))
        raise ConfigError(f"--accelerate-config {name}: no such file; by name there are: {there}")
    return Path(name)


def read_dealing(accelerate_config: Path) -> Dealing | None:
    """Return what a config file of accelerate, YAML or JSON, lets processes share."""
    kind = re.search(
        r"""^[\s{"']*distributed_type["']?\s*:\s*["']?(\w+)""",
        accelerate_config.read_text(errors="replace"),
        re.MULTILINE,
    )
    kinds: dict[str, Dealing] = {"FSDP": "fsdp2", "DEEPSPEED": "zero2"}
    return kinds.get(kind[1]) if kind else None


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
    log: SftLogSettings = SftLogSettings()
    """Where it says how it goes."""
    need: ClassVar[Need] = "response"


class RolloutSettings(Settings):
    """How answers are sampled."""

    generation_batch_size: int = Field(128, ge=1)
    """Groups in one batch, over all processes."""
    group_size: int = Field(8, ge=2)
    """G, the size of a group."""
    max_new_tokens: int = Field(4096, ge=1)
    """An answer that has not ended by then is cut, and graded as it is."""
    temperature: float = Field(1.0, gt=0)
    """Divides the logits before a token is drawn, and wherever an answer's probability is computed."""
    decode_batch_size: int = Field(8, ge=1)
    """Groups that a process decodes together."""
    min_accuracy: float = 0.01
    """Groups whose mean accuracy is not above this are dropped: all their answers are wrong."""
    max_accuracy: float = 0.99
    """Groups whose mean accuracy is not below this are dropped: all their answers are right."""
    max_refills: int = Field(4, ge=0)
    """Further batches of prompts that are tried to replace dropped groups."""
    unfilled: Literal["smaller", "error"] = "smaller"
    """What happens when the refills are used up: the step goes on with the groups there are, or the run stops and says
    which tasks gave no signal. A run in which no group at all has ever given one stops in either case."""

    @model_validator(mode="after")
    def _check_range(self) -> "RolloutSettings":
        if self.min_accuracy >= self.max_accuracy:
            raise ValueError(
                f"min_accuracy must be below max_accuracy, got {self.min_accuracy} and {self.max_accuracy}"
            )
        return self


class AdvantageSettings(Settings):
    """How rewards become advantages."""

    algorithm: str = "ema_grpo"
    """ema_grpo, its relatives grpo, dr_grpo and rloo for comparison, or an estimator of another package by the name of
    its entry point in the group onethinker.estimators.
    """
    ema_decay: float = Field(0.99, ge=0, lt=1)
    """Beta of the moving averages."""
    min_sigma: float = Field(1e-3, gt=0)
    """Smallest sigma."""
    clip: float = Field(5.0, gt=0)
    """Advantages beyond it are treated by the guard."""
    guard: Guard = "clip"
    """clip (the paper), or group_std (the released code)."""

    @field_validator("algorithm")
    @classmethod
    def _check_algorithm(cls, name: str) -> str:
        if name in BUILT_IN_ESTIMATORS:
            return name
        known = [*BUILT_IN_ESTIMATORS, *(plugin.name for plugin in load_plugins(ESTIMATORS_GROUP))]
        if name not in known:
            raise ValueError(
                f"there is no estimator {name!r}, only {', '.join(known)}; another package offers one by an entry point"
                f" in the group {ESTIMATORS_GROUP}"
            )
        return name


class LossSettings(Settings):
    """How advantages become a loss."""

    clip_low: float = Field(0.2, gt=0, lt=1)
    """The policy ratio is clipped below 1 less this."""
    clip_high: float = Field(0.2, gt=0)
    """The policy ratio is clipped above 1 plus this."""
    kl_coefficient: float = Field(0.01, ge=0)
    """Weight of the k3 divergence from the model that RL started with; 0 keeps no copy of it."""
    reduction: Reduction = "token_mean"
    """token_mean, sequence_mean as in the paper's equation 12, or constant_length, which divides by answers times
    max_new_tokens.
    """
    updates_per_batch: int = Field(1, ge=1)
    """Optimizer steps taken on each batch of rollouts."""


class RlRecipe(Recipe):
    """Multi-task reinforcement learning with verifiable rewards."""

    rewards: Literal["paper", "release"] = "paper"
    """The reward scheme."""
    rollout: RolloutSettings = RolloutSettings()
    """How answers are sampled."""
    grading: GradingSettings = GradingSettings()
    """How answers are graded."""
    advantage: AdvantageSettings = AdvantageSettings()
    """How rewards become advantages."""
    loss: LossSettings = LossSettings()
    """How advantages become a loss."""
    log: RlLogSettings = RlLogSettings()
    """Where it says how it goes."""
    need: ClassVar[Need] = "truth"

    @model_validator(mode="after")
    def _check_too_long(self) -> "RlRecipe":
        if self.data.too_long == "truncate":
            raise ValueError(
                'data.too_long must be "error" or "skip" in RL, which has no responses to cut, got "truncate"'
            )
        return self

    @model_validator(mode="after")
    def _check_dropout(self) -> "RlRecipe":
        if self.lora is not None and self.lora.dropout:
            raise ValueError(
                "lora.dropout must be 0 in RL, where the model that samples must be the one that is scored, got"
                f" {self.lora.dropout}"
            )
        return self
