"""What there is to see: things, signs, bars and a wall on a ground. All lengths are fractions of the frame's side."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from onethinker.core.geometry import Span
from onethinker.data.synthetic.world.atlas import Sprite, load_sprite
from onethinker.data.synthetic.world.backgrounds import Background, color_behind, draw_background
from onethinker.data.synthetic.world.motion import Track, at_rest
from onethinker.data.synthetic.world.things import COLORS, SEEN, TRAINING_STYLES, Kind

Color = tuple[int, int, int]

_MARGIN = 0.02
_PLACES_TRIED = 20
_STANDS_OUT = 70.0  # mean distance of colours at which a thing is seen at once
_BACKGROUNDS_TRIED = 4


Lesson = Literal["where", "few", "told", "notes", "moments", "composed", "by-name"]
"""Only where one of a few different things is; that, captions, and boxes of one to three large things too; what is told
in words, and notes of what is seen (`notes.py`); what is there at each moment of a clip (`clip_notes.py`); questions
composed of two (`composed.py`), and the same with the thing's own name.
"""


@dataclass(frozen=True)
class World:
    """What scenes are made of: drawing styles, kinds of things, how many seconds clips last, at least and at most, and
    which lesson decides what is asked, if any.
    """

    styles: tuple[str, ...] = TRAINING_STYLES
    kinds: tuple[Kind, ...] = SEEN
    seconds: tuple[int, int] = (4, 6)
    lesson: Lesson | None = None


@dataclass(frozen=True)
class Act:
    """What a thing does in a clip, and when: a verb as in "the cat moves right"."""

    verb: str
    span: Span

    @property
    def plain(self) -> str:
        """The verb without its s.

        >>> Act("moves right", Span(0, 1)).plain
        'move right'
        """
        first, _, rest = self.verb.partition(" ")
        return f"{first[:-1]} {rest}".strip()


@dataclass(frozen=True)
class Thing:
    """A thing in a scene.

    `color` is None where it is as drawn; `visible` is the closed stretch of seconds in which it is painted (None:
    always); `act` is what it does, None where it stays as it is.
    """

    kind: Kind
    style: str
    color: str | None
    track: Track
    is_mirrored: bool = False
    visible: Span | None = None
    act: Act | None = None

    @property
    def name(self) -> str:
        """What a question calls it: colour, where it was given one, and kind."""
        return f"{self.color} {self.kind.name}" if self.color else self.kind.name

    @property
    def plural(self) -> str:
        """What a question calls several such."""
        return f"{self.color} {self.kind.plural}" if self.color else self.kind.plural

    @property
    def sprite(self) -> Sprite:
        """How it is drawn."""
        return load_sprite(self.style, self.kind.name, self.color)

    @property
    def center(self) -> tuple[float, float]:
        """Where it is at first."""
        return self.track.xs[0], self.track.ys[0]

    @property
    def size(self) -> float:
        """Its longer side at first."""
        return self.track.sizes[0]


@dataclass(frozen=True)
class Writing:
    """Lines of text around a centre; `height` is that of one line, `board` the colour of a sign behind it."""

    lines: tuple[str, ...]
    font: int
    ink: Color
    board: Color | None
    center: tuple[float, float]
    height: float
    angle: float = 0.0
    visible: Span | None = None


@dataclass(frozen=True)
class Bar:
    """A filled rectangle: left, top, right, bottom."""

    corners: tuple[float, float, float, float]
    color: Color


@dataclass(frozen=True)
class Sector:
    """Part of a disc from one angle to another, in degrees clockwise from the top."""

    center: tuple[float, float]
    radius: float
    start: float
    end: float
    color: Color


@dataclass(frozen=True)
class Wall:
    """An upright board from the top to the bottom of the frame; things pass behind it."""

    left: float
    right: float
    color: Color


@dataclass(frozen=True)
class Camera:
    """How the view changes over the clip: its shift from the middle in fractions of the frame and its zoom, first and
    last.
    """

    start: tuple[float, float, float] = (0.0, 0.0, 1.0)
    end: tuple[float, float, float] = (0.0, 0.0, 1.0)

    def views(self, times_s: npt.NDArray[np.float64], duration_s: float) -> npt.NDArray[np.float64]:
        """Return x, y and nearness at each of the times, shaped (num_times, 3)."""
        fraction = (times_s / duration_s)[:, None] if duration_s else np.zeros((len(times_s), 1))
        views: npt.NDArray[np.float64] = np.array(self.start) + (np.array(self.end) - np.array(self.start)) * fraction
        return views


@dataclass(frozen=True)
class Look:
    """How the scene is lit and how the picture was kept: shadows (offset, strength), a side light, and JPEG quality (0:
    exact).
    """

    shadow: tuple[float, float, float] = (0.0, 0.0, 0.0)
    light: tuple[float, float] = (0.0, 0.0)
    jpeg_quality: int = 0


@dataclass(frozen=True)
class Scene:
    """Everything in a picture (`duration_s` is 0) or clip; later things are painted over earlier ones, signs and the
    wall last.

    `values` are the numbers that a chart or table shows for its things or sectors, in their order.
    """

    background: Background
    things: tuple[Thing, ...] = ()
    writings: tuple[Writing, ...] = ()
    bars: tuple[Bar, ...] = ()
    sectors: tuple[Sector, ...] = ()
    wall: Wall | None = None
    camera: Camera | None = None
    look: Look = field(default_factory=Look)
    duration_s: float = 0.0
    values: tuple[int, ...] = ()


def draw_look(rng: np.random.Generator) -> Look:
    """Return a light, shadows and JPEG artefacts as pictures of all sorts have them."""
    a, b, c, d, e = rng.random(5).tolist()
    shadow = (0.06 * (2 * a - 1), 0.03 + 0.05 * b, 0.15 + 0.3 * c) if a + b > 0.5 else (0.0, 0.0, 0.0)
    light = (0.5 * (d - 0.5), 0.5 * (e - 0.5)) if c > 0.4 else (0.0, 0.0)
    return Look(shadow, light, int(rng.integers(45, 95)) if b < 0.4 else 0)


def draw_kinds(rng: np.random.Generator, world: World, count: int, *, category: str | None = None) -> list[Kind]:
    """Return different kinds of which no one's name could be said of another."""
    kinds = [kind for kind in world.kinds if category in (None, kind.category)]
    chosen: dict[str, Kind] = {}
    while len(chosen) < count:
        kind = kinds[int(rng.integers(len(kinds)))]
        chosen.setdefault(kind.kin, kind)
    return list(chosen.values())


