"""What a model gets to see: frames with their true times, from a picture, a video or memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames of one picture or video, sampled and sized, with the second at which each is shown.

    `frames` is uint8, shaped (num_frames, height, width, 3), RGB. A picture has one frame at 0 s. `indices` are the
    frames' indices in the source in order of presentation. `source_width` and `source_height` are pixels after
    rotation, before resizing; `duration_s` is the length of the source (0 for a picture). `problems` name what is
    damaged or missing in the source, and where; () when all of it was read.
    """

    kind: Literal["image", "video"]
    frames: npt.NDArray[np.uint8]
    times_s: tuple[float, ...]
    indices: tuple[int, ...]
    source_width: int
    source_height: int
    duration_s: float
    name: str
    problems: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Return a line about the clip, without its pixels.

        >>> frames = np.zeros((3, 64, 96, 3), np.uint8)
        >>> Clip("video", frames, (0.0, 0.5, 1.0), (0, 15, 30), 1920, 1280, 1.5, "car.mp4")
        Clip('car.mp4', video of 1.5 s, 3 frames of 96 x 64, source 1920 x 1280)
        >>> Clip("image", frames[:1], (0.0,), (0,), 1920, 1280, 0.0, "car.jpg")
        Clip('car.jpg', image of 96 x 64, source 1920 x 1280)
        """
        size = " x ".join(map(str, self.frames.shape[2:0:-1]))
        about = f"of {self.duration_s:.4g} s, {len(self.frames)} frames " if self.kind == "video" else ""
        return f"Clip({self.name!r}, {self.kind} {about}of {size}, source {self.source_width} x {self.source_height})"

    @property
    def width(self) -> int:
        """Pixels across of every frame."""
        return int(self.frames.shape[2])

    @property
    def height(self) -> int:
        """Pixels down of every frame."""
        return int(self.frames.shape[1])


def main_index(clips: Sequence[Clip]) -> int:
    """Return which of several clips an answer is about: the first video, or the first picture where there is none."""
    return next((index for index, clip in enumerate(clips) if clip.kind == "video"), 0)
