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
    """Which samples are evaluated."""

    benchmark: tuple[str, ...] = ()
    """Names of benchmarks; "paper" means those of the paper, "all" means every benchmark, in both cases those whose
    data are found."""
    data: Path | None = None
    """File of samples in the released form (JSON or JSONL); with --benchmark or --list, the folder of the benchmarks'
    data (default data/benchmarks)."""
    media_root: Path | None = None
    """Folder that media paths are relative to; by default the folder of the data. With --benchmark or --list it is also
    searched for media that are not where the data say."""
    synthetic: int | None = None
    """Instead of --data: the number of held-out synthetic scenes."""
    synthetic_seed: int = 0
    """Random seed of the synthetic scenes."""
    world: WorldName = "shapes"
    """With --synthetic: what the scenes show."""
    limit: int | None = None
    """Evaluate only the first so many samples."""
    strict: bool = False
    """With --benchmark: stop at the first unusable or odd row, instead of naming it and continuing."""

    def check(self) -> None:
        """Raise ConfigError for settings that do not go together, and for numbers that are too small."""
        if self.benchmark and self.synthetic is not None:
            raise ConfigError(
                "--benchmark and --synthetic cannot be combined; use --data to name the folder of the benchmark's data"
            )
        if not self.benchmark and (self.data is None) == (self.synthetic is None):
            raise ConfigError("give exactly one of --data FILE, --synthetic NUMBER and --benchmark NAME")
        for name, count in (("--synthetic", self.synthetic), ("--limit", self.limit)):
            _check_positive(name, count)
        if self.synthetic_seed < 0:
            raise ConfigError(f"--synthetic-seed must be 0 or more, got {self.synthetic_seed}")


class AskingConfig(AskingSettings):
    """Model and sampling options."""

    model: str = Field(
        TINY,
        description=f'{MODEL_HELP} "scripted" is no model: it answers with fixed examples, to test everything else.',
    )
    batch_size: int = 8
    """Samples that a model loaded here answers at the same time; a server gets as many as it accepts."""
    mode: Mode = "greedy"
    """ "greedy" takes the most likely token each time, as in the paper; "release" samples at temperature 0.1 with top_p
    0.001, as in the released code."""
    temperature: float | None = None
    """Instead of --mode: sample answers at this temperature; a higher one gives more variety."""
    patience: float = 300.0
    """Seconds to keep retrying a server (of the model or the judge) that is down or busy; restarting vLLM takes
    minutes."""
    timeout: float = 600.0
    """Seconds that a server (of the model or the judge) may take for one answer; after two timeouts the answer is given
    up."""
    strict_media: bool = False
    """Treat damaged media as an error of their sample, which is then not asked about. By default the readable part is
    shown and each defect is named."""

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
    """Reward scheme, "paper" or "release"; by default that of --recipe, otherwise "paper"."""
    recipe: str | None = None
    """RL recipe whose rewards (`rewards`, `grading.rewards`, its plug-ins) are also computed, with each answer as a
    group of its own. Its reward model is not asked."""
    reading: ReadingMode | None = Field(
        None,
        description=f"{READING_HELP} By default strict for models that were saved by OneThinker, lenient for others.",
    )
    judge: str | None = None
    """Address of an OpenAI-compatible chat model that grades free-text answers; several are separated by commas."""
    judge_model: str = "judge"
    """Name of the judge model on its server."""
    segmenter: str | None = None
    """Model that turns segmentation answers into masks, for gIoU, cIoU, J and F: SAM 2 (facebook/sam2.1-hiera-large,
    used for the paper's numbers) or SAM 3 (facebook/sam3; facebook/sam3:text finds objects by words), by hub id or
    folder; or "grabcut" (no download, not for benchmark numbers)."""


class EvaluationConfig(FlagSettings):
    """What is evaluated, how the model is asked, how its answers are graded, and which stages run."""

    output: Path | None = None
    """Folder for answers.jsonl, results.jsonl, settings.json, example pictures and report.html; each benchmark gets its
    own folder in it."""
    stage: Stage = "all"
    """Run only one stage: "answer" asks the model, "score" grades its saved answers, "masks" makes masks of its
    answers, "report" writes report.html. Only "answer" needs the model."""
    shard: str | None = None
    """With --stage answer: ask about one of several equal parts of the samples, such as 2/4 (part 2 of 4). Shards may
    run at the same time, on several machines, with the same --output. The same command without --shard joins them and
    asks what is missing."""
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
            raise ConfigError(f"{path}: cannot be read as settings of an evaluation: {error}") from error

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
            raise ConfigError("give an --output folder for the results, or only --list")
        if self.shard is not None and self.stage != "answer":
            raise ConfigError(
                "--shard only asks the model: add --stage answer; to grade, run the same command without both"
            )
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
