"""Requests that anyone submits, answered in batches by one thread."""

import threading
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

from onethinker.core.errors import EngineError
from onethinker.core.request import Request, SamplingParams
from onethinker.inference.engine import Completion, Engine

Job = tuple[Request, Future[Completion]]
GATHER_S = 0.05
GATHER_PART = 0.25
"""How long a batch waits for requests that are likely to come: those that shared the batch before it."""


@dataclass
class _Batch:
    params: SamplingParams
    jobs: list[Job]
    gathers: bool
    """Whether other single requests may join."""


@dataclass
class _Queue:
    """Batches that wait, the thread that answers them (it starts with the first), and whether nobody wants them."""

    waiting: deque[_Batch] = field(default_factory=deque)
    lock: threading.Condition = field(default_factory=threading.Condition)
    """Of all that is here; told of each request that comes."""
    last_size: int = 1
    """Single requests that shared the batch before."""
    last_s: float = 0.0
    """How long that batch took."""
    thread: ThreadPoolExecutor = field(default_factory=partial(ThreadPoolExecutor, 1, "engine"))
    closed: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class BatchedEngine(Engine):
    """An engine that answers a batch of at most `max_in_flight` requests at a time; a subclass says how.

    What is submitted together is not mixed with anything else. Single requests are gathered: those that wait when the
    model is free share a batch, if their sampling parameters are the same. Clients that ask again after each answer
    come one by one: for as many as shared the batch before, the next one waits `GATHER_S`, and at most a quarter of the
    time that the batch before took.
    """

    answers_in_batches: ClassVar[bool] = True
    _queue: _Queue = field(init=False, repr=False, compare=False, default_factory=_Queue)

    @abstractmethod
    def complete_batch(self, requests: Sequence[Request], params: SamplingParams) -> list[Completion]:
        """Return one completion per request, in order; called in the engine's own thread, for one batch at a time.

        Raises: EngineError: then each request is tried alone, so that a bad one does not take the batch with it.
        """

    @property
    def is_closed(self) -> bool:
        """Whether nobody wants any more what is being answered."""
        return self._queue.closed.is_set()

    def submit(self, request: Request, params: SamplingParams) -> Future[Completion]:
        """Return at once what will hold the completion, or the EngineError why there is none."""
        job: Job = request, Future()
        with self._queue.lock:
            last = self._queue.waiting[-1] if self._queue.waiting else None
            if last and last.gathers and last.params == params and len(last.jobs) < self.max_in_flight:
                last.jobs.append(job)
            else:
                self._enqueue(_Batch(params, [job], gathers=True))
            self._queue.lock.notify()
        return job[1]

    def submit_all(self, requests: Sequence[Request], params: SamplingParams) -> list[Future[Completion]]:
        """Return at once what will hold the completions; batches are filled in the order of the requests."""
        jobs: list[Job] = [(request, Future()) for request in requests]
        with self._queue.lock:
            for first in range(0, len(jobs), self.max_in_flight):
                self._enqueue(_Batch(params, jobs[first : first + self.max_in_flight], gathers=False))
            self._queue.lock.notify()
        return [future for _, future in jobs]

    def close(self) -> None:
        """Give up what waits and the batch in flight, and end the thread."""
        with self._queue.lock:
            self._queue.closed.set()  # under the lock: nobody takes a batch whose requests are not cancelled yet
            for batch in self._queue.waiting:
                for _, future in batch.jobs:
                    future.cancel()
            self._queue.lock.notify()
        self._queue.thread.shutdown()

    def _enqueue(self, batch: _Batch) -> None:
        if self.is_closed:
            raise EngineError(f"{self.name}: the engine has been closed")
        self._queue.waiting.append(batch)
        self._queue.thread.submit(self._answer_next)

    def _answer_next(self) -> None:
        with self._queue.lock:
            batch, size = self._queue.waiting[0], self._queue.last_size
            if batch.gathers:
                self._queue.lock.wait_for(
                    lambda: len(batch.jobs) >= size or len(self._queue.waiting) > 1 or self.is_closed,
                    min(GATHER_S, GATHER_PART * self._queue.last_s),
                )
            self._queue.waiting.popleft()
        wanted = [job for job in batch.jobs if job[1].set_running_or_notify_cancel()]
        began_s = time.monotonic()
        self._answer(wanted, batch.params)
        if batch.gathers:
            self._queue.last_size, self._queue.last_s = len(wanted), time.monotonic() - began_s

    def _answer(self, jobs: Sequence[Job], params: SamplingParams) -> None:
        if not jobs:
            return
        try:
            answered = list(zip(jobs, self.complete_batch([request for request, _ in jobs], params), strict=True))
        except BaseException as error:  # of every kind: who waits must hear of it, wherever it was raised
            if isinstance(error, EngineError) and len(jobs) > 1 and not self.is_closed:
                for job in jobs:
                    self._answer([job], params)
            else:
                for _, future in jobs:
                    future.set_exception(error)
        else:
            for (_, future), completion in answered:
                future.set_result(completion)
