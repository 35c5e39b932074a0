"""What `onethinker ask` is given, as questions: files, folders, patterns, addresses, standard input, and words."""

import glob
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onethinker.core.addresses import is_address
from onethinker.core.errors import ConfigError, DataError, MediaError
from onethinker.core.sample import Medium
from onethinker.core.sources import MemoryFile, VideoPart, home_path, path_of
from onethinker.core.suffixes import PICTURE_SUFFIXES, VIDEO_SUFFIXES
from onethinker.inference.question import Question

MEDIA_SUFFIXES = (*PICTURE_SUFFIXES, ".gif", *VIDEO_SUFFIXES)
"""What a folder is searched for."""
FIELDS = ("id", "question", "media", "task", "box", "options", "earlier", "from", "to")
"""Fields of a row of a file of questions; all but the question may be missing."""


@dataclass(frozen=True)
class Item:
    """One question, its media, and the id of its line of output."""

    question: Question
    media: tuple[Medium, ...]
    id: str | None = None

    @property
    def names(self) -> list[str]:
        """The files that its media are, or what they are called where they are none."""
        return [str(path_of(medium) or medium.name) for medium in self.media]

    @property
    def clips(self) -> list[list[float | None] | None]:
        """The part of each video that is meant, as records have it; [] where all are whole."""
        videos = [medium for medium in self.media if Path(medium.name).suffix.lower() not in PICTURE_SUFFIXES]
        parts = [[one.start_s, one.end_s] if isinstance(one, VideoPart) else None for one in videos]
        return parts if any(parts) else []


@dataclass(frozen=True)
class Opening:
    """How words become media: the part of a video that is meant, and which addresses may be opened."""

    part: tuple[float | None, float | None] = (None, None)
    allow_remote: bool = False
    allow_private: bool = False

    def open(self, word: str) -> tuple[list[Medium], bool]:
        """Return the media that a word means, and whether it may mean several: a folder or a pattern.

        Raises: MediaError: nothing is there, or an address that may not be opened.
        """
        if word == "-":
            return [_standard_input()], False
        if is_address(word):
            if not self.allow_remote:
                raise MediaError(f"{word}: an address is opened only with --allow-remote")
            from onethinker.media.remote import fetch

            return [fetch(word, allow_private=self.allow_private)], False
        path = home_path(word)
        if path.is_dir():
            return [self._part(each) for each in _in_folder(path)], True
        if not path.exists() and glob.has_magic(word):
            matches = glob.glob(str(path), recursive=True)  # noqa: PTH207 (Path.glob takes no absolute pattern)
            found = sorted(Path(each) for each in matches if Path(each).is_file())
            if not found:
                raise MediaError(f"{word}: no file matches this pattern")
            return [self._part(each) for each in found], True
        return [self._part(path)], False

    def _part(self, path: Path) -> Medium:
        start_s, end_s = self.part
        return path if self.part == (None, None) else VideoPart(path, start_s or 0.0, end_s)


def is_media(word: str) -> bool:
    """Return whether a word on the command line is a medium and not a question."""
    if word == "-" or is_address(word):
        return True
    path = home_path(word)
    try:
        return path.exists() or (path.suffix.lower() in MEDIA_SUFFIXES and " " not in path.name)
    except OSError:  # a question may be longer than a name can be
        return False


def split_words(words: Sequence[str]) -> tuple[tuple[str, ...], str | None]:
    """Return the words that are media, and the question: the last word, unless it is a medium too.

    >>> split_words(["a.jpg", "b.jpg", "Which is older?"])
    (('a.jpg', 'b.jpg'), 'Which is older?')
    >>> split_words(["a.jpg"])
    (('a.jpg',), None)
    """
    if words and not is_media(words[-1]):
        return tuple(words[:-1]), words[-1]
    return tuple(words), None


