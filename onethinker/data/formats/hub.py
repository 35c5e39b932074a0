"""Data sets of Hugging Face's `datasets`, a row at a time: by name on the hub, or in a folder (extra "datasets").

A folder is one that `save_to_disk` wrote, or one of files that `datasets` knows: parquet, Arrow, JSON, CSV, pictures
with a metadata.jsonl.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onethinker.core.errors import ConfigError, DataError
from onethinker.data.formats.parquet import plain_row
from onethinker.data.formats.records import Record

PREFIX = "hf:"
"""What the name of a data set on the hub begins with: hf:ORG/NAME, or hf:ORG/NAME/CONFIG."""
_SAVED, _SAVED_SPLITS = "state.json", "dataset_dict.json"


def is_hub_name(source: Path) -> bool:
    """Tell whether a source is the name of a data set on the hub.

    >>> is_hub_name(Path("hf:org/name"))
    True
    """
    return str(source).startswith(PREFIX)


def read_dataset(source: Path, split: str) -> Iterator[tuple[int, Record | DataError]]:
    """Yield (row, record) of a split, rows from 1, or why a row is none, streamed; media that it holds are
    {"bytes": …, "path": …}.

    Raises: DataError: there is no such data set or split, or it cannot be read. ConfigError: `datasets` is missing.
    """
    try:
        import datasets
    except ImportError as error:
        raise ConfigError("data sets need datasets: pip install 'onethinker[datasets]'") from error
    row = 0
    try:
        for record in _opened(datasets, source, split).decode(False):
            row += 1
            yield row, plain_row(record)
    except (OSError, ValueError, KeyError, datasets.exceptions.DatasetsError) as error:
        after = f", after row {row}" if row else ""
        raise DataError(f"{source}, split {split!r}{after}: cannot be read by datasets: {error}") from error


def _opened(datasets: Any, source: Path, split: str) -> Any:
    """Return a split as an iterable data set."""
    if is_hub_name(source):
        owner, _, rest = str(source).removeprefix(PREFIX).partition("/")
        name, *config = rest.split("/", 1)
        if not owner or not name:
            raise ConfigError(f"a data set on the hub is named {PREFIX}ORG/NAME, got {source}")
        return datasets.load_dataset(f"{owner}/{name}", *config, split=split, streaming=True)
    if (source / _SAVED).is_file():
        return datasets.load_from_disk(str(source)).to_iterable_dataset()
    if (source / _SAVED_SPLITS).is_file():
        return datasets.load_from_disk(str(source))[split].to_iterable_dataset()
    return datasets.load_dataset(str(source), split=split, streaming=True)
