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
    """Selection or ordering of records by a number that each record must have."""

    field: str = "pass_rate"
    """Field of the record with that number, which is larger the easier the record is. An example is the model's pass
    rate, which `onethinker rollouts RUN --rates FILE` writes."""
    order: Literal["easy_first", "hard_first", "shuffled"] = "easy_first"
    """Whether each pass over the records of a task goes from easy to hard, from hard to easy, or is shuffled. If the
    run does not finish its last pass, the records that it does draw are sorted in this way."""
    least: float | None = None
    """Records with a smaller number are left out."""
    most: float | None = None
    """Records with a larger number are left out."""

    def takes(self, rate: float) -> bool:
        """Tell whether a record with this number is learned from."""
        return (self.least is None or rate >= self.least) and (self.most is None or rate <= self.most)


class DataSettings(Settings):
    """The training data."""

    files: tuple[Path, ...] = ()
    """Sample files (JSON or JSONL in the released form); media paths are relative to each file. Without files, endless
    synthetic scenes are drawn."""
    world: WorldName = "shapes"
    """What synthetic scenes show: "shapes", or named "things"; the other worlds are for tests (docs/world.md)."""
    problem_types: tuple[str, ...] = ()
    """Only these problem types, such as "tracking" or "numerical/image"; empty means all. Each task gets the same
    number of samples, and within a task each medium does; segmentation of pictures and of clips are two tasks."""
    mix_by: Literal["task", "file"] = "task"
    """What gets a share of the samples: "task" divides them among the tasks, and within a task among its media. "file"
    divides them among the files; within a file each task is drawn in proportion to its records."""
    mixing: Mixing = "equal"
    """How large the shares are: "equal", "proportional" to the number of records (every record is drawn equally often),
    or "temperature", which is in between."""
    temperature: float = Field(2.0, ge=1)
    """With mixing = "temperature", shares are proportional to the number of records to the power of 1 / temperature: 1
    is proportional, a large value is nearly equal."""
    weights: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Factors of the shares, by problem type, by problem type and medium ("numerical/video") or, with mix_by = "file",
    by file."""
    seed: int = Field(0, ge=0)
    """Seed of the order of the samples, or of the choice of scenes."""
    seeds: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    """Separate seeds for the order of the records of a problem type, of one of its media or, with mix_by = "file", of a
    file."""
    curriculum: CurriculumSettings | None = None
    """Ordering or selection of records by difficulty; by default neither."""
    questions_per_clip: int = Field(1, ge=1)
    """How many records of a task about the same media are drawn one after the other. The media are then decoded once,
    and in SFT encoded and attended to once. Each turn of a task has this many samples, so make the batch a multiple of
    it. Scenes of the world "shapes" have one question each."""
    max_corrupt_fraction: float = Field(0.01, ge=0, le=1)
    """Largest fraction of records whose media may be unreadable. Above it the run does not start, or stops later when
    it finds more among the samples drawn (counted as at least 1,000, or as all records if there are fewer). Each
    unreadable record is named and replaced by another one of its task."""
    strict_media: bool = False
    """Treat damaged media (cut short, with frames or packets that do not decode, or not as their header says) as
    unreadable. By default the readable part is used and each defect is named."""
    invalid: Literal["error", "skip"] = "error"
    """What to do with records that are certainly wrong (a box in pixels, a time after the end of the clip, an answer
    that is not of the task's form): "error" names them and does not start the run, "skip" names them and leaves them
    out."""
    too_long: Literal["error", "skip", "truncate"] = "error"
    """What to do with records longer than `max_row_tokens` (in RL: prompt plus `rollout.max_new_tokens`): "error" names
    them and does not start the run, "skip" names them and leaves them out, "truncate" (SFT only) cuts the end of the
    response. A prompt is never cut."""

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
            raise ValueError(f'data.temperature needs data.mixing = "temperature", got data.mixing = {self.mixing!r}')
        if not self.files and (self.mix_by != "task" or self.mixing != "equal" or self.curriculum or self.seeds):
            raise ValueError(
                "mix_by, mixing, curriculum and seeds apply to records: set data.files, because synthetic scenes are"
                " endless"
            )
        return self


class OptimizerSettings(Settings):
    """The optimizer, with a warm-up followed by a cosine or constant schedule."""

    kind: Literal["adamw", "adamw8bit", "adafactor", "muon"] = "adamw"
    """ "adamw" (the paper); "adamw8bit", the same with 8-bit moving averages (`pip install 'onethinker[8bit]'`);
    "adafactor", which stores one row and one column per matrix and whose learning rate is relative to the size of the
    weights (1e-3 is usual); or "muon" for the matrices inside the layers, which trains a small model twice as fast."""
    learning_rate: float = Field(1e-5, gt=0)
    """The peak learning rate."""
    rates: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Factors of `learning_rate` for a part ("language", "vision", "merger") or for weights whose names begin with this
    prefix, such as { vision = 0.1 }; all others use it unchanged."""
    min_lr_ratio: float = Field(0.0, ge=0, le=1)
    """The schedule ends at this fraction of `learning_rate`; 1 keeps the rate constant after the warm-up."""
    warmup_steps: int = Field(0, ge=0)
    """Steps over which the learning rate grows from zero."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay, on matrices only."""
    beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of AdamW's moving average of the gradient."""
    beta2: float = Field(0.999, ge=0, lt=1)
    """Decay of AdamW's moving average of the squared gradient."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradients with a larger norm are scaled down to it."""
    ema_decay: float | None = Field(None, gt=0, lt=1)
    """Keep an exponential moving average of the weights with this decay: 0.99 averages about the last hundred steps.
    Validations, the model in checkpoints and the finished model then use the average."""
    max_bad_steps: int = Field(3, ge=0)
    """An optimizer step whose loss or gradient is not finite is skipped: weights and moving averages stay unchanged,
    and the journal says why. After more than this many bad steps in a row the run ends; the last good checkpoint is
    kept."""


class LoraSettings(Settings):
    """Low-rank adapters on the linear layers of chosen parts; all other weights stay unchanged."""

    rank: int = Field(16, ge=1)
    """Rank of the adapters."""
    alpha: float = Field(32.0, gt=0)
    """The output of an adapter is scaled by alpha / rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Fraction of an adapter's inputs that SFT drops at random. RL and DPO need 0."""
    parts: tuple[Part, ...] = Field(("language",), min_length=1)
    """Which parts get adapters: "language", "vision", "merger"."""
    experts: bool = False
    """For a mixture of experts: give each expert its own adapters too. Needs dropout 0, and memory for a second copy of
    a layer's experts while that layer is computed."""
    four_bit: bool = False
    """Store the base weights in 4 bits (NF4); needs an NVIDIA GPU and `pip install 'onethinker[4bit]'`."""
