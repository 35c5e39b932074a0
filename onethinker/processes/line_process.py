"""A Python process that answers each line with a line: warm between questions, killed when it takes too long."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping, Sequence


class ProcessLostError(Exception):
    """The process died before it answered."""


class TooSlowError(ProcessLostError):
    """The process did not answer in time; whatever it says later would be taken for the next answer, so it has to be
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
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        self._end = weakref.finalize(self, _end_process, self._process, os.getpid())

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def is_running(self) -> bool:
        """Return whether the process has not ended yet."""
        return self._process.poll() is None

    @property
    def ended_by(self) -> signal.Signals | None:
        """The signal that ended the process; None when it runs or left by itself."""
        status = self._process.poll()
        return signal.Signals(-status) if status is not None and status < 0 else None

    def exchange(self, line: bytes, seconds: float) -> bytes:
        """Return what the process answers to a line. Raises: ProcessLostError, TooSlowError."""
        deadline = time.monotonic() + seconds
        assert self._process.stdin is not None
        rest = memoryview(line + b"\n")
        while rest:
            _await(self._process.stdin.fileno(), select.POLLOUT, deadline)
            try:
                rest = rest[os.write(self._process.stdin.fileno(), rest) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise ProcessLostError(f"process {self.pid} died") from None
        return self.receive(deadline - time.monotonic())

    def receive(self, seconds: float) -> bytes:
        """Return the process's next line. Raises: ProcessLostError, TooSlowError."""
        deadline = time.monotonic() + seconds
        assert self._process.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            _await(self._process.stdout.fileno(), select.POLLIN, deadline)
            piece = os.read(self._process.stdout.fileno(), 65536)
            if not piece:
                raise ProcessLostError(f"process {self.pid} died")
            line += piece
        return line

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
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
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
