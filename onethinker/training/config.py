"""Recipes: all settings of a training run in one typed model each, read from TOML."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator

from onethinker.core.errors import ConfigError
from onethinker.core.nearest import ask_for, near_path, no_such
from onethinker.core.plugins import named_plugins, use_plugins
from onethinker.core.settings import Settings, explain
from onethinker.data.validate import Need
from onethinker.families.built_in import UNTRAINED
from onethinker.media.budget import MediaBudget
from onethinker.rewards.config import GradingSettings
from onethinker.tasks import Coordinates
from onethinker.training.aliases import RECIPE_ALIASES, SETTING_ALIASES
from onethinker.training.metrics.settings import LogSettings, RlLogSettings, SftLogSettings
from onethinker.training.rl_settings import AdvantageSettings, LossSettings, RolloutSettings
from onethinker.training.settings import DataSettings, LoraSettings, OptimizerSettings
from onethinker.training.state.checkpoint import KEPT_CHECKPOINTS, check_keep
from onethinker.training.validation import ValidationSettings

R = TypeVar("R", bound="Recipe")
Tower = Literal["language", "vision"]
"""A part of a model that is a row of layers."""
TOWERS: tuple[Tower, ...] = ("language", "vision")
FREE_SETTINGS = frozenset(
    {
        "save_every",
        "keep",
        "validation",
        "log",
        "activation_offload",
        "optimizer.max_bad_steps",
        "rollout.endpoints",
        "rollout.vllm",
        "rollout.patience_s",
        "rollout.weights_folder",
        "grading.workers",
        "grading.reward_model.address",
        "grading.reward_model.key_variable",
    }
)
"""What may change when a run is resumed: settings of what is written or which machine works, not of what is learned."""
BUILT_IN = Path(__file__).parents[1] / "recipes"
"""Where the recipes that come with OneThinker lie."""


class Recipe(Settings):
    """Settings that SFT and RL share."""

    plugins: tuple[str, ...] = Field(default_factory=named_plugins)
    """Modules with your own tasks, rewards and other parts: names such as "my_lab.tasks", or paths of a .py file or a
    package. The current folder is searched too."""
    model: str = "untrained"
    """A Hugging Face id, optionally with a branch, tag or commit ("owner/name@v1"), a model folder, "tiny" (the weights
    that come with OneThinker), or "untrained" (random weights)."""
    steps: int = Field(100, ge=1)
    """Optimizer steps (SFT) or rollout batches (RL)."""
    epochs: float | None = Field(None, gt=0)
    """Instead of steps: the number of samples to draw, as a multiple of the number of records. With data.mixing =
    "proportional" each record is then drawn that many times. Extra prompts that RL draws to fill a batch are not
    counted."""
    seed: int = Field(0, ge=0)
    """Seed of the sampling of answers, and of the weights when the model is "untrained"."""
    max_row_tokens: int = Field(16_384, ge=64)
    """Maximum tokens in one packed row; a batch is split into as many rows as it needs."""
    save_every: int = Field(100, ge=1)
    """Steps between checkpoints; the last step is always saved."""
    keep: int | str = KEPT_CHECKPOINTS
    """Which checkpoints stay on disk: a number keeps the latest ones, "all" keeps every one, "every 500" keeps the
    steps divisible by 500 and the latest two. The best checkpoint of a validation is always kept."""
    dtype: Literal["float32", "bfloat16", "mixed"] = "float32"
    """Dtype of the weights. bfloat16 halves the memory, but small updates are rounded away, except those of adapters,
    which are always float32. mixed keeps float32 weights and multiplies in bfloat16; it is the fastest on GPUs and on
    processors with native bfloat16 (lscpu shows avx512_bf16 or amx_bf16)."""
    frozen: tuple[str, ...] = ()
    """Which weights are not trained: parts ("language", "vision", "merger") or prefixes of parameter names as in
    transformers."""
    lora: LoraSettings | None = None
    """Train adapters instead of the weights themselves; by default all weights that are not frozen are trained."""
    gradient_checkpointing: bool | tuple[Tower, ...] = False
    """Recompute activations in the backward pass instead of storing them: less memory, about a third more time, the
    same gradients. true applies it to all layers, ["language"] or ["vision"] to the layers of that part."""
    activation_offload: bool | tuple[Tower, ...] = False
    """With gradient_checkpointing: keep the input of each layer in host memory, not on the GPU, until the backward
    pass. The gradients are the same; training is slower. true applies it to all checkpointed layers, a list to the
    layers of those parts."""
    liger: bool = False
    """Use Liger's kernels for the norms (except those that add one to their weights) and the gated products of the
    language model. They store less for the backward pass. Needs a GPU and `pip install 'onethinker[liger]'`."""
    router_loss: float | None = Field(None, ge=0)
    """For a mixture of experts: coefficient of the routers' auxiliary loss, which balances the load of the experts; 0
    switches it off. The default is that of transformers: `router_aux_loss_coef` of the model's config if its
    `output_router_logits` is true, otherwise off."""
    budget: MediaBudget | None = None
    """Limits on frames and pixels; by default those in the model's folder, otherwise the general defaults."""
    coordinates: Coordinates | None = None
    """Unit of boxes and points in prompts and answers: "thousandths" of the frame, or "pixels" of the frames that the
    model is shown. By default what the model's folder says, otherwise what its family uses (`onethinker models`).
    Records are always in thousandths."""
    data: DataSettings = DataSettings()
    """The training data."""
    optimizer: OptimizerSettings = OptimizerSettings()
    """How weights are updated."""
    validation: ValidationSettings | None = None
    """Evaluation during training; without this table there is none."""
    log: LogSettings = LogSettings()
    """Where progress is reported."""
    need: ClassVar[Need]
    """What a record must contain to be trained on."""

    @property
    def has_reference(self) -> bool:
        """Whether the weights that the run starts with are needed beside those that learn."""
        return False

    @model_validator(mode="after")
    def _check_epochs(self) -> "Recipe":
        if self.epochs is not None and "steps" in self.model_fields_set:
            raise ValueError(f"give steps or epochs, not both; got steps = {self.steps} and epochs = {self.epochs:g}")
        if self.epochs is not None and not self.data.files:
            raise ValueError(
                "epochs are passes over records: set data.files, or set steps instead, since synthetic scenes are"
                " endless"
            )
        return self

    @model_validator(mode="after")
    def _check_activation_offload(self) -> "Recipe":
        if self.activation_offload and not {*self.offloaded} <= {*self.computed_again}:
            raise ValueError(
                "activation_offload moves the activations that gradient_checkpointing keeps: set gradient_checkpointing"
                " = true too"
            )
        return self

    @property
    def computed_again(self) -> tuple[Tower, ...]:
        """The parts whose activations are computed a second time."""
        every = self.gradient_checkpointing
        return TOWERS if every is True else every or ()

    @property
    def offloaded(self) -> tuple[Tower, ...]:
        """The parts of which what each layer begins with waits in the computer's memory."""
        every = self.activation_offload
        return (self.computed_again or TOWERS) if every is True else every or ()

    @model_validator(mode="after")
    def _check_average(self) -> "Recipe":
        if self.optimizer.ema_decay is not None and self.dtype == "bfloat16" and self.lora is None:
            raise ValueError(
                'optimizer.ema_decay: bfloat16 is too coarse for a moving average of weights; set dtype = "mixed"'
            )
        return self

    @field_validator("keep")
    @classmethod
    def _check_keep(cls, keep: int | str) -> int | str:
        return check_keep(keep)

    @model_validator(mode="before")
    @classmethod
    def _use_plugins(cls, settings: Any) -> Any:
        """Use the modules before the names that they offer are checked."""
        named = settings.get("plugins") if isinstance(settings, dict) else None
        if isinstance(named, list | tuple) and all(isinstance(name, str) for name in named):
            use_plugins(named)
        return settings

    @property
    def weights_dtype(self) -> str:
        """The dtype that weights are stored in; adapters are always in float32."""
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
            raise ConfigError(_no_recipe(str(name))) from error
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read as a recipe: {error}") from error
        for override in overrides:
            _put_in(settings, override)
        try:
            return cls.model_validate(settings)
        except ValidationError as error:
            wrong = explain(error, cls, SETTING_ALIASES)
            raise ConfigError(f"{' '.join([str(path), *overrides])}: {wrong}") from error


