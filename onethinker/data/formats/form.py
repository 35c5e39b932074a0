"""What a form of sample files is: how it is known, read and written.

One form is one file beside this one, and one row of `registry`: a `Form` has a sample a row, in JSON lists, JSONL,
parquet and data sets of Hugging Face; a `SetForm` is a whole data set as it is published.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from onethinker.core.errors import DataError
from onethinker.core.sample import Sample
from onethinker.core.sources import VideoPart
from onethinker.data.formats.hub import is_hub_name, read_dataset
from onethinker.data.formats.parquet import SUFFIX, is_parquet, read_parquet, write_parquet
from onethinker.data.formats.records import Record, read_records, write_records
from onethinker.data.formats.released import record_from_sample
from onethinker.tasks.tracking import with_first_box

Row = tuple[int, Record | DataError]
"""The number of a row, from 1, and what stands there, or why that is no record."""
Read = tuple[int, Sample | DataError]
"""The number of a row, from 1, and its sample, or why it is none."""


def read_rows(source: Path, split: str = "train") -> Iterator[Row]:
    """Yield the rows of a JSON list, JSONL, parquet or data set; one that is no record comes with its error.

    Raises: DataError: the file cannot be read, or is no list of records from some place on.
    """
    if is_hub_name(source) or source.is_dir():
        yield from read_dataset(source, split)
        return
    if is_parquet(source):
        yield from read_parquet(source)
        return
    unread: list[Row] = []
    for row, record in read_records(source, bad=lambda row, error: unread.append((row, error))):
        yield from unread
        unread.clear()
        yield row, record
    yield from unread


def write_rows(path: Path, rows: Iterable[Record], *, embed: bool = False) -> None:
    """Write rows as the suffix says: ".parquet", with media as bytes where they are to be embedded, ".json", a list, or
    one a line. Raises: StorageError, and whatever `rows` raises.
    """
    if path.suffix.lower() == SUFFIX:
        write_parquet(path, rows, embed=embed)
    else:
        write_records(path, rows)


@dataclass(frozen=True)
class Form:
    """A form of rows.

    `read` makes a record of our own (docs/data.md) out of a row whose media are relative to a folder, `write` a row of
    this form out of a sample and such a folder. Both raise DataError for what does not fit, and say what would be lost.
    A form that is only read has no `write`; one whose media do not stand in "images" and "videos" cannot embed them.
    """

    name: str
    about: str
    knows: Callable[[Record], bool]
    read: Callable[[Record, Path], Record]
    write: Callable[[Sample, Path], Record] | None = None
    can_embed: bool = True


@dataclass(frozen=True)
class SetForm:
    """A form of data sets whose samples stand in several places of a file or folder.

    `fits` tells whether a file or folder is one, `samples` reads it or, where it has several, a split of it, media
    below a folder. `write` makes what `write_all` writes out of a sample and the folder of the new file; `is_folder`
    says that this is a folder, `has_bare_names` that media are called by their names without folder and suffix,
    `takes_media_root` that they may lie elsewhere. `write` raises DataError for what does not fit.
    """

    name: str
    about: str
    fits: Callable[[Path], bool]
    samples: Callable[[Path, Path, str], Iterator[Read]]
    write: Callable[[Sample, Path], Any] | None = None
    write_all: Callable[[Path, Iterable[Any]], None] | None = None
    is_folder: bool = False
    has_bare_names: bool = False
    takes_media_root: bool = True
    can_embed: bool = False


def record_with(sample: Sample, root: Path, names: Sequence[str] = ()) -> Record:
    """Return a record of our own, to which another form adds fields of these names.

    Ids are text, because programs that read whole columns (Arrow) take one type a column.

    Raises: DataError: the sample cannot be a record, or has other fields of these names.
    """
    if clash := sample.extra.keys() & set(names):
        raise DataError(
            f"the record's own field {min(clash)!r} would be lost, because this form has another field of that name"
        )
    if part := next((item for item in sample.media if isinstance(item, VideoPart)), None):
        raise DataError(
            f"this form only has whole videos; lost: that only {part} is meant ('clips'). Cut out that part into its"
            " own file first"
        )
    return {**record_from_sample(sample, root=root), "problem_id": sample.id}


def without(record: Record, *names: str) -> Record:
    """Return a record without some fields."""
    return {name: value for name, value in record.items() if name not in names}


def with_box_in_words(sample: Sample) -> Sample:
    """Return a sample whose question says where its first box is, for loaders that read nothing but the question."""
    if sample.first_box is None:
        return sample
    return replace(sample, problem=with_first_box(sample.problem, sample.first_box))


def need_question(sample: Sample, form: str) -> None:
    """Raise DataError for a sample that is no single question with a reference answer."""
    if sample.is_conversation:
        raise DataError(f"the {form} form has only one question; lost: earlier turns or the system message")
    if not sample.truth:
        raise DataError(f"there is no reference answer, but the {form} form needs one")
