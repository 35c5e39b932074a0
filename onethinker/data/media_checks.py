"""Whether the media of a record are there, of the kind that it says, and as long and large as its answer needs."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from onethinker.core.errors import DataError, MediaError
from onethinker.core.grammar import show
from onethinker.core.sample import Sample
from onethinker.core.sources import FileMedium
from onethinker.data.formats.forms import read_form
from onethinker.data.formats.records import Record
from onethinker.media.headers import Header
from onethinker.tasks import parse_truth, task_of

BEYOND_S, BEYOND_SHARE = 0.5, 0.02
"""A time may lie so far behind the end of a clip, in seconds or as a fraction of its length: lengths are rounded."""
SMALL_PX, MOST_LIKELY_PX = 800, 10
"""So many boxes, all inside the pixels of pictures or clips with a side of at most that, are taken for pixels:
thousandths would not be.
"""
_LIKE = 0.02
"""Shapes that differ by less are one shape."""


@dataclass(frozen=True)
class Usable:
    """A record that can be used, and where it stands."""

    file: Path
    row: int
    sample: Sample


def check_media(
    fields: Record,
    record: Usable,
    headers: Mapping[FileMedium, Header | MediaError],
    *,
    root: Path | None = None,
    strict_media: bool = False,
) -> list[tuple[str, str]]:
    """Return warnings about a record's media, whose paths are relative to `root`, by default the record's folder.

    Raises: DataError: they cannot be meant. MediaError: they cannot be read, or are damaged where that is an error.
    """
    sample, images = record.sample, set(read_form(fields, root or record.file.parent).images)
    names = {"image": "images", "video": "videos"} if not fields.get("path") else {"image": "path", "video": "path"}
    found: dict[FileMedium, Header] = {}
    warnings = []
    for medium in dict.fromkeys(sample.media):
        assert isinstance(medium, FileMedium)  # a file names nothing else
        if absent := no_file(medium if isinstance(medium, Path) else medium.path):
            raise DataError(absent)
        header = headers[medium]
        if isinstance(header, MediaError):
            raise header
        kind = "image" if medium in images else "video"
        if header.kind != kind:
            raise DataError(_wrong_kind(names[kind], medium, header))
        if header.problems and strict_media:
            raise MediaError(f"{medium}: {'; '.join(header.problems)} (an error because of data.strict_media)")
        warnings += [("damage", f"{medium}: {problem}") for problem in header.problems]
        found[medium] = header
    _check_times(sample, found)
    _check_masks(sample, found)
    return warnings if found else [*warnings, ("no media", "there is no picture or video to the question")]


def no_file(medium: Path) -> str | None:
    """Return why a path is no file that can be opened; None where it is one."""
    try:
        if medium.is_file():
            return None
        is_other = medium.exists()
    except OSError as error:  # a folder that may not be searched, a name that is too long
        return f"{show(str(medium))} cannot be opened: {error.strerror or error}"
    if is_other:
        return f"{medium} is a folder or device; a picture or video must be a file"
    of_windows = "\\" in str(medium) and os.sep == "/"
    return f"there is no file {medium}{'; write the path with /, as it is on this machine' if of_windows else ''}"


def _wrong_kind(name: str, medium: FileMedium, header: Header) -> str:
    if header.kind == "video":
        return (
            f"{name!r} names {medium} as a picture, but it is a video (or an animation): name it in 'videos', with"
            " 'data_type' video"
        )
    return (
        f"{name!r} names {medium} as a video, but it is a picture: name it in 'images', with 'data_type' image; the"
        " frames of a video must be in one video file"
    )


@cache
def _seen(path: FileMedium) -> tuple[float, int, int]:
    """Return the length in seconds and the upright size of a video, as reading it gives them. Raises: MediaError."""
    from onethinker.media.budget import MediaBudget
    from onethinker.media.reading import read_clip

    clip = read_clip(path, MediaBudget(max_frames=1))
    return clip.duration_s, clip.source_width, clip.source_height


def _check_times(sample: Sample, headers: Mapping[FileMedium, Header]) -> None:
    """Raise DataError for an answer about a time at which the clip is over; the header's word is not enough for
    that.
    """
    videos = [(path, header) for path, header in headers.items() if header.kind == "video"]
    task = task_of(sample)
    moment = task.last_moment(parse_truth(sample.truth, task, sample.options)) if sample.truth else None
    if len(videos) != 1 or moment is None:
        return
    [(path, header)], (last, what) = videos, moment
    if header.duration_s is not None and last <= _latest(header.duration_s):
        return
    length_s = _seen(path)[0]
    if last > _latest(length_s):
        raise DataError(f"{what} {last:g} s, but {path} ends at {length_s:.2f} s; times are seconds from its start")


def _latest(length_s: float) -> float:
    return length_s + max(BEYOND_S, BEYOND_SHARE * length_s)


def _check_masks(sample: Sample, headers: Mapping[FileMedium, Header]) -> None:
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
            return f"{name}: {swapped}it is {side[0]} wide and {side[1]} high, unlike the {width} x {height}"
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


def in_pixels(records: Sequence[Usable], headers: Mapping[FileMedium, Header]) -> list[Usable]:
    """Return the records about small pictures whose boxes all lie inside their pixels, as thousandths seldom do."""
    inside: list[Usable] = []
    count = 0
    for record in records:
        sample = record.sample
        header = headers.get(sample.media[0]) if sample.media and isinstance(sample.media[0], FileMedium) else None
        if header is None or min(header.width, header.height) > SMALL_PX or not sample.truth:
            continue
        task = task_of(sample)
        boxes = task.boxes(parse_truth(sample.truth, task, sample.options)).values()
        if boxes:
            count += 1
            if all(box.x2 <= header.width and box.y2 <= header.height for box in boxes):
                inside.append(record)
    return inside if count >= MOST_LIKELY_PX and len(inside) == count else []
