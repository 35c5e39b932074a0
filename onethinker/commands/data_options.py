"""Flags that commands of `onethinker data` share, and what is made of them."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from onethinker.core.errors import ConfigError
from onethinker.core.settings import FlagSettings
from onethinker.inference.settings import MODEL_HELP

if TYPE_CHECKING:
    from onethinker.core.request import SamplingParams
    from onethinker.core.sample import Sample
    from onethinker.data.filtering import Criteria, RateOf, Rates
    from onethinker.inference.engine import Engine
    from onethinker.tasks.template import PromptTemplate


class ChoiceOptions(FlagSettings):
    """Which records are selected."""

    task: tuple[str, ...] = ()
    """Only these problem types, or tasks such as segmentation/video."""
    source: tuple[str, ...] = ()
    """Only these sources; "(none)" means records without one."""
    data_type: Literal["image", "video"] | None = None
    """Only questions about pictures, or about videos."""
    at_least: tuple[str, ...] = ()
    """Minimum values of measures that `onethinker data stats` knows, such as seconds=2 box_side=50."""
    at_most: tuple[str, ...] = ()
    """Maximum values of measures, such as response_words=400."""

    def criteria(self) -> "Criteria":
        """Return them as criteria. Raises: ConfigError: there is no such task or measure."""
        from onethinker.data.filtering import Criteria

        return Criteria(
            tasks=frozenset(name.strip().lower() for name in self.task),
            sources=frozenset(self.source),
            data_type=self.data_type,
            at_least=_bounds("--at-least", self.at_least),
            at_most=_bounds("--at-most", self.at_most),
        )


class SamplingOptions(FlagSettings):
    """How several answers to a question are sampled."""

    temperature: float = 1.0
    """Sampling temperature; 0 would give the same answer each time."""
    top_p: float = 1.0
    """Nucleus sampling: draw only from the most likely tokens whose probabilities sum up to this."""
    max_new_tokens: int = 4096
    """Maximum length of an answer, in tokens."""
    seed: int = 0
    """Random seed for sampling."""
    prompt_template: Path | None = None
    """TOML file with the prompt template (the text around a question); by default that of the model's folder."""
    batch_size: int = 8
    """Samples that a model loaded here answers at the same time; a server gets as many as it accepts."""
    patience: float = 300.0
    """Seconds to keep retrying a server that is down or busy."""


class DifficultyOptions(SamplingOptions):
    """Selection by difficulty."""

    pass_rate: tuple[float, float] | None = None
    """Minimum and maximum fraction of right answers, such as 0.1 0.9: records that are never or always answered right
    teach little. Needs --rollouts-of, or --model and --rollouts."""
    rollouts_of: Path | None = None
    """Folder of an RL run that kept its sampled answers (`log.rollouts_mb`); the answers of all its steps are
    counted."""
    model: str | None = Field(
        None,
        description=f"{MODEL_HELP} Bounds in tokens use its tokenizer; with --rollouts it answers the questions.",
    )
    rollouts: int | None = None
    """Number of answers that --model gives to each question."""
    right: float = 0.5
    """An answer counts as right from this accuracy on."""

    def check(self) -> None:
        """Raise ConfigError for options that do not go together."""
        measured = self.model is not None and self.rollouts is not None
        if self.pass_rate is None:
            if self.rollouts_of or self.rollouts is not None:
                raise ConfigError("--rollouts-of and --rollouts need --pass-rate LEAST MOST, which is missing")
            return
        if bool(self.rollouts_of) == measured:
            raise ConfigError("--pass-rate needs either --rollouts-of RUN, or --model and --rollouts")
        if not 0 <= self.pass_rate[0] <= self.pass_rate[1] <= 1:
            raise ConfigError(
                f"--pass-rate must be two fractions from 0 to 1, the smaller one first, got {self.pass_rate}"
            )
        if self.rollouts is not None and self.rollouts < 1:
            raise ConfigError(f"--rollouts must be 1 or more, got {self.rollouts}")


CHOICE, DIFFICULTY = ChoiceOptions(), DifficultyOptions()


