"""Pictures and videos of a clip, written whole or not at all."""

import io
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

from onethinker.core.errors import MediaError
from onethinker.core.frames import Clip
from onethinker.core.suffixes import WRITTEN_PICTURES, WRITTEN_VIDEO
from onethinker.storage.atomic import check_writable, write_atomically

Frame = npt.NDArray[np.uint8]

SHEET_PX, LABEL_PX = 1600, 18
"""Width of a contact sheet, and height of the line below each frame."""
MIN_TILE_PX, MAX_TILE_PX, MANY_TILES = 128, 400, 256
"""Frames of a contact sheet are at least so wide, for the line to fit, and at most so large, or the least when there
are many.
"""
TICKS_PER_S = 90_000
"""Clock of the videos that are written: exact for every usual frame rate."""
_QUALITY = {"crf": "12", "preset": "veryfast", "bf": "0"}
"""Hardly a visible loss; frames in the order of their times, so that every player starts at 0."""


def save_clip(clip: Clip, path: Path) -> None:
    """Write a picture as .png or .jpg, or a video as .mp4 with its true times; the suffix has to fit the clip.

    Raises: MediaError: it does not. StorageError: the file cannot be written.
    """
    check_target(clip.kind, path)
    if clip.kind == "image":
        save_picture(clip.frames[0], path)
    else:
        write_video(path, clip.frames, times_s=clip.times_s, duration_s=clip.duration_s)


def check_target(kind: str, path: Path, *, flag: str = "") -> None:
    """Do nothing where an image or a video can be written at `path`. Raises: MediaError, ConfigError: name `flag`, if
    there is one, and the path.
    """
    named = f"{flag} {path}".lstrip()
    suffix = path.suffix.lower()
    if kind == "image" and suffix not in WRITTEN_PICTURES:
        raise MediaError(
            f"{named}: a picture can be written as {', '.join(WRITTEN_PICTURES)}, not as"
            f" {suffix or 'a file without suffix'}"
        )
    if kind == "video" and suffix != WRITTEN_VIDEO:
        raise MediaError(
            f"{named}: a video can be written as {WRITTEN_VIDEO}, not as {suffix or 'a file without suffix'}"
        )
    if not path.absolute().parent.is_dir():
        raise MediaError(f"{named}: cannot be written, because there is no folder {path.parent}")
    check_writable(path, "file", flag=flag)


def save_picture(frame: Frame, path: Path) -> None:
    """Write an RGB array as a picture of the kind that the suffix names. Raises: MediaError, StorageError."""
    kind = WRITTEN_PICTURES.get(path.suffix.lower())
    if kind is None:
        raise MediaError(
            f"{path}: a picture can be written as {', '.join(WRITTEN_PICTURES)}, not as"
            f" {path.suffix or 'a file without suffix'}"
        )
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, kind, **({"quality": 95} if kind == "JPEG" else {}))
    write_atomically(path, buffer.getvalue())


def write_video(
    path: Path,
    frames: Frame,
    *,
    fps: float | None = None,
    times_s: Sequence[float] | None = None,
    duration_s: float | None = None,
) -> None:
    """Write RGB frames, shaped (num_frames, height, width, 3), as an H.264 .mp4 at a rate or at their own rising times.

    The last frame stays until `duration_s`, by default as long as the one before it. Sides of an odd number of pixels
    grow by one, a copy of the edge.

    Raises: MediaError: no frames, or times that do not rise. StorageError: the file cannot be written.
    """
    if (fps is None) == (times_s is None):
        raise ValueError("give either fps or times_s")
    if fps is not None:
        times_s = [n / fps for n in range(len(frames))]
        duration_s = len(frames) / fps
    assert times_s is not None
    if not len(frames) or len(frames) != len(times_s):
        raise MediaError(
            f"{path}: a video needs a time for each frame and at least one, got {len(times_s)} for {len(frames)}"
        )
    ticks = [round(time_s * TICKS_PER_S) for time_s in times_s]
    steps = [after - before for before, after in pairwise(ticks)]
    if ticks[0] < 0 or any(step <= 0 for step in steps):
        raise MediaError(
            f"{path}: the times of a video's frames must start at 0 or later and increase, got {list(times_s)[:8]}…"
        )
    steps.append(round((duration_s or 0) * TICKS_PER_S) - ticks[-1])
    if steps[-1] <= 0:
        steps[-1] = steps[-2] if len(steps) > 1 else TICKS_PER_S
    write_atomically(path, _encoded(frames, frames.shape[1:3], ticks, steps))


