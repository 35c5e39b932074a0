"""Whether files of samples can be learned from, before a run begins: every record readable, its media there, its answer
possible.

Media are opened as far as their headers; what only decoding can tell is found when a sample is drawn.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from onethinker.core.errors import AnswerError, DataError, MediaError
from onethinker.core.grammar import find_answer, parse_response, show
from onethinker.core.sample import Sample
from onethinker.core.sources import FileMedium, path_of
from onethinker.data.formats.records import Record, read_line, read_records
from onethinker.data.formats.released import check_answer, sample_from_record
from onethinker.data.media_checks import Usable, check_media, in_pixels, no_file
from onethinker.media.headers import Header, read_headers
from onethinker.tasks import parse_truth, task_of

Need = Literal["response", "truth", "rejected"]
NEEDS: Mapping[Need, str] = {
    "response": "SFT needs a complete response, in 'response' or as the assistant's turn in 'messages'; there is none",
    "truth": "RL needs a reference answer, in 'answer' or 'solution'; there is none",
    "rejected": "DPO needs a preference, 'chosen' (or 'response') and 'rejected'; one of them is missing",
}
"""What a stage learns from, and the error of a record without it."""
SHOWN = 5
"""Records with the same problem that a message names; it counts the others."""
_EXACT = frozenset({"multiple choice", "numerical"})
"""Tasks whose answers are right or wrong, and are compared in microseconds."""
IN_PIXELS = (
    "the boxes seem to be in pixels, because all of them lie within the pixel size of their small pictures; they must"
    " be in thousandths of the frame"
)
SHORT_BYTES = 2**21
"""Files of at most so many bytes are read in well under a second."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with a record, and where it is; problems of one `kind` are reported in one line."""

    file: Path
    row: int
    text: str
    kind: str = ""

    def __str__(self) -> str:
        return f"{self.file}, row {self.row}: {self.text}"


