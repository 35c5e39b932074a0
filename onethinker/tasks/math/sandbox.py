"""A process of our own for math-verify: warm between calls, limited in memory and time, killed and replaced when it
hangs.
"""

import json
import os
import signal
import threading
from functools import partial
from pathlib import Path
from typing import Any

from onethinker.core.errors import ConfigError
from onethinker.processes.line_process import LineProcess, ProcessLostError, TooSlowError
from onethinker.storage.strict_json import to_json

PROCESSOR_SECONDS = 1.25
"""An ordinary pair takes milliseconds, an infinite sum and its value half of this. Processor time, so that a busy
machine turns no right answer into a wrong one."""
SECONDS = 4.0
"""By the clock, where the processor is elsewhere. With the second that a fresh process takes to start, a verdict comes
within 6 s.
"""
MEMORY_BYTES = 2 * 1024**3
START_SECONDS = 60.0
TRIES = 3
"""So often a process is started that is killed before it listens."""
REMEMBERED = 256
"""Verdicts kept, so that a pair asked about twice (reward, then metrics) costs its time once."""
WORKER = Path(__file__).with_name("worker.py")


Verdict = tuple[bool, str | None]
"""Whether two texts are equal, and why they could not be compared if they could not."""


class MathSandbox:
    """Compares two mathematical texts in a separate process; usable from any thread and from any (daemonic) process."""

    def __init__(
        self,
        *,
        seconds: float = SECONDS,
        processor_seconds: float = PROCESSOR_SECONDS,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        """Set the limits of one comparison; the process starts at the first one."""
        self.seconds = seconds
        self.processor_seconds = processor_seconds
        self.memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._worker: LineProcess | None = None
        self._is_ready = False
        self._owner = os.getpid()
        self._verdicts: dict[tuple[str, str], Verdict] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the limits alone: a copy, here or in another process, starts a process of its own."""
        return (
            partial(
                MathSandbox,
                seconds=self.seconds,
                processor_seconds=self.processor_seconds,
                memory_bytes=self.memory_bytes,
            ),
            (),
        )

    def compare(self, truth: str, answer: str) -> Verdict:
        """Return whether the texts are equal, and why they could not be compared if they could not.

        Takes at most `processor_seconds` of the processor and `seconds` by the clock once the process runs; a process
        that is lost is replaced, and warms up in the background.

        Raises: ConfigError when the process cannot be started at all.
        """
        if os.getpid() != self._owner:
            self._forget()
        with self._lock:
            if (truth, answer) not in self._verdicts:
                if len(self._verdicts) >= REMEMBERED:
                    del self._verdicts[next(iter(self._verdicts))]
                self._verdicts[truth, answer] = self._ask(truth, answer)
            return self._verdicts[truth, answer]

    def _ask(self, truth: str, answer: str) -> Verdict:
        worker = self._find_worker()
        try:
            reply: dict[str, Any] = json.loads(worker.exchange(to_json([truth, answer]).encode(), self.seconds))
        except ProcessLostError as error:
            self._stop()
            self._spawn()
            if isinstance(error, TooSlowError):
                reason = f"no verdict within {self.seconds:g} s"
            elif worker.ended_by == signal.SIGPROF:
                reason = f"no verdict within {self.processor_seconds:g} s of the processor"
            else:
                reason = "the process ran out of memory or stack"
            return False, f"too hard to compare: {reason}"
        except BaseException:
            self._stop()  # its verdict may still come and must not be read as the next one's
            raise
        return bool(reply["equal"]), reply.get("problem")

    def close(self) -> None:
        """End the process, if one runs; a later comparison starts another."""
        with self._lock:
            if os.getpid() == self._owner:
                self._stop()

    def _forget(self) -> None:
        """Drop what a fork has copied from the parent: its process, its pipes and a lock that may be held for ever."""
        inherited, self._worker = self._worker, None
        self._lock, self._owner, self._is_ready = threading.Lock(), os.getpid(), False
        if inherited is not None:
            inherited.disown()

    def _find_worker(self) -> LineProcess:
        """Return a process that listens; one that died while idle is replaced first."""
        if self._worker is not None and not self._worker.is_running():
            self._stop()
        for tries_left in reversed(range(TRIES)):
            worker = self._worker or self._spawn()
            if self._is_ready:
                break
            try:
                worker.receive(START_SECONDS)
                self._is_ready = True
            except ProcessLostError as error:
                self._stop()
                is_killed = worker.ended_by is not None and not isinstance(error, TooSlowError)
                if not (is_killed and tries_left):
                    raise ConfigError(
                        f"math-verify's process did not start ({error}); to see why: {worker.command}"
                    ) from error
        return worker

    def _spawn(self) -> LineProcess:
        # numpy under a memory limit must not reserve space for a thread per core.
        environment = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        limits = [str(self.memory_bytes), f"{self.seconds:g}", f"{self.processor_seconds:g}"]
        self._worker = LineProcess([str(WORKER), *limits], environment=environment, quiet=True)
        return self._worker

    def _stop(self) -> None:
        if self._worker is not None:
            self._worker.close()
        self._worker, self._is_ready = None, False
