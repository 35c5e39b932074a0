"""What questions about pictures and clips share: names of positions and things, who is where, what a split admits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from onethinker.core.geometry import Box
from onethinker.data.synthetic.questions import OUTSIDE, Question, seen_box
from onethinker.data.synthetic.world.rendering import Shot
from onethinker.data.synthetic.world.scene import Scene, Thing, World
from onethinker.data.synthetic.world.splits import split_of
from onethinker.data.synthetic.world.things import with_article

Family = Callable[[np.random.Generator, World], Scene]
"""From chance to a scene of a certain sort."""
ORDINALS = ("first", "second", "third", "fourth", "fifth")
SIDES = {"left": (0, 1), "right": (0, -1), "top": (1, 1), "bottom": (1, -1)}
"""Sides of the frame: the axis along which one counts from there, and its sign."""
CLEARLY = 80.0  # thousandths by which one thing must be further left (or right, up, down) than another


@dataclass(frozen=True, eq=False)
class Asker:
    """One that asks about a painted scene, within a split of all combinations."""

    rng: np.random.Generator
    shot: Shot
    world: World
    split: str
    boxes: dict[tuple[int, int], Box] = field(default_factory=dict)
    """Boxes found so far, by thing and frame."""

    @property
    def things(self) -> tuple[Thing, ...]:
        """What the scene shows."""
        return self.shot.scene.things

    def admits(self, thing: str, color: str | None = None, position: str = "", relation: str = "") -> bool:
        """Whether the combination belongs to this split."""
        return split_of(thing, color, position, relation) == self.split

    def box(self, thing: int, frame: int = 0) -> Box:
        """Return the box of what is seen of a thing."""
        if (thing, frame) not in self.boxes:
            self.boxes[thing, frame] = seen_box(self.shot, thing, frame)
        return self.boxes[thing, frame]

    def pick(self, options: Sequence[int]) -> int | None:
        """Return one of the options, None when there are none."""
        return options[int(self.rng.integers(len(options)))] if options else None

    def admitted(self, relation: str, *, indices: Sequence[int] | None = None) -> list[int]:
        """Return the indices of things whose combination with their position and this relation is within the split."""
        indices = range(len(self.things)) if indices is None else indices
        return [
            n
            for n in indices
            if self.admits(self.things[n].kind.name, self.things[n].color, cell_name(self.box(n)), relation)
        ]


def kind_name(thing: Thing) -> str:
    """Return what a thing is called without its colour."""
    return thing.kind.name


def full_name(thing: Thing) -> str:
    """Return what a thing is called, with the colour that it was given."""
    return thing.name


Ask = Callable[[Asker], Question | None]
"""From a painted scene to a question about it; None where the scene has nothing that the split admits."""
Questions = dict[tuple[str, str], tuple[tuple[Family, tuple[Ask, ...]], ...]]
"""By problem type and data type: sorts of scenes, each with what can be asked about them."""


def cell_name(box: Box) -> str:
    """Return which of nine fields of the frame holds the box's centre.

    >>> cell_name(Box(400, 600, 600, 1000))
    'bottom middle'
    """
    column, row = (min(2, int((low + high) * 3 / 2000)) for low, high in ((box.x1, box.x2), (box.y1, box.y2)))
    return f"{('top', 'center', 'bottom')[row]} {('left', 'middle', 'right')[column]}"


def center_of(box: Box) -> tuple[float, float]:
    """Return the middle of a box."""
    return (box.x1 + box.x2) / 2, (box.y1 + box.y2) / 2


def area_of(box: Box) -> float:
    """Return the area of a box in square thousandths."""
    return (box.x2 - box.x1) * (box.y2 - box.y1)


def tenths(value: float) -> str:
    """Return thousandths of the frame as one digit, as reasoning notes them.

    >>> tenths(642.0)
    '6'
    """
    return str(min(9, int(value / 100)))


def point_of(box: Box) -> str:
    """Return how far right and how far down the middle of a box is, in tenths of the frame.

    >>> point_of(Box(100, 400, 300, 600))
    '2 5'
    """
    return " ".join(map(tenths, center_of(box)))


def size_of(box: Box) -> str:
    """Return the side of a square as large as a box, in hundredths of the frame.

    >>> size_of(Box(0, 0, 400, 100))
    '20'
    """
    return f"{int(area_of(box) ** 0.5 / 10):02d}"


def is_in_a_corner(box: Box) -> bool:
    """Whether a person would say without a doubt which quarter of the frame the box is in."""
    return min(abs(value - 500) for value in center_of(box)) >= 90


def relation_of(a: Box, b: Box) -> str | None:
    """Return where a is as seen from b, None where that is open to doubt.

    >>> relation_of(Box(0, 0, 100, 100), Box(500, 100, 700, 200))
    'left of'
    """
    (ax, ay), (bx, by) = center_of(a), center_of(b)
    dx, dy = ax - bx, ay - by
    if max(abs(dx), abs(dy)) < 1.5 * min(abs(dx), abs(dy)) or max(abs(dx), abs(dy)) < 2 * CLEARLY:
        return None
    if abs(dx) > abs(dy):
        return "left of" if dx < 0 else "right of"
    return "above" if dy < 0 else "below"


RELATIONS = ("left of", "right of", "above", "below")


def is_beyond(a: Box, b: Box, relation: str, *, clearly: float = CLEARLY) -> bool:
    """Whether the centre of a lies to one side of that of b, whatever else."""
    (ax, ay), (bx, by) = center_of(a), center_of(b)
    return {"left of": bx - ax, "right of": ax - bx, "above": by - ay, "below": ay - by}[relation] >= clearly


def opposite(relation: str) -> str:
    """Return the relation the other way round."""
    return dict(zip(RELATIONS, ("right of", "left of", "below", "above"), strict=True))[relation]


def at_point(name: str, box: Box) -> str:
    """Return a note that says where the middle of a thing is, in tenths of the frame.

    >>> at_point("cat", Box(0, 0, 200, 400))
    'the cat 1 2.'
    """
    return f"the {name} {point_of(box)}."


def inner_and_outer_points(asker: Asker, thing: int, frame: int = 0) -> dict[str, list[list[int]]]:
    """Return three points on a thing and three beside it, exact to the pixel.

    The inner ones are, in the left, middle and right third of what is seen, the pixel that is furthest from what is not
    the thing. The outer ones lie beside its box, left, right, below, above and at its corners, the first three that are
    in the frame.
    """
    import cv2

    mask = asker.shot.mask(thing, frame)
    side = len(mask)
    depth = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    columns = np.flatnonzero(mask.any(0))
    cuts = np.linspace(columns[0], columns[-1] + 1, 4).round().astype(int)
    inner = []
    for left, right in pairwise(cuts):
        row, column = np.unravel_index(int(depth[:, left:right].argmax()), depth[:, left:right].shape)
        inner.append([int((column + left + 0.5) * 1000 / side), int((row + 0.5) * 1000 / side)])
    box = asker.box(thing, frame)
    x, y = (round(value) for value in center_of(box))
    left, top, right, bottom = (
        round(box.x1) - OUTSIDE,
        round(box.y1) - OUTSIDE,
        round(box.x2) + OUTSIDE,
        round(box.y2) + OUTSIDE,
    )
    beside = [[left, y], [right, y], [x, bottom], [x, top], [left, top], [right, top], [left, bottom], [right, bottom]]
    outer = [point for point in beside if all(0 <= value < 1000 for value in point)]
    return {"positive_points": inner, "negative_points": outer[:3]}


def list_things(names: Sequence[str]) -> str:
    """Return names with their articles, as one says them.

    >>> list_things(["cat", "red car", "apple"])
    'a cat, a red car and an apple'
    """
    spoken = [with_article(name) for name in names]
    return " and ".join(filter(None, [", ".join(spoken[:-1]), spoken[-1]]))
