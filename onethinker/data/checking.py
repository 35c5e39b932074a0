"""Whether files of samples can be learned from, before a run begins: every record readable, its media there, its answer known."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from onethinker.data.formats import read_line, read_records, sample_from_record
from onethinker.data.sample import Sample
from onethinker.errors import DataError

Need = Literal["response", "truth"]
NEEDS: Mapping[Need, str] = {
    "response": "SFT learns from a whole model text: 'response', or the assistant's turn in 'messages'; there is none",
    "truth": "RL grades against a reference: 'answer' or 'solution'; there is none",
}
"""What a stage learns from, and what to say of a record without it."""
SHORT_BYTES = 2**21
"""Files of at most so many bytes are read in well under a second."""


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


def glance_at(files: Iterable[Path], *, need: Need) -> None:
    """Look at files of samples for a moment: at short ones as `check_files` does, at long ones of lines at the first and the last.

    Raises: DataError: a file is missing, or such a record cannot be used.
    """
    for file in files:
        try:
            size = file.stat().st_size
        except OSError as error:
            raise DataError(f"{file}: cannot be read: {error.strerror or error}") from error
        if size <= SHORT_BYTES or file.is_dir():
            check_files([file], need=need)
            continue
        with file.open("rb") as lines:
            first = lines.readline(SHORT_BYTES)
            lines.seek(max(0, size - SHORT_BYTES))
            _, newline, last = lines.read().rstrip().rpartition(b"\n")
        # A list is one value, and is read when the run begins; so is a row that is longer than what was looked at.
        if first.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
            for place, line in (("row 1", first if first.endswith(b"\n") else b""), ("the last row", last if newline else b"")):
                if line:
                    _check_line(line, f"{file}, {place}", root=file.parent, need=need)


def _check_line(line: bytes, where: str, *, root: Path, need: Need) -> None:
    record = read_line(line, where)
    try:
        check_sample(sample_from_record(record, root=root, default_id="1"), need=need)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def check_sample(sample: Sample, *, need: Need) -> None:
    """Raise DataError for a sample that a stage cannot learn from: a medium is missing, or what it learns from is."""
    for medium in sample.media:
        if isinstance(medium, Path) and not medium.is_file():
            raise DataError(f"there is no file {medium}")
    if not getattr(sample, need):
        raise DataError(NEEDS[need])
