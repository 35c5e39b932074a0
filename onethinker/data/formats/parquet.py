"""Rows of parquet files, some at a time (extra "datasets").

A column has one type, and what would not have one stands in it as JSON text: objects with other fields in each row,
such as masks by frame. A medium is a path, or {"bytes": …, "path": …} as the features Image and Video of `datasets`
have it.
"""

import json
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from onethinker.core.errors import ConfigError, DataError
from onethinker.core.grammar import show
from onethinker.data.formats.records import DECODER, Record, dump_record
from onethinker.storage.atomic import opened_atomically
from onethinker.storage.strict_json import to_file_json, to_json

SUFFIX = ".parquet"
MEDIA = ("images", "videos")
_ROWS, _BYTES = 1024, 2**26
"""Rows of a row group, and bytes of media after which one ends."""
_OBJECTS = ("segmentation_output", "resolution")
"""Fields of our own record that are objects, in whatever table they stand as text."""
_JSON = {b"onethinker": b"json"}
"""Mark of a column of JSON text."""
_INT64 = 2**63
_NUMBERS = ("int", "float")
_Shape = Any
"""The type of a column: None (nothing yet), "bool", "int", "float", "text", "json", [items], {field: type}."""


def is_parquet(path: Path) -> bool:
    """Tell whether a file is named as parquet, or begins as one."""
    try:
        with path.open("rb") as file:
            return path.suffix.lower() == SUFFIX or file.read(4) == b"PAR1"
    except OSError:
        return False


def read_parquet(path: Path) -> Iterator[tuple[int, Record | DataError]]:
    """Yield (row, record), rows from 1, or why a row is none; some are held at a time.

    Raises: DataError: the file cannot be read. ConfigError: pyarrow is not installed.
    """
    pa, parquet = _pyarrow()
    row = 0
    try:
        with parquet.ParquetFile(path) as table:
            as_text = {field.name for field in table.schema_arrow if _JSON.items() <= (field.metadata or {}).items()}
            for some in table.iter_batches(_ROWS // 8):
                for record in some.to_pylist():
                    row += 1
                    yield row, plain_row(record, as_text)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as parquet, after row {row}: {error}") from error


def plain_row(record: Mapping[str, Any], as_text: Iterable[str] = ()) -> Record | DataError:
    """Return a row of a table as a record: nulls left out, objects that stand as text as objects, and one medium as a
    list of one; or why it is none. Text that does not begin as an object stays as it is.

    >>> plain_row({"problem": "?", "image": "a.png", "options": None})
    {'problem': '?', 'images': ['a.png']}
    """
    try:
        found: Record = _without_nulls(record)
    except ValueError as error:
        return DataError(str(error))
    for name in {*as_text, *_OBJECTS} & found.keys():
        if isinstance(text := found[name], str) and (name in as_text or text.lstrip().startswith("{")):
            try:
                found[name] = DECODER.decode(text)
            except (ValueError, RecursionError):
                return DataError(f"{name!r} must be JSON, got {show(text)}")
    for one, several in zip(("image", "video"), MEDIA, strict=True):
        if one in found and several not in found:
            found[several] = [found.pop(one)]
    return found


def _without_nulls(value: Any) -> Any:
    """Return a value of a table as JSON has it, but for bytes; NaN is how pandas writes that there is none.

    Raises: ValueError: a number is infinite.
    """
    if isinstance(value, Mapping):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None and item == item}
    if isinstance(value, list | tuple):
        return [_without_nulls(item) if item == item else None for item in value]
    if isinstance(value, float) and math.isinf(value):
        raise ValueError(f"a number of the row is infinite, which JSON does not have: {show(value)}")
    return value if isinstance(value, str | int | float | bytes | None) else str(value)


def write_parquet(path: Path, records: Iterable[Record], *, embed: bool = False) -> None:
    """Write records, whole or not at all: first into a temporary file, by which the columns' types are known, then as
    parquet; with `embed` media are written as bytes, relative paths being those beneath the file's folder.

    Raises: DataError: media to embed cannot be read. StorageError. ConfigError: pyarrow is not installed.
    """
    pa, parquet = _pyarrow()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile("w+", encoding="utf-8", dir=path.parent) as spool:
        shapes: dict[str, _Shape] = {}
        for record in records:
            for name, value in record.items():
                shapes[name] = _column(shapes.get(name), value)
            spool.write(dump_record(record) + "\n")
        spool.seek(0)
        embedded = [name for name in MEDIA if embed and name in shapes]
        schema = _schema(pa, shapes, embedded)
        with opened_atomically(path) as file, parquet.ParquetWriter(file, schema) as writer:
            for some in _groups(map(json.loads, spool), shapes, embedded, path.parent):
                writer.write_table(pa.Table.from_pylist(some, schema))


