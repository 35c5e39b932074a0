"""The one log of everything that only grows: a record is a line of JSON, on the disk before the next one is made.

A kill can cut the last line short. That is no record: readers leave it out, and the next writer removes it.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import Any, Generic, TypeVar

from onethinker.core.errors import CheckpointError
from onethinker.storage.atomic import write_atomically, writing
from onethinker.storage.strict_json import json_line

T = TypeVar("T")
_BLOCK_BYTES = 1 << 16


@dataclass(frozen=True)
class Log:
    """A log that is open to append, locked against every other process."""

    file: FileIO

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been written yet."""
        return os.fstat(self.file.fileno()).st_size == 0

    def append(self, records: Iterable[Any]) -> None:
        """Write records, dictionaries or dataclasses, and return when they are on the disk. Raises: StorageError."""
        with writing(Path(str(self.file.name))):
            rest = memoryview(_lines(records))
            while rest:
                rest = rest[self.file.write(rest) :]
            os.fsync(self.file.fileno())


@contextmanager
def open_log(path: Path) -> Iterator[Log]:
    """Yield a log to append to, which is made where there is none; until the block ends no other process can open it.

    Raises: CheckpointError: another process has it open. StorageError: it cannot be written to.
    """
    with _opened(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CheckpointError(
                f"{path}: another process is using this folder; wait until it ends, or choose another --output"
            ) from error
        _cut_torn_line(file)
        yield Log(file)


def append_to_log(path: Path, records: Iterable[Any]) -> None:
    """Append records to a log that nobody keeps open, and return when they are on the disk. Raises: StorageError."""
    with _opened(path) as file:
        with writing(path):
            fcntl.flock(file, fcntl.LOCK_EX)
        _cut_torn_line(file)
        Log(file).append(records)


def write_log(path: Path, records: Iterable[Any]) -> None:
    """Write a log anew, whole or not at all. Raises: StorageError."""
    write_atomically(path, _lines(records))


@dataclass
class LogReader(Generic[T]):
    """Reads a log that may still grow, or be written anew and grow again; each reading begins where the last stopped.

    `make` turns the fields of a line into a record.
    """

    path: Path
    make: Callable[[dict[str, Any]], T]
    offset: int = 0
    lines: int = 0
    inode: int = 0

    def read_new(self) -> list[T]:
        """Return the records since the last call, all of them where the log was cut or replaced; [] without a file.

        Raises: CheckpointError: the log cannot be read, or a whole line is no record.
        """
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self.inode or status.st_size < self.offset:
                    self.offset, self.lines, self.inode = 0, 0, status.st_ino
                file.seek(self.offset)
                content = file.read()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise CheckpointError(f"{self.path}: cannot be read: {error.strerror}") from error
        records = []
        for line in content.split(b"\n")[:-1]:
            self.offset, self.lines = self.offset + len(line) + 1, self.lines + 1
            try:
                records.append(self.make(json.loads(line)))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise CheckpointError(
                    f"{self.path}, line {self.lines}: damaged, or not written by this version: {error}"
                ) from error
        return records


def read_log(path: Path, make: Callable[[dict[str, Any]], T]) -> list[T]:
    """Return what `make` makes of every whole line of a log; [] without a file. Raises: CheckpointError."""
    return LogReader(path, make).read_new()


@contextmanager
def _opened(path: Path) -> Iterator[FileIO]:
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b", buffering=0)  # what could not be written is not tried again when it is closed
    with file:
        yield file


def _cut_torn_line(file: FileIO) -> None:
    """Remove what a kill left of a last line, so that the next one does not go on where it ends."""
    size = end = file.seek(0, os.SEEK_END)
    newline = -1
    while newline < 0 and end:
        start = max(0, end - _BLOCK_BYTES)
        file.seek(start)
        newline = start + found if (found := file.read(end - start).rfind(b"\n")) >= 0 else -1
        end = start
    if newline + 1 < size:
        file.truncate(newline + 1)


def _lines(records: Iterable[Any]) -> bytes:
    return b"".join(json_line(record if isinstance(record, Mapping) else asdict(record)) for record in records)
