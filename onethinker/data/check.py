"""Every fault of files of samples, found and counted before anybody learns from them: `onethinker data check`."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from onethinker.core.errors import DataError, MediaError
from onethinker.core.grammar import show
from onethinker.core.sample import Sample
from onethinker.core.sources import FileMedium
from onethinker.data.formats.records import Record, read_records
from onethinker.data.formats.released import sample_from_record
from onethinker.data.media_checks import Usable, check_media, in_pixels
from onethinker.data.spreading import Block, Row, results_of
from onethinker.data.validate import IN_PIXELS, NEEDS, Need, Problem, check_sample
from onethinker.media.headers import Header, read_headers
from onethinker.tasks import grade_response, task_of

KINDS: Mapping[str, str] = {
    "record": "cannot be read as a sample",
    "nothing to learn": "has neither a response nor a reference answer",
    "truth": "a reference answer that does not get the whole reward",
    "contradiction": "a response that answers otherwise than the reference",
    "grammar": "a response whose form scores 0",
    "id": "an id that another record has",
    "duplicate": "the same question about the same media as another record",
    "media": "media that are missing, broken, of another kind or too short",
    "damage": "media that are damaged or odd; what can be read of them is used",
    "pixels": "boxes that are likely pixels",
    "too long": "more tokens than a row of the recipe",
}
"""What can be wrong with a record."""
FULL = 1 - 1e-9
Measure = Callable[[Sequence[Usable], Mapping[FileMedium, Header | MediaError]], list[Problem]]


@dataclass
class Tally:
    """How many records there are, how many of each problem type, and how many have a fault of each kind."""

    records: int = 0
    problem_types: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)


class Seen(NamedTuple):
    """What the look at one record came to: its problem type, None where it cannot be read; its id, where it has one;
    digests of that id and of the question with its media; and kinds and texts of its faults.
    """

    file: str
    row: int
    problem_type: str | None
    id: str | None
    id_digest: int
    question_digest: int
    faults: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Look:
    """Looks at the records of a block, each by itself.

    `need` is what a stage learns from; without it a record needs a response or a reference answer. Headers of media are
    read unless `with_media` is false; with `decode` the frames that a model would see are decoded too. `measure` finds
    further faults in records and the headers of their media.
    """

    need: Need | None = None
    with_media: bool = True
    decode: bool = False
    media_root: Path | None = None
    measure: Measure | None = None

    def __call__(self, block: Block) -> list[Seen]:
        """Return what was seen of each record, in order."""
        read = [self._read(file, row, record) for file, row, record in block]
        usable = [found for found in read if not isinstance(found, Problem)]
        headers = _headers_of(usable, decode=self.decode) if self.with_media else {}
        more = _media_faults(usable, headers, self.media_root) if self.with_media else []
        if self.measure is not None:
            more += self.measure([record for _, record in usable], headers)
        by_row: dict[tuple[Path, int], list[Problem]] = {}
        for problem in more:
            by_row.setdefault((problem.file, problem.row), []).append(problem)
        return [self._seen(found, by_row) for found in read]

    def _read(self, file: Path, row: int, record: Record | DataError) -> tuple[Record, Usable] | Problem:
        """Return a record and its sample, or why it is none."""
        try:
            if isinstance(record, DataError):
                raise record
            root = self.media_root or file.parent
            return record, Usable(file, row, sample_from_record(record, root=root, default_id=f"{file.stem}-{row}"))
        except DataError as error:
            return Problem(file, row, str(error).removeprefix(f"{file}, row {row}: "), "record")

    def _seen(
        self, found: tuple[Record, Usable] | Problem, by_row: Mapping[tuple[Path, int], Sequence[Problem]]
    ) -> Seen:
        if isinstance(found, Problem):
            return Seen(str(found.file), found.row, None, None, 0, 0, [(found.kind, found.text)])
        fields, (file, row, sample) = found[0], (found[1].file, found[1].row, found[1].sample)
        said = [*_sample_faults(sample, self.need), *((one.kind, one.text) for one in by_row.get((file, row), ()))]
        asked = (sample.problem_type, sample.problem, str(sample.first_box), *map(str, sample.media), *sample.options)
        own_id = sample.id if "problem_id" in fields else None
        return Seen(str(file), row, sample.problem_type, own_id, _digest(sample.id), _digest(*asked), said)


def find_faults(
    files: Iterable[Path],
    tally: Tally,
    look: Look | None = None,
    *,
    workers: int = 1,
    on_progress: Callable[[int], None] | None = None,
) -> Iterator[Problem]:
    """Yield every fault of the files, row by row, and count records and faults in `tally`. Some thousand records are
    held at a time; of those before only digests of ids and questions stay.

    `on_progress` hears how many records have been looked at.

    Raises: DataError: a file cannot be read, or is no list of records from some place on.
    """
    return faults_in(results_of(read_rows(files), look or Look(), workers=workers), tally, on_progress=on_progress)


def faults_in(
    results: Iterable[Any], tally: Tally, *, on_progress: Callable[[int], None] | None = None
) -> Iterator[Problem]:
    """Yield every fault in what a `Look` came to, block by block, with ids and questions that are there twice."""
    known = Known()
    for block in results:
        for seen in map(Seen._make, block):
            found = known.faults(seen)
            tally.records += 1
            tally.problem_types.update([seen.problem_type] if seen.problem_type is not None else [])
            tally.faults.update(problem.kind for problem in found)
            yield from found
        if on_progress:
            on_progress(tally.records)


def read_rows(files: Iterable[Path]) -> Iterator[Row]:
    """Yield file, row and record of files in order; a row that is no record comes with its error. Raises: DataError: a
    file cannot be read, or is no list of records from some place on.
    """
    for file in files:
        unread: list[tuple[int, DataError]] = []

        def put_aside(row: int, error: DataError, unread: list[tuple[int, DataError]] = unread) -> None:
            unread.append((row, error))

        for row, record in read_records(file, bad=put_aside):
            yield from ((file, *one) for one in unread)
            unread.clear()
            yield file, row, record
        yield from ((file, *one) for one in unread)


def _sample_faults(sample: Sample, need: Need | None) -> Iterator[tuple[str, str]]:
    """Yield the kinds and texts of what is wrong with a sample itself."""
    wanted: Sequence[Need] = [need] if need else [name for name in NEEDS if getattr(sample, name)]
    if "rejected" in wanted and "response" in wanted:
        wanted = [name for name in wanted if name != "response"]  # a preference has its better response checked
    if not wanted:
        yield (
            "nothing to learn",
            "there is neither a response ('response' or 'messages') nor a reference answer ('answer' or 'solution')",
        )
    for name in wanted:
        try:
            yield from check_sample(sample, need=name)
        except DataError as error:
            yield "grammar" if getattr(sample, name) else "nothing to learn", str(error)
    if sample.truth and sample.problem_type != "math":
        grade = grade_response(
            f"<think></think><answer>{sample.truth}</answer>",
            sample.truth,
            task=task_of(sample),
            options=sample.options,
        )
        if grade.accuracy < FULL:
            reasons = "; ".join(grade.reasons)
            yield "truth", f"the reference answer {show(sample.truth)} itself gets {grade.accuracy:.3g} of 1: {reasons}"


class Known:
    """Ids and questions of records so far, as digests, with where they were."""

    def __init__(self) -> None:
        self._files: dict[str, int] = {}
        self._ids: dict[int, int] = {}
        self._questions: dict[int, int] = {}

    def faults(self, seen: Seen) -> list[Problem]:
        """Return the faults of a record, and what it has in common with an earlier one."""
        said = list(seen.faults)
        if seen.problem_type is not None:
            where = self._files.setdefault(seen.file, len(self._files)) << _ROW_BITS | seen.row
            if seen.id is not None and (first := self._ids.setdefault(seen.id_digest, where)) != where:
                said.append(("id", f"'problem_id' {show(seen.id)} is also that of {self._place(first, seen.file)}"))
            if (first := self._questions.setdefault(seen.question_digest, where)) != where:
                said.append(("duplicate", f"asks the same about the same media as {self._place(first, seen.file)}"))
        return [Problem(Path(seen.file), seen.row, text, kind) for kind, text in said]

    def _place(self, where: int, file: str) -> str:
        named, row = list(self._files)[where >> _ROW_BITS], where & ((1 << _ROW_BITS) - 1)
        return f"row {row}" if named == file else f"{named}, row {row}"


_ROW_BITS = 40
"""Of a place in the files, what counts the rows; the rest counts the files."""


def _digest(*texts: str) -> int:
    return int.from_bytes(blake2b("\0".join(texts).encode("utf-8", "replace"), digest_size=12).digest(), "big")


def _headers_of(usable: Sequence[tuple[Record, Usable]], *, decode: bool) -> Mapping[FileMedium, Header | MediaError]:
    media = [medium for _, record in usable for medium in record.sample.media if isinstance(medium, FileMedium)]
    return read_headers(media, decode=decode)


def _media_faults(
    usable: Sequence[tuple[Record, Usable]], headers: Mapping[FileMedium, Header | MediaError], media_root: Path | None
) -> list[Problem]:
    """Return what the headers of media say against records."""
    found: list[Problem] = []
    for fields, record in usable:
        try:
            faults = check_media(fields, record, headers, root=media_root)
        except (DataError, MediaError) as error:
            faults = [("media", str(error))]
        found += [Problem(record.file, record.row, text, kind if kind in KINDS else "media") for kind, text in faults]
    readable = {path: header for path, header in headers.items() if isinstance(header, Header)}
    odd = in_pixels([record for _, record in usable], readable)
    return found + [Problem(record.file, record.row, IN_PIXELS, "pixels") for record in odd]
