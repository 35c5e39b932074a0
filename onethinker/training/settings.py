"""Settings of data, optimizer and adapters, the same for SFT and RL."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from onethinker.core.settings import Settings
from onethinker.data.synthetic.worlds import WorldName
from onethinker.families.base import Part


class DataSettings(Settings):
    """What is learned from."""

    files: tuple[Path, ...] = ()
    """Sample files (JSON or JSONL in the released form); media paths are relative to each file. None: synthetic scenes,
    endless.
    """
    world: WorldName = "shapes"
    """What synthetic scenes show: "shapes", or named "things"; the other worlds are kept for tests (docs/world.md)."""
    problem_types: tuple[str, ...] = ()
    """Only these problem types, such as "tracking" or "numerical/image"; empty means all. Each task has equally many
    samples, and each medium equally many of a task; segmentation of pictures and of clips are two tasks."""
    weights: dict[str, Annotated[int, Field(gt=0)]] = Field(default_factory=dict)
    """How often a problem type (or one of its media) comes in a round in which the others come once."""
    seed: int = Field(0, ge=0)
    """Decides the order of samples, or which scenes are drawn."""
    questions_per_clip: int = Field(1, ge=1)
    """Up to so many records of a task about the same media come one after the other: the media are then decoded once,
    and in SFT encoded and attended to once. A task's turn is so many samples long, so a batch should be a multiple.
    Shapes have one question each."""
    max_corrupt_fraction: float = Field(0.01, ge=0, le=1)
    """A run does not begin when the media of more than this fraction of the records cannot be read, and stops when it
    turns out so later, of the samples drawn (counted as at least 1,000, or as all records where there are fewer). Each
    of them is named and replaced by another record of its task."""
    strict_media: bool = False
    """Whether damaged media (cut short, with frames or packets that do not decode, unlike their header) count as media
    that cannot be read; else what can be read of them is used, and each loss is named."""
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
    min_lr_ratio: float = Field(0.0, ge=0, le=1)
    """The schedule ends at this fraction of `learning_rate`; 1 keeps the rate constant after the warm-up."""
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
    """Fraction of an adapter's inputs that are left out at random in SFT; RL needs 0, or answers would be scored by
    another model.
    """
    parts: tuple[Part, ...] = Field(("language",), min_length=1)
    """Which parts get adapters: "language", "vision", "merger"."""
    four_bit: bool = False
    """Store the weights below the adapters in 4 bits (NF4); needs an NVIDIA GPU and `pip install
    'onethinker[4bit]'`.
    """
