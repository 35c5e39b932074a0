"""Lines of text as sprites, in the fonts that come with Matplotlib and Pillow."""

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onethinker.data.synthetic.world.atlas import Pixels

Color = tuple[int, int, int]

FONTS = (
    "Pillow",
    "DejaVuSans.ttf",
    "DejaVuSans-Bold.ttf",
    "DejaVuSans-Oblique.ttf",
    "DejaVuSerif.ttf",
    "DejaVuSerif-Bold.ttf",
    "DejaVuSansMono-Bold.ttf",
    "STIXGeneral.ttf",
    "STIXGeneralBol.ttf",
    "cmss10.ttf",
    "cmtt10.ttf",
)
"""What signs are written in: Aileron out of Pillow (CC0), and out of Matplotlib DejaVu (free), STIX (OFL) and Computer
Modern (OFL).
"""
PLAIN_FONT = 2
BOARD_PADDING = 0.35
"""What a sign leaves on each side of its text, as a fraction of a line's height."""


def draw_letters(lines: tuple[str, ...], font: int, height_px: float, ink: Color, board: Color | None) -> Pixels:
    """Return lines below each other, each about its middle, as RGBA with colours multiplied by alpha; a board is the
    colour of a sign.
    """
    masks = [_line(line, FONTS[font], _font_px(height_px)) for line in lines]
    (height, width), corners = _layout([mask.shape for mask in masks], height_px, has_board=board is not None)
    sprite = np.zeros((height, width, 4), np.uint8)
    if board:
        sprite[...] = (*board, 255)
    for mask, (top, left) in zip(masks, corners, strict=True):
        part = sprite[top : top + mask.shape[0], left : left + mask.shape[1]].astype(np.float32)
        inked = part + (np.array((*ink, 255), np.float32) - part) * mask[..., None]
        sprite[top : top + mask.shape[0], left : left + mask.shape[1]] = np.rint(inked).astype(np.uint8)
    return sprite


def place_characters(
    lines: tuple[str, ...], font: int, height_px: float, *, has_board: bool
) -> tuple[tuple[int, int], list[list[tuple[float, float, float, float]]]]:
    """Return how high and wide the sprite of `draw_letters` is, and for each line where its characters stand in it:
    left, top, right and bottom in pixels.
    """
    name, font_px = FONTS[font], _font_px(height_px)
    size, corners = _layout([_line(line, name, font_px).shape for line in lines], height_px, has_board=has_board)
    drawn, top, bottom = _font(name, font_px)
    characters: list[list[tuple[float, float, float, float]]] = []
    for line, (y, x) in zip(lines, corners, strict=True):
        edges = [x - drawn.getbbox(line)[0] + drawn.getlength(line[:n]) for n in range(len(line) + 1)]
        characters.append([(left, y, right, y + bottom - top) for left, right in pairwise(edges)])
    return size, characters


def _font_px(height_px: float) -> int:
    return max(6, round(height_px))


def _layout(
    sizes: Sequence[tuple[int, ...]], height_px: float, *, has_board: bool
) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """Return how high and wide lines of these heights and widths are below each other, and the upper left corner (row,
    column) of each.
    """
    padding = round(height_px * BOARD_PADDING) if has_board else 1
    gap = round(height_px * 0.3)
    width = max(size[1] for size in sizes) + 2 * padding
    corners, top = [], padding
    for size in sizes:
        corners.append((top, (width - size[1]) // 2))
        top += size[0] + gap
    return (top - gap + padding, width), corners


@lru_cache(maxsize=8192)
def width_of(line: str, font: int) -> float:
    """Return how wide a line is, as a multiple of its height."""
    return float(_font(FONTS[font], 32)[0].getlength(line)) / 32


@lru_cache(maxsize=2048)
def _line(text: str, font_name: str, height: int) -> npt.NDArray[np.float32]:
    """Return the coverage of a line of text, 0 to 1, as high as capitals and descenders are and as wide as the text."""
    from PIL import Image, ImageDraw

    font, top, bottom = _font(font_name, height)
    left, _, right, _ = font.getbbox(text)
    image = Image.new("L", (max(1, round(right - left)), max(1, round(bottom - top))))
    ImageDraw.Draw(image).text((-left, -top), text, fill=255, font=font)
    return np.asarray(image, np.float32) / np.float32(255)


@lru_cache(maxsize=512)
def _font(name: str, height: int) -> tuple[Any, float, float]:
    """Return a font of a size, and where its capitals begin and what hangs below the line ends."""
    from PIL import ImageFont

    if name == "Pillow":
        font = ImageFont.load_default(height)
    else:
        font = ImageFont.truetype(_font_folder() / name, height, layout_engine=ImageFont.Layout.BASIC)
    _, top, _, bottom = font.getbbox("Ag0")
    return font, top, bottom


@lru_cache(maxsize=1)
def _font_folder() -> Path:
    spec = find_spec("matplotlib")
    assert spec, "matplotlib is a dependency of onethinker"
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "mpl-data" / "fonts" / "ttf"