def join_pictures(path: Path, pictures: Sequence[Path], *, fps: float) -> None:
    """Write pictures of one size as a video with so many of them a second; one at a time is decoded.

    Raises: MediaError: one is no picture, or of another size. OSError: one cannot be read. StorageError.
    """
    if not pictures:
        raise MediaError(f"{path}: a video needs at least one frame")
    with Image.open(pictures[0]) as first:
        size = first.size

    def frames() -> Iterator[Frame]:
        for one in pictures:
            try:
                with Image.open(one) as picture:
                    frame = np.asarray(picture.convert("RGB"))
            except UnidentifiedImageError as error:
                raise MediaError(f"{one}: is not a picture") from error
            if frame.shape[1::-1] != size:
                raise MediaError(f"{one}: all frames of a video must have the same size; that of the first is {size}")
            yield frame

    ticks = [round(index * TICKS_PER_S / fps) for index in range(len(pictures) + 1)]
    steps = [after - before for before, after in pairwise(ticks)]
    write_atomically(path, _encoded(frames(), (size[1], size[0]), ticks[:-1], steps))


def contact_sheet(clip: Clip) -> Frame:
    """Return all frames of a clip as one RGB picture, each with its index in the source and its time below."""
    tile_px = MAX_TILE_PX if len(clip.frames) <= MANY_TILES else MIN_TILE_PX
    scale = min(tile_px / clip.width, tile_px / clip.height, max(1.0, MIN_TILE_PX / clip.width))
    width, height = max(1, round(clip.width * scale)), max(1, round(clip.height * scale))
    across, down = max(width, MIN_TILE_PX), height + LABEL_PX
    columns = min(len(clip.frames), SHEET_PX // across)
    sheet = Image.new("RGB", (columns * across, -(-len(clip.frames) // columns) * down), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(LABEL_PX - 5)
    for cell, (frame, index, time_s) in enumerate(zip(clip.frames, clip.indices, clip.times_s, strict=True)):
        left, top = cell % columns * across, cell // columns * down
        sheet.paste(Image.fromarray(frame).resize((width, height)), (left, top))
        pen.text((left + 3, top + height + 1), f"{index}  {time_s:.3f} s", fill="black", font=font)
    return np.array(sheet)


def _encoded(frames: Iterable[Frame], size: Sequence[int], ticks: Sequence[int], steps: Sequence[int]) -> bytes:
    """Return frames as an .mp4; `size` is their height and width."""
    height, width = (side + side % 2 for side in size)
    buffer = io.BytesIO()
    rate = Fraction(TICKS_PER_S * len(ticks), ticks[-1] - ticks[0] + steps[-1]).limit_denominator(1001)
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate or 1, options=_QUALITY)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, TICKS_PER_S)
        stream.codec_context.color_range, stream.codec_context.colorspace = ColorRange.MPEG, 1
        packets: list[av.Packet] = []
        for array, tick, step in zip(frames, ticks, steps, strict=True):
            even = np.pad(array, ((0, height - array.shape[0]), (0, width - array.shape[1]), (0, 0)), "edge")
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
            frame.pts, frame.duration, frame.time_base = tick, step, Fraction(1, TICKS_PER_S)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        for packet, step in zip(packets, steps, strict=True):
            packet.duration = round(step / TICKS_PER_S / packet.time_base)  # the encoder repeats the step before
            container.mux(packet)
    return buffer.getvalue()
