"""The fields of a record about parts of its media: which seconds of its videos, and where an object is at first."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

from onethinker.core.errors import DataError
from onethinker.core.geometry import FULL, Box
from onethinker.core.grammar import show
from onethinker.core.sources import FileMedium, VideoPart
from onethinker.data.formats.records import Record


def clipped(record: Record, videos: Sequence[Path], media: Sequence[Path]) -> tuple[FileMedium, ...]:
    """Return media with the videos of which "clips" names a part replaced by it. Raises: DataError.

    "clips" has a part for each video, [start, end] in seconds, or null for all of it; an end of null is the video's.
    """
    clips = record.get("clips")
    if clips is None or clips == []:
        return tuple(media)
    if not isinstance(clips, list) or len(clips) != len(videos):
        raise DataError(
            f"'clips' must have [start, end] in seconds, or null, for each of {len(videos)} videos, got {show(clips)}"
        )
    parts = {id(path): _part(path, clip) for path, clip in zip(videos, clips, strict=True) if clip is not None}
    return tuple(parts.get(id(item), item) for item in media)


def _part(path: Path, clip: Any) -> VideoPart:
    start_s, end_s = clip if isinstance(clip, list) and len(clip) == 2 else (None, None)
    if not _is_second(start_s) or (end_s is not None and not (_is_second(end_s) and start_s < end_s)):
        raise DataError(f"a part in 'clips' must be [start, end] in seconds with start before end, got {show(clip)}")
    return VideoPart(path, float(start_s), None if end_s is None else float(end_s))


def _is_second(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def read_first_box(record: Record, problem_type: str) -> Box | None:
    """Return where the object of a track is in the first frame, None where it is not said. Raises: DataError."""
    value = record.get("first_box")
    if value is None:
        return None
    is_box = isinstance(value, list) and len(value) == 4 and all(_is_second(side) and side <= FULL for side in value)
    if not is_box or value[0] >= value[2] or value[1] >= value[3] or max(value) <= 1:
        raise DataError(f"'first_box' must be left, top, right, bottom in thousandths of the frame, got {show(value)}")
    if problem_type != "tracking":
        raise DataError(f"'first_box' is only for tracking questions, but this record is {problem_type!r}")
    return Box(*map(float, value))
