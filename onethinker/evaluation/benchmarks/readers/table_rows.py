"""The rows of VLMEvalKit's tables, read one by one, and the pictures in them, which stay in the file until they are
needed.
"""

import csv
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from onethinker.core.errors import DataError
from onethinker.core.grammar import show
from onethinker.core.sources import REFERENCE_CHARS, TablePicture, picture_texts
from onethinker.data.published.files import Bad, refuse

OPTION_NAMES = tuple("ABCDEFGHIJKLMN")
_EMPTY = frozenset({"", "nan", "NaN"})


@dataclass(frozen=True)
class Row:
    """One record of a table: where it lies in the file, in bytes, and its fields that are not empty."""

    number: int
    offset: int
    length: int
    fields: Mapping[str, str]
    columns: tuple[str, ...]


def read_rows(path: Path, bad: Bad = refuse) -> Iterator[Row]:
    """Yield the records of a tab-separated file whose first one names the columns. Raises: DataError."""
    consumed = 0

    def lines() -> Iterator[str]:
        nonlocal consumed
        for line in file:
            consumed += len(line)
            yield line.decode("utf-8-sig" if consumed == len(line) else "utf-8")

    number = 0
    try:
        with path.open("rb") as file:
            records = csv.reader(lines(), delimiter="\t")
            columns = tuple(next(records, ()))
            start = consumed
            for number, values in enumerate(filter(None, records), 1):
                if len(values) != len(columns):
                    bad(
                        DataError(
                            f"{path}, row {number}: expected {len(columns)} columns as in the header, got {len(values)}"
                        )
                    )
                    start = consumed
                    continue
                fields = _fields(dict(zip(columns, values, strict=True)))
                yield Row(number, start, consumed - start, fields, columns)
                start = consumed
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, row {number + 1}: not UTF-8: {error}") from error
    except csv.Error as error:
        raise DataError(f"{path}, row {max(number, 1)}: {error}") from error


def _fields(texts: dict[str, str]) -> dict[str, str]:
    """Return the fields of a row that are not empty.

    "nan" is how programs write an empty one that read it with pandas, and may be the text of an option: it is one where
    a later option is there, where it is the answer, and in a row that leaves fields empty in the plain way.

    >>> sorted(_fields({"A": "0", "B": "nan", "C": "inf", "hint": "nan"}))
    ['A', 'B', 'C']
    >>> sorted(_fields({"A": "0", "B": "1", "C": "nan"}))
    ['A', 'B']
    """
    options = [name for name in OPTION_NAMES if name in texts]
    filled = [
        index
        for index, name in enumerate(options)
        if texts[name] not in _EMPTY or name == texts.get("answer", "").strip()
    ]
    last = max(filled, default=-1)
    is_plain = "" in texts.values()
    kept = {name for index, name in enumerate(options) if texts[name] in _EMPTY - {""} and (is_plain or index <= last)}
    return {name: text for name, text in texts.items() if text not in _EMPTY or name in kept}


class Pictures:
    """The pictures of a table's rows; a row may name another, by its index, whose pictures are meant."""

    def __init__(self, path: Path) -> None:
        """Read nothing yet."""
        self._path = path
        self._known: dict[str, tuple[TablePicture, ...]] = {}
        self._is_whole = False

    def of(self, row: Row) -> tuple[TablePicture, ...]:
        """Return a row's pictures. Raises: DataError: it has none that can be read, or names a row without."""
        name = row.fields["image"]
        if not _is_reference(name):
            own = self._known[row.fields.get("index", "")] = self._own(row)
            return own
        if name not in self._known and not self._is_whole:
            self._read_all()
        if name not in self._known:
            raise DataError(
                f"column 'image' refers to the row with index {show(name)}, but no row with a picture has it"
            )
        return self._known[name]

    def _read_all(self) -> None:
        for row in read_rows(self._path, bad=lambda _: None):
            if {"index", "image"} <= row.fields.keys() and not _is_reference(row.fields["image"]):
                with suppress(DataError):
                    self._known[row.fields["index"]] = self._own(row)
        self._is_whole = True

    def _own(self, row: Row) -> tuple[TablePicture, ...]:
        try:
            count = len(picture_texts(row.fields["image"]))
        except ValueError as error:
            raise DataError(f"column 'image': {error}") from error
        column = row.columns.index("image")
        return tuple(TablePicture(self._path, row.offset, row.length, column, index) for index in range(count))


def _is_reference(image: str) -> bool:
    return len(image) <= REFERENCE_CHARS and not image.startswith("[")
