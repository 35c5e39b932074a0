"""All settings of an evaluation in one typed model; the flags of `onethinker evaluate` are made from it."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from onethinker.core.errors import ConfigError
from onethinker.core.plugins import use_plugins
from onethinker.core.request import SamplingParams
from onethinker.core.settings import FlagSettings, explain
from onethinker.data.synthetic.worlds import WorldName
from onethinker.families.built_in import TINY
from onethinker.inference.settings import MODEL_HELP, READING_HELP, AskingSettings, ReadingSettings
from onethinker.tasks.base import ReadingMode, RewardScheme

Stage = Literal["all", "answer", "score", "masks", "report"]
Mode = Literal["greedy", "release"]
MODES: Mapping[Mode, tuple[float, float]] = {"greedy": (0.0, 1.0), "release": (0.1, 0.001)}
"""Temperature and top_p. Source: paper, greedy; release, by reading."""


class SamplesConfig(FlagSettings):
    """Which samples are asked about."""

    benchmark: tuple[str, ...] = ()
    """Benchmarks by name, or all whose data are there: "paper" for those of the paper, "all" for the others too."""
    data: Path | None = None
    """Samples in the released form (JSON or JSONL); with --benchmark or --list the folder of the benchmarks' data
    (data/benchmarks unless named)."""
    media_root: Path | None = None
    """Folder that the paths in the data are relative to; by default the data's own folder. With --benchmark or --list
    media that are not where the data say are looked for below it too."""
    synthetic: int | None = None
    """Instead of --data: the number of held-out synthetic scenes."""
    synthetic_seed: int = 0
    """Another seed gives other scenes."""
    world: WorldName = "shapes"
    """What the scenes show."""
    limit: int | None = None
    """Ask about this many samples only, from the first on."""
    strict: bool = False
    """With --benchmark: stop at the first row that cannot be used or is odd, in place of naming it and going on."""

    def check(self) -> None:
        """Raise ConfigError for settings that do not go together, and for numbers that are too small."""
        if self.benchmark and self.synthetic is not None:
            raise ConfigError("--benchmark cannot be given with --synthetic: --data names the folder of its data")
        if not self.benchmark and (self.data is None) == (self.synthetic is None):
            raise ConfigError("give either --data FILE or --synthetic NUMBER, or --benchmark NAME")
        for name, count in (("--synthetic", self.synthetic), ("--limit", self.limit)):
            _check_positive(name, count)
        if self.synthetic_seed < 0:
            raise ConfigError(f"--synthetic-seed must be 0 or more, got {self.synthetic_seed}")


class AskingConfig(AskingSettings):
    """How the model is asked."""

    model: str = Field(
        TINY,
        description=f'{MODEL_HELP} "scripted" looks at nothing and answers with examples: a dry run of all the rest.',
    )
    batch_size: int = 8
    """Samples that a model loaded here answers together; a server gets as many as it takes."""
    mode: Mode = "greedy"
    """ "greedy" takes the most likely token each time, as the paper says; "release" samples as its code does, at
    temperature 0.1 with top_p 0.001."""
    temperature: float | None = None
    """Instead of --mode: sample answers at this temperature; more gives variety."""
    patience: float = 300.0
    """Seconds for which a server of the model or a judge that is gone or busy is asked again; restarting vLLM takes
    minutes."""
    timeout: float = 600.0
    """Seconds in which a server, the judge's too, must give one answer; one that is late twice is given up."""
    strict_media: bool = False
    """Do not ask about a sample whose media are damaged, which is then its error; else what can be read of them is
    shown, and each loss is named."""

    def sampling(self) -> SamplingParams:
        """Return how answers are drawn. Raises: ConfigError: a temperature below 0 or beside a mode."""
        if self.temperature is not None and (self.mode != "greedy" or self.temperature < 0):
            raise ConfigError(
                f"--temperature must be 0 or more, and is not for --mode {self.mode}; got {self.temperature:g}"
            )
        temperature, top_p = MODES[self.mode] if self.temperature is None else (self.temperature, 1.0)
        return SamplingParams(self.max_new_tokens, temperature, top_p, self.seed)


