"""Several answers of a model to each of many samples, graded, in a journal that is taken up where it was stopped."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from onethinker.core.request import SamplingParams
from onethinker.core.sample import Sample
from onethinker.evaluation.answering import Recorder, answer_samples
from onethinker.evaluation.results import Answer, answer_from, evaluation_settings, open_run, result_key
from onethinker.evaluation.spending import Price, Spending
from onethinker.inference.engine import Engine
from onethinker.media.prefetch import Decoders
from onethinker.storage.folders import ANSWERS_FILE, MEDIA_FILE
from onethinker.storage.hashing import Digests
from onethinker.storage.jsonl_log import Log, LogReader
from onethinker.tasks import Coordinates, Grade, Reader, grade_response, task_of
from onethinker.tasks.pixels import response_from_px

FREE = Price()
RIGHT = 0.5
"""The accuracy from which on an answer counts as right where nothing else is said."""


@dataclass(frozen=True)
class Try:
    """One answer to a sample with its grade, or why there is none; where its reasoning was judged, how sound that is, 0
    to 1, or None.
    """

    text: str = ""
    tokens: int = 0
    grade: Grade | None = None
    error: str | None = None
    truncated: bool = False
    is_judged: bool = False
    sound: float | None = None

    @property
    def accuracy(self) -> float:
        """How right the answer is, 0 to 1; 0 without one."""
        return self.grade.accuracy if self.grade is not None else 0.0


@dataclass
class Tries:
    """A model with the journal of its answers; an answer that is there is not asked for again."""

    engine: Engine
    sampling: SamplingParams
    folder: Path
    log: Log
    decoders: Decoders
    spent: Spending = field(default_factory=Spending)
    """What was paid for by this process."""
    _known: dict[str, Answer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._settings = _settings(self.engine, self.sampling)
        self._digests = Digests(self.folder / MEDIA_FILE)
        self._reader = LogReader(self.folder / ANSWERS_FILE, answer_from)
        self._take_in()

    def ask(self, wanted: Sequence[tuple[Sample, int]]) -> list[Try]:
        """Return an answer for each sample and index of its try; another index draws another answer.

        Raises: EngineError: the model does not answer at all.
        """
        numbered = [replace(sample, id=f"{sample.id}#{index}") for sample, index in wanted]
        answers = zip(numbered, self.answers(numbered), strict=True)
        return [_graded(sample, answer, self.engine.coordinates) for sample, answer in answers]

    def answers(self, samples: Sequence[Sample]) -> list[Answer]:
        """Return an answer to each sample, from the journal or asked for now.

        Raises: EngineError: the model does not answer at all.
        """
        self._digests.read_all(medium for sample in samples for medium in sample.media)
        keys = [result_key(sample, self._settings, self._digests) for sample in samples]
        keyed = dict(zip(keys, samples, strict=True))
        done = {key for key in keyed if key in self._known and self._known[key].error is None}
        if len(done) < len(keyed):
            recorder = Recorder(self.log, keyed, set(done), None)
            answer_samples(
                self.engine,
                keyed,
                recorder,
                params=self.sampling,
                coordinates=self.engine.coordinates,
                decoders=self.decoders,
            )
            for answer in self._take_in():
                self.spent.add(answer.prompt_tokens, answer.answer_tokens)
        found = [self._known[key] for key in keys]
        for key in keyed:
            del self._known[key]
        return found

    def _take_in(self) -> list[Answer]:
        """Return what is new in the journal, and know it."""
        new = self._reader.read_new()
        self._known.update({answer.key: answer for answer in new if answer.error is None})
        self._known |= {answer.key: answer for answer in new if answer.key not in self._known}
        return new


@contextmanager
def open_tries(engine: Engine, folder: Path, sampling: SamplingParams, price: Price = FREE) -> Iterator[Tries]:
    """Yield what asks a model and keeps its answers in a folder.

    Raises: CheckpointError: the folder holds answers of another model or for other settings, or is in use.
    """
    with open_run(folder, _settings(engine, sampling)) as log, Decoders() as decoders:
        yield Tries(engine, sampling, folder, log, decoders, Spending(price))


def _settings(engine: Engine, sampling: SamplingParams) -> dict[str, Any]:
    """Return everything that decides an answer besides the sample."""
    settings = evaluation_settings(engine, sampling)
    return settings if engine.coordinates == "thousandths" else {**settings, "coordinates": engine.coordinates}


def _graded(sample: Sample, answer: Answer, coordinates: Coordinates) -> Try:
    """Return an answer, its places in thousandths as records have them, with its grade."""
    if answer.error is not None:
        return Try(error=answer.error)
    truncated = answer.finish_reason == "length"
    task, size = task_of(sample), answer.frame_px if coordinates == "pixels" else None
    frame_px = size and (size[0], size[1])
    text, reader = response_from_px(answer.text, task, frame_px), Reader(frame_px=frame_px, truncated=truncated)
    grade = grade_response(answer.text, sample.truth, task=task, options=sample.options, reader=reader)
    return Try(text, answer.answer_tokens, grade, truncated=truncated)
