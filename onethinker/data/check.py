"""Every fault of files of samples, found and counted before anybody learns from them: `onethinker data check`."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from pathlib import Path

from onethinker.core.errors import DataError, MediaError
from onethinker.core.grammar import show
from onethinker.core.sample import Sample
from onethinker.data.formats.records import Record, read_records
from onethinker.data.formats.released import sample_from_record
from onethinker.data.media_checks import Usable, check_media, in_pixels
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
AT_ONCE = 1024
"""Records whose media are looked at together."""
FULL = 1 - 1e-9
Measure = Callable[[Sequence[Usable], Mapping[Path, Header | MediaError]], list[Problem]]


@dataclass
class Tally:
    """How many records there are, how many of each problem type, and how many have a fault of each kind."""

    records: int = 0
    problem_types: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)


def find_faults(
    files: Iterable[Path],
    tally: Tally,
    *,
    need: Need | None = None,
    with_media: bool = True,
    decode: bool = False,
    media_root: Path | None = None,
    measure: Measure | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Iterator[Problem]:
    """Yield every fault of the files, and count records and faults in `tally`. A thousand records are held at a time;
    of those before only digests of ids and questions stay.

    `need` is what a stage learns from; without it a record needs a response or a reference answer. Headers of media are
    read unless `with_media` is false; with `decode` the frames that a model would see are decoded too. `measure` finds
    further faults in records and the headers of their media.
    `on_progress` hears how many records have been looked at.

    Raises: DataError: a file cannot be read, or is no list of records from some place on.
    """
    known, rows = _Known(), read_rows(files)
    while some := list(islice(rows, AT_ONCE)):
        found: list[Problem] = []
        usable: list[tuple[Record, Usable]] = []
        for file, row, record in some:
            try:
                if isinstance(record, DataError):
                    raise record
                sample = sample_from_record(record, root=media_root or file.parent, default_id=f"{file.stem}-{row}")
            except DataError as error:
                found.append(Problem(file, row, str(error).removeprefix(f"{file}, row {row}: "), "record"))
                continue
            tally.problem_types[sample.problem_type] += 1
            usable.append((record, Usable(file, row, sample)))
            own = [*_sample_faults(sample, need), *known.faults(file, row, sample, has_id="problem_id" in record)]
            found += [Problem(file, row, text, kind) for kind, text in own]
        headers = _headers_of(usable, decode=decode) if with_media else {}
        if with_media:
            found += _media_faults(usable, headers, media_root)
        if measure is not None:
            found += measure([record for _, record in usable], headers)
        tally.records += len(some)
        tally.faults.update(problem.kind for problem in found)
        if on_progress:
            on_progress(tally.records)
        yield from found


def read_rows(files: Iterable[Path]) -> Iterator[tuple[Path, int, Record | DataError]]:
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
    if not wanted:
        yield "nothing to learn", "there is neither 'response' (or 'messages') nor 'answer' (or 'solution')"
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


class _Known:
    """Ids and questions seen so far, as digests, with where they were."""

    def __init__(self) -> None:
        self._ids: dict[bytes, tuple[Path, int]] = {}
        self._questions: dict[bytes, tuple[Path, int]] = {}

    def faults(self, file: Path, row: int, sample: Sample, *, has_id: bool) -> Iterator[tuple[str, str]]:
        """Yield what a sample has in common with an earlier one."""
        where = file, row
        if has_id and (first := self._ids.setdefault(_digest(sample.id), where)) != where:
            yield "id", f"'problem_id' {show(sample.id)} is also that of {_place(first, file)}"
        question = _digest(sample.problem_type, sample.problem, *map(str, sample.media), *sample.options)
        if (first := self._questions.setdefault(question, where)) != where:
            yield "duplicate", f"asks the same about the same media as {_place(first, file)}"


def _digest(*texts: str) -> bytes:
    return blake2b("\0".join(texts).encode("utf-8", "replace"), digest_size=12).digest()


def _place(where: tuple[Path, int], file: Path) -> str:
    return f"row {where[1]}" if where[0] == file else f"{where[0]}, row {where[1]}"


def _headers_of(usable: Sequence[tuple[Record, Usable]], *, decode: bool) -> Mapping[Path, Header | MediaError]:
    media = [medium for _, record in usable for medium in record.sample.media if isinstance(medium, Path)]
    return read_headers(media, decode=decode)


def _media_faults(
    usable: Sequence[tuple[Record, Usable]], headers: Mapping[Path, Header | MediaError], media_root: Path | None
) -> list[Problem]:
    """Return what the headers of media say against records."""
    found: list[Problem] = []
    for fields, record in usable:
        try:
            said = check_media(fields, record, headers, root=media_root)
        except (DataError, MediaError) as error:
            said = [("media", str(error))]
        found += [Problem(record.file, record.row, text, kind if kind in KINDS else "media") for kind, text in said]
    readable = {path: header for path, header in headers.items() if isinstance(header, Header)}
    odd = in_pixels([record for _, record in usable], readable)
    return found + [Problem(record.file, record.row, IN_PIXELS, "pixels") for record in odd]
