"""The one way in: a picture or video, from a file or from memory, becomes the frames that a model sees."""

import io
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from onethinker.core.errors import MediaError
from onethinker.core.frames import Clip
from onethinker.core.nearest import near_path
from onethinker.core.sources import FrameFolder, MemoryFile, Source, TablePicture, VideoPart
from onethinker.media.budget import MediaBudget
from onethinker.media.files import SharedFile, joined_kind
from onethinker.media.gop import decode_groups
from onethinker.media.packets import scan_video
from onethinker.media.pictures import count_moments, moment_times, moments, open_picture, resized, upright
from onethinker.media.sampling import choose_frames, target_times
from onethinker.media.sizing import frame_size, image_size
from onethinker.media.videos import converted, decode_frames, open_video, quarter_turns, scaled

Frame = npt.NDArray[np.uint8]

HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
"""Marks of the pictures of phones that Pillow has no decoder for, and FFmpeg would take for a video of tiles."""

_log = logging.getLogger(__name__)


def read_clip(source: Path | Clip | Source, budget: MediaBudget) -> Clip:
    """Return what the model sees of a picture or video: frames chosen by true time, upright, sized within the budget.

    Sides are multiples of `budget.side_px`. Times are seconds from the first frame of the video. The kind of a file is
    read from its content, not from its name; an animated GIF, WebP or PNG is a video. A clip that fits already comes
    back as it is.

    Raises: MediaError: names the file and why it cannot be read or what limit it breaks.
    """
    if isinstance(source, Clip):
        return _fit_clip(source, budget)
    if isinstance(source, TablePicture | MemoryFile):
        return _read_named(io.BytesIO(source.read()), source.name, budget)
    if isinstance(source, FrameFolder):
        return _read_frames(source, budget)
    path, part = (source.path, source) if isinstance(source, VideoPart) else (source, None)
    try:
        if not path.is_file():
            raise MediaError("is a folder or device, not a file" if path.exists() else "there is no such file")
        with path.open("rb") as file:
            return _read_file(file, path.name, budget, part)
    except MediaError as error:
        raise MediaError(f"{path}: {error}") from error.__cause__
    except Exception as error:  # what decoders raise on hostile bytes is no list that anybody keeps
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise MediaError(f"{path}: cannot be read as a picture or video ({reason})") from error


def look_at(source: Path | Clip | Source) -> Clip:
    """Return a first look at a picture or video, in few and small frames: whether it can be read, and what it is.
    Raises: MediaError.
    """
    if isinstance(source, Path) and not source.exists():
        raise MediaError(f"{source}: there is no such file{near_path(source)}")
    return read_clip(source, MediaBudget(max_frames=2, image_max_pixels=2**16, frame_max_pixels=2**16))


def _read_named(file: IO[bytes], name: str, budget: MediaBudget) -> Clip:
    try:
        return _read_file(file, name, budget)
    except MediaError as error:
        raise MediaError(f"{name}: {error}") from error.__cause__
    except Exception as error:  # as above
        raise MediaError(f"{name}: cannot be read as a picture or video ({error})") from error


def _read_frames(source: FrameFolder, budget: MediaBudget) -> Clip:
    """Return the chosen frames of a folder of pictures, all sized as the first."""
    if not source.names:
        raise MediaError(f"{source.folder}: a video needs at least one frame")
    times_s = [index / source.fps for index in range(len(source.names))]
    duration_s = len(source.names) / source.fps
    targets = target_times(duration_s, budget)
    chosen = choose_frames(times_s, targets)
    first = _frame_picture(source, chosen[0])
    size = frame_size(*first.size, len(targets), budget)
    frames = _stacked((resized(_frame_picture(source, index), size) for index in chosen), len(chosen), size)
    return Clip("video", frames, tuple(times_s[n] for n in chosen), tuple(chosen), *first.size, duration_s, source.name)


def _frame_picture(source: FrameFolder, index: int) -> Image.Image:
    path = source.folder / source.names[index]
    try:
        with path.open("rb") as file:
            image = open_picture(file)
            if image is None:
                raise MediaError("is no picture")
            return upright(image)
    except MediaError as error:
        raise MediaError(f"{path}: {error}") from error.__cause__
    except Exception as error:  # as above
        raise MediaError(
            f"{path}: cannot be read as a picture ({getattr(error, 'strerror', None) or error})"
        ) from error


def check_readable(file: IO[bytes]) -> None:
    """Raise MediaError for a file that is empty, or of a kind that its decoders would take for another."""
    head = file.read(12)
    if not head:
        raise MediaError("is empty")
    if head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS:
        raise MediaError("is a HEIC picture, which is not read; save it as JPEG or PNG")
    file.seek(0)


def _read_file(file: IO[bytes], name: str, budget: MediaBudget, part: VideoPart | None = None) -> Clip:
    check_readable(file)
    image = open_picture(file)
    if image is None:
        return _read_video(file, name, budget, part)
    if part is not None:
        raise MediaError("has no parts in time: it is a picture or an animation, not a video file")
    count = count_moments(image)
    return _read_image(image, name, budget) if count == 1 else read_animation(image, count, name, budget)


def _read_image(image: Image.Image, name: str, budget: MediaBudget) -> Clip:
    image = upright(image)
    frame = resized(image, image_size(*image.size, budget))
    return Clip("image", frame[None], (0.0,), (0,), *image.size, 0.0, name)


