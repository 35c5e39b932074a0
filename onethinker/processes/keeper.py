"""`python -P …/processes/keeper.py PARENT COMMAND …`: a program that is not ours, and that ends with us.

It ends, with all processes that it has started, when the keeper gets SIGTERM and when the process PARENT has ended,
however that one did. The keeper leaves with the program's status. It is run by its file and imports nothing of ours, so
that the program gets the environment as it is.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

LOOK_EVERY_S = 0.2
LAST_LINES = 15
END_SECONDS = 3.0
"""How long the program may take to end in order; a command that is asked to end has 8 s."""


def start(
    command: Sequence[str], log: Path, *, folder: str | None = None, environment: Mapping[str, str] | None = None
) -> "subprocess.Popen[bytes]":
    """Return the keeper of a program, whose output goes to the end of a log."""
    with log.open("ab") as file:
        return subprocess.Popen(
            # By its file: the packages of this environment must not be on the path of a program with its own.
            [sys.executable, "-P", __file__, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )


def last_words(log: Path) -> str:
    """Return the last lines of what a program has said."""
    return "\n".join(log.read_text("utf-8", errors="replace").splitlines()[-LAST_LINES:])


def keep(parent: int, command: list[str]) -> int:
    """Return the status of a program that has ended by itself, or has been ended."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    for signum in (signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)  # a terminal sends them to all: the parent decides
    program = subprocess.Popen(command, start_new_session=True)
    try:
        while program.poll() is None and not ended.is_set() and os.getppid() == parent:
            time.sleep(LOOK_EVERY_S)
    finally:
        _end(program)
    return program.returncode


def _end(program: subprocess.Popen[bytes]) -> None:
    """End a program and all of its process group."""
    if program.poll() is None:
        os.killpg(program.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            program.wait(END_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(program.pid, signal.SIGKILL)
    program.wait()


if __name__ == "__main__":
    sys.exit(keep(int(sys.argv[1]), sys.argv[2:]))
