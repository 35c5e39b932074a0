"""What the header of a picture or video tells, in milliseconds, nothing decoded: kind, size, length, and whether its
end is there.
"""

import math
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal

import av
from PIL import Image

from onethinker.core.errors import MediaError
from onethinker.core.sources import FileMedium
from onethinker.media.budget import MediaBudget
from onethinker.media.damage import cut_problems, page_problems
from onethinker.media.files import SharedFile
from onethinker.media.packets import BROADCASTS, scan_video
from onethinker.media.pictures import check_whole, count_frames, open_picture
from onethinker.media.reading import check_readable, read_clip
from onethinker.media.sampling import choose_frames, target_times
from onethinker.media.sizing import Cost, count_tokens, frame_size, frame_tokens
from onethinker.media.videos import open_video

READERS = 4 * (os.cpu_count() or 1)
"""Headers read at once: most of their time is the disk's."""
_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)
"""EXIF orientations whose sides are swapped."""


@dataclass(frozen=True)
class Header:
    """A picture (upright) or a video (as stored: whether it is turned is known once a frame is decoded); `duration_s`
    is 0 for a picture.

    A video's length is None where its container does not say. `problems` name what the file lacks, as far as that shows
    without decoding.
    """

    kind: Literal["image", "video"]
    width: int
    height: int
    duration_s: float | None
    problems: tuple[str, ...] = ()


def read_header(path: Path) -> Header:
    """Return what the header of a file holds. Raises: MediaError: names the file, which is neither, or is cut short."""
    try:
        if not path.is_file():
            raise MediaError("is a folder or device, not a file" if path.exists() else "there is no such file")
        with path.open("rb") as file:
            return _read(file)
    except MediaError as error:
        raise MediaError(f"{path}: {error}") from error.__cause__
    except Exception as error:  # what decoders raise on hostile bytes is no list that anybody keeps
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise MediaError(f"{path}: cannot be read as a picture or video ({reason})") from error


def scanned_cost(path: Path, budget: MediaBudget) -> Cost:
    """Return what a video costs, from the times of all of its frames, without decoding them. Raises: MediaError."""
    with path.open("rb") as file:
        image = open_picture(file)
        if image is not None:
            clip = read_clip(path, budget)
            return Cost(count_tokens(clip, budget), math.ceil(len(clip.frames) / budget.frames_per_token))
        with open_video(SharedFile(file)) as (container, stream):
            scan, size = scan_video(container, stream), (stream.codec_context.width, stream.codec_context.height)
    targets = target_times(scan.duration_s, budget)
    pairs = math.ceil(len(choose_frames(scan.times_s, targets)) / budget.frames_per_token)
    tokens = [frame_tokens(*frame_size(*sides, len(targets), budget), budget) for sides in (size, size[::-1])]
    return Cost(pairs * max(tokens), pairs)


def read_headers(
    paths: Iterable[FileMedium], *, decode: bool = False, on_progress: Callable[[int, int], None] | None = None
) -> Mapping[FileMedium, Header | MediaError]:
    """Return the header of each file or part of one, or why it has none; several are read at once. With `decode` the
    frames that a model sees by default are decoded too, and problems are those of both. `on_progress` gets those read,
    and all of them.
    """
    read = _decoded_or_error if decode else _header_or_error
    distinct = list(dict.fromkeys(paths))
    headers: dict[FileMedium, Header | MediaError] = {}
    with ThreadPoolExecutor(READERS, thread_name_prefix="headers") as pool:
        for path, header in zip(distinct, pool.map(read, distinct), strict=True):
            headers[path] = header
            if on_progress is not None:
                on_progress(len(headers), len(distinct))
    return headers


def _header_or_error(medium: FileMedium) -> Header | MediaError:
    try:
        return _of_medium(medium)
    except MediaError as error:
        return error


def _of_medium(part: FileMedium) -> Header:
    """Return the header of a file, or of a part of a video with its own length. Raises: MediaError."""
    if isinstance(part, Path):
        return read_header(part)
    header = read_header(part.path)
    if header.kind != "video":
        raise MediaError(f"{part}: it is a picture, so it has no part in time")
    if part.start_s >= (header.duration_s or math.inf):
        raise MediaError(f"{part}: the video ends at {header.duration_s:.2f} s")
    ends = [end_s for end_s in (part.end_s, header.duration_s) if end_s is not None]
    return replace(header, duration_s=min(ends) - part.start_s if ends else None)


def _decoded_or_error(path: FileMedium) -> Header | MediaError:
    try:
        header = _of_medium(path)
        found = read_clip(path, MediaBudget()).problems
    except MediaError as error:
        return error
    return replace(header, problems=tuple(dict.fromkeys((*header.problems, *found))))


def _read(file: IO[bytes]) -> Header:
    check_readable(file)
    image = open_picture(file)
    if image is not None:
        return _of_picture(image, file)
    shared = SharedFile(file)
    with open_video(shared) as (container, stream):
        decoder = stream.codec_context
        duration_s = _duration_s(container, stream)
        return Header("video", decoder.width, decoder.height, duration_s, cut_problems(shared))


def _of_picture(image: Image.Image, file: IO[bytes]) -> Header:
    num_frames = count_frames(image)
    width, height = image.size
    # To look for a note behind the pixels of a PNG, Pillow would decode them.
    has_notes = image.format != "PNG" or "exif" in image.info
    if num_frames == 1 and has_notes and image.getexif().get(_ORIENTATION) in _TURNED:
        width, height = height, width
    check_whole(image, file)
    if num_frames > 1:
        return Header("video", width, height, None)
    return Header("image", width, height, 0.0, page_problems(image))


def _duration_s(container: Any, stream: Any) -> float | None:
    if container.format.name in BROADCASTS:
        return None  # it would be the difference of two clocks, which may be those of two parts
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None
