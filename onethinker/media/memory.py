"""Pictures and videos as Python programs hold them: PIL images, arrays, tensors, bytes and open files become media."""

import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Union

import numpy as np
import numpy.typing as npt
from PIL import Image

from onethinker.core.errors import MediaError
from onethinker.core.frames import Clip
from onethinker.core.sample import Medium
from onethinker.core.sources import FrameFolder, MemoryFile, TablePicture, TimedFrames, VideoPart, home_path
from onethinker.media.budget import MediaBudget
from onethinker.media.pictures import count_frames, upright
from onethinker.media.reading import read_animation

if TYPE_CHECKING:
    import torch

Given = Union[
    Medium,
    str,
    os.PathLike[str],
    bytes,
    bytearray,
    memoryview,
    IO[bytes],
    Image.Image,
    npt.NDArray[Any],
    "torch.Tensor",
]
"""One picture or video, as a program may have it."""
ANIMATION_BUDGET = MediaBudget(fps=10, max_frames=900, frame_max_pixels=1280 * 1280, video_max_pixels=300 * 640 * 640)
"""What is kept of an animation that Pillow has opened."""
CHANNELS = (1, 3, 4)
"""Lengths of an axis of colours: gray, RGB, RGB with transparency."""
EXPECTED = (
    "expected a path, bytes, a file opened with 'rb', a PIL image, a numpy array or torch tensor (a picture (H, W, 3),"
    " or the frames of a video (T, H, W, 3) with fps=), or a list of these"
)
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://|data:")
_SLACK = 0.1
"""Floats that leave 0 to 1 by less have been interpolated; more is another scale."""


def as_media(given: Given | Sequence[Given], *, fps: float | None = None) -> tuple[Medium, ...]:
    """Return one or several pictures and videos, as a program holds them, as media that `read_clip` reads.

    A list or tuple is several media, or with `fps` the frames of one video where all in it are single pictures in
    memory. Arrays and tensors are RGB, uint8 or floating point from 0 to 1; the axis of colours may be the last or the
    one before height and width, and may be missing in a gray picture. Four axes are the frames of a video, `fps` of
    them a second. An open file is read from where it stands.

    Raises: MediaError: says what came, and what to do.
    """
    if fps is not None and not (math.isfinite(fps) and fps > 0):
        raise MediaError(f"fps must be more than 0 frames a second, got {fps:g}")
    items: list[Any] = list(given) if isinstance(given, list | tuple) else [given]
    if not items:
        raise MediaError(f"the list is empty; {EXPECTED}")
    if fps is not None and isinstance(given, list | tuple) and all(map(_is_still, items)):
        return (_joined([as_medium(item) for item in items], fps),)
    media = tuple(as_medium(item, fps=fps) for item in items)
    if fps is not None and not any(isinstance(medium, Clip) and medium.kind == "video" for medium in media):
        raise MediaError("fps= is for frames in memory, (T, H, W, 3) or a list of pictures; a file has its own times")
    return media


def as_medium(given: Given, *, fps: float | None = None) -> Medium:
    """Return one picture or video as `as_media` does. Raises: MediaError."""
    match given:
        case Clip() | FrameFolder() | TimedFrames() | TablePicture() | MemoryFile() | VideoPart():
            return given
        case str() | os.PathLike():
            return _path(given)
        case bytes() | bytearray() | memoryview():
            return MemoryFile(bytes(given))
        case Image.Image():
            return _of_image(given)
    if hasattr(given, "read"):
        return _of_file(given)
    return _of_array(_array(given), fps)


def _path(given: "str | os.PathLike[str]") -> Path:
    text = os.fsdecode(given)
    if isinstance(given, str) and _ADDRESS.match(given):
        raise MediaError(
            f"{given[:100]}: addresses are not opened; give the file or its bytes, or for http(s) the result of"
            " onethinker.media.remote.fetch"
        )
    return home_path(text)


def _of_file(file: Any) -> MemoryFile:
    try:
        content = file.read()
    except (OSError, ValueError) as error:
        raise MediaError(f"the file object cannot be read: {error}") from error
    if not isinstance(content, bytes | bytearray | memoryview):
        raise MediaError(f"a file object must give bytes, got {type(content).__name__}: open it with 'rb'")
    name = getattr(file, "name", None)
    named = Path(name).name if isinstance(name, str) else "file in memory"
    if not content:
        raise MediaError(
            f"{named}: there is nothing left to read in the file object; after writing or reading, call seek(0)"
        )
    return MemoryFile(bytes(content), named)


def _of_image(image: Image.Image) -> Clip:
    """Return a PIL image, upright, as a clip of its own; an animation as a video."""
    name = Path(getattr(image, "filename", "") or "picture in memory").name
    try:
        count, shown = count_frames(image), image.tell()
        if count > 1:
            clip = read_animation(image, count, name, ANIMATION_BUDGET)
            image.seek(shown)
            return clip
        still = upright(image.copy())
    except MediaError as error:
        raise MediaError(f"{name}: {error}") from error
    except (OSError, ValueError, SyntaxError, AttributeError) as error:  # closed, cut short, damaged
        raise MediaError(f"{name}: the PIL image cannot be read: {error}") from error
    return _picture(np.array(still), name)


def _picture(frame: npt.NDArray[np.uint8], name: str) -> Clip:
    height, width, _ = frame.shape
    return Clip("image", frame[None], (0.0,), (0,), width, height, 0.0, name)


