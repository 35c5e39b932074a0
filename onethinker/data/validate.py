"""Whether files of samples can be learned from, before a run begins: every record readable, its media there, its answer
possible.

Media are opened as far as their headers; what only decoding can tell is found when a sample is drawn.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from onethinker.core.errors import AnswerError, DataError, MediaError
from onethinker.core.geometry import Span
from onethinker.core.grammar import find_answer, parse_response, show
from onethinker.core.sample import Sample
from onethinker.data.formats.released import (
    Record,
    check_answer,
    media_paths,
    read_line,
    read_records,
    sample_from_record,
)
from onethinker.media.headers import Header, read_headers
from onethinker.tasks import parse_truth, task_of

Need = Literal["response", "truth"]
NEEDS: Mapping[Need, str] = {
    "response": "SFT learns from a whole model text: 'response', or the assistant's turn in 'messages'; there is none",
    "truth": "RL grades against a reference: 'answer' or 'solution'; there is none",
}
"""What a stage learns from, and what to say of a record without it."""
SHOWN = 5
"""Records of a kind of problem that a message names; of the rest it says how many there are."""
BEYOND_S, BEYOND_SHARE = 0.5, 0.02
"""A time may lie so far behind the end of a clip, in seconds or as a share of its length: lengths are rounded."""
SMALL_PX, MOST_LIKELY_PX = 800, 10
"""So many boxes, all inside the pixels of pictures or clips with a side of at most that, are taken for pixels:
thousandths would not be.
"""
_EXACT = frozenset({"multiple choice", "numerical"})
"""Tasks whose answers are right or wrong, and compared in microseconds."""
_LIKE = 0.02
"""Shapes that differ by less are one shape."""
SHORT_BYTES = 2**21
"""Files of at most so many bytes are read in well under a second."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with a record, and where it stands; `kind` is the same for all that can be said in one sentence."""

    file: Path
    row: int
    text: str
    kind: str = ""

    def __str__(self) -> str:
        return f"{self.file}, row {self.row}: {self.text}"


@dataclass(frozen=True)
class Usable:
    """A record that can be used, and where it stands."""

    file: Path
    row: int
    sample: Sample


