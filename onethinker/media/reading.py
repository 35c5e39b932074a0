"""The one way in: a picture or video, from a file or from memory, becomes the frames that a model sees."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image

from onethinker.core.errors import MediaError
from onethinker.core.frames import Clip
from onethinker.core.nearest import near_path
from onethinker.core.sources import FrameFolder, MemoryFile, Source, TablePicture, TimedFrames, VideoPart
from onethinker.media.budget import MediaBudget
from onethinker.media.damage import file_problems, name_problems, size_problems
from onethinker.media.pictures import count_frames, frame_times, frames_at, open_picture, resized, upright
from onethinker.media.sampling import choose_frames, target_times
from onethinker.media.sizing import frame_size, image_size
from onethinker.media.video_clips import read_video
from onethinker.media.videos import scaled

Frame = npt.NDArray[np.uint8]


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
    if isinstance(source, FrameFolder | TimedFrames):
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


def _read_frames(source: FrameFolder | TimedFrames, budget: MediaBudget) -> Clip:
    """Return the chosen frames of a folder of pictures, all sized as the first."""
    if not source.names:
        raise MediaError(f"{source.folder}: a video needs at least one frame")
    times_s, duration_s = source.times_s, source.duration_s
    targets = target_times(duration_s, budget)
    chosen = choose_frames(times_s, targets)
    problems: list[str] = []
    first = _frame_picture(source, chosen[0], [])
    size = frame_size(*first.size, len(targets), budget)
    shapes: set[tuple[int, int]] = set()

    def shown(index: int) -> Frame:
        picture = _frame_picture(source, index, problems)
        shapes.add(picture.size)
        return resized(picture, size)

    frames = _stacked((shown(index) for index in chosen), len(chosen), size)
    return Clip(
        "video",
        frames,
        tuple(times_s[n] for n in chosen),
        tuple(chosen),
        *first.size,
        duration_s,
        source.name,
        (*problems, *size_problems(shapes)),
    )


def _frame_picture(source: FrameFolder | TimedFrames, index: int, problems: list[str]) -> Image.Image:
    path = source.folder / source.names[index]
    try:
        with path.open("rb") as file:
            image = open_picture(file)
            if image is None:
                raise MediaError("is not a picture")
            problems += [f"{source.names[index]}: {problem}" for problem in file_problems(image, file)]
            return upright(image)
    except MediaError as error:
        raise MediaError(f"{path}: {error}") from error.__cause__
    except Exception as error:  # as above
        raise MediaError(
            f"{path}: cannot be read as a picture ({getattr(error, 'strerror', None) or error})"
        ) from error


def check_readable(file: IO[bytes]) -> None:
    """Raise MediaError for a file that is empty."""
    if not file.read(1):
        raise MediaError("is empty")
    file.seek(0)


def _read_file(file: IO[bytes], name: str, budget: MediaBudget, part: VideoPart | None = None) -> Clip:
    check_readable(file)
    image = open_picture(file)
    if image is None:
        return with_problems(read_video(file, name, budget, part), name_problems("video", name))
    if part is not None:
        raise MediaError("is a picture or an animation, not a video file, so a part in time cannot be chosen")
    count, problems = count_frames(image), file_problems(image, file)
    if count > 1:
        return with_problems(read_animation(image, count, name, budget), problems)
    return with_problems(_read_image(image, name, budget), (*problems, *name_problems("image", name)))


def _read_image(image: Image.Image, name: str, budget: MediaBudget) -> Clip:
    image = upright(image)
    frame = resized(image, image_size(*image.size, budget))
    return Clip("image", frame[None], (0.0,), (0,), *image.size, 0.0, name)


def with_problems(clip: Clip, problems: Sequence[str]) -> Clip:
    """Return a clip that names these problems too."""
    return replace(clip, problems=(*clip.problems, *problems)) if problems else clip


def read_animation(image: Image.Image, count: int, name: str, budget: MediaBudget) -> Clip:
    """Return what the model sees of a picture that moves, in so many frames."""
    times_s, duration_s = frame_times(image, count)
    targets = target_times(duration_s, budget)
    size = frame_size(*image.size, len(targets), budget)
    chosen = choose_frames(times_s, targets)
    frames = _stacked(frames_at(image, chosen, size), len(chosen), size)
    return Clip("video", frames, tuple(times_s[n] for n in chosen), tuple(chosen), *image.size, duration_s, name)


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
