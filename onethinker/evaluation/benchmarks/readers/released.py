"""The release's evaluation files: samples in the form of `data.formats`, brought to what an evaluation needs."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from onethinker.core.errors import DataError
from onethinker.core.sample import Sample
from onethinker.data.formats.records import read_records
from onethinker.data.formats.released import sample_from_record
from onethinker.evaluation.benchmarks.readers.files import Bad, refuse
from onethinker.evaluation.benchmarks.readers.masks import with_truth_from_masks


def read_released(path: Path, bad: Bad = refuse) -> Iterator[Sample]:
    """Yield the samples of a released evaluation file, media paths below its folder.

    A segmentation record that has masks only gets its truth from them. Raises: DataError: names the file, the row and
    the field.
    """
    samples: list[Sample] = []
    for row, record in read_records(path):
        try:
            sample = sample_from_record(record, root=path.parent, default_id=f"{path.stem}-{row}")
            samples.append(with_truth_from_masks(sample))
        except DataError as error:
            bad(DataError(f"{path}, row {row}: {error}"))
    yield from with_own_ids(samples)


def with_own_ids(samples: Iterable[Sample]) -> Iterator[Sample]:
    """Yield samples, those whose id stood for another before with a number behind it: some released files count anew
    halfway.
    """
    seen: Counter[str] = Counter()
    for sample in samples:
        seen[sample.id] += 1
        yield sample if seen[sample.id] == 1 else replace(sample, id=f"{sample.id}#{seen[sample.id]}")
