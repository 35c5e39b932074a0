"""Flags that commands share, each documented once."""

from pathlib import Path
from typing import Annotated, TypeVar

import tyro

from onethinker.core.settings import FlagSettings

T = TypeVar("T")
Flags = Annotated[T, tyro.conf.arg(name=""), tyro.conf.OmitArgPrefixes]
"""A parameter whose fields are flags of their own names, with the sentences below them as their help."""


class TrainingOptions(FlagSettings):
    """What `sft` and `rl` are told."""

    recipe: tyro.conf.Positional[str]
    """A TOML file, or the name of a recipe that comes with OneThinker, such as tiny_sft or tiny_rl."""
    output: Path | None = None
    """Folder of the run: recipe.json, starts.jsonl, journal.jsonl, checkpoints/, and model/ when it is done. A dry run
    needs none."""
    set: tuple[str, ...] = ()
    """Settings that replace the recipe's, such as steps=50 model=runs/sft/model rollout.group_size=4
    data.files='["a.jsonl"]'."""
    processes: int = 1
    """Processes on this machine that share each batch; one for each GPU, or for each core."""
    allow_changes: bool = False
    """Let a stopped run go on with other settings, data or weights than it began with; starts.jsonl says which."""
    dry_run: bool = False
    """Train nothing: print what would be trained, the arithmetic of a batch, the tokens of a row and an estimate of the
    memory of a GPU, and check the data. Refuses a batch that does not divide by the processes."""
    config: Path | None = None
    """A config.json that says what the model is, for a dry run where the model itself is not at hand."""
    accelerate_config: str | None = None
    """ "fsdp2" deals weights, gradients and optimizer to the processes, "deepspeed_zero2" all but the weights; or a
    config file of accelerate of your own."""