@dataclass(frozen=True)
class Checked:
    """What can be learned from, and all that was found; `headers` are those of the media that could be read."""

    records: tuple[Usable, ...] = ()
    invalid: tuple[Problem, ...] = ()
    unreadable: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    headers: Mapping[FileMedium, Header] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What else must be known of them, as that a validation asks about the same media."""

    @property
    def count(self) -> int:
        """Records in the files."""
        return len(self.records) + len(self.invalid)

    def lines(self) -> list[str]:
        """Return what a user must know, one problem a line."""
        lines = [f"{listed(self.invalid, self.count)}; left out (data.invalid)"] if self.invalid else []
        if self.unreadable:
            lines.append(
                f"media that cannot be read, each replaced when it is drawn: {listed(self.unreadable, self.count)}"
            )
        if told := sum(record.sample.is_conversation for record in self.records):
            lines.append(
                f"{told:,} of {self.count:,} records are conversations: each is used as written, without the prompt"
                " template"
            )
        by_kind: dict[str, list[Problem]] = {}
        for problem in self.warnings:
            by_kind.setdefault(problem.kind, []).append(problem)
        return [*lines, *(_alike(problems, self.count) for problems in by_kind.values()), *self.notes]


Read = tuple[Record, Usable, list[tuple[str, str]]]
"""A record that can be used, its sample, and the kinds and texts of what is odd about it."""


def check_files(
    files: Iterable[Path],
    *,
    need: Need,
    invalid: Literal["error", "skip"] = "error",
    max_corrupt_fraction: float = 1.0,
    strict_media: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Checked:
    """Return the records that the files hold, after looking at each of them and at the header of each medium.

    `on_progress` gets how many headers have been read, and of how many.

    Raises: DataError: names the file and row of the first records that cannot be used and the reasons, and how many
    more there are; or the media that cannot be read, if they are more than that fraction of the records; with
    `strict_media` those whose headers show damage are among them. With `invalid`
    "skip" wrong records are left out.
    """
    read = [_read(file, row, record, need) for file in files for row, record in read_records(file)]
    paths = [
        medium
        for found in read
        if not isinstance(found, Problem)
        for medium in found[1].sample.media
        if isinstance(medium, FileMedium)
    ]
    headers = read_headers(paths, on_progress=on_progress)
    checked = _with_media(read, headers, strict_media=strict_media)
    if checked.invalid and (invalid == "error" or not checked.records):
        raise DataError(_refusal(checked.invalid, len(read)))
    if len(checked.unreadable) > max_corrupt_fraction * len(read):
        raise DataError(
            f"media of {len(checked.unreadable)} of {len(read)} records cannot be read, more than"
            f" data.max_corrupt_fraction = {max_corrupt_fraction:g} allows. Repair or remove them, or raise the limit:"
            f" {listed(checked.unreadable, len(read))}"
        )
    return checked


def _with_media(
    read: Sequence[Problem | Read], headers: Mapping[FileMedium, Header | MediaError], *, strict_media: bool
) -> Checked:
    """Return what was read, sorted by what is wrong with it once its media are looked at."""
    records: list[Usable] = []
    wrong: list[Problem] = []
    unreadable: list[Problem] = []
    warnings: list[Problem] = []
    for found in read:
        if isinstance(found, Problem):
            wrong.append(found)
            continue
        fields, record, doubts = found
        try:
            doubts = [*doubts, *check_media(fields, record, headers, strict_media=strict_media)]
        except DataError as error:
            wrong.append(Problem(record.file, record.row, str(error)))
            continue
        except MediaError as error:
            unreadable.append(Problem(record.file, record.row, str(error)))
        records.append(record)
        warnings += [Problem(record.file, record.row, text, kind) for kind, text in doubts]
    readable = {path: header for path, header in headers.items() if isinstance(header, Header)}
    warnings += [Problem(record.file, record.row, IN_PIXELS, "pixels") for record in in_pixels(records, readable)]
    return Checked(tuple(records), tuple(wrong), tuple(unreadable), tuple(warnings), readable)


def glance_at(files: Iterable[Path], *, need: Need, invalid: Literal["error", "skip"] = "error") -> None:
    """Look at files of samples for a moment: at each record of short ones, at the first and last line of long ones, at
    no media.

    Where wrong records are left out ("skip"), it is enough that the files are there.

    Raises: DataError: a file is missing, or such a record cannot be used.
    """
    for file in files:
        try:
            size = file.stat().st_size
        except OSError as error:
            raise DataError(f"{file}: cannot be read: {error.strerror or error}") from error
        if invalid == "skip":
            continue
        if size <= SHORT_BYTES or file.is_dir():
            read = [_glance(file, row, record, need) for row, record in read_records(file)]
            if wrong := [found for found in read if isinstance(found, Problem)]:
                raise DataError(_refusal(wrong, len(read)))
        else:
            _glance_at_ends(file, size, need)


def _glance_at_ends(file: Path, size: int, need: Need) -> None:
    """Look at the first and last line of a long file. Raises: DataError: one of them cannot be used."""
    with file.open("rb") as lines:
        first = lines.readline(SHORT_BYTES)
        lines.seek(max(0, size - SHORT_BYTES))
        _, newline, last = lines.read().rstrip().rpartition(b"\n")
    if not first.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return  # a list is one value, and is read when the run begins
    # A row that is longer than what was read here is read when the run begins, too.
    for row, line, is_complete in (("row 1", first, first.endswith(b"\n")), ("the last row", last, bool(newline))):
        if line and is_complete and (problem := _glance(file, 1, read_line(line, f"{file}, {row}"), need)):
            raise DataError(f"{file}, {row}: {problem.text}")


def _glance(file: Path, row: int, record: Record, need: Need) -> Problem | None:
    found = _read(file, row, record, need)
    if isinstance(found, Problem):
        return found
    missing = [text for path in map(path_of, found[1].sample.media) if path and (text := no_file(path))]
    return Problem(file, row, missing[0]) if missing else None


def check_sample(sample: Sample, *, need: Need) -> list[tuple[str, str]]:
    """Return warnings, kind and text, of a sample whose media were not looked at. Raises: DataError: a stage cannot
    learn from it.
    """
    if not getattr(sample, need) or (need == "rejected" and not sample.response):
        raise DataError(NEEDS[need])
    if need == "truth":
        return []
    if need == "rejected" and sample.rejected == sample.response:
        raise DataError("'chosen' (or 'response') and 'rejected' are the same text, so there is no preference")
    return _check_response(sample)


def listed(problems: Sequence[Problem], count: int) -> str:
    """Return the first problems, and how many there are of so many records."""
    more = f"; and {len(problems) - SHOWN} more" if problems[SHOWN:] else ""
    return f"{len(problems):,} of {count:,} records: " + "; ".join(map(str, problems[:SHOWN])) + more


def _alike(problems: Sequence[Problem], count: int) -> str:
    """Return the first of problems that are alike, and where the next ones are."""
    rows = ", ".join(f"{problem.file.name} row {problem.row}" for problem in problems[1:SHOWN])
    more = f" (the next in {rows})" if rows else ""
    return f"{len(problems):,} of {count:,} records: {problems[0]}{more}"


def _refusal(wrong: Sequence[Problem], count: int) -> str:
    more = f" ({len(wrong) - 1} more of {count} records cannot be used either)" if wrong[1:] else ""
    others = "".join(f"\n  {problem}" for problem in wrong[1:SHOWN])
    return f'{wrong[0]}{more}{others}\nRepair them, or leave them out with data.invalid = "skip"'


def _read(file: Path, row: int, record: Record, need: Need) -> Problem | Read:
    try:
        sample = sample_from_record(record, root=file.parent, default_id=f"{file.stem}-{row}")
        warnings = check_sample(sample, need=need)
    except DataError as error:
        return Problem(file, row, str(error))
    return record, Usable(file, row, sample), warnings


def _check_response(sample: Sample) -> list[tuple[str, str]]:
    """Return a warning where a response breaks the grammar around its answer. Raises: DataError: it has no answer of
    its task.
    """
    text = sample.response or ""
    if sample.is_conversation and "<answer>" not in text:
        return []  # nothing asks for an answer block
    try:
        answer = find_answer(text)
    except AnswerError as error:
        raise DataError(
            f"the response has no <answer>…</answer>, without which it would score 0 ({error}), got {show(text)}; write"
            " it as <think>…</think><answer>…</answer>"
        ) from error
    task = task_of(sample)
    value = check_answer(answer, task, sample.options, what="the response's answer block")
    warnings = []
    if (
        sample.truth
        and sample.problem_type in _EXACT
        and not task.score(value, parse_truth(sample.truth, task, sample.options), "paper").accuracy
    ):
        text_of_both = f"the response answers {show(answer)}, but the record's reference answer is {show(sample.truth)}"
        warnings.append(("contradiction", text_of_both))
    try:
        parse_response(text)
    except AnswerError as error:
        warnings.append(
            (
                "grammar",
                f"the response is not one think block followed by one answer block, so its format scores 0: {error}",
            )
        )
    return warnings
