"""Files of records: JSON lists, and JSONL with a record a line."""

import json
import math
import re
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NoReturn

from onethinker.core.errors import DataError
from onethinker.core.grammar import show
from onethinker.data.formats.other_files import check_beginning
from onethinker.data.formats.outside import translate
from onethinker.storage.atomic import opened_atomically, writing
from onethinker.storage.strict_json import to_file_json

Record = dict[str, Any]

_CHUNK = 2**16
_SHOWN = 20
"""Characters of a fault in JSON that an error shows."""
_WHITE = re.compile(r"[ \t\r\n]*")
_AROUND = ("data", "rows", "records", "samples")
"""Fields that hold all records in files of other programs."""
_TOO_DEEP = "nested too deep or a number too long"


def read_records(
    path: Path,
    *,
    bad: Callable[[int, DataError], None] | None = None,
    decoder: json.JSONDecoder | None = None,
) -> Iterator[tuple[int, Record]]:
    """Yield (row, record) of a JSON list or of JSONL; rows count from 1, in JSONL they are lines.

    Rows that are no records go to `bad`, where it is given, and are left out. NaN and infinities are refused, unless
    another `decoder` is given.

    Raises: DataError: the file or a row cannot be read, or there is no row in it.
    """
    is_empty = True
    try:
        with path.open("rb") as file:
            start = file.read(4096)
            check_beginning(start, path)
            file.seek(0)
            is_list = start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")
            rows: Iterable[Any] = read_list(file, str(path), decoder) if is_list else file
            for row, item in enumerate(rows, 1):
                if isinstance(item, bytes) and not item.strip(b"\xef\xbb\xbf \t\r\n"):
                    continue
                is_empty = False
                try:
                    where = f"{path}, row {row}"
                    record = _as_record(item, where) if is_list else read_line(item, where, decoder)
                except DataError as error:
                    if bad is None:
                        raise
                    bad(row, error)
                else:
                    yield row, record
    except IsADirectoryError as error:
        files = sorted(each for each in path.iterdir() if each.suffix in (".jsonl", ".json"))
        named = f", such as {files[0]}" if files else " (of some folders, `onethinker data convert` makes one)"
        raise DataError(f"{path}: is a folder; name the file of records in it{named}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    if is_empty:
        raise DataError(f"{path}: contains no records")


def read_line(line: bytes, where: str, decoder: json.JSONDecoder | None = None) -> Record:
    """Return the record in a line of JSONL. Raises: DataError: it is none; the text begins with where it is."""
    return _as_record(_load(line, where, decoder or DECODER), where)


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write records as a JSON list for ".json" and one a line otherwise: whole or not at all; one is held at a time.

    Raises: StorageError, and whatever `records` raises.
    """
    is_list = path.suffix.lower() == ".json"
    opening, between, end, closing = ("[\n", ",\n", "", "\n]\n") if is_list else ("", "", "\n", "")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with opened_atomically(path) as file:
        file.write(opening.encode())
        for index, record in enumerate(records):
            file.write(f"{between if index else ''}{dump_record(record)}{end}".encode())
        file.write(closing.encode())


def dump_record(record: Record) -> str:
    r"""Return a record as a line of JSON; characters that no file can hold are escaped.

    >>> dump_record({"answer": "né"}), dump_record({"answer": "\ud800"})
    ('{"answer": "né"}', '{"answer": "\\ud800"}')
    """
    return to_file_json(record)


def read_list(file: IO[bytes], where: str, decoder: json.JSONDecoder | None = None) -> Iterator[object]:
    """Yield the values of a JSON list; no more of it is held than one value and what was read with it.

    Raises: DataError: it is not strict JSON in UTF-8. OSError.
    """
    text = _Text(file, where, decoder or DECODER)
    yield from text.items()
    text.end("list")


def read_members(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the fields of the one object in a JSON file, name and value; of a field that is a list, name and each item.

    Raises: DataError: the file cannot be read, or is no such object.
    """
    try:
        with path.open("rb") as file:
            text = _Text(file, str(path), DECODER)
            for _ in text.between("{", "}"):
                name = text.value()
                text.skip(":")
                for value in text.items() if text.next_character() == "[" else [text.value()]:
                    yield str(name), value
            text.end("object")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


class _Text:
    """The text of a file of JSON from where it has been read; more comes in as it is needed."""

    def __init__(self, file: IO[bytes], where: str, decoder: json.JSONDecoder) -> None:
        self._file, self._where, self._text, self._at, self._line = file, where, "", 0, 1
        self._json = decoder
        self._decoder = getincrementaldecoder("utf-8-sig")()
        self._bytes, self._is_all = 0, False

    def items(self) -> Iterator[object]:
        """Yield the values of the list that comes next. Raises: DataError."""
        for _ in self.between("[", "]"):
            yield self.value()

    def between(self, opening: str, closing: str) -> Iterator[None]:
        """Yield before each of the values that stand between two brackets. Raises: DataError."""
        self.skip(opening)
        if self.next_character() != closing:
            while True:
                yield
                if self.next_character() != ",":
                    break
                self.skip(",")
        self.skip(closing)

    def end(self, what: str) -> None:
        """Do nothing at the end of the file. Raises: DataError: there is more."""
        if extra := self.next_character():
            raise DataError(f"{self._where}: not JSON: {show(extra)} after the end of the {what}, {self.place()}")

    def place(self, at: int | None = None) -> str:
        return f"line {self._line + self._text.count(chr(10), 0, self._at if at is None else at)}"

    def next_character(self) -> str:
        """Return the next character that is no white space, "" at the end of the file."""
        while True:
            match = _WHITE.match(self._text, self._at)
            assert match is not None
            self._at = match.end()
            if self._at < len(self._text) or not self._read_more():
                return self._text[self._at : self._at + 1]

    def skip(self, wanted: str) -> None:
        """Go on behind a character. Raises: DataError: another one comes next."""
        found = self.next_character()
        if found != wanted:
            expected = f"',' or {wanted!r}" if wanted in "]}" else repr(wanted)
            raise DataError(
                f"{self._where}: not JSON: expected {expected}, got {show(found) if found else 'the end of the file'},"
                f" {self.place()}"
            )
        self._at += 1

    def value(self) -> object:
        """Return the next value. Raises: DataError: there is none."""
        self.next_character()
        while True:
            try:
                found, end = self._json.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._read_more():
                    continue
                raise DataError(f"{self._where}: not JSON: {_fault(error)}, {self.place(error.pos)}") from error
            except _NumberError as error:
                raise DataError(f"{self._where}: not JSON: {error}, {self.place()}") from error
            except (RecursionError, ValueError) as error:
                raise DataError(f"{self._where}: not JSON: {_TOO_DEEP}, {self.place()}") from error
            # A number may go on in what has not been read.
            if end < len(self._text) or not self._read_more():
                self._at = end
                return found

    def _read_more(self) -> bool:
        """Read as much again as is held, and at least a little; False at the end of the file."""
        self._line += self._text.count("\n", 0, self._at)
        self._text, self._at = self._text[self._at :], 0
        if self._is_all:
            return False
        content = self._file.read(max(_CHUNK, len(self._text)))
        self._is_all = not content
        try:
            self._text += self._decoder.decode(content, final=self._is_all)
        except UnicodeDecodeError as error:
            raise _not_utf8(error, self._where, start=self._bytes) from error
        self._bytes += len(content)
        return True


def _load(content: bytes, where: str, decoder: json.JSONDecoder) -> object:
    """Return the value of JSON in UTF-8. Raises: DataError."""
    try:
        return decoder.decode(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise _not_utf8(error, where) from error
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not JSON: {_fault(error)}, character {error.pos + 1}") from error
    except _NumberError as error:
        raise DataError(f"{where}: not JSON: {error}") from error
    except (RecursionError, ValueError) as error:
        raise DataError(f"{where}: not JSON: {_TOO_DEEP}") from error


def _fault(error: json.JSONDecodeError) -> str:
    """Return what is wrong and the text that stands there."""
    rest = error.doc[error.pos : error.pos + _SHOWN].strip()
    return f"{error.msg}, got {show(rest) if rest else 'the end'}"


def _not_utf8(error: UnicodeDecodeError, where: str, *, start: int = 0) -> DataError:
    at, value = start + error.start, error.object[error.start]
    return DataError(f"{where}: not UTF-8: byte {at} is {value:#04x}; save the file as UTF-8")


class _NumberError(ValueError):
    """NaN or an infinity in a file."""


def _refuse(number: str) -> NoReturn:
    raise _NumberError(f"{show(number)} is not a finite number")


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _refuse(digits)


def _as_record(value: object, where: str) -> Record:
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected an object, got {show(value)}")
    if len(value) == 1 and (name := next(iter(value))) in _AROUND and isinstance(value[name], list):
        raise DataError(
            f"{where}: is an object with a list in it; a file of records must contain only the list in {name!r}"
        )
    return translate(value, where)


DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)
"""Refuses NaN and infinities."""
