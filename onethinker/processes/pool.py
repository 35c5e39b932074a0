"""Processes that answer one question each at a time; the next question replaces one that died or took too long."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from onethinker.processes.line_process import LineProcess, ProcessLostError

TRIES = 3
"""So often a question is put whose process is killed; what kills three of them is not tried again."""


class Pool:
    """At most `count` processes, started when there is a question for them; usable from any thread."""

    def __init__(self, count: int, start: Callable[[], LineProcess]) -> None:
        """Set how many there may be and how one is started."""
        self._count, self._start = count, start
        self._free = threading.Semaphore(count)
        self._lock = threading.Lock()
        self._running: list[LineProcess] = []
        self._idle: list[LineProcess] = []
        self._is_closed = False

    @property
    def pids(self) -> list[int]:
        """The processes that have been started."""
        return [process.pid for process in self._running]

    @property
    def is_closed(self) -> bool:
        """Whether nobody waits for answers any more."""
        return self._is_closed

    def warm_up(self) -> None:
        """Start all processes now, without waiting for them: they load what they need while something else is done."""
        with self._lock:
            while len(self._running) < self._count:
                self._idle.append(self._new())

    @contextmanager
    def lease(self) -> Iterator[LineProcess]:
        """Yield a process that listens, for one question; where the block raises, it is ended.

        Raises: ProcessLostError: it was killed while it started, or the pool is closed. NotStartedError: it left by
        itself.
        """
        with self._free:
            process = self._take()
            try:
                process.await_ready()
                yield process
            except BaseException:
                # Its answer may still come and must not be read as the next one's.
                with self._lock:
                    self._drop(process)
                raise
            with self._lock:
                self._idle.append(process)

    def kill(self) -> None:
        """End all processes at once, without waiting; threads that wait for an answer get a ProcessLostError."""
        with self._lock:
            self._is_closed = True
            for process in self._running:
                process.kill()

    def close(self) -> None:
        """End all processes and wait for that; nothing may be reading from them."""
        self.kill()
        for process in self._running:
            process.close()

    def disown(self) -> None:
        """Let go of processes that a fork has copied from the parent."""
        for process in self._running:
            process.disown()

    def _take(self) -> LineProcess:
        with self._lock:
            while self._idle:
                process = self._idle.pop()  # the one that was used last is warm
                if process.is_running():
                    return process
                self._drop(process)
            return self._new()

    def _new(self) -> LineProcess:
        if self._is_closed:
            raise ProcessLostError("was not started, because nobody waits for its answer any more")
        self._running.append(self._start())
        return self._running[-1]

    def _drop(self, process: LineProcess) -> None:
        process.close()
        self._running.remove(process)
