"""Whether files of samples can be learned from, before a run begins: every record readable, its media there, its answer known."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from onethinker.data.formats import read_records, sample_from_record
from onethinker.data.sample import Sample
from onethinker.errors import DataError

Need = Literal["response", "truth"]
NEEDS: Mapping[Need, str] = {
    "response": "SFT learns from a whole model text: 'response', or the assistant's turn in 'messages'; there is none",
    "truth": "RL grades against a reference: 'answer' or 'solution'; there is none",
}
"""What a stage learns from, and what to say of a record without it."""


def check_files(files: Iterable[Path], *, need: Need) -> int:
    """Return how many records the files hold, after looking at each of them; media are looked for, not opened.

    Raises: DataError: names the file and row of the first record that cannot be used and the reason, and how many more there are.
    """
    count, problems = 0, []
    for file in files:
        for row, record in read_records(file):
            count += 1
            try:
                sample = sample_from_record(record, root=file.parent, default_id=str(row))
                check_sample(sample, need=need)
            except DataError as error:
                problems.append(f"{file}, row {row}: {error}")
    if problems:
        more = f" ({len(problems) - 1} more of {count} records cannot be used either)" if problems[1:] else ""
        raise DataError(f"{problems[0]}{more}")
    return count


def check_sample(sample: Sample, *, need: Need) -> None:
    """Raise DataError for a sample that a stage cannot learn from: a medium is missing, or what it learns from is."""
    for medium in sample.media:
        if isinstance(medium, Path) and not medium.is_file():
            raise DataError(f"there is no file {medium}")
    if not getattr(sample, need):
        raise DataError(NEEDS[need])
