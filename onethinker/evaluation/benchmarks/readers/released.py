"""The release's evaluation files: samples in the form of `data.formats`, brought to what an evaluation needs."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from onethinker.core.errors import DataError
from onethinker.core.sample import Sample
from onethinker.data.formats.fields import has, read_text
from onethinker.data.formats.records import read_records
from onethinker.data.formats.released import sample_from_record
from onethinker.data.published.files import Bad, ReadOtherwise, refuse
from onethinker.data.published.masks import with_truth_from_masks
from onethinker.evaluation.benchmarks.readers.mending import mend


def _finite(digits: str) -> float | None:
    return number if math.isfinite(number := float(digits)) else None


_EMPTY_FOR_NAN = json.JSONDecoder(parse_constant=lambda _: None, parse_float=_finite)


def read_released(path: Path, bad: Bad = refuse) -> Iterator[Sample]:
    """Yield the samples of a released evaluation file, media paths below its folder.

    NaN, which pandas writes for an empty field, is one. `bad` gets each row that cannot be used, and a `ReadOtherwise`
    for each that is used though something in it is odd. A segmentation record that has masks only gets its truth from
    them.

    Raises: DataError: the file cannot be read.
    """
    yield from with_own_ids(_samples(path, bad))


def _samples(path: Path, bad: Bad) -> Iterator[Sample]:
    for row, record in read_records(path, bad=lambda _, error: bad(error), decoder=_EMPTY_FOR_NAN):
        where = f"{path}, row {row}"
        try:
            if not has(record, "images", "videos"):
                read_text(record, "path")
            mended = mend(record)
            sample = sample_from_record(mended.record, root=path.parent, default_id=f"{path.stem}-{row}")
            _check_masks(sample)
            sample = with_truth_from_masks(sample)
            if not sample.truth:
                raise DataError("'solution' is missing")
        except DataError as error:
            bad(DataError(f"{where}: {error}"))
            continue
        if mended.changes:
            bad(ReadOtherwise(f"{where}: {'; '.join(mended.changes)}"))
        yield sample


def _check_masks(sample: Sample) -> None:
    """Raise DataError for masks in which there is nothing to find: no answer could be better than another."""
    if sample.masks is None:
        return
    marks = [mark for own in sample.masks.frames.values() for mark in own]
    if not any(not isinstance(mark, dict) or mark["counts"] != [mark["size"][0] * mark["size"][1]] for mark in marks):
        raise DataError("its masks are empty in every frame, so there is nothing to find")


def with_own_ids(samples: Iterable[Sample]) -> Iterator[Sample]:
    """Yield samples, those whose id stood for another before with a number behind it: some released files count anew
    halfway.
    """
    seen: Counter[str] = Counter()
    for sample in samples:
        seen[sample.id] += 1
        yield sample if seen[sample.id] == 1 else replace(sample, id=f"{sample.id}#{seen[sample.id]}")
