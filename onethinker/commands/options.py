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
    """How `ask` and `segment` ask a model."""

    temperature: float = 0.0
    """0 gives the most likely answer, more gives variety."""
    reading: ReadingMode = Field("lenient", description=READING_HELP)
    strict_media: bool = False
    """Make damaged media an error; else what can be read of them is used, and each loss is named."""

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
    """Folder of the run: recipe.json, starts.jsonl, journal.jsonl, checkpoints/, and model/ when it is done. A dry run
    needs none."""
    set: tuple[str, ...] = ()
    """Settings that replace the recipe's, such as steps=50 model=runs/sft/model rollout.group_size=4
    data.files='["a.jsonl"]'."""
    processes: int = 1
    """Processes on this machine that share each batch; one for each GPU, or for each core. With --nodes, of each."""
    nodes: int = 1
    """Machines that the run spans. Start the same command on each, with its own --node-rank; --output lies on a disk
    that all share."""
    node_rank: int | None = None
    """Which node this is, from 0; node 0 writes the run's folder."""
    main_address: str | None = None
    """Host name or address of node 0, as all nodes reach it."""
    main_port: int | None = None
    """Port on which node 0 listens, the same on all nodes; 29500 unless given."""
    allow_changes: bool = False
    """Resume a stopped run with other settings, data or weights than it began with; starts.jsonl records
    which."""
    resume_from: str | None = None
    """A run on the hub, OWNER/NAME[@REVISION] (push --resumable), that goes on in a new --output; without --nodes."""
    dry_run: bool = False
    """Train nothing: print what would be trained, the arithmetic of a batch, the tokens of a row and an estimate of the
    memory of a GPU, and check the data. Refuses a batch that does not divide by the processes."""
    gpu: str | None = None
    """A GPU by name, such as h100, a100 or rtx4090, for a dry run that says how long a step and the run take on it,
    where that goes, and what to change where its memory does not do."""
    network: float | None = None
    """Gigabits a second that each node sends to the others, such as 3200 for eight ports of 400, for a dry run with
    --gpu of several nodes."""
    config: Path | None = None
    """A config.json that describes the model, for a dry run without the model itself."""
    accelerate_config: str | None = None
    """ "fsdp2" shards weights, gradients and optimizer over the processes, "fsdp2_full" gathers one layer at a time,
    "fsdp2_offload" also keeps the shares off the GPUs, "fsdp2_hybrid" shards inside each node, "deepspeed_zero2"
    shards all but the weights; or a config file of accelerate of your own."""


class RlOptions(TrainingOptions):
    """The options of `rl`."""

    engine: Literal["own", "verl"] = "own"
    """Who samples and learns: this program, or verl 0.9.1 in an environment of its own (docs/integrations.md), with
    --processes GPUs on each of --nodes machines."""
    verl_python: str | None = None
    """The Python of verl's environment. A dry run needs none; with it verl composes the configuration."""
    verl_set: tuple[str, ...] = ()
    """Settings of verl, name=value, in place of those that the recipe gives, such as trainer.save_freq=10."""