class GradingConfig(ReadingSettings):
    """How the answers are graded."""

    rewards: RewardScheme | None = None
    """The reward scheme, "paper" or "release": by default that of --recipe, else "paper"."""
    recipe: str | None = None
    """Recipe of RL whose rewards (`rewards`, `grading.rewards`, its plug-ins) the answers get, each in a group of its
    own; its reward model is not asked."""
    reading: ReadingMode | None = Field(
        None, description=f"{READING_HELP} By default strict for models whose folder we wrote, lenient for others."
    )
    judge: str | None = None
    """Address of an OpenAI-compatible chat model that grades answers in free text; several with commas between."""
    judge_model: str = "judge"
    """Name of the judge on its server."""
    segmenter: str | None = None
    """Makes masks of the answers to segmentation, for gIoU, cIoU, J and F: SAM 2 (facebook/sam2.1-hiera-large, which
    the paper's numbers are by) or SAM 3 (facebook/sam3; by words, facebook/sam3:text) by hub id or folder, or "grabcut"
    (no download, not for benchmark numbers)."""


class EvaluationConfig(FlagSettings):
    """What is evaluated, how the model is asked, how its answers are graded, and how much of that is done now."""

    output: Path | None = None
    """Folder for answers.jsonl, results.jsonl, settings.json, example pictures and report.html; each benchmark has its
    own in it."""
    stage: Stage = "all"
    """Run one stage only: "answer" asks the model, "score" grades its earlier answers, "masks" makes the masks of its
    answers, "report" writes report.html. Only "answer" needs the model."""
    shard: str | None = None
    """With --stage answer: ask about one of so many equal parts of the samples, such as 2/4. Shards may run at once, on
    several machines, into one --output; the same command without --shard joins them and asks what is missing."""
    samples: SamplesConfig = SamplesConfig()
    asking: AskingConfig = AskingConfig()
    grading: GradingConfig = GradingConfig()

    @classmethod
    def load(cls, path: Path) -> "EvaluationConfig":
        """Return the settings in a TOML file: `output`, `stage`, and the tables `samples`, `asking` and `grading`. The
        modules in `plugins` are used from then on.

        Raises: ConfigError: the file cannot be read, or names each wrong field.
        """
        try:
            settings = tomllib.loads(path.read_text(encoding="utf-8"))
            use_plugins(settings.pop("plugins", ()))
            return cls.model_validate(settings)
        except ValidationError as error:
            raise ConfigError(f"{path}: {explain(error, cls)}") from error
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{path}: not settings of an evaluation: {error}") from error

    @property
    def asks(self) -> bool:
        """Whether the model is needed."""
        return self.stage in ("all", "answer")

    @property
    def draws(self) -> bool:
        """Whether pictures and a report are made."""
        return self.stage in ("all", "report")

    def check(self) -> None:
        """Raise ConfigError unless the settings are enough and go together: before anything is spent or written."""
        if self.output is None:
            raise ConfigError("give an --output folder for the results; or only --list")
        if self.shard is not None and self.stage != "answer":
            raise ConfigError("--shard only asks: add --stage answer, and grade by the same command without both")
        if self.stage == "masks" and self.grading.segmenter is None:
            raise ConfigError("--stage masks needs a --segmenter")
        self.samples.check()
        _check_positive("--batch-size", self.asking.batch_size)
        if self.asking.patience < 0 or self.asking.timeout <= 0:
            raise ConfigError("--patience must be 0 or more seconds, and --timeout more than 0")
        self.asking.sampling()


def _check_positive(name: str, count: int | None) -> None:
    if count is not None and count < 1:
        raise ConfigError(f"{name} must be at least 1, got {count}")
