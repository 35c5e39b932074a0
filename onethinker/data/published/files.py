"""What all readers share: JSON and text files with errors that name them, and looking a field up."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from onethinker.core.errors import DataError
from onethinker.core.grammar import show
from onethinker.core.suffixes import VIDEO_SUFFIXES

T = TypeVar("T")
Bad = Callable[[DataError], None]
"""What a reader does about a record that cannot be used: it goes on with the next one when this returns."""


class ReadOtherwise(DataError):  # noqa: N818 (nothing is raised but by `refuse`)
    """A record that is used, though something in it is odd: what that is, and what is read in its place."""


def refuse(error: DataError) -> None:
    """Raise the error: one odd record ends the reading."""
    raise error


def load_json(path: Path) -> Any:
    """Return the value in a JSON file. Raises: DataError."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON: {error}") from error


def load_lines(path: Path) -> list[str]:
    """Return the lines of a text file, without their ends. Raises: DataError."""
    try:
        return path.read_text("utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8: {error}") from error


def field(record: object, name: str, kind: type[T], where: str) -> T:
    """Return a field of a record, of the type that it must have. Raises: DataError: names the place and the field."""
    value = record.get(name) if isinstance(record, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise DataError(
            f"{where}: {name!r} must be of type {kind.__name__}, got"
            f" {show(value if isinstance(record, dict) else record)}"
        )
    return value


def number_field(record: object, name: str, where: str) -> float:
    """Return a field of a record that is a number. Raises: DataError: names the place and the field."""
    value = record.get(name) if isinstance(record, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(
            f"{where}: {name!r} must be a number, got {show(value if isinstance(record, dict) else record)}"
        )
    return float(value)


def find_video(folder: Path, name: str) -> Path:
    """Return the file of a video that is known by its bare name: the first that is there, ".mp4" where none is."""
    paths = [folder / f"{name}{suffix}" for suffix in VIDEO_SUFFIXES]
    return next((path for path in paths if path.is_file()), paths[0])


def find_folder(root: Path, *names: str) -> Path:
    """Return the first of some folders below a root that is there, the first of all where none is."""
    return next((root / name for name in names if (root / name).is_dir()), root / names[0])