def gather(
    media: Sequence[str],
    questions: Sequence[Mapping[str, Any]],
    opening: Opening,
    *,
    each: bool,
    defaults: Mapping[str, Any],
) -> list[Item]:
    """Return every question about its media: all media together, or each for itself where `each` says so or one of them
    is a folder or a pattern.

    `questions` are rows with a question and what else they have; `defaults` are fields of a `Question` for the others.

    Raises: MediaError, ConfigError: says which.
    """
    shared = _groups(media, opening, each=each)
    items = []
    for row in questions:
        own = row.get("media")
        row_opening = Opening((row.get("from"), row.get("to")), opening.allow_remote, opening.allow_private)
        opened = row_opening if row.get("from") is not None or row.get("to") is not None else opening
        groups = shared if own is None else _groups([own] if isinstance(own, str) else own, opened, each=False)
        if not groups:
            raise ConfigError(f"{row['question']!r} has no media: name pictures or videos before the question")
        own_fields = {name: row[name] for name in ("task", "box", "options", "earlier") if row.get(name) is not None}
        fields = {**defaults, **own_fields}
        for group in groups:
            question = Question(group if len(group) > 1 else group[0], row["question"], **fields)
            items.append(Item(question, group, row.get("id")))
    return items


def read_questions(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file of questions, a JSON object a line; media are found beside the file.

    Raises: DataError: names every row that is wrong, and how.
    """
    import json

    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    rows, wrong = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            _check_row(row)
        except ValueError as error:
            wrong.append(f"row {number}: {error}")
            continue
        rows.append({**row, **_times(row), **({"media": _beside(path, row["media"])} if "media" in row else {})})
    if wrong or not rows:
        raise DataError(f"{path}: " + ("; ".join(wrong[:5]) if wrong else "there is no question in it"))
    return rows


def parse_seconds(text: str) -> float:
    """Return seconds from "12.5", "1:05" or "1:02:03.5". Raises: ValueError: it is none of these.

    >>> parse_seconds("12.5"), parse_seconds("1:05"), parse_seconds("1:02:03.5")
    (12.5, 65.0, 3723.5)
    """
    *larger, last = str(text).strip().removesuffix("s").split(":")
    seconds = float(last)
    units = [int(each) for each in larger]
    if len(units) > 2 or not 0 <= seconds < math.inf or any(each < 0 for each in units) or (units and seconds >= 60):
        raise ValueError(f"expected seconds, mm:ss or hh:mm:ss, got {text!r}")
    for index, each in enumerate(reversed(units), 1):
        seconds += each * 60**index
    return seconds


def _check_row(row: object) -> None:
    if not isinstance(row, dict):
        raise ValueError('expected an object such as {"question": "Where is the cat?", "media": "cat.jpg"}')
    if unknown := sorted(set(row) - set(FIELDS)):
        raise ValueError(f"unknown field {unknown[0]!r}; the known fields are {', '.join(FIELDS)}")
    question = row.get("question")
    if not isinstance(question, str) or not question.strip():
        raise ValueError(f"'question' must be a text, got {question!r}")
    media = row.get("media", "")
    if not isinstance(media, str) and not (
        isinstance(media, list) and media and all(isinstance(m, str) for m in media)
    ):
        raise ValueError(f"'media' must be a file or a list of files, got {media!r}")
    _times(row)


def _times(row: Mapping[str, Any]) -> dict[str, float]:
    return {name: parse_seconds(row[name]) for name in ("from", "to") if row.get(name) is not None}


def _beside(path: Path, media: str | list[str]) -> list[str]:
    """Return media of a row as they are found from here; addresses and absolute paths stay as they are."""
    names = [media] if isinstance(media, str) else media
    return [name if is_address(name) else str(path.parent / home_path(name)) for name in names]


def _groups(media: Sequence[str], opening: Opening, *, each: bool) -> list[tuple[Medium, ...]]:
    opened = [opening.open(word) for word in media]
    found = [medium for some, _ in opened for medium in some]
    if each or any(may_be_several for _, may_be_several in opened):
        return [(medium,) for medium in found]
    return [tuple(found)] if found else []


def _in_folder(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in MEDIA_SUFFIXES and path.is_file())
    if not found:
        raise MediaError(f"{folder}: there is no picture or video in this folder ({', '.join(MEDIA_SUFFIXES)})")
    return found


def _standard_input() -> MemoryFile:
    if sys.stdin.isatty():
        raise MediaError(
            "-: standard input is the terminal; redirect a file into it, as in: onethinker ask - QUESTION < cat.jpg"
        )
    content = sys.stdin.buffer.read()
    if not content:
        raise MediaError("-: standard input is empty")
    return MemoryFile(content, "standard input")
