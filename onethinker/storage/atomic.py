"""What every stage does with its files: written whole or not at all, and settings compared when work is taken up
again.
"""

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, Literal

from onethinker.core.errors import ConfigError, StorageError

_PARTIAL = re.compile(r"\.(.+)\.([1-9]\d{0,8})\.partial", re.DOTALL)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Make every OSError of the block, which does nothing but write to `path`, a StorageError that names it."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        # Copying a folder raises one error of all its files: the first says enough.
        reason = error.args[0][0][2] if isinstance(error, shutil.Error) else error.strerror or str(error)
        raise StorageError(error.errno, reason, str(path)) from error


@contextmanager
def opened_atomically(path: Path) -> Iterator[BinaryIO]:
    """Yield a file to write to that takes the place of `path` when the block ends, and is gone when it raises.

    Raises: StorageError, which is also an OSError.
    """
    with writing(path):
        temporary = _temporary(path)
        try:
            with temporary.open("wb") as file:
                _lock(file.fileno(), fcntl.LOCK_EX)
                yield file
                file.flush()
                os.fsync(file.fileno())
                temporary.replace(path)  # still locked, so that no other process takes it for what one left behind
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def folder_atomically(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill that becomes `path`, which is not there or empty, when the block ends, and is gone
    when it raises. Raises: StorageError, which is also an OSError.
    """
    with writing(path):
        temporary = _temporary(path)
        try:
            temporary.mkdir(parents=True)
            with _opened(temporary) as folder:
                _lock(folder, fcntl.LOCK_EX)
                yield temporary
                temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _temporary(path: Path) -> Path:
    """Return where to write what will be `path`, once what killed processes left of it is gone."""
    for partial, pid in _partials(path.parent.absolute()).get(path.name, ()):
        if not _is_running(pid):
            with suppress(OSError), _opened(partial) as file:
                # A process on another machine, or in another container, has no number here.
                if _lock(file, fcntl.LOCK_SH):
                    remove(partial)
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


@cache
def _partials(folder: Path) -> Mapping[str, Sequence[tuple[Path, int]]]:
    """Return, by the name that it would have got, what was half-written in a folder when it was first asked about, with
    the numbers of the processes: many media are written into one folder, which is listed once.
    """
    found: dict[str, list[tuple[Path, int]]] = {}
    for path in folder.glob(".*.partial"):
        if match := _PARTIAL.fullmatch(path.name):
            found.setdefault(match[1], []).append((path, int(match[2])))
    return found


def _is_running(pid: int) -> bool:
    """Return whether another process here has this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid != os.getpid()


def _lock(file: int, kind: int) -> bool:
    """Return whether an open file or folder could be locked, until it is closed."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    file = os.open(path, os.O_RDONLY)
    try:
        yield file
    finally:
        os.close(file)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new one and nothing between.

    Raises: StorageError, which is also an OSError.
    """
    with opened_atomically(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it; nothing where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def free_name(name: str, taken: Collection[str]) -> str:
    """Return a name as it is or, where that is taken, a free one with a number behind it.

    >>> free_name("x", {"x", "x-2"})
    'x-3'
    """
    numbered = (f"{name}-{number}" for number in count(len(taken)))
    return next(one for one in numbered if one not in taken) if name in taken else name


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file's content. Raises: OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def grant_as(file: Path) -> None:
    """Give the files beside and below a file its permissions: what `open` wrote has those of the umask, what
    safetensors wrote 0600.
    """
    mode = file.stat().st_mode
    for path in file.parent.rglob("*"):
        if path.is_file() and path.stat().st_mode != mode:
            path.chmod(mode)


def check_writable(path: Path, kind: Literal["file", "folder"], *, flag: str = "") -> None:
    """Do nothing where a file or folder can be written at `path`, whose folders need not be there.

    Raises: ConfigError: names `flag`, if there is one, and the path.
    """
    named = f"{flag} {path}".lstrip()
    above = next((folder for folder in path.absolute().parents if folder.exists()), path)
    if not above.is_dir():
        raise ConfigError(f"{named}: cannot be written, because {above} is a file")
    if path.exists() and path.is_dir() != (kind == "folder"):
        raise ConfigError(f"{named}: cannot be written, because it is a {'folder' if path.is_dir() else 'file'}")
    # A file is replaced by a new one beside it.
    there = path if path.exists() and kind == "folder" else above
    for changed in (there, path) if path.exists() else (there,):
        if not os.access(changed, os.W_OK):
            raise ConfigError(f"{named}: cannot be written, because {changed} is not writable; choose another place")


def check_file(path: Path, suffixes: Collection[str], *, flag: str) -> None:
    """Do nothing where a file with one of these suffixes can be written at `path`. Raises: ConfigError."""
    if path.suffix.lower() not in suffixes:
        expected = " or ".join(suffix for suffix in suffixes if suffix)
        raise ConfigError(f"{flag} {path}: expected a name that ends in {expected}")
    check_writable(path, "file", flag=flag)


def sync_tree(folder: Path) -> None:
    """Bring every file below a folder, and the names of them all, to the disk itself."""
    for path in folder.rglob("*"):
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Bring a folder's list of names to the disk itself."""
    with _opened(folder) as file:
        os.fsync(file)


def differences(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield "name: old → new" for every setting that differs, with dotted names.

    >>> list(differences({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}}))
    ['b.c: 2 → 3']
    """
    for key in {**before, **after}:
        old, new = before.get(key), after.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from differences(old, new, f"{prefix}{key}.")
        elif old != new:
            yield f"{prefix}{key}: {old!r} → {new!r}"