def _groups(
    records: Iterable[Record], shapes: Mapping[str, _Shape], embedded: Iterable[str], root: Path
) -> Iterator[list[Record]]:
    """Yield rows as they are written, in groups of limited size."""
    some: list[Record] = []
    held = 0
    for record in records:
        for name, value in record.items():
            if shapes[name] == "json" and value is not None:
                record[name] = to_file_json(value)
        for name in embedded:
            media = [_embedded(item, root) for item in record.get(name) or []]
            held += sum(len(medium["bytes"]) for medium in media)
            record[name] = media
        some.append(record)
        if len(some) == _ROWS or held > _BYTES:
            yield some
            some, held = [], 0
    if some:
        yield some


def _embedded(item: Any, root: Path) -> Record:
    path = path_of(item)
    try:
        return {"bytes": (root / path).read_bytes(), "path": Path(path).name}
    except OSError as error:
        raise DataError(f"{root / path}: cannot be read: {error.strerror or error}") from error


def path_of(item: Any) -> str:
    """Return the path of a medium: a text, {"path": …}, or under the name of its kind as verl has it.

    Raises: DataError: there is none.
    """
    value = item
    if isinstance(item, Mapping):
        value = next((item[name] for name in ("path", "image", "video") if item.get(name)), None)
    if not isinstance(value, str) or not value:
        raise DataError(f"a medium must be a path, or an object with 'path' or 'bytes', got {show(item)}")
    return value.removeprefix("file://")


def _column(known: _Shape, value: Any) -> _Shape:
    try:
        return _merged(known, _shape(value)) if known != "json" else "json"
    except _MixedError:
        return "json"


class _MixedError(Exception):
    """Values have no type in common."""


def _shape(value: Any) -> _Shape:
    match value:
        case None:
            return None
        case bool():
            return "bool"
        case int() if -_INT64 <= value < _INT64:
            return "int"
        case float():
            return "float"
        case str() if _is_unicode(value):
            return "text"
        case list():
            items: _Shape = None
            for item in value:
                items = _merged(items, _shape(item), in_list=True)
            return [items]
        case dict() if value and all(map(_is_unicode, value)):
            return {name: _shape(item) for name, item in value.items()}
    raise _MixedError


def _is_unicode(text: str) -> bool:
    """Tell whether a text has no half characters, which only JSON can hold, escaped."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _merged(a: _Shape, b: _Shape, *, in_list: bool = False) -> _Shape:
    """Return the type of values of two types. Objects in lists may lack fields; elsewhere those of the rows are alike.

    Raises: _MixedError: there is none.
    """
    if a is None or b is None or a == b:
        return b if a is None else a
    if a in _NUMBERS and b in _NUMBERS:
        return "float"
    if isinstance(a, list) and isinstance(b, list):
        return [_merged(a[0], b[0], in_list=True)]
    if isinstance(a, dict) and isinstance(b, dict) and (in_list or a.keys() == b.keys()):
        return {name: _merged(a.get(name), b.get(name), in_list=in_list) for name in {**a, **b}}
    raise _MixedError


def _schema(pa: Any, shapes: Mapping[str, _Shape], embedded: Iterable[str]) -> Any:
    medium = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    fields, features = [], {}
    for name, shape in shapes.items():
        if name in embedded:
            fields.append(pa.field(name, pa.list_(medium)))
            features[name] = {"feature": {"_type": name.removesuffix("s").title()}, "_type": "List"}
        else:
            fields.append(pa.field(name, _arrow(pa, shape), metadata=_JSON if shape == "json" else None))
    schema = pa.schema(fields)
    return schema.with_metadata(_features(schema, features)) if features else schema


def _features(schema: Any, media: Mapping[str, Any]) -> dict[str, str]:
    """Return what `datasets` reads of a file's types: which columns are media."""
    from datasets import Features

    described = Features.from_arrow_schema(schema).to_dict() | dict(media)
    return {"huggingface": to_json({"info": {"features": described}})}


def _arrow(pa: Any, shape: _Shape) -> Any:
    if isinstance(shape, list):
        return pa.list_(_arrow(pa, shape[0]))
    if isinstance(shape, dict):
        return pa.struct({name: _arrow(pa, own) for name, own in shape.items()})
    return {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64()}.get(shape, pa.string())


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigError("parquet needs pyarrow: pip install 'onethinker[datasets]'") from error
    return pyarrow, pyarrow.parquet