def read_animation(image: Image.Image, count: int, name: str, budget: MediaBudget) -> Clip:
    """Return what the model sees of a picture that moves, in so many frames."""
    times_s, duration_s = moment_times(image, count)
    targets = target_times(duration_s, budget)
    size = frame_size(*image.size, len(targets), budget)
    chosen = choose_frames(times_s, targets)
    frames = _stacked(moments(image, chosen, size), len(chosen), size)
    return Clip("video", frames, tuple(times_s[n] for n in chosen), tuple(chosen), *image.size, duration_s, name)


def _read_video(file: IO[bytes], name: str, budget: MediaBudget, part: VideoPart | None = None) -> Clip:
    shared = SharedFile(file)
    with open_video(shared) as (container, stream):
        scan, container_format = scan_video(container, stream), container.format.name
    if kind := joined_kind(shared, container_format, scan.last_position):
        raise MediaError(
            f"is several {kind} files joined byte by byte, of which only the first {scan.duration_s:.2f} s can be read;"
            " join them with ffmpeg's concat"
        )
    start_s, duration_s = _extent(scan.duration_s, part)
    targets = target_times(duration_s, budget)
    # A part is looked at as a video of its own would be: its times begin at 0, and no frame from outside is shown.
    shown = range(len(scan.times_s)) if part is None else _between(scan.times_s, start_s, start_s + duration_s)
    times_s = [time_s - start_s for time_s in scan.times_s]
    wanted = [shown[n] for n in choose_frames([times_s[index] for index in shown], targets)]
    with open_video(shared) as (container, stream):
        first = next((frame for _, frame in decode_frames(container, stream, scan, wanted)), None)
    if first is None:
        raise MediaError("has a video of which no frame can be decoded")
    turns = quarter_turns(first)
    source_size = (first.width, first.height) if turns % 2 == 0 else (first.height, first.width)
    size = frame_size(*source_size, len(targets), budget)
    frames = np.empty((len(wanted), size[1], size[0], 3), np.uint8)
    shapes: set[tuple[int, int]] = set()

    def keep(position: int, frame: Any) -> None:
        shapes.add((frame.width, frame.height))
        frames[position] = converted(frame, size, turns)

    chosen = wanted if decode_groups(shared, scan, wanted, keep) else []
    if not chosen:
        with open_video(shared) as (container, stream):
            for index, frame in decode_frames(container, stream, scan, wanted):
                keep(len(chosen), frame)
                chosen.append(index)
    for joint in scan.joints:
        after = [index for index in wanted if scan.pts[index] >= joint]
        if after and not set(after) & set(chosen):
            at_s = (joint - scan.pts[0]) * scan.tick_s
            raise MediaError(
                f"is joined out of parts that one decoder cannot read: nothing from {at_s:.2f} s on is shown; encode it"
                " anew"
            )
    if len(shapes) > 1:
        _log.warning("%s: its frames change their size (%s); all are shown in that of the first", name, _sizes(shapes))
    if len(chosen) < len(wanted):
        _log.warning("%s: %d of %d frames are damaged and left out", name, len(wanted) - len(chosen), len(wanted))
    return Clip(
        "video",
        frames[: len(chosen)],
        tuple(times_s[n] for n in chosen),
        tuple(chosen),
        *source_size,
        duration_s,
        name,
    )


def _extent(duration_s: float, part: VideoPart | None) -> tuple[float, float]:
    """Return the second at which a part of a video begins, and how long it is. Raises: MediaError: it is empty."""
    if part is None:
        return 0.0, duration_s
    end_s = duration_s if part.end_s is None else min(part.end_s, duration_s)
    if not 0 <= part.start_s < end_s:
        asked = f"{part.start_s:g} to {'the end' if part.end_s is None else f'{part.end_s:g} s'}"
        raise MediaError(f"has nothing from second {asked}: it lasts {duration_s:.2f} s")
    return part.start_s, end_s - part.start_s


def _between(times_s: Sequence[float], start_s: float, end_s: float) -> Sequence[int]:
    """Return the indices of the frames from one second to another. Raises: MediaError: there are none."""
    inside = [index for index, time_s in enumerate(times_s) if start_s <= time_s <= end_s]
    if not inside:
        raise MediaError(f"shows no frame from second {start_s:g} to {end_s:g}")
    return inside


def _sizes(shapes: set[tuple[int, int]]) -> str:
    return ", ".join(f"{width} x {height}" for width, height in sorted(shapes))


def _fit_clip(clip: Clip, budget: MediaBudget) -> Clip:
    if not len(clip.frames):
        raise MediaError(f"{clip.name}: a clip needs at least one frame")
    if clip.kind == "image":
        size = image_size(clip.width, clip.height, budget)
        return (
            clip
            if size == (clip.width, clip.height)
            else replace(clip, frames=resized(Image.fromarray(clip.frames[0]), size)[None])
        )
    targets = target_times(clip.duration_s, budget)
    size = frame_size(clip.width, clip.height, len(targets), budget)
    chosen = choose_frames(clip.times_s, targets)
    if len(chosen) == len(clip.frames) and size == (clip.width, clip.height):
        return clip
    return replace(
        clip,
        frames=_stacked((scaled(clip.frames[n], size) for n in chosen), len(chosen), size),
        times_s=tuple(clip.times_s[n] for n in chosen),
        indices=tuple(clip.indices[n] for n in chosen),
    )


def _stacked(frames: Iterator[Frame], count: int, size: tuple[int, int]) -> Frame:
    """Return frames as one array without ever holding them twice."""
    stack = np.empty((count, size[1], size[0], 3), np.uint8)
    for index, frame in enumerate(frames):
        stack[index] = frame
    return stack
