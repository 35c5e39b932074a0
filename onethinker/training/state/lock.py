"""One process trains into a folder at a time: the lock that it holds until it ends, however it ends."""

import fcntl
import os
from pathlib import Path

from onethinker.core.errors import CheckpointError
from onethinker.storage.folders import LOCK_FILE

_held: dict[Path, int] = {}
"""The lock files, open, that this process holds until it ends; the system gives them up."""


def hold(run: Path) -> None:
    """Let no other process train into a run's folder until this one ends.

    Raises: CheckpointError: another does already. OSError: the folder cannot be written.
    """
    path = (run / LOCK_FILE).resolve()
    if path in _held:
        return
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _lock(file, run, fcntl.LOCK_EX)
    except CheckpointError:
        os.close(file)
        raise
    os.truncate(file, 0)
    os.write(file, f"{os.getpid()}\n".encode())
    _held[path] = file


def check_free(run: Path) -> None:
    """Do nothing where no other process trains into the folder. Raises: CheckpointError: one does."""
    path = (run / LOCK_FILE).resolve()
    if path in _held or not path.exists():
        return
    file = os.open(path, os.O_RDONLY)  # it may be another user's
    try:
        _lock(file, run, fcntl.LOCK_SH)
    finally:
        os.close(file)


def _lock(file: int, run: Path, kind: int) -> None:
    try:
        fcntl.lockf(file, kind | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        holder = f"process {os.read(file, 20).decode().strip() or 'unknown'}"
        raise CheckpointError(
            f"{run}: {holder} is already training in this folder; wait until it ends, or choose another folder"
        ) from error
