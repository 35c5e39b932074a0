"""What a model gets to see: frames with their true times, from a picture, a video or memory."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames of one picture or video, sampled and sized, with the second at which each is shown.

    `frames` is uint8, shaped (num_frames, height, width, 3), RGB. A picture has one frame at 0 s. `indices` are the
    frames' indices in the source in order of presentation. `source_width` and `source_height` are pixels after
    rotation, before resizing; `duration_s` is the length of the source (0 for a picture).
    """

    kind: Literal["image", "video"]
    frames: npt.NDArray[np.uint8]
    times_s: tuple[float, ...]
    indices: tuple[int, ...]
    source_width: int
    source_height: int
    duration_s: float
    name: str

    @property
    def width(self) -> int:
        """Pixels across of every frame."""
        return int(self.frames.shape[2])

    @property
    def height(self) -> int:
        """Pixels down of every frame."""
        return int(self.frames.shape[1])
