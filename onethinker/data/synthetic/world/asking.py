"""What questions about pictures and clips share: names of positions and things, who is where, what a split admits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from onethinker.core.geometry import Box
from onethinker.data.synthetic.questions import OUTSIDE, Question, corner_name, seen_box
from onethinker.data.synthetic.world.rendering import Shot
from onethinker.data.synthetic.world.scene import Scene, Thing, World
from onethinker.data.synthetic.world.splits import split_of
from onethinker.data.synthetic.world.things import with_article

Family = Callable[[np.random.Generator, World], Scene]
"""From chance to a scene of a certain sort."""
ORDINALS = ("first", "second", "third", "fourth", "fifth")
CLEARLY = 80.0  # thousandths by which one thing must be further left (or right, up, down) than another
_AMONG_ALIKE = 0.8  # of the questions in scenes with look-alikes are about one of them
_LARGER = 1.5  # how many times the area of the next thing the biggest one has


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


def at_position(name: str, box: Box) -> str:
    """Return a note that says in which quarter a thing is: right behind its name, because a small model learns to look
    something up where it is named long before it learns to remember over a few words what it looks for.

    >>> at_position("cat", Box(0, 0, 200, 200))
    'the cat top left.'
    """
    return f"the {name} {corner_name(box)}."


def at_point(name: str, box: Box) -> str:
    """Return a note that says where the middle of a thing is, in tenths of the frame.

    >>> at_point("cat", Box(0, 0, 200, 400))
    'the cat 1 2.'
    """
    return f"the {name} {point_of(box)}."


def refer(asker: Asker, relation: str) -> tuple[int, str, str] | None:
    """Return a thing, words that fit it alone, and a true reasoning that ends where it is; None where the split admits
    none.

    The words are its name, its colour where others of its kind have another, its order among its kind ("second dog from
    the left"), its side of another thing ("dog left of the bus") or that it is the biggest or smallest of its like.
    """
    boxes = [asker.box(n) for n in range(len(asker.things))]
    good = []
    for way in _ways_to_name(asker, boxes):
        n, words, _ = way
        thing = asker.things[n]
        how = f"{relation}:{words.partition(thing.kind.name)[2].strip() or words.partition(thing.kind.name)[0].strip()}"
        if asker.admits(thing.kind.name, thing.color, cell_name(boxes[n]), how):
            good.append(way)
    among_alike = [way for way in good if sum(thing.kind == asker.things[way[0]].kind for thing in asker.things) > 1]
    if among_alike and asker.rng.random() < _AMONG_ALIKE:
        good = among_alike
    chosen = asker.pick(range(len(good)))
    return None if chosen is None else good[chosen]


def _ways_to_name(asker: Asker, boxes: Sequence[Box]) -> list[tuple[int, str, str]]:
    """Return things, words that fit each alone and how one finds it, whatever the split admits."""
    ways: list[tuple[int, str, str]] = []
    for n, thing in enumerate(asker.things):
        alike = [m for m, other in enumerate(asker.things) if other.kind == thing.kind]
        if len(alike) == 1:
            name = thing.name if asker.rng.random() < 0.5 else thing.kind.name
            ways.append((n, name, at_position(name, boxes[n])))
            continue
        if thing.color and [asker.things[m].color for m in alike].count(thing.color) == 1:
            ways.append(
                (n, thing.name, f"there are {len(alike)} {thing.kind.plural}. {at_position(thing.name, boxes[n])}")
            )
        ways += _by_order(asker, n, alike, boxes) + _by_side(asker, n, alike, boxes) + _by_size(asker, n, alike, boxes)
    return ways


def _by_order(asker: Asker, n: int, alike: Sequence[int], boxes: Sequence[Box]) -> list[tuple[int, str, str]]:
    """Return how a thing is named by its position among its kind, where the order is clear."""
    ways, thing = [], asker.things[n]
    for side, axis, step in (("left", 0, 1), ("right", 0, -1), ("top", 1, 1), ("bottom", 1, -1)):
        order = sorted(alike, key=lambda m: step * center_of(boxes[m])[axis])
        values = [center_of(boxes[m])[axis] for m in order]
        if min(abs(a - b) for a, b in pairwise(values)) >= CLEARLY:
            ordinal = ORDINALS[order.index(n)]
            words = f"{ordinal} {thing.kind.name} from the {side}"
            passed = order[: order.index(n) + 1]
            ways.append(
                (
                    n,
                    words,
                    f"from the {side}: {', '.join(f'{k} at {point_of(boxes[m])}' for k, m in enumerate(passed, 1))}."
                    f" the {ordinal} {corner_name(boxes[n])}.",
                )
            )
    return ways


def _by_side(asker: Asker, n: int, alike: Sequence[int], boxes: Sequence[Box]) -> list[tuple[int, str, str]]:
    """Return how a thing is named by its side of another one, where all its like are clearly not on that side."""
    ways, thing = [], asker.things[n]
    for m, other in enumerate(asker.things):
        if m in alike or sum(o.kind == other.kind for o in asker.things) > 1:
            continue
        for relation in RELATIONS:
            others = (is_beyond(boxes[k], boxes[m], opposite(relation), clearly=40) for k in alike if k != n)
            if is_beyond(boxes[n], boxes[m], relation) and all(others):
                words = f"{thing.kind.name} {relation} the {other.kind.name}"
                found = f"the {thing.kind.name} {relation} it {corner_name(boxes[n])}."
                there = f"{at_point(other.kind.name, boxes[m])} {found}"
                ways.append((n, words, there))
    return ways


def _by_size(asker: Asker, n: int, alike: Sequence[int], boxes: Sequence[Box]) -> list[tuple[int, str, str]]:
    """Return how a thing is named by being the biggest or smallest of its like, where that is plain to see."""
    thing, own = asker.things[n], area_of(boxes[n])
    others = [area_of(boxes[m]) for m in alike if m != n]
    by_x = sorted(alike, key=lambda m: center_of(boxes[m]))
    for most, is_so in (("biggest", own >= _LARGER * max(others)), ("smallest", own * _LARGER <= min(others))):
        if is_so:
            return [
                (
                    n,
                    f"{most} {thing.kind.name}",
                    f"sizes: {', '.join(f'{point_of(boxes[m])} {size_of(boxes[m])}' for m in by_x)}."
                    f" {at_position(f'{most} one', boxes[n])}",
                )
            ]
    return []


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
