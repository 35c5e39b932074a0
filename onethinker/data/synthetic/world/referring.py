"""Words that fit one thing of a picture alone, and how one finds it."""

from itertools import pairwise
from typing import NamedTuple

from onethinker.data.synthetic.world.asking import (
    ORDINALS,
    RELATIONS,
    SIDES,
    Asker,
    area_of,
    at_point,
    cell_name,
    center_of,
    is_beyond,
    opposite,
    point_of,
)
from onethinker.data.synthetic.world.picture_lookup import by_point, count_of, like, name_and_count, name_and_size

_AMONG_ALIKE = 0.8  # of the questions in scenes with look-alikes are about one of them
_TENTH = 100.0  # thousandths by which look-alikes are apart, so that their points tell the order
_LARGER = 1.5  # how many times the area of the next thing the biggest one has


class Reference(NamedTuple):
    """A thing, words that fit it alone (a referring expression), and a true reasoning that ends where it is."""

    thing: int
    words: str
    reasoning: str


def refer(asker: Asker, relation: str) -> Reference | None:
    """Return a reference to a thing; None where the split admits none.

    The words are its name, its colour where others of its kind have another, its order among its kind ("second dog from
    the left"), its side of another thing ("dog left of the bus") or that it is the biggest or smallest of its like.
    """
    good = []
    for reference in _references(asker):
        thing = asker.things[reference.thing]
        before, _, behind = reference.words.partition(thing.kind.name)
        how = f"{relation}:{behind.strip() or before.strip()}"
        if asker.admits(thing.kind.name, thing.color, cell_name(asker.box(reference.thing)), how):
            good.append(reference)
    among_alike = [reference for reference in good if count_of(asker, asker.things[reference.thing]) > 1]
    if among_alike and asker.rng.random() < _AMONG_ALIKE:
        good = among_alike
    chosen = asker.pick(range(len(good)))
    return None if chosen is None else good[chosen]


def _references(asker: Asker) -> list[Reference]:
    """Return all references, whatever the split admits."""
    found: list[Reference] = []
    for n, thing in enumerate(asker.things):
        alike = like(asker, thing)
        if len(alike) == 1:
            name = thing.name if asker.rng.random() < 0.5 else thing.kind.name
            found.append(Reference(n, name, at_point(name, asker.box(n))))
            continue
        if thing.color and [asker.things[m].color for m in alike].count(thing.color) == 1:
            listed = ", ".join(f"{point_of(asker.box(m))} {asker.things[m].name}" for m in by_point(asker, alike))
            found.append(Reference(n, thing.name, f"{listed}. {at_point(thing.name, asker.box(n))}"))
        found += _by_order(asker, n) + _by_side(asker, n) + _by_size(asker, n)
    return found


def _by_order(asker: Asker, n: int) -> list[Reference]:
    """Return how a thing is named by its position among its kind, where the order is clear."""
    found, alike = [], like(asker, asker.things[n])
    points = [tuple(map(int, point_of(asker.box(m)).split())) for m in range(len(asker.things))]
    for side, (axis, step) in SIDES.items():
        order = sorted(range(len(points)), key=lambda m: (step * points[m][axis], points[m][1 - axis]))
        values = [center_of(asker.box(m))[axis] for m in order if m in alike]
        if min(abs(a - b) for a, b in pairwise(values)) >= _TENTH:
            passed = order[: order.index(n) + 1]
            ordinal = ORDINALS[sum(m in alike for m in passed) - 1]
            listed = f"from the {side}: {name_and_count(asker, alike, order=passed)}"
            words = f"{ordinal} {asker.things[n].kind.name} from the {side}"
            found.append(Reference(n, words, f"{listed} {at_point(ordinal, asker.box(n))}"))
    return found


def _by_side(asker: Asker, n: int) -> list[Reference]:
    """Return how a thing is named by its side of another one, where all its like are clearly not on that side."""
    found, name, alike = [], asker.things[n].kind.name, like(asker, asker.things[n])
    for m, other in enumerate(asker.things):
        if m in alike or count_of(asker, other) > 1:
            continue
        for relation in RELATIONS:
            others = (is_beyond(asker.box(k), asker.box(m), opposite(relation), clearly=40) for k in alike if k != n)
            if is_beyond(asker.box(n), asker.box(m), relation) and all(others):
                words = f"{name} {relation} the {other.kind.name}"
                there = at_point(other.kind.name, asker.box(m))
                found.append(Reference(n, words, f"{there} {at_point(f'{name} {relation} it', asker.box(n))}"))
    return found


def _by_size(asker: Asker, n: int) -> list[Reference]:
    """Return how a thing is named by being the biggest or smallest of its like, where that is plain to see."""
    name, own = asker.things[n].kind.name, area_of(asker.box(n))
    others = [area_of(asker.box(m)) for m in like(asker, asker.things[n]) if m != n]
    for most, is_so in (("biggest", own >= _LARGER * max(others)), ("smallest", own * _LARGER <= min(others))):
        if is_so:
            words = f"{most} {name}"
            return [Reference(n, words, f"{name_and_size(asker)} {at_point(words, asker.box(n))}")]
    return []
