"""Files of records: JSON lists, and JSONL with a record a line."""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from onethinker.core.errors import DataError
from onethinker.core.grammar import show
from onethinker.storage.atomic import write_atomically, writing
from onethinker.storage.strict_json import to_json

Record = dict[str, Any]

_OTHER_FILES = {
    b"\x1f\x8b": "gzip: unpack it",
    b"\xff\xfe": "UTF-16 or UTF-32: save it as UTF-8",
    b"\xfe\xff": "UTF-16: save it as UTF-8",
}


def read_records(path: Path, *, bad: Callable[[int, DataError], None] | None = None) -> Iterator[tuple[int, Record]]:
    """Yield (row, record) of a JSON list or of JSONL; rows count from 1, in JSONL they are lines.

    Rows that are no records go to `bad`, where it is given, and are left out.

    Raises: DataError: the file or a row cannot be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
            file.seek(0)
            if start.startswith(b"["):
                rows: Iterable[object] = _load_list(file.read(), path)
                read: Callable[[Any, str], Record] = _as_record
            else:
                rows, read = file, read_line
            for row, item in enumerate(rows, 1):
                if isinstance(item, bytes) and not item.strip(b"\xef\xbb\xbf \t\r\n"):
                    continue
                try:
                    record = read(item, f"{path}, row {row}")
                except DataError as error:
                    if bad is None:
                        raise
                    bad(row, error)
                else:
                    yield row, record
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def read_line(line: bytes, where: str) -> Record:
    """Return the record in a line of JSONL. Raises: DataError: it is none; the text begins with where it is."""
    return _as_record(_load(line, where), where)


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write records as a JSON list for ".json" and one a line otherwise: whole or not at all. Raises: StorageError."""
    lines = [dump_record(record) for record in records]
    is_list = path.suffix.lower() == ".json"
    text = "[\n" + ",\n".join(lines) + "\n]\n" if is_list else "".join(f"{line}\n" for line in lines)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)


def dump_record(record: Record) -> str:
    r"""Return a record as a line of JSON; characters that no file can hold are escaped.

    >>> dump_record({"answer": "né"}), dump_record({"answer": "\ud800"})
    ('{"answer": "né"}', '{"answer": "\\ud800"}')
    """
    line = to_json(record, ensure_ascii=False)
    try:
        line.encode()
    except UnicodeEncodeError:
        return to_json(record)
    return line


def _load_list(content: bytes, path: Path) -> list[object]:
    value = _load(content, str(path))
    assert isinstance(value, list)
    return value


def _load(content: bytes, where: str) -> object:
    """Return the value of strict JSON in UTF-8. Raises: DataError."""
    try:
        return json.loads(content.decode("utf-8-sig"), parse_constant=_refuse, parse_float=_finite)
    except UnicodeDecodeError as error:
        kind = next((f" (it is {name})" for magic, name in _OTHER_FILES.items() if content.startswith(magic)), "")
        raise DataError(f"{where}: not UTF-8{kind}: byte {error.start} is {content[error.start]:#04x}") from error
    except (json.JSONDecodeError, _NumberError) as error:
        raise DataError(f"{where}: not JSON: {error}") from error
    except (RecursionError, ValueError) as error:
        raise DataError(f"{where}: not JSON: nested too deep or a number too long") from error


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
    return value
