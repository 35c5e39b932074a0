"""Flags that commands share, each documented once."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import tyro
from pydantic import Field

from onethinker.core.request import SamplingParams
from onethinker.core.settings import FlagSettings
from onethinker.inference.settings import READING_HELP, AskingSettings, ReadingSettings
from onethinker.tasks.base import ReadingMode

if TYPE_CHECKING:
    from onethinker.inference.thinker import Thinker

T = TypeVar("T")
Flags = Annotated[T, tyro.conf.arg(name=""), tyro.conf.OmitArgPrefixes]
"""A parameter whose fields are flags of their own names, with the sentences below them as their help."""


class AskingOptions(AskingSettings, ReadingSettings):
    """Model and sampling options of `ask` and `segment`."""

    temperature: float = 0.0
    """0 gives the most likely answer; higher values give more variety."""
    reading: ReadingMode = Field("lenient", description=READING_HELP)
    strict_media: bool = False
    """Make damaged media an error; by default the readable part is used and each defect is named."""

    def sampling(self, *, top_p: float = 1.0) -> SamplingParams:
        """Return how tokens are drawn."""
        return SamplingParams(self.max_new_tokens, self.temperature, top_p, self.seed)

    def load(self, model: str, sampling: SamplingParams, *, batch_size: int = 8) -> "Thinker":
        """Return the model, ready to be asked. Raises: ConfigError, EngineError."""
        from onethinker.inference.thinker import Thinker

        return Thinker.load(
            model,
            prompt_template=self.prompt_template,
            settings=self.settings,
            sampling=sampling,
            reading=self.reading,
            coordinates=self.coordinates,
            strict_media=self.strict_media,
            batch_size=batch_size,
            quantization=self.quantize,
        )


ASKING = AskingOptions()


class TrainingOptions(FlagSettings):
    """The options of `sft`, `dpo` and `rl`."""

    recipe: tyro.conf.Positional[str]
    """A TOML file, or the name of a recipe that comes with OneThinker, such as tiny_sft or tiny_rl."""
    output: Path | None = None
    """Folder of the run: recipe.json, starts.jsonl, journal.jsonl, checkpoints/, and model/ when it is finished. Not
    needed for a dry run."""
    set: tuple[str, ...] = ()
    """Settings that override the recipe's, such as steps=50 model=runs/sft/model rollout.group_size=4
    data.files='["a.jsonl"]'."""
    processes: int = 1
    """Processes on this machine that share each batch: usually one per GPU, or one per core. With --nodes, the number
    on each node."""
    nodes: int = 1
    """Machines that the run spans. Start the same command on each of them, with its own --node-rank; --output must be
    on a shared disk."""
    node_rank: int | None = None
    """Rank of this node, from 0; node 0 writes the run's folder."""
    main_address: str | None = None
    """Host name or address at which all nodes can reach node 0."""
    main_port: int | None = None
    """Port on which node 0 listens, the same on all nodes (default 29500)."""
    allow_changes: bool = False
    """Resume a stopped run even if settings, data or weights have changed since it began; starts.jsonl records the
    changes."""
    resume_from: str | None = None
    """A run on the hub, OWNER/NAME[@REVISION] (uploaded by push --resumable), to resume in a new --output. Not with
    --nodes."""
    dry_run: bool = False
    """Train nothing: print what would be trained, the sizes of a batch, the tokens of a row and an estimate of GPU
    memory, and check the data. Refuses a batch that is not divisible by the processes."""
    gpu: str | None = None
    """With --dry-run: a GPU by name, such as h100, a100 or rtx4090. The plan then estimates the time of a step and of
    the run on it, by phase, and what to change if the memory is not enough."""
    network: float | None = None
    """With --dry-run, --gpu and several nodes: gigabits per second that each node can send to the others, such as 3200
    for eight ports of 400."""
    config: Path | None = None
    """With --dry-run: a config.json that describes the model, if the model itself is not available."""
    accelerate_config: str | None = None
    """ "fsdp2" shards weights, gradients and optimizer over the processes. "fsdp2_full" also gathers only one layer at
    a time. "fsdp2_offload" also keeps the shards off the GPUs. "fsdp2_hybrid" shards within each node.
    "deepspeed_zero2" shards everything but the weights. Or the path of your own accelerate config file."""


class RlOptions(TrainingOptions):
    """The options of `rl`."""

    engine: Literal["own", "verl"] = "own"
    """ "own" samples and trains in this program; "verl" uses verl 0.9.1 in an environment of its own
    (docs/integrations.md), with --processes GPUs on each of --nodes machines."""
    verl_python: str | None = None
    """With --engine verl: the Python of verl's environment. A dry run does not need it; if given, verl composes the
    configuration."""
    verl_set: tuple[str, ...] = ()
    """With --engine verl: settings of verl as name=value that override those from the recipe, such as
    trainer.save_freq=10."""