def _bounds(flag: str, words: Sequence[str]) -> dict[str, float]:
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = math.nan
        if not equals or not math.isfinite(found[name]):
            raise ConfigError(f"{flag} takes measures such as seconds=2, got {word!r}")
    return found


def check_files(files: Sequence[Path]) -> None:
    """Raise ConfigError unless there is at least one file, and all are there."""
    if not files:
        raise ConfigError("name at least one file of samples")
    for path in files:
        if path.is_dir():
            raise ConfigError(f"{path}: is a folder; name the file of records in it")
        if not path.is_file():
            raise ConfigError(f"{path}: there is no such file")


def check_output(path: Path, flag: str) -> None:
    """Raise ConfigError unless a new file can be written."""
    from onethinker.storage.atomic import check_writable

    if path.exists():
        raise ConfigError(f"{flag} {path}: already exists; name a new file")
    check_writable(path, "file", flag=flag)


def sampling_of(options: SamplingOptions) -> "SamplingParams":
    """Return how answers are drawn. Raises: ConfigError."""
    from onethinker.core.request import SamplingParams

    if options.temperature < 0 or not 0 < options.top_p <= 1:
        raise ConfigError(
            f"--temperature must be 0 or more and --top-p above 0 and at most 1, got {options.temperature:g} and"
            f" {options.top_p:g}"
        )
    return SamplingParams(options.max_new_tokens, options.temperature, options.top_p, options.seed)


def load_model(model: str, options: SamplingOptions, default: "PromptTemplate | None" = None) -> "Engine":
    """Return the model that is asked; `default` are words around a question where no others are named. Raises:
    ConfigError, EngineError.
    """
    from onethinker.inference.loading import load_engine
    from onethinker.tasks.template import PromptTemplate

    template = PromptTemplate.load(options.prompt_template) if options.prompt_template else default
    return load_engine(model, prompt_template=template, batch_size=options.batch_size, patience_s=options.patience)


@contextmanager
def open_rates(options: DifficultyOptions, folder: Path) -> "Iterator[RateOf | None]":
    """Yield what tells how many answers to samples are right; None where nobody asks. New answers are kept in a folder.

    Raises: CheckpointError: the run kept no answers. EngineError: the model cannot be loaded.
    """
    if options.pass_rate is None:
        yield None
    elif options.rollouts_of is not None:
        rates = _rates_of_run(options.rollouts_of, options.right)
        yield KnownRates(rates)
    else:
        yield from _measured_rates(options, folder)


@dataclass(frozen=True)
class KnownRates:
    """Returns the same rates for any samples."""

    rates: "Rates"

    def __call__(self, samples: "Sequence[Sample]") -> "Rates":
        """Return them."""
        return self.rates


def _rates_of_run(run: Path, right: float) -> "Rates":
    from onethinker.data.filtering import question_key
    from onethinker.storage.rollouts import read_rollouts

    wins, tries = Counter[bytes](), Counter[bytes]()
    for group in read_rollouts(run):
        key = question_key(group["id"], group["problem"])
        graded = [answer["accuracy"] for answer in group["answers"] if answer.get("accuracy") is not None]
        tries[key] += len(graded)
        wins[key] += sum(accuracy >= right for accuracy in graded)
    return {key: (wins[key], count) for key, count in tries.items()}


def _measured_rates(options: DifficultyOptions, folder: Path) -> "Iterator[RateOf]":
    from onethinker.data.filtering import question_key
    from onethinker.evaluation.tries import open_tries

    assert options.model is not None
    assert options.rollouts is not None
    count = options.rollouts
    with load_model(options.model, options) as engine, open_tries(engine, folder, sampling_of(options)) as tries:

        def rate(samples: "Sequence[Sample]") -> "Rates":
            asked = [sample for sample in samples if sample.truth]
            found = tries.ask([(sample, index) for sample in asked for index in range(count)])
            rates = {}
            for index, sample in enumerate(asked):
                graded = [one for one in found[index * count : (index + 1) * count] if one.grade is not None]
                right = sum(one.accuracy >= options.right for one in graded)
                rates[question_key(sample.id, sample.problem)] = right, len(graded)
            return rates

        yield rate