@dataclass(frozen=True)
class Checked:
    """What can be learned from, and all that was found; `headers` are those of the media that could be read."""

    records: tuple[Usable, ...] = ()
    invalid: tuple[Problem, ...] = ()
    unreadable: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    headers: Mapping[Path, Header] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Records in the files."""
        return len(self.records) + len(self.invalid)

    def lines(self) -> list[str]:
        """Return what a user must know, a line each."""
        said = [f"{listed(self.invalid, self.count)}; left out (data.invalid)"] if self.invalid else []
        if self.unreadable:
            said.append(
                f"media that cannot be read, each replaced when it is drawn: {listed(self.unreadable, self.count)}"
            )
        by_kind: dict[str, list[Problem]] = {}
        for problem in self.warnings:
            by_kind.setdefault(problem.kind, []).append(problem)
        return said + [_alike(problems, self.count) for problems in by_kind.values()]


def check_files(
    files: Iterable[Path],
    *,
    need: Need,
    invalid: Literal["error", "skip"] = "error",
    max_corrupt_share: float = 1.0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Checked:
    """Return the records that the files hold, after looking at each of them and at the header of each medium.

    `on_progress` gets how many headers have been read, and of how many.

    Raises: DataError: names the file and row of the first records that cannot be used and the reasons, and how many
    more there are; or the media that cannot be read, if they are more than that share of the records. With `invalid`
    "skip" wrong records are left out.
    """
    read = [_read(file, row, record, need) for file in files for row, record in read_records(file)]
    paths = [
        medium
        for found in read
        if not isinstance(found, Problem)
        for medium in found[1].sample.media
        if isinstance(medium, Path)
    ]
    headers = read_headers(paths, on_progress=on_progress)
    records: list[Usable] = []
    wrong: list[Problem] = []
    unreadable: list[Problem] = []
    warnings: list[Problem] = []
    for found in read:
        if isinstance(found, Problem):
            wrong.append(found)
            continue
        fields, record, said = found
        try:
            said = [*said, *_check_media(fields, record, headers)]
        except DataError as error:
            wrong.append(Problem(record.file, record.row, str(error)))
            continue
        except MediaError as error:
            unreadable.append(Problem(record.file, record.row, str(error)))
        records.append(record)
        warnings += [Problem(record.file, record.row, text, kind) for kind, text in said]
    if wrong and (invalid == "error" or not records):
        raise DataError(_refusal(wrong, len(read)))
    if len(unreadable) > max_corrupt_share * len(read):
        raise DataError(
            f"media of {len(unreadable)} of {len(read)} records cannot be read, more than data.max_corrupt_share ="
            f" {max_corrupt_share:g} allows. Mend or remove them, or allow a larger share:"
            f" {listed(unreadable, len(read))}"
        )
    whole = {path: header for path, header in headers.items() if isinstance(header, Header)}
    return Checked(tuple(records), tuple(wrong), tuple(unreadable), (*warnings, *_pixels(records, whole)), whole)


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
            continue
        with file.open("rb") as lines:
            first = lines.readline(SHORT_BYTES)
            lines.seek(max(0, size - SHORT_BYTES))
            _, newline, last = lines.read().rstrip().rpartition(b"\n")
        # A list is one value, and is read when the run begins; so is a row that is longer than what was looked at.
        if first.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
            for place, line in (
                ("row 1", first if first.endswith(b"\n") else b""),
                ("the last row", last if newline else b""),
            ):
                if line and (problem := _glance(file, 1, read_line(line, f"{file}, {place}"), need)):
                    raise DataError(f"{file}, {place}: {problem.text}")


def _glance(file: Path, row: int, record: Record, need: Need) -> Problem | None:
    found = _read(file, row, record, need)
    if isinstance(found, Problem):
        return found
    absent = next(
        (said for medium in found[1].sample.media if isinstance(medium, Path) and (said := _no_file(medium))), None
    )
    return None if absent is None else Problem(file, row, absent)


def _no_file(medium: Path) -> str | None:
    """Return why a path is no file that can be opened; None where it is one."""
    try:
        if medium.is_file():
            return None
        is_other = medium.exists()
    except OSError as error:  # a folder that may not be searched, a name that is too long
        return f"{show(str(medium))} cannot be opened: {error.strerror or error}"
    return (
        f"{medium} is a folder or device; a picture or video must be one file"
        if is_other
        else f"there is no file {medium}"
    )


def check_sample(sample: Sample, *, need: Need) -> list[tuple[str, str]]:
    """Return warnings, kind and text, of a sample whose media were not looked at. Raises: DataError: a stage cannot
    learn from it.
    """
    if not getattr(sample, need):
        raise DataError(NEEDS[need])
    if need == "response":
        return _check_response(sample)
    return []


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
    return f'{wrong[0]}{more}{others}\nMend them, or leave them out with data.invalid = "skip"'


def _read(file: Path, row: int, record: Record, need: Need) -> Problem | tuple[Record, Usable, list[tuple[str, str]]]:
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
    try:
        answer = find_answer(text)
    except AnswerError as error:
        raise DataError(
            f"the response has no <answer>…</answer>, without which every answer scores 0 ({error}), got {show(text)};"
            " write it as <think>…</think><answer>…</answer>"
        ) from error
    task = task_of(sample)
    said = check_answer(answer, task, sample.options, what="the response's answer block")
    warnings = []
    if (
        sample.truth
        and sample.problem_type in _EXACT
        and not task.score(said, task.parse(sample.truth, sample.options), "paper").accuracy
    ):
        text_of_both = f"the response answers {show(answer)}, the record's own reference is {show(sample.truth)}"
        warnings.append(("contradiction", text_of_both))
    try:
        parse_response(text)
    except AnswerError as error:
        warnings.append(
            (
                "grammar",
                f"the response is not one think block and one answer block, so the form of its like scores 0: {error}",
            )
        )
    return warnings


def _check_media(fields: Record, record: Usable, headers: Mapping[Path, Header | MediaError]) -> list[tuple[str, str]]:
    """Return warnings about a record's media. Raises: DataError: they cannot be meant. MediaError: they cannot be
    read.
    """
    sample, images = record.sample, set(media_paths(fields, record.file.parent)[0])
    names = {"image": "images", "video": "videos"} if not fields.get("path") else {"image": "path", "video": "path"}
    found: dict[Path, Header] = {}
    warnings = []
    for medium in dict.fromkeys(sample.media):
        assert isinstance(medium, Path)  # a file names nothing else
        if absent := _no_file(medium):
            raise DataError(absent)
        header = headers[medium]
        if isinstance(header, MediaError):
            raise header
        kind = "image" if medium in images else "video"
        if header.kind != kind:
            raise DataError(_wrong_kind(names[kind], medium, header))
        if header.missing_bytes:
            text = (
                f"{medium} is cut short: {header.missing_bytes:,} bytes are missing at its end, and their frames are"
                " left out"
            )
            warnings.append(("cut", text))
        found[medium] = header
    _check_times(sample, found)
    _check_masks(sample, found)
    return warnings if found else [*warnings, ("no media", "there is no picture or video to the question")]


def _wrong_kind(name: str, medium: Path, header: Header) -> str:
    if header.kind == "video":
        return (
            f"{name!r} names {medium} as a picture, but it is a video (or an animation): name it in 'videos', with"
            " 'data_type' video"
        )
    return (
        f"{name!r} names {medium} as a video, but it is a picture: name it in 'images', with 'data_type' image; frames"
        " of a video have to be one video file"
    )


@cache
def _seen(path: Path) -> tuple[float, int, int]:
    """Return the length in seconds and the upright size of a video, as reading it gives them. Raises: MediaError."""
    from onethinker.media.budget import MediaBudget
    from onethinker.media.reading import read_clip

    clip = read_clip(path, MediaBudget(max_frames=1))
    return clip.duration_s, clip.source_width, clip.source_height


def _check_times(sample: Sample, headers: Mapping[Path, Header]) -> None:
    """Raise DataError for an answer about a time at which the clip is over; the header's word is not enough for
    that.
    """
    videos = [(path, header) for path, header in headers.items() if header.kind == "video"]
    last, what = _last_moment(sample)
    if len(videos) != 1 or last is None:
        return
    [(path, header)] = videos
    if header.duration_s is not None and last <= _latest(header.duration_s):
        return
    length_s = _seen(path)[0]
    if last > _latest(length_s):
        raise DataError(f"{what} {last:g} s, but {path} ends at {length_s:.2f} s; times are seconds from its start")


def _latest(length_s: float) -> float:
    return length_s + max(BEYOND_S, BEYOND_SHARE * length_s)


def _last_moment(sample: Sample) -> tuple[float | None, str]:
    """Return the last second that the reference answer speaks of, and how it does; None for a task without times."""
    answer: Any = None
    if sample.truth:
        answer = parse_truth(sample.truth, task_of(sample), sample.options)
    span = answer if isinstance(answer, Span) else getattr(answer, "span", None)
    moments = [(span.end, "'time' ends at")] if span is not None else []
    boxes = getattr(answer, "boxes", None)
    if isinstance(boxes, Mapping) and sample.problem_type == "tracking":
        moments.append((float(max(boxes)), f"'boxes' has the key {max(boxes) + 1}, which stands for second"))
    if hasattr(answer, "time_s"):
        moments.append((answer.time_s, "'time' is"))
    return max(moments, default=(None, ""))


def _check_masks(sample: Sample, headers: Mapping[Path, Header]) -> None:
    """Raise DataError for truth masks, or a resolution, of another shape than the first medium has."""
    sides = _mask_sides(sample)
    if not sides or not headers:
        return
    path, header = next(iter(headers.items()))
    if all(_is_like(side, (header.width, header.height)) for _, side in sides):
        return
    size = _seen(path)[1:] if header.kind == "video" else (header.width, header.height)
    if problem := mask_problem(sample, *size):
        raise DataError(f"{problem} of {path}")


def mask_problem(sample: Sample, width: int, height: int) -> str | None:
    """Return what is wrong with the shape of a sample's truth masks beside a picture or clip of this size; None if
    nothing is.
    """
    for name, side in _mask_sides(sample):
        if not _is_like(side, (width, height)):
            swapped = "its sides are swapped: " if _is_like(side[::-1], (width, height)) else ""
            return f"{name}: {swapped}it is {side[0]} wide and {side[1]} high, beside the {width} x {height}"
    return None


def _mask_sides(sample: Sample) -> list[tuple[str, tuple[int, int]]]:
    """Return the width and height of every run-length mask and of 'resolution', once each, with the field's name."""
    name = "a mask's 'size' (height, width) in 'segmentation_output'"
    marks = [mark for marks in sample.masks.frames.values() for mark in marks] if sample.masks else []
    sizes = [mark.get("size") for mark in marks if not isinstance(mark, Path)]
    sides = [
        (name, (size[1], size[0]))
        for size in sizes
        if isinstance(size, list) and len(size) == 2 and all(type(side) is int and side > 0 for side in size)
    ]
    return list(dict.fromkeys(sides + ([("'resolution'", sample.resolution)] if sample.resolution else [])))


def _is_like(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return abs(a[0] * b[1] - a[1] * b[0]) <= _LIKE * a[1] * b[0]


def _pixels(records: Sequence[Usable], headers: Mapping[Path, Header]) -> list[Problem]:
    """Return a warning where all boxes about small pictures or clips lie inside their pixels, which thousandths seldom
    do.
    """
    inside: list[Usable] = []
    count = 0
    for record in records:
        sample = record.sample
        header = headers.get(sample.media[0]) if sample.media and isinstance(sample.media[0], Path) else None
        if header is None or min(header.width, header.height) > SMALL_PX or not sample.truth:
            continue
        task = task_of(sample)
        boxes = task.boxes(parse_truth(sample.truth, task, sample.options)).values()
        if boxes:
            count += 1
            if all(box.x2 <= header.width and box.y2 <= header.height for box in boxes):
                inside.append(record)
    if count < MOST_LIKELY_PX or len(inside) < count:
        return []
    text = (
        "the boxes look like pixels: all of them lie inside the pixels of their small pictures; they must be"
        " thousandths of the frame"
    )
    return [Problem(record.file, record.row, text, "pixels") for record in inside]