def _no_recipe(name: str) -> str:
    """Return what to say of a recipe that there is not: the file that was meant, or the built-in one."""
    path, built_in = Path(name), built_in_recipes()
    if not path.suffix and len(path.parts) == 1:
        return no_such("recipe", name, built_in, aliases=RECIPE_ALIASES)
    if path.stem in built_in:
        return f"{name}: no such file; the recipe that comes with OneThinker is named {path.stem!r}, without .toml"
    return f"{name}: no such file{near_path(path) or ask_for(path.stem, built_in, RECIPE_ALIASES)}"


def built_in_recipes() -> tuple[str, ...]:
    """Return the names of the recipes of training that come with OneThinker; those of data are "data_…"."""
    return tuple(sorted(path.stem for path in BUILT_IN.glob("*.toml") if not path.stem.startswith("data_")))


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
    """Samples per optimizer step, summed over all processes."""
    log: SftLogSettings = SftLogSettings()
    """Where progress is reported."""
    need: ClassVar[Need] = "response"


class RlRecipe(Recipe):
    """Multi-task reinforcement learning with verifiable rewards."""

    rewards: Literal["paper", "release"] = "paper"
    """The reward scheme: "paper" or "release" (the released code)."""
    rollout: RolloutSettings = RolloutSettings()
    """How answers are sampled."""
    grading: GradingSettings = GradingSettings()
    """How answers are graded."""
    advantage: AdvantageSettings = AdvantageSettings()
    """How rewards become advantages."""
    loss: LossSettings = LossSettings()
    """How advantages become a loss."""
    log: RlLogSettings = RlLogSettings()
    """Where progress is reported."""
    need: ClassVar[Need] = "truth"

    @property
    def has_reference(self) -> bool:
        """Whether a divergence from it is in the loss."""
        return self.loss.kl_coefficient > 0

    @model_validator(mode="after")
    def _check_too_long(self) -> "RlRecipe":
        if self.data.too_long == "truncate":
            raise ValueError(
                'data.too_long must be "error" or "skip" in RL, which has no responses to cut, got "truncate"'
            )
        return self

    @model_validator(mode="after")
    def _check_servers(self) -> "RlRecipe":
        if self.rollout.engine == "vllm" and self.lora is not None and self.lora.parts != ("language",):
            raise ValueError(
                'rollout.engine = "vllm" supports adapters of the language model only: set lora.parts = ["language"],'
                f" got {list(self.lora.parts)}"
            )
        if self.rollout.vllm is not None and self.model in UNTRAINED:
            raise ValueError(
                f"rollout.vllm needs a model from a folder or the hub; {self.model!r} is built in memory: set model"
            )
        return self

    @model_validator(mode="after")
    def _check_rollout_correction(self) -> "RlRecipe":
        if self.loss.rollout_correction is not None and self.rollout.engine != "vllm":
            raise ValueError(
                'loss.rollout_correction needs rollout.engine = "vllm": with in_process the sampling and training model'
                " are the same, so there is nothing to correct"
            )
        return self

    @model_validator(mode="after")
    def _check_dropout(self) -> "RlRecipe":
        if self.lora is not None and self.lora.dropout:
            raise ValueError(
                "lora.dropout must be 0 in RL, because answers are sampled without dropout and must be scored by the"
                f" same model; got {self.lora.dropout}"
            )
        return self
