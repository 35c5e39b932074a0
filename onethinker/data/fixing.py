"""Faults of records that can be mended without guessing: `onethinker data check --fix`."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from onethinker.core.errors import DataError
from onethinker.core.grammar import answer_text
from onethinker.data.check import read_rows
from onethinker.data.formats.fields import has, misspelt_field
from onethinker.data.formats.records import Record, dump_record, write_records
from onethinker.storage.strict_json import to_json
from onethinker.tasks import all_tasks

_REFERENCES = ("answer", "solution")
_PLACED = ("boxes", "positive_points", "negative_points")


@dataclass
class Fixed:
    """What was changed, as (row, what), and how many records were written."""

    changes: list[tuple[Path, int, str]] = field(default_factory=list)
    written: int = 0


def fix_files(files: Iterable[Path], output: Path, *, media_root: Path | None = None) -> Fixed:
    """Write the records of files into a new one, with what is certain mended, and return what was changed.

    Media paths are written so that they hold from the new file. Rows that are no records at all cannot be written and
    are among the changes; every other fault stays as it is.

    Raises: DataError: a file cannot be read. StorageError.
    """
    fixed = Fixed()
    write_records(output, _mended(files, output, media_root, fixed))
    return fixed


def _mended(files: Iterable[Path], output: Path, media_root: Path | None, fixed: Fixed) -> Iterator[Record]:
    seen: set[str] = set()
    ids: set[str] = set()
    for file, row, record in read_rows(files):
        if isinstance(record, DataError):
            fixed.changes.append((file, row, f"left out: {str(record).removeprefix(f'{file}, row {row}: ')}"))
            continue
        whole = dump_record(record)
        if whole in seen:
            fixed.changes.append((file, row, "left out: word for word a record before it"))
            continue
        seen.add(whole)
        record = dict(record)
        root = media_root or file.parent
        said = [text for mend in FIXES for text in mend(record, root)]
        said += _own_id(record, ids)
        fixed.changes += [(file, row, text) for text in said]
        move_media(record, root, output.parent)
        fixed.written += 1
        yield record


def _rename_fields(record: Record, root: Path) -> Iterator[str]:
    for _ in range(len(record)):
        if (found := misspelt_field(record)) is None:
            return
        wrong, right = found
        record[right] = record.pop(wrong)
        yield f"field {wrong!r} is named {right!r}"


def _spell_problem_type(record: Record, root: Path) -> Iterator[str]:
    value = record.get("problem_type")
    known = {_letters(task.problem_type): task.problem_type for task in all_tasks()}
    if isinstance(value, str) and value.strip().lower() not in known.values() and _letters(value) in known:
        record["problem_type"] = known[_letters(value)]
        yield f"'problem_type' {value!r} is {record['problem_type']!r}"


def _list_options(record: Record, root: Path) -> Iterator[str]:
    options = record.get("options")
    if isinstance(options, dict) and all(isinstance(text, str) for text in options.values()):
        record["options"] = [f"{letter}. {text}" for letter, text in options.items()]
        yield "'options' is a list of texts"


def _list_media(record: Record, root: Path) -> Iterator[str]:
    for name in ("images", "videos"):
        if isinstance(record.get(name), str) and record[name]:
            record[name] = [record[name]]
            yield f"{name!r} is a list of paths"


def _scale_boxes(record: Record, root: Path) -> Iterator[str]:
    """Turn coordinates from 0 to 1 into thousandths, where one of them is a fraction and none is above 1."""
    name = next((name for name in _REFERENCES if has(record, name)), None)
    if name is None or not isinstance(record[name], str):
        return
    text = answer_text(record[name]) or record[name]
    try:
        answer = json.loads(text)
    except ValueError:
        return
    if isinstance(answer, dict) and _are_fractions([each for key in _PLACED for each in _numbers(answer.get(key))]):
        scaled = {key: _scaled(value) if key in _PLACED else value for key, value in answer.items()}
        record[name] = record[name].replace(text, to_json(scaled, ensure_ascii=False))
        yield f"{name!r} has its coordinates in thousandths, times 1000"


def _are_fractions(values: Sequence[float]) -> bool:
    return all(0 <= value <= 1 for value in values) and any(0 < value < 1 for value in values)


def _turn_slashes(record: Record, root: Path) -> Iterator[str]:
    for name, paths in media_fields(record):
        for index, path in enumerate(paths):
            turned = path.replace("\\", "/")
            if turned != path and not (root / path).exists() and (root / turned).exists():
                _put(record, name, index, turned)
                yield f"{name!r} names {turned}, with slashes"


FIXES: tuple[Callable[[Record, Path], Iterator[str]], ...] = (
    _rename_fields,
    _spell_problem_type,
    _list_options,
    _list_media,
    _scale_boxes,
    _turn_slashes,
)
"""Each changes a record in place and yields what it changed."""


def _own_id(record: Record, ids: set[str]) -> Iterator[str]:
    value = record.get("problem_id")
    if value is None:
        return
    own, count = str(value), 1
    while own in ids:
        count += 1
        own = f"{value}-{count}"
    ids.add(own)
    if own != str(value):
        record["problem_id"] = own
        yield f"'problem_id' {value!r} is {own!r}: another record has it"


def move_media(record: Record, root: Path, target: Path) -> None:
    """Name media from the folder of the new file."""
    if _is_one(root.absolute(), target.absolute()):
        return
    for name, paths in media_fields(record):
        for index, path in enumerate(paths):
            if not Path(path).is_absolute() and "://" not in path:
                whole = (root / path).absolute()
                beneath = whole.is_relative_to(target.absolute())
                _put(record, name, index, str(whole.relative_to(target.absolute()) if beneath else whole))


@lru_cache(maxsize=64)
def _is_one(root: Path, target: Path) -> bool:
    """Tell whether two folders are one; asked for every record of a file."""
    return root.resolve() == target.resolve()


def media_fields(record: Record) -> Iterator[tuple[str, list[str]]]:
    """Yield the fields of a record that name media, each with its paths."""
    for name in ("images", "videos", "path", "additional_path"):
        value = record.get(name)
        paths = [value] if isinstance(value, str) else value
        if isinstance(paths, list) and all(isinstance(path, str) for path in paths):
            yield name, paths


def _put(record: Record, name: str, index: int, path: str) -> None:
    if isinstance(record[name], str):
        record[name] = path
    else:
        record[name] = [*record[name][:index], path, *record[name][index + 1 :]]


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _numbers(item)


def _scaled(value: Any) -> Any:
    if isinstance(value, list):
        return [_scaled(item) for item in value]
    if isinstance(value, dict):
        return {key: _scaled(item) for key, item in value.items()}
    return round(1000 * value) if isinstance(value, int | float) else value


def _letters(text: str) -> str:
    return re.sub(r"[\W_]", "", text).lower()
