"""A choice of the records of many files by counts or weights, the same for the same seed: `onethinker data mix`."""

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from onethinker.core.errors import DataError
from onethinker.core.sample import Sample
from onethinker.data.blocks import Read, read_blocks
from onethinker.data.fixing import move_media
from onethinker.data.formats.records import Record, write_records
from onethinker.data.mix_settings import Input, MixSettings
from onethinker.data.quotas import Key, share_out
from onethinker.data.statistics import NO_SOURCE, By
from onethinker.storage.atomic import digest_file
from onethinker.tasks import task_of


@dataclass
class Mixed:
    """How many records there were and were written, of each group, and which could not be read."""

    available: Counter[Key] = field(default_factory=Counter)
    written: Counter[Key] = field(default_factory=Counter)
    unread: list[str] = field(default_factory=list)


def mix(
    settings: MixSettings,
    output: Path,
    *,
    media_root: Path | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> tuple[Mixed, MixSettings]:
    """Write a mixture into a new file, in the order of its inputs, and return what it holds, with the settings and
    digests that make it again.

    The inputs are read twice; of each record a number stays in between.

    Raises: DataError: an input is not the one that the settings name, or there are not enough records. StorageError.
    """
    inputs = tuple(_digested(one) for one in settings.inputs)
    files = [one.path for one in inputs]
    mixed, done = Mixed(), 0
    draws: dict[Key, array[int]] = {}
    records = Counter[Path]()
    for file, some in _numbered(files, settings, media_root):
        for read, number in some:
            records[file] += 1
            if read.sample is None:
                mixed.unread.append(f"{read.file}, row {read.row}: {read.error}")
            else:
                draws.setdefault(group_of(read.sample, settings.by), array("Q")).append(number)
        done += len(some)
        if on_progress:
            on_progress(done)
    mixed.available.update({key: len(own) for key, own in draws.items()})
    try:
        if not draws:
            raise DataError(f"{files[0]}: contains no records to mix")
        quotas = share_out(mixed.available, settings)
    except DataError as error:
        if not mixed.unread:
            raise
        raise DataError(f"{error}; {len(mixed.unread):,} rows cannot be read, the first: {mixed.unread[0]}") from error
    bounds = {key: _bound(own, quotas[key]) for key, own in draws.items()}
    write_records(output, _drawn(files, settings, media_root, output, bounds, mixed))
    counted = {one.path: one.model_copy(update={"records": records[one.path]}) for one in inputs}
    result = {
        "records": mixed.written.total(),
        "sha256": digest_file(output),
        "groups": {" / ".join(key): count for key, count in sorted(mixed.written.items())},
    }
    return mixed, settings.model_copy(update={"inputs": tuple(counted.values()), "result": result})


def group_of(sample: Sample, by: Sequence[By]) -> Key:
    """Return the group of a sample: its kind of media, then what groups are by."""
    names = {"task": task_of(sample).key, "data_type": sample.data_type, "source": sample.source or NO_SOURCE}
    return (sample.data_type, *(names[what] for what in by))


def _digested(one: Input) -> Input:
    try:
        found = digest_file(one.path)
    except OSError as error:
        raise DataError(f"{one.path}: cannot be read: {error.strerror or error}") from error
    if one.sha256 is not None and one.sha256 != found:
        raise DataError(
            f"{one.path}: has changed since it was mixed: expected SHA-256 {one.sha256}, got {found}. Restore the file,"
            " or remove its sha256 from the settings"
        )
    return one.model_copy(update={"sha256": found})


def _numbered(
    files: Sequence[Path], settings: MixSettings, media_root: Path | None
) -> Iterator[tuple[Path, list[tuple[Read, int]]]]:
    """Yield the records of files, each with a number drawn by the seed, its file and its row."""
    for index, file in enumerate(files):
        for some in read_blocks([file], media_root=media_root):
            yield file, [(read, _draw(f"{settings.seed} {index} {read.row}")) for read in some]


def _draw(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def _bound(draws: "array[int]", quota: int) -> tuple[int, int]:
    """Return how often each record of a group is taken, and below which number once more."""
    often, rest = divmod(quota, len(draws))
    return often, sorted(draws)[rest] if rest else 0


def _drawn(
    files: Sequence[Path],
    settings: MixSettings,
    media_root: Path | None,
    output: Path,
    bounds: Mapping[Key, tuple[int, int]],
    mixed: Mixed,
) -> Iterator[Record]:
    for file, some in _numbered(files, settings, media_root):
        for read, number in some:
            if read.sample is None:
                continue
            key = group_of(read.sample, settings.by)
            often, below = bounds[key]
            for _ in range(often + (number < below)):
                mixed.written[key] += 1
                record = dict(read.record)
                move_media(record, media_root or file.parent, output.parent)
                yield record
