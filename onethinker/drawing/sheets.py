"""Contact sheets: frames of a clip side by side, in one small WebP."""

import io
from dataclasses import replace

import numpy as np
from PIL import Image

from onethinker.core.frames import Clip

SHEET_FRAMES = 6
"""Frames of a clip that a sheet shows side by side."""
IMAGE_SIDE_PX = 320
FRAME_SIDE_PX = 200
QUALITY = 82
_GAP_PX = 6


def for_sheet(clip: Clip, *, scale: int = 1) -> Clip:
    """Return what a sheet shows of a clip: some of its frames, in the size in which they are drawn on, or in a multiple
    of it.
    """
    return _enlarged(thinned(clip), scale)


def thinned(clip: Clip) -> Clip:
    """Return the clip with at most `SHEET_FRAMES` of its frames, first and last among them."""
    kept = np.unique(np.linspace(0, len(clip.times_s) - 1, SHEET_FRAMES).round().astype(int))
    return replace(
        clip,
        frames=clip.frames[kept],
        times_s=tuple(clip.times_s[index] for index in kept),
        indices=tuple(clip.indices[index] for index in kept),
    )


def _enlarged(clip: Clip, times: int) -> Clip:
    """Return the clip in the size of the sheet, so that lines and letters are fine however small the model's frames
    are.
    """
    scale = times * (IMAGE_SIDE_PX if len(clip.frames) == 1 else FRAME_SIDE_PX) / max(clip.width, clip.height)
    size = max(1, round(clip.width * scale)), max(1, round(clip.height * scale))
    resample = Image.Resampling.LANCZOS
    return replace(
        clip, frames=np.stack([np.asarray(Image.fromarray(frame).resize(size, resample)) for frame in clip.frames])
    )


def sheet_webp(clip: Clip) -> bytes:
    """Return the frames side by side, as a WebP with transparent gaps."""
    count, height, width, _ = clip.frames.shape
    sheet = np.zeros((height, count * width + (count - 1) * _GAP_PX, 4), dtype=np.uint8)
    for position, frame in enumerate(clip.frames):
        left = position * (width + _GAP_PX)
        sheet[:, left : left + width, :3] = frame
        sheet[:, left : left + width, 3] = 255
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, "WEBP", quality=QUALITY)
    return file.getvalue()
