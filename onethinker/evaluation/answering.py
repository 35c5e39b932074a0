"""The stage `answer`: media are read ahead, the model is asked, and what it says is in the journal before the next is
waited for.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from hashlib import blake2b
from itertools import islice
from typing import Any

from onethinker.core.errors import EngineError, MediaError
from onethinker.core.frames import Clip
from onethinker.core.request import Request, SamplingParams
from onethinker.core.sample import Sample
from onethinker.evaluation.results import Answer
from onethinker.inference.encode import request_about
from onethinker.inference.engine import Completion, ConcurrentEngine
from onethinker.inference.loading import LoadedEngine
from onethinker.media.budget import TOKEN_SIDE_PX
from onethinker.media.prefetch import Decoders, read_ahead
from onethinker.storage.jsonl_log import Log

MAX_FAILURES_IN_A_ROW = 8
"""So many requests that fail one after the other mean that the engine is gone, not that samples are bad."""
BATCHES_AT_ONCE = 2
"""Batches that are read together and sorted by length, so that short requests do not wait for long ones."""
MAX_BYTES_UNDER_WAY = 2 << 30
"""Frames that are on their way to a server take no more memory than this, plus those of one request."""
Outcome = Completion | MediaError | EngineError


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
        self._log, self._samples, self._on_progress = log, samples, on_progress
        self._failures_in_a_row = 0

    def record(self, outcomes: Mapping[str, Outcome]) -> None:
        """Return when all that is new among outcomes, by key, is on the disk. Raises: EngineError: the engine fails
        again and again.
        """
        fresh = [_answer(key, self._samples[key], outcome) for key, outcome in outcomes.items() if key not in self.done]
        self._log.append(fresh)
        self.done |= {answer.key for answer in fresh if answer.error is None}
        self.failed += [answer for answer in fresh if answer.error is not None]
        for outcome in outcomes.values():
            self._count(outcome)
        self.tell()

    def tell(self) -> None:
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
                    f"{self._failures_in_a_row} samples in a row got no answer; the last: {outcome}"
                ) from outcome


def answer_samples(
    engine: LoadedEngine,
    samples: Mapping[str, Sample],
    recorder: Recorder,
    *,
    sampling: SamplingParams,
    batch_size: int,
    decoders: Decoders,
) -> None:
    """Ask an engine about all samples, by key, that are not done.

    Samples about the same media follow each other, whose frames are then decoded once. Each is drawn with a seed of its
    own id, and batches are the same whatever was done before: a run that was stopped ends like one that never was.

    Raises: EngineError: the engine does not answer at all.
    """
    ordered = _by_media(samples)
    if isinstance(engine, ConcurrentEngine):
        _answer_each(
            engine,
            {key: sample for key, sample in ordered.items() if key not in recorder.done},
            recorder,
            sampling,
            decoders,
        )
        return
    windows = [window for window in _windows(list(ordered), batch_size) if not recorder.done.issuperset(window)]
    wanted = [samples[key].media for window in windows for key in window]
    room = max(2 * decoders.workers, BATCHES_AT_ONCE * batch_size)
    with closing(read_ahead(wanted, engine.budget, decoders, room=room)) as clips:
        for window in windows:
            requests, unread = _requests(engine, {key: samples[key] for key in window}, clips, sampling)
            if unread:
                recorder.record(unread)
            for batch in _batches(requests, batch_size):
                asked = {key: requests.pop(key) for key in batch}
                if not recorder.done.issuperset(batch):
                    recorder.record(_ask(engine, asked, sampling))
                del asked


def _answer_each(
    engine: LoadedEngine,
    samples: Mapping[str, Sample],
    recorder: Recorder,
    sampling: SamplingParams,
    decoders: Decoders,
) -> None:
    """Keep as many requests under way as the engine takes; the media of the next ones are read meanwhile."""
    assert isinstance(engine, ConcurrentEngine)
    keys = iter(samples)
    under_way: dict[Future[Completion], tuple[str, int]] = {}
    with (
        closing(read_ahead([sample.media for sample in samples.values()], engine.budget, decoders)) as clips,
        ThreadPoolExecutor(1) as reader,
        engine.asking(sampling) as send,
    ):
        upcoming: Future[tuple[Clip, ...] | MediaError | None] | None = reader.submit(next, clips, None)
        while upcoming is not None or under_way:
            full = (
                len(under_way) >= engine.max_concurrent
                or sum(size for _, size in under_way.values()) > MAX_BYTES_UNDER_WAY
            )
            awaited: list[Future[Any]] = [*under_way] if full or upcoming is None else [*under_way, upcoming]
            wait(awaited, return_when=FIRST_COMPLETED)
            for future in [future for future in under_way if future.done()]:
                recorder.record({under_way.pop(future)[0]: _outcome(future)})
            if full or upcoming is None or not upcoming.done():
                continue
            media = upcoming.result()
            upcoming = reader.submit(next, clips, None) if media is not None else None
            if media is not None:
                key = next(keys)
                request = _request(engine, samples[key], media, sampling)
                if isinstance(request, MediaError):
                    recorder.record({key: request})
                else:
                    under_way[send(request)] = key, sum(clip.frames.nbytes for clip in request.media)
                del request
            del media


def _outcome(future: Future[Completion]) -> Completion | EngineError:
    try:
        return future.result()
    except EngineError as error:
        return error


def _by_media(samples: Mapping[str, Sample]) -> dict[str, Sample]:
    """Return samples in their order, but those about the same first medium behind the first of them."""
    first: dict[object, int] = {}
    place = {key: first.setdefault(sample.media[:1], len(first)) for key, sample in samples.items()}
    return {key: samples[key] for key in sorted(samples, key=place.__getitem__)}


def _windows(keys: Sequence[str], batch_size: int) -> Iterator[list[str]]:
    """Yield what is read together: first one batch, so that the model need not wait long, then `BATCHES_AT_ONCE` at a
    time.
    """
    rest = iter(keys)
    window = list(islice(rest, batch_size))
    while window:
        yield window
        window = list(islice(rest, batch_size if batch_size == 1 else BATCHES_AT_ONCE * batch_size))


def _batches(requests: Mapping[str, Request], batch_size: int) -> list[list[str]]:
    """Return the keys of requests, those of similar length together."""
    keys = sorted(requests, key=lambda key: _length(requests[key]))
    return [keys[start : start + batch_size] for start in range(0, len(keys), batch_size)]


def _length(request: Request) -> int:
    """Return about how many tokens a request has."""
    pixels = sum(clip.frames.nbytes // 3 for clip in request.media)
    return pixels // TOKEN_SIDE_PX**2 + len(request.text) // 4


def _requests(
    engine: LoadedEngine,
    samples: Mapping[str, Sample],
    clips: Iterator[tuple[Clip, ...] | MediaError],
    sampling: SamplingParams,
) -> tuple[dict[str, Request], dict[str, Outcome]]:
    """Return the requests of samples whose media could be read, and the errors of the others."""
    requests: dict[str, Request] = {}
    unread: dict[str, Outcome] = {}
    for key, sample in samples.items():
        media = next(clips)
        request = _request(engine, sample, media, sampling)
        if isinstance(request, MediaError):
            unread[key] = request
        else:
            requests[key] = request
    return requests, unread


def _request(
    engine: LoadedEngine, sample: Sample, media: tuple[Clip, ...] | MediaError, sampling: SamplingParams
) -> Request | MediaError:
    """Return the request of a sample, or why there is none: its media could not be read, or are of another kind than it
    asks about.
    """
    if isinstance(media, MediaError):
        return media
    try:
        return request_about(sample, media, engine.wording, seed=_seed(sample, sampling))
    except MediaError as error:
        return error


def _seed(sample: Sample, sampling: SamplingParams) -> int:
    """Return the seed of a sample's answer, 31 bits: its own, whatever else is asked in whatever order."""
    digest = blake2b(f"{sampling.seed} {sample.id}".encode("utf-8", "surrogatepass"), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1


def _ask(engine: LoadedEngine, requests: Mapping[str, Request], sampling: SamplingParams) -> dict[str, Outcome]:
    """Return a reply per request, or the error that stood in its way; one bad sample does not take the batch with
    it.
    """
    try:
        return dict(zip(requests, engine.answer(list(requests.values()), sampling), strict=True))
    except EngineError as error:
        if len(requests) == 1:
            return dict.fromkeys(requests, error)
    return {
        key: outcome for key, request in requests.items() for outcome in _ask(engine, {key: request}, sampling).values()
    }


def _answer(key: str, sample: Sample, outcome: Outcome) -> Answer:
    if not isinstance(outcome, Completion):
        return Answer(key, sample.id, error=str(outcome))
    return Answer(key, sample.id, outcome.text, outcome.finish_reason, outcome.prompt_tokens, outcome.completion_tokens)
