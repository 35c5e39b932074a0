"""Sprites out of the atlas that lies beside this file, in any colour and size."""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onethinker.data.synthetic.world.things import COLORS

Pixels = npt.NDArray[np.uint8]
_FOLDER = Path(__file__).with_name("atlas")
_COLORED, _DARK = 60, 45  # of 255: what has less saturation or less value has no colour to change
_SMALLEST_PX = 24


@dataclass(frozen=True, eq=False)
class Sprite:
    """A thing as drawn in one style and colour.

    `levels` are RGBA, colours multiplied by alpha, each half as large as the one before; `width` and `height` are
    fractions of the longer side, which is 1; `mean` is the mean colour of what is seen.
    """

    levels: tuple[Pixels, ...]
    width: float
    height: float
    mean: tuple[float, float, float]

    def level(self, size_px: float) -> Pixels:
        """Return the smallest level whose longer side is at least `size_px`, or the largest there is."""
        for level in reversed(self.levels):
            if max(level.shape[:2]) >= size_px:
                return level
        return self.levels[0]


@lru_cache(maxsize=2048)
def load_sprite(style: str, name: str, color: str | None = None) -> Sprite:
    """Return a thing's sprite; with a colour's name its coloured parts have that colour. Raises: KeyError: no such name
    or style.
    """
    import cv2

    index = _index()
    position = index["names"].index(name)
    width, height = index["sizes"][style][position]
    row, column = divmod(position, index["columns"])
    cell = index["cell_px"]
    pixels = _atlas(style)[row * cell :, column * cell :][:height, :width]
    if color:
        pixels = _tinted(pixels, color)
    alpha = pixels[..., 3:]
    levels = [np.concatenate([np.rint(pixels[..., :3] * (alpha / np.float32(255))).astype(np.uint8), alpha], axis=2)]
    while max(levels[-1].shape[:2]) // 2 >= _SMALLEST_PX:
        smaller = tuple(max(1, round(side / 2)) for side in levels[-1].shape[1::-1])
        levels.append(cv2.resize(levels[-1], smaller, interpolation=cv2.INTER_AREA))
    red, green, blue = (float(v) for v in pixels[pixels[..., 3] > 127][:, :3].mean(0))
    longer = max(width, height)
    return Sprite(tuple(levels), width / longer, height / longer, (red, green, blue))


def _tinted(pixels: Pixels, color: str) -> Pixels:
    """Return a sprite whose coloured parts have the colour's hue, and its light and shade as they were."""
    import cv2

    hue, saturation, value = COLORS[color]
    h, s, v = (plane.astype(np.float32) for plane in cv2.split(cv2.cvtColor(pixels[..., :3], cv2.COLOR_RGB2HSV_FULL)))
    colored = (s >= _COLORED) & (v >= _DARK)
    usual = float(np.median(v[colored & (pixels[..., 3] > 127)]))
    h[colored] = hue * 255 / 360
    s[colored] = np.maximum(s[colored], 255 * saturation)
    v[colored] = np.clip(v[colored] * (255 * value / usual), 255 * value * 0.7, 255)
    hsv = np.rint(np.stack([h, s, v], axis=2)).astype(np.uint8)
    return np.concatenate([cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL), pixels[..., 3:]], axis=2)


@lru_cache(maxsize=1)
def _index() -> dict[str, Any]:
    index: dict[str, Any] = json.loads((_FOLDER / "index.json").read_text(encoding="utf-8"))
    return index


@lru_cache(maxsize=8)
def _atlas(style: str) -> Pixels:
    from PIL import Image

    with Image.open(_FOLDER / f"{style}.webp") as image:
        return np.asarray(image.convert("RGBA"))
