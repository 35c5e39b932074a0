"""Pictures and clips in memory for the tests of the engines."""

import numpy as np

from onethinker.core.frames import Clip


def picture(height: int = 64, width: int = 96, *, seed: int = 0) -> Clip:
    frames = np.random.default_rng(seed).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
    return Clip("image", frames, (0.0,), (0,), width, height, 0.0, "picture")


def video(times_s: tuple[float, ...], *, duration_s: float | None = None, side: int = 64, seed: int = 0) -> Clip:
    frames = np.random.default_rng(seed).integers(0, 256, (len(times_s), side, side, 3), dtype=np.uint8)
    indices = tuple(round(time_s * 25) for time_s in times_s)
    return Clip("video", frames, times_s, indices, side, side, duration_s or times_s[-1] + 0.5, "video")


def evenly(duration_s: float, num_frames: int) -> tuple[float, ...]:
    """Return the times of frames spread evenly over a clip, with milliseconds that no frame rate explains."""
    return tuple(round(n * duration_s / num_frames + 0.007 * (n % 3), 3) for n in range(num_frames))
