"""A Python process that answers each line with a line: warm between questions, killed when it takes too long.

It writes a first line once it listens. `serve` is the loop inside such a process, for modules of the package.
"""

import contextlib
import fcntl
import json
import math
import os
import select
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from onethinker.processes.endings import end_with_parent

START_SECONDS = 60.0
READY = b'{"ready": true}\n'
_PIECE_BYTES = 1 << 16
_END_SECONDS = 5.0
"""A process whose pipes have ended is gone sooner."""


class ProcessLostError(Exception):
    """The process died before it answered; the text says how: "was killed by signal 9"."""


class NotStartedError(Exception):
    """The process left by itself, or wrote nothing, before it listened: another one would do the same."""


class TooSlowError(ProcessLostError):
    """The process did not answer in time; whatever it writes later would be taken for the next answer, so it has to be
    closed.
    """


class LineProcess:
    """One child process in a session of its own, which ends with this object; it must end by itself when its input
    closes.
    """

    def __init__(self, arguments: Sequence[str], *, environment: Mapping[str, str], quiet: bool) -> None:
        """Start `python -P` with these arguments, without waiting for it; `quiet` throws away what it writes to
        stderr.
        """
        self.command = " ".join([sys.executable, "-P", *arguments])
        self._process = subprocess.Popen(
            [sys.executable, "-P", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if quiet else None,
            env={**os.environ, **environment},
            bufsize=0,
            start_new_session=True,
        )
        self._read = b""
        self._is_ready = False
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        self._end = weakref.finalize(self, _end_process, self._process, os.getpid())

    @property
    def pid(self) -> int:
        """The process ID."""
        return self._process.pid

    def is_running(self) -> bool:
        """Return whether the process has not ended yet."""
        return self._process.poll() is None

    @property
    def ended_by(self) -> signal.Signals | None:
        """The signal that ended the process; None when it runs or left by itself."""
        status = self._process.poll()
        return signal.Signals(-status) if status is not None and status < 0 else None

    def await_ready(self) -> None:
        """Return once the process listens. Raises: ProcessLostError: it was killed meanwhile. NotStartedError."""
        if self._is_ready:
            return
        try:
            self.receive(START_SECONDS)
        except ProcessLostError as error:
            self.close()
            if self.ended_by is not None and not isinstance(error, TooSlowError):
                raise
            raise NotStartedError(f"did not start ({error}); to see why: {self.command}") from error
        self._is_ready = True

    def exchange(self, line: bytes, seconds: float = math.inf) -> bytes:
        """Return what the process answers to a line, both with their ends. Raises: ProcessLostError, TooSlowError."""
        deadline = time.monotonic() + seconds
        assert self._process.stdin is not None
        rest = memoryview(line)
        while rest:
            _await(self._process.stdin.fileno(), select.POLLOUT, deadline)
            try:
                rest = rest[os.write(self._process.stdin.fileno(), rest) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise self._lost() from None
        return self.receive(deadline - time.monotonic())

    def receive(self, seconds: float = math.inf) -> bytes:
        """Return the process's next line. Raises: ProcessLostError, TooSlowError."""
        deadline = time.monotonic() + seconds
        while (end := self._read.find(b"\n") + 1) == 0:
            piece = bytearray(_PIECE_BYTES)
            self._read += piece[: self._read_into(memoryview(piece), deadline)]
        line, self._read = self._read[:end], self._read[end:]
        return line

    def receive_into(self, buffer: memoryview) -> None:
        """Fill a buffer with what follows the last line. Raises: ProcessLostError."""
        filled = min(len(self._read), len(buffer))
        buffer[:filled], self._read = self._read[:filled], self._read[filled:]
        while filled < len(buffer):
            filled += self._read_into(buffer[filled:], math.inf)

    def widen(self, pipe_bytes: int) -> None:
        """Enlarge the pipe's buffer where the system allows it: large answers then take fewer turns."""
        if hasattr(fcntl, "F_SETPIPE_SZ") and self._process.stdout is not None:
            with contextlib.suppress(OSError):  # more than this user may have
                fcntl.fcntl(self._process.stdout.fileno(), fcntl.F_SETPIPE_SZ, pipe_bytes)

    def _read_into(self, buffer: memoryview, deadline: float) -> int:
        assert self._process.stdout is not None
        _await(self._process.stdout.fileno(), select.POLLIN, deadline)
        if not (count := os.readv(self._process.stdout.fileno(), [buffer])):
            raise self._lost()
        return count

    def _lost(self) -> ProcessLostError:
        try:
            status = self._process.wait(timeout=_END_SECONDS)
        except subprocess.TimeoutExpired:
            return ProcessLostError("closed its pipes")
        return ProcessLostError(f"was killed by signal {-status}" if status < 0 else f"exited with code {status}")

    def kill(self) -> None:
        """End the process at once; a thread that waits for its answer gets a ProcessLostError."""
        self._process.kill()

    def close(self) -> None:
        """Kill the process and wait for its end; further calls do nothing."""
        self._end()

    def disown(self) -> None:
        """Let go of a process that a fork has copied from the parent: it is the parent's to end and to wait for."""
        self._end.detach()
        _close_pipes(self._process)
        self._process.returncode = 0


def _await(descriptor: int, event: int, deadline: float) -> None:
    """Return when a pipe can be used or has been closed at its other end. Raises: TooSlowError."""
    poll = select.poll()
    poll.register(descriptor, event)
    if not poll.poll(None if deadline == math.inf else max(0.0, deadline - time.monotonic()) * 1000):
        raise TooSlowError("no answer in time")


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _end_process(process: subprocess.Popen[bytes], owner: int) -> None:
    """Kill a process and wait for it, if it is this process's child."""
    if os.getpid() == owner:
        process.kill()
        process.wait()
    _close_pipes(process)


def start_module(module: str, *, environment: Mapping[str, str] | None = None) -> LineProcess:
    """Return a process that runs a module of the package, which calls `serve`; it ends with this one."""
    package = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    return LineProcess(
        ["-m", module, str(os.getpid())], environment={**(environment or {}), "PYTHONPATH": path}, quiet=False
    )


def serve(answer: Callable[[Any], Iterable[bytes | memoryview]]) -> None:
    """Answer lines of JSON from stdin on stdout, until it closes or the process of the number in the command line ends.

    `answer` gives a line, with its end, and what may follow it.
    """
    end_with_parent(int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(BrokenPipeError), os.fdopen(os.dup(1), "wb") as replies:  # whoever asked is gone
        os.dup2(2, 1)  # nothing that a library prints may look like a reply
        replies.write(READY)
        replies.flush()
        for line in sys.stdin.buffer:
            for piece in answer(json.loads(line)):
                replies.write(piece)
            replies.flush()