def _video(frames: npt.NDArray[np.uint8], fps: float) -> Clip:
    count, height, width, _ = frames.shape
    times_s = tuple(index / fps for index in range(count))
    return Clip("video", frames, times_s, tuple(range(count)), width, height, count / fps, "video in memory")


def _is_still(item: object) -> bool:
    """Return whether this can be nothing but one picture in memory."""
    if isinstance(item, Clip):
        return item.kind == "image"
    return isinstance(item, Image.Image) or getattr(item, "ndim", None) in (2, 3)


def _joined(pictures: Sequence[Medium], fps: float) -> Clip:
    clips = [picture for picture in pictures if isinstance(picture, Clip)]
    if moving := [clip.name for clip in clips if clip.kind == "video"]:
        raise MediaError(f"the frames of a video must be pictures, but {moving[0]} is an animation")
    if len(sizes := dict.fromkeys((clip.width, clip.height) for clip in clips)) > 1:
        listed = ", ".join(f"{width} x {height}" for width, height in sizes)
        raise MediaError(f"the frames of a video must have the same size, got {listed}; resize them, or leave out fps=")
    return _video(np.concatenate([clip.frames for clip in clips]), fps)


def _array(given: Any) -> npt.NDArray[Any]:
    """Return an array of numbers from a numpy array, a tensor wherever it is, or anything that numpy can read."""
    if type(given).__module__.split(".")[0] == "torch":
        import torch

        tensor = given.detach().cpu()
        return np.asarray(tensor.float() if tensor.dtype == torch.bfloat16 else tensor)
    if not isinstance(given, np.ndarray) and not hasattr(given, "__array__"):
        hint = ": give list(…) of it, or each of its media to ask_many" if isinstance(given, Iterator) else ""
        raise MediaError(f"{EXPECTED}; got {type(given).__name__}{hint}")
    return np.asarray(given)


def _of_array(array: npt.NDArray[Any], fps: float | None) -> Clip:
    shape = "x".join(map(str, array.shape))
    if array.ndim not in (2, 3, 4) or 0 in array.shape:
        raise MediaError(f"{EXPECTED}; got an array of shape {shape or 'of a single number'}")
    channels_last = _channels_last(array[..., None] if array.ndim == 2 else array, shape)
    if channels_last.ndim == 4 and fps is None:
        raise MediaError(
            f"an array of shape {shape} is {len(array)} frames: give fps= to ask about a video, or list(array) to ask"
            " about pictures"
        )
    frames = _opaque(_bytes(channels_last))
    return _picture(frames, "picture in memory") if frames.ndim == 3 else _video(frames, fps or 1.0)


def _channels_last(array: npt.NDArray[Any], shape: str) -> npt.NDArray[Any]:
    """Return an array with its colours as the last axis. Raises: MediaError: no axis can be theirs, or two."""
    last, first = array.shape[-1] in CHANNELS, array.shape[-3] in CHANNELS
    if last and first and array.shape[-3] != 1 and array.shape[-1] != 1:
        raise MediaError(
            f"an array of shape {shape} may have its colour axis first or last, because one of its sides is so short;"
            " give a PIL image"
        )
    if last:
        return array
    if first:
        return np.moveaxis(array, -3, -1)
    if array.ndim == 3:
        raise MediaError(
            f"an array of shape {shape} has no axis of 1, 3 or 4 colours; gray frames of a video need one:"
            " array[..., None]"
        )
    raise MediaError(
        f"an array of shape {shape} has no axis of 1, 3 or 4 colours; expected (T, H, W, 3) or (T, 3, H, W)"
    )


def _bytes(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return colours as bytes of their own memory. Raises: MediaError: neither uint8 nor floats from 0 to 1."""
    if array.dtype == np.uint8:
        return np.array(array, order="C")
    if not np.issubdtype(array.dtype, np.floating):
        raise MediaError(f"colours must be uint8, or floats from 0 to 1, got {array.dtype}: {_cure(array.dtype)}")
    least, most = float(array.min()), float(array.max())
    if not (math.isfinite(least) and math.isfinite(most)):
        raise MediaError("colours must be numbers from 0 to 1, got NaN or infinity; look for a division by 0")
    if least < 0 or most > 1:
        if least >= -_SLACK and most <= 1 + _SLACK:
            cure = "clip them"
        else:
            cure = "undo what normalized them" if least < 0 else "divide by 255, or convert to uint8"
        raise MediaError(f"colours in floats must be from 0 to 1, got {least:g} to {most:g}: {cure}")
    return np.asarray(np.rint(array.astype(np.float32) * 255), np.uint8, order="C")


def _cure(dtype: np.dtype[Any]) -> str:
    """Return how an array of another type becomes bytes."""
    if np.issubdtype(dtype, np.bool_):
        return "array.astype('uint8') * 255"
    if dtype == np.uint16:
        return "(array // 257).astype('uint8')"
    return "array.astype('uint8') if it holds 0 to 255"


def _opaque(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return frames as RGB: gray in three colours, what is transparent white."""
    if frames.shape[-1] == 1:
        return np.repeat(frames, 3, axis=-1)
    if frames.shape[-1] == 3:
        return frames
    alpha = frames[..., 3:].astype(np.uint16)
    return np.asarray((frames[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255, np.uint8)
