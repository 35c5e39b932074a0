"""The stage `answer`: media are prefetched, the model is kept busy, and each answer is in the journal at once."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from itertools import islice

from onethinker.core.errors import EngineError, MediaError
from onethinker.core.frames import Clip
from onethinker.core.request import Request, SamplingParams
from onethinker.core.sample import Sample
from onethinker.evaluation.results import Answer
from onethinker.inference.encode import request_about
from onethinker.inference.engine import Completion, Engine
from onethinker.inference.in_flight import Batch, Outcome, answers_of, batch_size
from onethinker.media.budget import MediaBudget
from onethinker.media.damage import all_problems, check_undamaged
from onethinker.media.prefetch import Decoders, read_ahead
from onethinker.storage.jsonl_log import Log
from onethinker.tasks import Coordinates
from onethinker.tasks.pixels import frame_px_of

MAX_FAILURES_IN_A_ROW = 8
"""So many requests that fail one after the other mean that the engine is gone, not that samples are bad."""
BATCHES_AT_ONCE = 2
"""Batches that are read together and sorted by length, so that short requests do not wait for long ones."""


@dataclass(frozen=True)
class Shown:
    """What a model is shown of a sample's media: width and height of the frames that its answer is about, and what all
    lack.
    """

    frame_px: tuple[int, int] | None = None
    problems: tuple[str, ...] = ()


class Recorder:
    """Puts outcomes into the log, says how far it is, and gives up when the engine is gone."""

    def __init__(
        self,
        log: Log,
        samples: Mapping[str, Sample],
        done: set[str],
        on_progress: Callable[[int, int], None] | None,
    ) -> None:
        self.done, self.failed = done, list[Answer]()
        self._shown: dict[str, Shown] = {}
        self._log, self._samples, self._on_progress = log, samples, on_progress
        self._failures_in_a_row = 0

    def record(self, outcomes: Mapping[str, Outcome]) -> None:
        """Return when all that is new among outcomes, by key, is on the disk. Raises: EngineError: the engine fails
        again and again.
        """
        fresh = [
            _answer(key, self._samples[key], outcome, self._shown.get(key, Shown()))
            for key, outcome in outcomes.items()
            if key not in self.done
        ]
        self._log.append(fresh)
        self.done |= {answer.key for answer in fresh if answer.error is None}
        self.failed += [answer for answer in fresh if answer.error is not None]
        for outcome in outcomes.values():
            self._count(outcome)
        self.report()

    def note_shown(self, key: str, request: Request | MediaError) -> None:
        """Keep what the model is shown of the media of the sample with this key."""
        if isinstance(request, Request) and (media := request.media):
            self._shown[key] = Shown(frame_px_of(media, "pixels"), all_problems(media))

    def report(self) -> None:
        """Say how many samples of all have been asked, or tried."""
        if self._on_progress is not None:
            self._on_progress(len(self.done) + len(self.failed), len(self._samples))

    def _count(self, outcome: Outcome) -> None:
        if isinstance(outcome, Completion):
            self._failures_in_a_row = 0
        elif isinstance(outcome, EngineError):
            self._failures_in_a_row += 1
            if self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
                raise EngineError(
                    f"{self._failures_in_a_row} samples in a row got no answer, so the evaluation stops; the last"
                    f" error: {outcome}"
                ) from outcome


def answer_samples(
    engine: Engine,
    samples: Mapping[str, Sample],
    recorder: Recorder,
    *,
    params: SamplingParams,
    coordinates: Coordinates,
    decoders: Decoders,
    strict_media: bool = False,
) -> None:
    """Ask an engine about all samples, by key, that are not done, and keep it busy.

    Samples about the same media follow each other, whose frames are then decoded once. Each is drawn with a seed of its
    own id, and batches are the same whatever was done before: a run that was stopped ends like one that never was.

    Raises: EngineError: the engine does not answer at all.
    """
    size, done, ended = batch_size(engine), frozenset(recorder.done), threading.Event()
    windows = [window for window in _windows(_by_media(samples), size) if not done.issuperset(window)]
    wanted = [samples[key].media for window in windows for key in window]
    capacity = max(2 * decoders.workers, BATCHES_AT_ONCE * size)

    request_of = partial(_request, engine=engine, params=params, coordinates=coordinates, strict_media=strict_media)

    def batches(clips: Iterator[tuple[Clip, ...] | MediaError]) -> Iterator[Batch]:
        for window in windows:
            read: dict[str, Request | MediaError] = {}
            for key in window:
                if ended.is_set():
                    return
                read[key] = request = request_of(samples[key], next(clips))
                recorder.note_shown(key, request)
            for batch in _by_length(read, size, engine.budget):
                if not done.issuperset(batch):
                    yield {key: read.pop(key) for key in batch}

    with (
        closing(read_ahead(wanted, engine.budget, decoders, capacity=capacity)) as clips,
        closing(answers_of(engine, batches(clips), params, ended=ended)) as answered,
    ):
        for outcomes in answered:
            recorder.record(outcomes)


def _by_media(samples: Mapping[str, Sample]) -> list[str]:
    """Return the keys of samples in their order, but those about the same first medium behind the first of them."""
    first: dict[object, int] = {}
    index = {key: first.setdefault(sample.media[:1], len(first)) for key, sample in samples.items()}
    return sorted(samples, key=index.__getitem__)


def _windows(keys: Sequence[str], size: int) -> Iterator[list[str]]:
    """Yield what is read together: first one batch, so that the model need not wait long, then `BATCHES_AT_ONCE` at a
    time; single requests one by one.
    """
    rest = iter(keys)
    window = list(islice(rest, size))
    while window:
        yield window
        window = list(islice(rest, size if size == 1 else BATCHES_AT_ONCE * size))


def _by_length(read: Mapping[str, Request | MediaError], size: int, budget: MediaBudget) -> Iterator[Sequence[str]]:
    """Yield the keys of batches, requests of similar length together; first of all what could not be read."""
    lengths = {key: _length(request, budget) for key, request in read.items() if isinstance(request, Request)}
    if len(lengths) < len(read):
        yield [key for key in read if key not in lengths]
    keys = sorted(lengths, key=lengths.__getitem__)
    yield from (keys[first : first + size] for first in range(0, len(keys), size))


def _length(request: Request, budget: MediaBudget) -> int:
    """Return about how many tokens a request has."""
    pixels = sum(clip.frames.nbytes // 3 for clip in request.media)
    return pixels // budget.token_pixels + len(request.text) // 4


def _request(
    sample: Sample,
    media: tuple[Clip, ...] | MediaError,
    *,
    engine: Engine,
    params: SamplingParams,
    coordinates: Coordinates,
    strict_media: bool,
) -> Request | MediaError:
    """Return the request of a sample, or why there is none: its media could not be read, are of another kind than it
    asks about, or are damaged where that is an error.
    """
    if isinstance(media, MediaError):
        return media
    # The seed, 31 bits, is the sample's own, whatever else is asked in whatever order.
    digest = blake2b(f"{params.seed} {sample.id}".encode("utf-8", "surrogatepass"), digest_size=4).digest()
    try:
        if strict_media:
            check_undamaged(media, sample.media)
        seed = int.from_bytes(digest, "big") >> 1
        return request_about(sample, media, engine.prompt_template, coordinates=coordinates, seed=seed)
    except MediaError as error:
        return error


def _answer(key: str, sample: Sample, outcome: Outcome, shown: Shown) -> Answer:
    if not isinstance(outcome, Completion):
        return Answer(key, sample.id, error=str(outcome))
    tokens = outcome.prompt_tokens, outcome.completion_tokens
    return Answer(
        key,
        sample.id,
        outcome.text,
        outcome.finish_reason,
        *tokens,
        frame_px=shown.frame_px,
        media_problems=shown.problems,
    )
