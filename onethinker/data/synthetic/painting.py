"""A scene as pixels with the owner of every pixel, from which true boxes and masks are read."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from onethinker.core.frames import Clip
from onethinker.core.geometry import Box, Span
from onethinker.data.synthetic.scene import COLORS, Background, Color, Scene, Thing, Wall, Writing

IMAGE_SIDE_PX = 128
"""Side of a picture."""
FRAME_SIDE_PX = 96
"""Side of a frame of a clip: 9 visual tokens a pair of frames."""
LARGE_SIDE_PX = 192
"""Side of a large frame: 36 visual tokens a pair of frames."""
FPS = 4
"""Frames a second of a clip before a reader samples it."""

_SHARPNESS = 4  # sub-pixels a side
_WIDEST = 0.92  # a longer line of text is written smaller
_WALL = 255
_WALL_COLOR = (128, 130, 136)


@dataclass(frozen=True, eq=False)
class Painting:
    """A painted scene. `owners` is uint8, (num_frames, height, width): 0 nothing, i + 1 the i-th thing, 255 the
    wall.
    """

    clip: Clip
    owners: npt.NDArray[np.uint8] = field(repr=False)

    def mask(self, thing: int, frame: int = 0) -> npt.NDArray[np.bool_]:
        """Return which pixels of a frame show the thing, what hides it taken off."""
        mask: npt.NDArray[np.bool_] = self.owners[frame] == thing + 1
        return mask

    def box(self, thing: int, frame: int = 0) -> Box | None:
        """Return the extent of the thing's mask in whole thousandths, or None where it cannot be seen."""
        mask = self.mask(thing, frame)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            return None
        height, width = mask.shape
        x1, x2 = (round(1000 * int(x) / width) for x in (columns[0], columns[-1] + 1))
        y1, y2 = (round(1000 * int(y) / height) for y in (rows[0], rows[-1] + 1))
        return Box(x1, y1, x2, y2)

    def frame_at(self, time_s: float) -> int:
        """Return the index of the frame shown at a second."""
        return round(time_s * FPS)


def paint(scene: Scene, name: str, side_px: int | None = None) -> Painting:
    """Return the scene as a picture or as a clip of FPS frames a second.

    Truth is read from what was painted, so it is exact at every size.
    """
    is_video = scene.duration_s > 0
    side = side_px or (FRAME_SIDE_PX if is_video else IMAGE_SIDE_PX)
    num_frames = round(scene.duration_s * FPS) if is_video else 1
    times_s = np.arange(num_frames) / FPS
    frames = np.repeat(_background(scene.background, side)[None], num_frames, axis=0)
    owners = np.zeros((num_frames, side, side), np.uint8)
    for index, thing in enumerate(scene.things):
        _paint_thing(frames, owners, thing, index=index, times_s=times_s)
    for writing in scene.writings:
        _paint_writing(frames, writing, times_s)
    if scene.wall:
        _paint_wall(frames, owners, scene.wall)
    clip = Clip(
        kind="video" if is_video else "image",
        frames=frames,
        times_s=tuple(float(t) for t in times_s),
        indices=tuple(range(num_frames)),
        source_width=side,
        source_height=side,
        duration_s=scene.duration_s,
        name=name,
    )
    return Painting(clip, owners)


def _background(background: Background, side: int) -> npt.NDArray[np.uint8]:
    top, bottom = np.array(background.top, np.float32), np.array(background.bottom, np.float32)
    rows = top + (bottom - top) * np.linspace(0, 1, side, dtype=np.float32)[:, None]
    return np.repeat(rows.astype(np.uint8)[:, None], side, axis=1)


def _shown(visible: Span | None, times_s: npt.NDArray[np.float64]) -> list[int]:
    if visible is None:
        return list(range(len(times_s)))
    return [int(k) for k in np.flatnonzero((times_s >= visible.start) & (times_s <= visible.end))]


