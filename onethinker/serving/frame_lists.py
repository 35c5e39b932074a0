"""Videos that come as pictures, "data:video/jpeg;base64,FIRST,SECOND,…", with the second at which each is shown."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from onethinker.core.errors import ConfigError, MediaError
from onethinker.core.settings import explain
from onethinker.core.sources import TimedFrames
from onethinker.serving.limits import Limits
from onethinker.serving.uploads import Slot

_FRAMES = re.compile(r"data:video/jpeg;base64,", re.IGNORECASE)
_EXPECTED = (
    'a video of pictures needs the time of each picture in seconds: media_io_kwargs {"video": {"frames_indices": [0,'
    ' 500], "fps": 1000, "duration": 1}}, or next to its url "times_s": [0, 0.5] and "duration_s": 1'
)
Second = Annotated[float, Field(ge=0, lt=2**31)]


class Times(BaseModel):
    """When the frames of a video are shown, and how long it is."""

    model_config = ConfigDict(allow_inf_nan=False)

    times_s: tuple[Second, ...] = Field(min_length=1)
    duration_s: Second


class _Indices(BaseModel):
    """The same as vLLM takes it."""

    model_config = ConfigDict(allow_inf_nan=False)

    frames_indices: tuple[Annotated[int, Field(ge=0, lt=2**53)], ...] = Field(min_length=1)
    fps: float = Field(gt=0)
    duration: Second


def are_frames(url: str) -> bool:
    """Return whether a data URL is a video in pictures."""
    return _FRAMES.match(url) is not None


def times_of(part: object, io_kwargs: Mapping[str, Any] | None) -> Times:
    """Return the times that stand beside a video's address, or those of the request. Raises: ConfigError.

    >>> times_of({}, {"video": {"frames_indices": [0, 500], "fps": 1000, "duration": 2}})
    Times(times_s=(0.0, 0.5), duration_s=2.0)
    """
    try:
        if isinstance(part, dict) and "times_s" in part:
            return Times.model_validate(part)
        told = _Indices.model_validate((io_kwargs or {}).get("video"))
        return Times(times_s=tuple(index / told.fps for index in told.frames_indices), duration_s=told.duration)
    except ValidationError as error:
        raise ConfigError(f"{_EXPECTED}; {explain(error, Times)}") from error


def timed_frames(url: str, times: Times, slot: Slot, limits: Limits) -> TimedFrames:
    """Return a video in pictures with its frames on the disk; a last one that only fills a token is left out.

    Raises: MediaError: they are too many, no base64, or not as many as the times.
    """
    start, count = len("data:video/jpeg;base64,"), url.count(",")
    if count > limits.frames:
        raise MediaError(f"at most {limits.frames} frames in a video of pictures, got {count}")
    if count != len(times.times_s):
        raise MediaError(f"a video of {count} pictures needs one time per picture, got {len(times.times_s)}")
    if any(after < before for before, after in zip(times.times_s, times.times_s[1:], strict=False)):
        raise MediaError("the times of a video's pictures must increase")
    texts, times_s = url[start:].split(","), list(times.times_s)
    while len(texts) > 1 and texts[-1] == texts[-2] and times_s[-1] == times_s[-2]:
        del texts[-1], times_s[-1]
    folder = slot.add("video")
    folder.mkdir()
    for index, text in enumerate(texts):
        try:
            content = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise MediaError(f"video, frame {index + 1}: not base64: {error}") from error
        (folder / _name(index)).write_bytes(content)
    return TimedFrames(folder, _names(texts), tuple(times_s), times.duration_s)


def _name(index: int) -> str:
    return f"frame {index + 1}"


def _names(frames: Sequence[str]) -> tuple[str, ...]:
    return tuple(map(_name, range(len(frames))))
