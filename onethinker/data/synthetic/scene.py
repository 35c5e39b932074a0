"""What there is to see: shapes, writing and a wall on a plain background. All lengths are fractions of the frame's
side.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from onethinker.core.geometry import Span
from onethinker.data.synthetic.motion import Motion, at_rest

Color = tuple[int, int, int]

COLORS: dict[str, Color] = {
    "red": (226, 58, 60),
    "orange": (245, 146, 40),
    "yellow": (247, 214, 60),
    "green": (62, 172, 92),
    "blue": (68, 130, 238),
    "purple": (166, 100, 214),
}
SHAPES = ("circle", "square", "triangle", "star")
WORDS = (
    "cat",
    "dog",
    "sun",
    "moon",
    "star",
    "tree",
    "fish",
    "bird",
    "car",
    "ship",
    "book",
    "door",
    "milk",
    "rain",
    "hand",
    "key",
)

_MARGIN = 1 / 16
_GAP = 0.04
_CROWDED = (1.0, 0.9, 0.8, 0.7)  # how large things are when there are one, two, three or four
_DARK: Color = (34, 38, 52)
_LIGHT: Color = (238, 236, 230)


@dataclass(frozen=True)
class Thing:
    """A solid shape. `visible` is the closed stretch of seconds in which it is painted; None means always."""

    color: str
    shape: str
    size: float
    motion: Motion
    visible: Span | None = None

    @property
    def name(self) -> str:
        """Colour and shape, as a question calls it."""
        return f"{self.color} {self.shape}"

    @property
    def center(self) -> tuple[float, float]:
        """Where it is at first."""
        return self.motion.xs[0], self.motion.ys[0]


@dataclass(frozen=True)
class Writing:
    """A line of text around a centre; `height` is that of its capitals."""

    text: str
    color: Color
    center: tuple[float, float]
    height: float
    visible: Span | None = None


@dataclass(frozen=True)
class Wall:
    """A grey upright board from the top to the bottom of the frame; things pass behind it."""

    left: float
    right: float


@dataclass(frozen=True)
class Background:
    """Two colours that run into each other from top to bottom."""

    top: Color
    bottom: Color

    @property
    def is_dark(self) -> bool:
        """Whether light writing can be read on it."""
        return sum(self.top) < 384


@dataclass(frozen=True)
class Scene:
    """Everything in a picture (`duration_s` is 0) or clip; later things are painted over earlier ones, the wall
    last.
    """

    background: Background
    things: tuple[Thing, ...] = ()
    writings: tuple[Writing, ...] = ()
    wall: Wall | None = None
    duration_s: float = 0.0


def draw_background(rng: np.random.Generator) -> Background:
    """Return a plain dark or light background, a little different each time."""
    base = np.array(_DARK if rng.random() < 0.5 else _LIGHT)
    top = np.clip(base + rng.integers(-12, 13, 3), 0, 255)
    bottom = np.clip(top + rng.integers(-14, 15), 0, 255)
    return Background(_color(top), _color(bottom))


def draw_things(rng: np.random.Generator, count: int, *, largest: float = 0.42) -> tuple[Thing, ...]:
    """Return up to four things at rest, all of different colours and shapes, that touch neither each other nor the
    edges.
    """
    colors = rng.permutation(list(COLORS))[:count]
    shapes = rng.permutation(SHAPES)[:count]
    sizes = rng.uniform(largest * 0.65, largest, count) * _CROWDED[count - 1]
    centers, sizes = _scatter(rng, sizes)
    return tuple(
        Thing(str(color), str(shape), float(size), at_rest(float(x), float(y)))
        for color, shape, size, (x, y) in zip(colors, shapes, sizes, centers, strict=True)
    )


def draw_lanes(rng: np.random.Generator, count: int, *, upright: bool) -> tuple[Thing, ...]:
    """Return things at rest, each at the start of a lane of its own, so that none meets another when it moves along it.

    The lanes lie below each other, or beside each other when `upright`; a thing starts in the first third of its lane.
    """
    lane = (1 - 2 * _MARGIN) / count
    things = draw_things(rng, count, largest=min(0.34, lane * 0.9) / _CROWDED[count - 1])
    across = [
        _MARGIN + lane * (row + 0.5) + rng.uniform(-0.5, 0.5) * max(0.0, lane - t.size) for row, t in enumerate(things)
    ]
    along = [_MARGIN + t.size / 2 + rng.uniform(0, 0.12) for t in things]
    positions = zip(across, along, strict=True) if upright else zip(along, across, strict=True)
    return tuple(replace(t, motion=at_rest(float(x), float(y))) for t, (x, y) in zip(things, positions, strict=True))


def draw_ink(rng: np.random.Generator, background: Background) -> tuple[str, Color]:
    """Return the name and value of a colour that can be read on a background."""
    if background.is_dark:
        name = str(rng.choice(["white", "yellow", "orange"]))
        return name, {**COLORS, "white": (244, 244, 240)}[name]
    name = str(rng.choice(["black", "red", "blue"]))
    return name, {**COLORS, "black": (24, 24, 28)}[name]


def near_middle(rng: np.random.Generator) -> tuple[float, float]:
    """Return a centre for writing: almost the same position, because a small model learns letters where it saw them."""
    x, y = rng.uniform(0.47, 0.53, 2)
    return float(x), float(y)


def _scatter(rng: np.random.Generator, sizes: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return centres at which squares do not touch, and their sizes, made smaller where there was no space."""
    while True:
        low, high = _MARGIN + sizes / 2, 1 - _MARGIN - sizes / 2
        tries = low[:, None] + (high - low)[:, None] * rng.random((16, len(sizes), 2))
        apart = np.abs(tries[:, :, None] - tries[:, None]).max(-1) + 9 * np.eye(len(sizes))
        fits = (apart >= (sizes[:, None] + sizes) / 2 + _GAP).all((1, 2))
        if fits.any():
            return tries[fits.argmax()], sizes
        sizes = sizes - 1 / 16


def _color(values: npt.NDArray[Any]) -> Color:
    red, green, blue = (int(value) for value in values)
    return red, green, blue
