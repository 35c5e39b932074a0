"""Keeps an engine busy: what comes next is read while what came before is answered."""

import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from onethinker.core.errors import EngineError, MediaError
from onethinker.core.request import Request, SamplingParams
from onethinker.inference.engine import Completion, Engine

MAX_BYTES_IN_FLIGHT = 2 << 30
"""Frames of requests in flight take no more memory than this, plus those of one batch."""
Outcome = Completion | MediaError | EngineError
Batch = Mapping[str, Request | MediaError]
"""Requests that are submitted together, by their keys; an error in place of what could not be read."""


def batch_size(engine: Engine) -> int:
    """Return how many requests should be submitted together, so that the same ones are answered the same again."""
    return engine.max_in_flight if engine.answers_in_batches else 1


def answers_of(
    engine: Engine, batches: Iterator[Batch], params: SamplingParams, *, ended: threading.Event
) -> Generator[dict[str, Outcome], None, None]:
    """Yield the outcomes of each batch when all of it has been answered, with as many requests in flight as the engine
    takes.

    `batches`, each of at most `batch_size` requests, are prefetched, one at a time, in a thread of their own. Closing
    the iterator cancels what is in flight, and sets `ended`, upon which `batches` should end as well.
    """
    size, in_flight = batch_size(engine), list[_Submitted]()
    with ThreadPoolExecutor(1, "reading") as reader:
        try:
            upcoming: Future[Batch | None] | None = reader.submit(next, batches, None)
            while upcoming is not None or in_flight:
                has_capacity = _has_capacity(engine, in_flight, size)
                _wait_for_any(in_flight, upcoming if has_capacity else None)
                for batch in [batch for batch in in_flight if batch.unanswered() is None]:
                    in_flight.remove(batch)
                    yield batch.outcomes()
                if has_capacity and upcoming is not None and upcoming.done():
                    read = upcoming.result()
                    upcoming = reader.submit(next, batches, None) if read is not None else None
                    if read is not None:
                        in_flight.append(_Submitted(engine, read, params))
                    del read
        finally:
            ended.set()
            for batch in in_flight:
                batch.cancel()


class _Submitted:
    """A batch in flight."""

    def __init__(self, engine: Engine, batch: Batch, params: SamplingParams) -> None:
        requests = {key: request for key, request in batch.items() if isinstance(request, Request)}
        self.futures = dict(zip(requests, engine.submit_all(list(requests.values()), params), strict=True))
        self.nbytes = sum(clip.frames.nbytes for request in requests.values() for clip in request.media)
        for key, error in batch.items():
            if isinstance(error, MediaError):
                self.futures[key] = Future()
                self.futures[key].set_exception(error)

    def unanswered(self) -> Future[Any] | None:
        """Return a request that has not been answered yet; None when all are."""
        return next((future for future in self.futures.values() if not future.done()), None)

    def cancel(self) -> None:
        for future in self.futures.values():
            future.cancel()

    def outcomes(self) -> dict[str, Outcome]:
        return {key: _outcome(future) for key, future in self.futures.items()}


def _has_capacity(engine: Engine, in_flight: Sequence[_Submitted], size: int) -> bool:
    """Return whether one more batch may be submitted."""
    return (
        sum(len(batch.futures) for batch in in_flight) + size <= engine.max_in_flight
        and sum(batch.nbytes for batch in in_flight) <= MAX_BYTES_IN_FLIGHT
    )


def _wait_for_any(in_flight: Sequence[_Submitted], upcoming: Future[Any] | None) -> None:
    """Return once a batch may have been answered, or the upcoming one has been read; at once where one is answered."""
    unanswered = [batch.unanswered() for batch in in_flight]
    if None not in unanswered:
        wait(filter(None, [*unanswered, upcoming]), return_when=FIRST_COMPLETED)


def _outcome(future: Future[Completion]) -> Outcome:
    try:
        return future.result()
    except (EngineError, MediaError) as error:
        return error