def _paint_thing(
    frames: npt.NDArray[np.uint8],
    owners: npt.NDArray[np.uint8],
    thing: Thing,
    *,
    index: int,
    times_s: npt.NDArray[np.float64],
) -> None:
    side = frames.shape[1]
    size = max(4, round(thing.size * side))
    # Corners in sub-pixels: a position between pixels is kept to a quarter, so that a sprite can be used again.
    corners = np.rint((thing.motion.centers(times_s) * side - size / 2) * _SHARPNESS).astype(int).tolist()
    color = _shaded(thing.color, size)
    for frame in _shown(thing.visible, times_s):
        (x, sub_x), (y, sub_y) = (divmod(corner, _SHARPNESS) for corner in corners[frame])
        coverage, solid = _sprite(thing.shape, size, sub_x, sub_y)
        # A thing may stick out of the frame: cut it at the edges.
        left, top = max(0, -x), max(0, -y)
        part = np.s_[top : max(top, min(size + 1, side - y)), left : max(left, min(size + 1, side - x))]
        rows = slice(y + top, y + part[0].stop)
        columns = slice(x + left, x + part[1].stop)
        under = frames[frame, rows, columns].astype(np.float32)
        frames[frame, rows, columns] = under + (color[part[0]] - under) * coverage[part][..., None]
        owners[frame, rows, columns][solid[part]] = index + 1


@lru_cache(maxsize=4096)
def _sprite(shape: str, size: int, sub_x: int, sub_y: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Return how much of each pixel a shape covers (0 to 1), and which pixels count as its mask (at least half)."""
    import cv2

    canvas = np.zeros(((size + 1) * _SHARPNESS,) * 2, np.uint8)
    corners = _outline(shape) * size * _SHARPNESS + (sub_x, sub_y)
    cv2.fillPoly(canvas, [np.rint(corners * 16 - 8).astype(np.int32)], 255, cv2.LINE_8, 4)
    coverage: npt.NDArray[np.uint8] = cv2.resize(canvas, (size + 1, size + 1), interpolation=cv2.INTER_AREA)
    return coverage.astype(np.float32) / np.float32(255), coverage >= 128


@lru_cache(maxsize=64)
def _outline(shape: str) -> npt.NDArray[np.float64]:
    """Return the corners of a shape that fills the unit square."""
    if shape == "square":
        return np.array([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
    if shape == "triangle":
        return np.array([(0.5, 0.0), (1.0, 1.0), (0.0, 1.0)])
    turns = np.linspace(0, 2 * np.pi, 10 if shape == "star" else 64, endpoint=False)
    radius = np.where(np.arange(len(turns)) % 2, 0.25, 0.5) if shape == "star" else np.full(len(turns), 0.5)
    return np.stack([0.5 + radius * np.sin(turns), 0.5 - radius * np.cos(turns)], axis=1)


@lru_cache(maxsize=1024)
def _shaded(color: str, size: int) -> npt.NDArray[np.float32]:
    """Return a colour that is a little lighter at the top, one value a row, shaped (size + 1, 1, 3)."""
    light = np.linspace(1.08, 0.94, size + 1, dtype=np.float32)[:, None, None]
    shaded: npt.NDArray[np.float32] = np.minimum(np.array(COLORS[color], np.float32) * light, np.float32(255))
    return shaded


def _paint_wall(frames: npt.NDArray[np.uint8], owners: npt.NDArray[np.uint8], wall: Wall) -> None:
    side = frames.shape[1]
    columns = slice(round(wall.left * side), round(wall.right * side))
    frames[:, :, columns] = _WALL_COLOR
    owners[:, :, columns] = _WALL


def _paint_writing(frames: npt.NDArray[np.uint8], writing: Writing, times_s: npt.NDArray[np.float64]) -> None:
    side = frames.shape[1]
    ink = _ink(writing.text, round(writing.height * side))
    if ink.shape[1] > _WIDEST * side:
        ink = _ink(writing.text, int(writing.height * side * _WIDEST * side / ink.shape[1]))
    height, width = ink.shape
    x, y = round(writing.center[0] * side - width / 2), round(writing.center[1] * side - height / 2)
    x, y = min(max(0, x), side - width), min(max(0, y), side - height)
    color: Color = writing.color
    for frame in _shown(writing.visible, times_s):
        under = frames[frame, y : y + height, x : x + width].astype(np.float32)
        frames[frame, y : y + height, x : x + width] = under + (np.array(color, np.float32) - under) * ink[..., None]


@lru_cache(maxsize=4096)
def _ink(text: str, height: int) -> npt.NDArray[np.float32]:
    """Return the coverage of a line of text cut to its extent, in the font that comes with Pillow."""
    from PIL import Image, ImageDraw

    font, bold = _font(round(height * 1.4)), max(1, round(height / 24))
    left, top, right, bottom = font.getbbox(text, stroke_width=bold)
    image = Image.new("L", (round(right - left), round(bottom - top)))
    ImageDraw.Draw(image).text((-left, -top), text, fill=255, font=font, stroke_width=bold)
    return np.asarray(image, np.float32) / np.float32(255)


@lru_cache(maxsize=64)
def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)
