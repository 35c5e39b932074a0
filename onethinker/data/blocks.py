"""Files of samples, read some records at a time, each with its sample or why it is none."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from onethinker.core.errors import DataError, MediaError
from onethinker.core.sample import Sample
from onethinker.core.sources import FileMedium
from onethinker.data.check import read_rows
from onethinker.data.formats.records import Record
from onethinker.data.formats.released import sample_from_record
from onethinker.data.spreading import Block, blocks_of
from onethinker.media.headers import Header, read_headers

Headers = Mapping[FileMedium, Header | MediaError]


@dataclass(frozen=True)
class Read:
    """A record as it was read: its sample, or why it is none, and where it stands."""

    file: Path
    row: int
    record: Record
    sample: Sample | None
    error: str = ""


def read_blocks(files: Iterable[Path], *, media_root: Path | None = None) -> Iterator[list[Read]]:
    """Yield the records of files in order, some at a time. Raises: DataError: a file cannot be read, or is no list of
    records from some place on.
    """
    for _, block in blocks_of(read_rows(files)):
        yield read_block(block, media_root)


def read_again(files: Iterable[Path], wanted: Iterable[tuple[str, int]], media_root: Path | None) -> list[Read]:
    """Return records by file and row, in the order in which they are wanted."""
    rows = list(wanted)
    left, found = set(rows), {}
    for file, row, record in read_rows(files):
        if not left:
            break
        if (key := (str(file), row)) in left:
            left.remove(key)
            found[key] = _read(file, row, record, media_root)
    return [found[key] for key in rows if key in found]


def read_block(block: Block, media_root: Path | None) -> list[Read]:
    """Return the records of a block, each with its sample or why it is none."""
    return [_read(file, row, record, media_root) for file, row, record in block]


def _read(file: Path, row: int, record: Record | DataError, media_root: Path | None) -> Read:
    try:
        if isinstance(record, DataError):
            raise record
        sample = sample_from_record(record, root=media_root or file.parent, default_id=f"{file.stem}-{row}")
    except DataError as error:
        said = str(error).removeprefix(f"{file}, row {row}: ")
        return Read(file, row, {} if isinstance(record, DataError) else record, None, said)
    return Read(file, row, record, sample)


def headers_of(samples: Iterable[Sample | None]) -> Headers:
    """Return the headers of the files that samples name."""
    return read_headers(
        medium for sample in samples if sample is not None for medium in sample.media if isinstance(medium, FileMedium)
    )
