"""Media that are no file of their own: a folder of frames, a picture inside a table, and a file held in memory; none is
decoded before it is needed.
"""

import ast
import base64
import binascii
import csv
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from onethinker.core.errors import MediaError

REFERENCE_CHARS = 64
"""A picture column with at most so many characters names the row whose picture is meant. Source: VLMEvalKit."""
csv.field_size_limit(sys.maxsize)


@dataclass(frozen=True)
class FrameFolder:
    """A video that is a folder of pictures, `names` in the order in which they are shown, `fps` of them a second."""

    folder: Path
    names: tuple[str, ...]
    fps: float

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.folder.name

    @property
    def times_s(self) -> tuple[float, ...]:
        """When each frame is shown."""
        return tuple(index / self.fps for index in range(len(self.names)))

    @property
    def duration_s(self) -> float:
        """Until the last frame has been shown."""
        return len(self.names) / self.fps


@dataclass(frozen=True)
class TimedFrames:
    """A video that is a folder of pictures, each shown at a second of its own."""

    folder: Path
    names: tuple[str, ...]
    times_s: tuple[float, ...]
    duration_s: float

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.folder.name


@dataclass(frozen=True)
class TablePicture:
    """A picture in base64 in a tab-separated table: byte range of its record, column, and index among the column's
    pictures.
    """

    table: Path
    offset: int
    length: int
    column: int
    index: int = 0

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.table.name}@{self.offset}"

    def read(self) -> bytes:
        """Return the picture file. Raises: MediaError: the table has changed, or this is no base64."""
        try:
            with self.table.open("rb") as file:
                file.seek(self.offset)
                record = file.read(self.length).decode("utf-8-sig")
            [fields] = csv.reader([record], delimiter="\t")
            return base64.b64decode(picture_texts(fields[self.column])[self.index], validate=True)
        except OSError as error:
            raise MediaError(f"{self.table}: cannot be read: {error.strerror or error}") from error
        except (ValueError, IndexError, csv.Error) as error:
            raise MediaError(
                f"{self.table}, byte {self.offset}: column {self.column + 1} is not a base64 picture: {error}"
            ) from error


@dataclass(frozen=True)
class VideoPart:
    """What lies between two seconds of a video file; its clip begins at 0 s. Without an end it goes to the last
    frame.
    """

    path: Path
    start_s: float
    end_s: float | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.path.name

    def __str__(self) -> str:
        """Return the file and the seconds."""
        end = "the end" if self.end_s is None else f"{self.end_s:g} s"
        return f"{self.path}, {self.start_s:g} s to {end}"


FileMedium = Path | VideoPart
"""A file, or a part of a video file."""


def home_path(word: str) -> Path:
    """Return the path that a person's word means: `~` at its start is a home folder, where there is such a one.

    >>> home_path("~5 balls?.png").name
    '~5 balls?.png'
    """
    return Path(os.path.expanduser(word))  # noqa: PTH111 (Path.expanduser raises where there is no such user)


def path_of(medium: object) -> Path | None:
    """Return the file that a medium is, or is a part of; None for any other medium."""
    return medium.path if isinstance(medium, VideoPart) else medium if isinstance(medium, Path) else None


def picture_texts(field: str) -> list[str]:
    """Return the base64 of every picture in a field: one, or a list of them as Python or JSON writes it.

    >>> picture_texts("aGk="), picture_texts("['aGk=', 'aG8=']")
    (['aGk='], ['aGk=', 'aG8='])

    Raises: ValueError: a list that is none.
    """
    if not field.startswith("["):
        return [field]
    try:
        texts = ast.literal_eval(field)
    except (SyntaxError, MemoryError, RecursionError, binascii.Error) as error:
        raise ValueError(f"not a list of texts: {error}") from error
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError("not a list of texts")
    return texts


@dataclass(frozen=True)
class MemoryFile:
    """The bytes of a picture or video file, and what messages call it."""

    content: bytes = field(repr=False)
    name: str = "file in memory"

    def read(self) -> bytes:
        """Return the file."""
        return self.content


Source = FrameFolder | TimedFrames | TablePicture | MemoryFile | VideoPart
