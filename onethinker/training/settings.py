"""Settings of data, optimizer and adapters, the same for SFT and RL."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from onethinker.core.settings import Settings
from onethinker.data.pools import Mix
from onethinker.data.rounds import Mixing
from onethinker.data.synthetic.worlds import WorldName
from onethinker.families.base import Part


class CurriculumSettings(Settings):
    """Records chosen or sorted by a number that each of them has; each must have it."""

    field: str = "pass_rate"
    """The field of the record: a number that is larger the easier it is, such as the share of right answers of a model,
    which `onethinker rollouts RUN --rates FILE` writes."""
    order: Literal["easy_first", "hard_first", "shuffled"] = "easy_first"
    """Each pass over the records of a task goes from easy to hard or from hard to easy; of a last one that the run does
    not finish, the records that it draws."""
    least: float | None = None
    """Records with a smaller number are left out."""
    most: float | None = None
    """Records with a larger number are left out."""

    def takes(self, rate: float) -> bool:
        """Tell whether a record with this number is learned from."""
        return (self.least is None or rate >= self.least) and (self.most is None or rate <= self.most)


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
    mix_by: Literal["task", "file"] = "task"
    """What has a share of the samples: each task, and in it each medium; or each of the files, whose tasks then come as
    often as their records are many."""
    mixing: Mixing = "equal"
    """The shares: "equal"; "proportional" to the number of records, so that all are passed over equally often; or
    to its root, "temperature"."""
    temperature: float = Field(2.0, ge=1)
    """With mixing = "temperature" shares go with the number of records to the power of 1 / this: 1 is proportional, a
    large one equal."""
    weights: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """What the share of a problem type, of one of its media ("numerical/video") or, with mix_by = "file", of a file is
    multiplied by."""
    seed: int = Field(0, ge=0)
    """Decides the order of samples, or which scenes are drawn."""
    seeds: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    """Seeds of their own for the order of the records of a problem type, of one of its media, or, with mix_by = "file",
    of a file."""
    curriculum: CurriculumSettings | None = None
    """An order by difficulty, or a part of the records by it; absent, neither."""
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

    @property
    def mix(self) -> Mix:
        """How often who comes, as the order of the data takes it."""
        curriculum = self.curriculum
        return Mix(
            self.mix_by,
            self.mixing,
            self.temperature,
            self.seeds,
            rate_field=curriculum.field if curriculum else "",
            direction={"easy_first": -1, "hard_first": 1, "shuffled": 0}[curriculum.order] if curriculum else 0,
        )

    @model_validator(mode="after")
    def _check_order(self) -> "DataSettings":
        default = type(self).model_fields["temperature"].default
        if self.temperature != default and self.mixing != "temperature":
            raise ValueError(f'temperature is for mixing = "temperature", got mixing = {self.mixing!r}')
        if not self.files and (self.mix_by != "task" or self.mixing != "equal" or self.curriculum or self.seeds):
            raise ValueError("mix_by, mixing, curriculum and seeds are about records: give files; scenes have no end")
        return self


class OptimizerSettings(Settings):
    """The optimizer with a warm-up and a cosine or constant schedule."""

    kind: Literal["adamw", "adamw8bit", "adafactor", "muon"] = "adamw"
    """adamw (the paper); adamw8bit, the same with moving averages of 8 bits (`pip install 'onethinker[8bit]'`);
    adafactor, which keeps a row and a column for each matrix, and whose rate is a share of the size of the weights
    (1e-3 is usual); or muon for the matrices inside the layers, which teaches a small model twice as fast."""
    learning_rate: float = Field(1e-5, gt=0)
    """The highest rate of the schedule."""
    rates: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """What `learning_rate` is multiplied by for a part ("language", "vision", "merger") or for the weights whose names
    begin so, such as { vision = 0.1 }; all others have it as it is."""
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
    ema_decay: float | None = Field(None, gt=0, lt=1)
    """Keep an average of the weights over the steps, in which those of a step count so much less after each further
    one: 0.99 is about the last hundred. Validations, the model in checkpoints and the finished model then have the
    average."""
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
    experts: bool = False
    """In a mixture of experts, adapters on the experts too, each of which gets its own; needs dropout 0, and the memory
    of a layer's experts a second time while that layer is computed."""
    four_bit: bool = False
    """Store the weights below the adapters in 4 bits (NF4); needs an NVIDIA GPU and `pip install
    'onethinker[4bit]'`.
    """
