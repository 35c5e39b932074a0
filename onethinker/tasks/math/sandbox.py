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
from onethinker.processes.line_process import LineProcess, NotStartedError, ProcessLostError, TooSlowError
from onethinker.processes.pool import TRIES, Pool
from onethinker.storage.strict_json import json_line

PROCESSOR_SECONDS = 1.25
"""An ordinary pair takes milliseconds, an infinite sum and its value half of this. Processor time, so that a busy
machine turns no right answer into a wrong one."""
SECONDS = 4.0
"""By the clock, where the processor is elsewhere. With the second that a fresh process takes to start, a verdict comes
within 6 s.
"""
MEMORY_BYTES = 2 * 1024**3
REMEMBERED = 256
"""Verdicts kept, so that a pair asked about twice (reward, then metrics) costs its time once."""
WORKER = Path(__file__).with_name("worker.py")


Verdict = tuple[bool, str | None]
"""Whether two texts are equal, and why they could not be compared if they could not."""


class _TooHardError(Exception):
    """A pair took too long, or too much memory."""


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
        self._pool = self._new_pool()
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
        for tries_left in reversed(range(TRIES)):
            try:
                with self._pool.lease() as worker:
                    return self._exchange(worker, truth, answer)
            except NotStartedError as error:
                raise ConfigError(f"math-verify's process {error}") from error
            except _TooHardError as error:
                self._pool.warm_up()
                return False, f"too hard to compare: {error}"
            except ProcessLostError as error:
                if not tries_left:
                    raise ConfigError(f"math-verify's process {error} before it listened, {TRIES} times") from error
        raise AssertionError("unreachable")

    def _exchange(self, worker: LineProcess, truth: str, answer: str) -> Verdict:
        try:
            reply: dict[str, Any] = json.loads(worker.exchange(json_line([truth, answer]), self.seconds))
        except TooSlowError:
            raise _TooHardError(f"no verdict within {self.seconds:g} s") from None
        except ProcessLostError:
            if worker.ended_by == signal.SIGPROF:
                raise _TooHardError(f"no verdict within {self.processor_seconds:g} s of the processor") from None
            raise _TooHardError("the process ran out of memory or stack") from None
        return bool(reply["equal"]), reply.get("problem")

    @property
    def pids(self) -> list[int]:
        """The process, once it has been started."""
        return self._pool.pids

    def close(self) -> None:
        """End the process, if one runs; a later comparison starts another."""
        with self._lock:
            if os.getpid() == self._owner:
                self._pool.close()
                self._pool = self._new_pool()

    def _forget(self) -> None:
        """Drop what a fork has copied from the parent: its process, its pipes and a lock that may be held for ever."""
        self._pool.disown()
        self._pool, self._lock, self._owner = self._new_pool(), threading.Lock(), os.getpid()

    def _new_pool(self) -> Pool:
        # numpy under a memory limit must not reserve space for a thread per core.
        environment = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        limits = [str(self.memory_bytes), f"{self.seconds:g}", f"{self.processor_seconds:g}"]
        return Pool(1, partial(LineProcess, [str(WORKER), *limits], environment=environment, quiet=True))
