"""A process of our own for math-verify: warm between calls, limited in memory and time, killed and replaced when it hangs."""

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
import weakref
from functools import partial
from pathlib import Path
from typing import Any

from onethinker.errors import ConfigError

SECONDS = 4.0
"""With the second that a fresh process takes to start, a verdict comes within 6 s."""
MEMORY_BYTES = 2 * 1024**3
START_SECONDS = 60.0
REMEMBERED = 256
"""Verdicts kept, so that a pair asked about twice (reward, then metrics) costs its time once."""
WORKER = Path(__file__).with_name("math_worker.py")


Verdict = tuple[bool, str | None]
"""Whether two texts are equal, and why they could not be compared if they could not."""


class WorkerLostError(Exception):
    """The worker died or ran out of time; the text says which."""


class MathSandbox:
    """Compares two mathematical texts in a separate process; usable from any thread and from any (daemonic) process."""

    def __init__(self, *, seconds: float = SECONDS, memory_bytes: int = MEMORY_BYTES) -> None:
        """Set the limits of one comparison; the process starts at the first one."""
        self.seconds = seconds
        self.memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._worker: subprocess.Popen[bytes] | None = None
        self._is_ready = False
        self._owner = os.getpid()
        self._verdicts: dict[tuple[str, str], Verdict] = {}
        self._end: weakref.finalize[..., Any] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the limits alone: a copy, here or in another process, starts a process of its own."""
        return partial(MathSandbox, seconds=self.seconds, memory_bytes=self.memory_bytes), ()

    def compare(self, truth: str, answer: str) -> Verdict:
        """Return whether the texts are equal, and why they could not be compared if they could not.

        Takes at most `seconds` once the process runs; a process that is lost is replaced, and warms up in the background.
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
            reply = self._exchange(worker, [truth, answer])
        except WorkerLostError as error:
            self._stop()
            self._spawn()
            return False, str(error)
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
        inherited, self._worker, self._end = self._worker, None, None
        self._lock, self._owner, self._is_ready = threading.Lock(), os.getpid(), False
        if inherited is not None:
            _close_pipes(inherited)
            inherited.returncode = 0  # it is the parent's to wait for

    def _find_worker(self) -> subprocess.Popen[bytes]:
        """Return a process that listens; one that died while idle is replaced first."""
        if self._worker is not None and self._worker.poll() is not None:
            self._stop()
        worker = self._worker or self._spawn()
        if not self._is_ready:
            try:
                _receive(worker, START_SECONDS)
            except WorkerLostError as error:
                self._stop()
                command = f"{sys.executable} -P {WORKER} {self.memory_bytes} {self.seconds:g}"
                raise ConfigError(f"math-verify's process did not start ({error}); to see why: {command}") from error
            self._is_ready = True
        return worker

    def _spawn(self) -> subprocess.Popen[bytes]:
        # numpy under a memory limit must not reserve space for a thread per core.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._worker = subprocess.Popen(
            [sys.executable, "-P", str(WORKER), str(self.memory_bytes), str(self.seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            bufsize=0,
            start_new_session=True,
        )
        self._end = weakref.finalize(self, _end_process, self._worker, os.getpid())
        return self._worker

    def _exchange(self, worker: subprocess.Popen[bytes], pair: list[str]) -> dict[str, Any]:
        assert worker.stdin is not None
        try:
            worker.stdin.write(json.dumps(pair).encode() + b"\n")
        except BrokenPipeError:
            raise WorkerLostError("the process that compares mathematics died") from None
        return _receive(worker, self.seconds)

    def _stop(self) -> None:
        if self._end is not None:
            self._end()
        self._worker, self._end, self._is_ready = None, None, False


def _receive(worker: subprocess.Popen[bytes], seconds: float) -> dict[str, Any]:
    """Return the worker's next line. Raises: WorkerLostError when none comes in time or ever."""
    assert worker.stdout is not None
    poll = select.poll()
    poll.register(worker.stdout, select.POLLIN)
    deadline = time.monotonic() + seconds
    line = b""
    while not line.endswith(b"\n"):
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise WorkerLostError(f"too hard to compare: no verdict within {seconds:g} s")
        piece = worker.stdout.read(65536)
        if not piece:
            raise WorkerLostError("too hard to compare: the process ran out of memory or stack")
        line += piece
    reply: dict[str, Any] = json.loads(line)
    return reply


def _close_pipes(worker: subprocess.Popen[bytes]) -> None:
    for pipe in (worker.stdin, worker.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _end_process(worker: subprocess.Popen[bytes], owner: int) -> None:
    """Kill a worker and wait for it, if this process started it."""
    if os.getpid() == owner:
        worker.kill()
        worker.wait()
    _close_pipes(worker)
