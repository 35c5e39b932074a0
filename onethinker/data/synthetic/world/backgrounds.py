"""Grounds to stand on: textures and scenery, computed once from numbers, cut out anew for every picture.

No photographs are shipped: those that come with Python packages are few or not free. Scenery stands in for them: hills,
sea, rooms, streets and lights out of focus, with noise, so that an answer never depends on a flat ground.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from onethinker.data.synthetic.world.grounds import CALM, PAINTERS, SIDE, Field

VARIANTS = 6
"""How many of each kind there are."""


_COARSE = 12


@dataclass(frozen=True)
class Background:
    """Part of a ground: `left`, `top` and `side` are fractions of it, `light` multiplies its brightness."""

    kind: str
    variant: int
    left: float
    top: float
    side: float
    is_mirrored: bool
    light: float


def draw_background(rng: np.random.Generator, *, calm: bool = False) -> Background:
    """Return a random part of a random ground; a `calm` one has nothing that could be taken for writing."""
    kinds = CALM if calm else tuple(PAINTERS)
    a, b, c, d, e, f, g = rng.random(7).tolist()
    side = 0.45 + 0.55 * a
    return Background(
        kinds[int(e * len(kinds))], int(f * VARIANTS), (1 - side) * b, (1 - side) * c, side, g < 0.5, 0.8 + 0.3 * d
    )


@lru_cache(maxsize=256)
def ground(kind: str, variant: int) -> npt.NDArray[np.uint8]:
    """Return a whole ground, (SIDE, SIDE, 3), the same every time."""
    rng = np.random.default_rng([*kind.encode(), variant])
    picture = PAINTERS[kind](rng)
    picture = picture + rng.normal(0, 3, picture.shape).astype(np.float32)
    mean = picture.mean((0, 1))
    calmer: npt.NDArray[np.uint8] = np.clip(mean + 0.8 * (picture - mean), 8, 247).astype(np.uint8)
    return calmer


@lru_cache(maxsize=256)
def coarse_ground(kind: str, variant: int) -> Field:
    """Return a ground as 12 x 12 mean colours: enough to know what will stand out from it."""
    blocks = ground(kind, variant).reshape(_COARSE, SIDE // _COARSE, _COARSE, SIDE // _COARSE, 3)
    means: Field = blocks.mean((1, 3)).astype(np.float32)
    return means


def color_behind(background: Background, x: float, y: float) -> Field:
    """Return the mean colour of the ground around a position in the picture, given in fractions of its side."""
    x = 1 - x if background.is_mirrored else x
    column, row = (
        min(_COARSE - 1, max(0, int(_COARSE * (corner + background.side * fraction))))
        for corner, fraction in ((background.left, x), (background.top, y))
    )
    color: Field = coarse_ground(background.kind, background.variant)[row, column] * np.float32(background.light)
    return color


def is_dark(background: Background) -> bool:
    """Whether light writing can be read on it."""
    return float(color_behind(background, 0.5, 0.5).mean()) < 125


def paint_background(
    background: Background, side_px: int, *, shift: tuple[float, float] = (0.0, 0.0), zoom: float = 1.0
) -> npt.NDArray[np.uint8]:
    """Return the ground as a square picture, seen by a camera that moved by `shift` (fractions of the picture) and came
    nearer by `zoom`.
    """
    import cv2

    if shift == (0.0, 0.0) and zoom == 1.0:
        left, top, side = (round(fraction * SIDE) for fraction in (background.left, background.top, background.side))
        part = ground(background.kind, background.variant)[top : top + side, left : left + side]
        picture = cv2.resize(part, (side_px, side_px), interpolation=cv2.INTER_LINEAR)
        still: npt.NDArray[np.uint8] = cv2.flip(picture, 1) if background.is_mirrored else picture
        return _lit(still, background.light)
    scale = background.side * SIDE / side_px
    mirror = -1 if background.is_mirrored else 1
    middle_x = (background.left + background.side / 2) * SIDE + mirror * shift[0] * background.side * SIDE
    middle_y = (background.top + background.side / 2) * SIDE + shift[1] * background.side * SIDE
    step = scale / zoom
    half = (side_px - 1) / 2
    matrix = np.array([[mirror * step, 0, middle_x - mirror * step * half], [0, step, middle_y - step * half]])
    picture = cv2.warpAffine(
        ground(background.kind, background.variant),
        matrix,
        (side_px, side_px),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return _lit(picture, background.light)


def _lit(picture: npt.NDArray[np.uint8], light: float) -> npt.NDArray[np.uint8]:
    import cv2

    lit: npt.NDArray[np.uint8] = cv2.convertScaleAbs(picture, alpha=light)
    return lit