def draw_thing(
    rng: np.random.Generator, world: World, kind: Kind, *, size: float, color: str | None = None, tilt: float = 12.0
) -> Thing:
    """Return a thing of a kind at the middle of the frame, in one of the world's styles, a little turned, mirrored or
    not.
    """
    a, b = rng.random(2).tolist()
    angle = tilt * (2 * b - 1) if b > 0.4 else 0.0
    style = world.styles[int(rng.integers(len(world.styles)))]
    return Thing(kind, style, color, at_rest(0.5, 0.5, size, angle), is_mirrored=a < 0.5)


def draw_color(rng: np.random.Generator, *, but: Sequence[str | None] = ()) -> str:
    """Return the name of a colour that is none of some."""
    names = [name for name in COLORS if name not in but]
    return names[int(rng.integers(len(names)))]


def draw_things(rng: np.random.Generator, world: World, count: int, *, largest: float = 0.48) -> list[Thing]:
    """Return things of different kinds at the middle of the frame, the smaller the more there are; some tintable ones
    have a colour.
    """
    sizes = rng.uniform(0.68, 1.0, count) * largest * CROWDED[min(count, len(CROWDED)) - 1]
    kinds = draw_kinds(rng, world, count)
    colors = [draw_color(rng) if kind.is_tintable and rng.random() < 0.5 else None for kind in kinds]
    return [draw_thing(rng, world, k, size=float(s), color=c) for k, s, c in zip(kinds, sizes, colors, strict=True)]


CROWDED = (1.0, 0.95, 0.86, 0.78, 0.72, 0.66, 0.62, 0.58, 0.55)
"""How large things are when there are one, two, three of them and so on."""


def scatter(rng: np.random.Generator, things: Sequence[Thing], *, overlap: float = 0.0) -> tuple[Thing, ...]:
    """Return the things at positions where the sides of any two boxes overlap by no more than a fraction; smaller where
    there is no space.
    """
    halves = [(t.sprite.width * t.size / 2, t.sprite.height * t.size / 2) for t in things]
    order = sorted(range(len(things)), key=lambda n: -halves[n][0] * halves[n][1])
    scale = 1.0
    while True:
        chances = rng.random((len(things), _PLACES_TRIED, 2)).tolist()
        placed: dict[int, tuple[float, float, float, float]] = {}
        for n in order:
            half_x, half_y = halves[n][0] * scale, halves[n][1] * scale
            for a, b in chances[n]:
                x = _MARGIN + half_x + (1 - 2 * (_MARGIN + half_x)) * a
                y = _MARGIN + half_y + (1 - 2 * (_MARGIN + half_y)) * b
                if all(_are_apart((x, y, half_x, half_y), other, overlap) for other in placed.values()):
                    placed[n] = (x, y, half_x, half_y)
                    break
            else:
                break
        if len(placed) == len(things):
            return tuple(
                replace(t, track=replace(t.track, xs=(placed[n][0],), ys=(placed[n][1],)).sized(scale))
                for n, t in enumerate(things)
            )
        scale *= 0.93


def _are_apart(a: tuple[float, float, float, float], b: tuple[float, float, float, float], overlap: float) -> bool:
    """Whether two boxes (centre and half sides) overlap by no more than a fraction of their sides."""
    gap = 0.0 if overlap else 0.02
    return (
        abs(a[0] - b[0]) >= (1 - overlap) * (a[2] + b[2]) + gap
        or abs(a[1] - b[1]) >= (1 - overlap) * (a[3] + b[3]) + gap
    )


def background_for(rng: np.random.Generator, things: Sequence[Thing], *, calm: bool = False) -> Background:
    """Return a ground from which every thing stands out, the best of a few where none will do."""
    best, best_distance = draw_background(rng, calm=calm), -1.0
    for _ in range(_BACKGROUNDS_TRIED):
        background = draw_background(rng, calm=calm)
        distances = [_distance(thing.sprite.mean, color_behind(background, *thing.center)) for thing in things]
        distance = min(distances, default=_STANDS_OUT)
        if distance > best_distance:
            best, best_distance = background, distance
        if distance >= _STANDS_OUT:
            break
    return best


def _distance(a: Sequence[float], b: npt.NDArray[np.float32]) -> float:
    return float(sum((x - float(y)) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5)
