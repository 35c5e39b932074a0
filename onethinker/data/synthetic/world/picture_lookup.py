"""What questions about pictures look up in a scene: the order and number of its things, and names of absent ones."""

from collections.abc import Callable, Collection, Sequence

from onethinker.core.geometry import Box
from onethinker.data.synthetic.questions import Note, Question, corner_name, with_options
from onethinker.data.synthetic.world.asking import (
    Asker,
    center_of,
    point_of,
)
from onethinker.data.synthetic.world.scene import Thing


def by_position(asker: Asker) -> list[int]:
    """Return all things from left to right."""
    return sorted(range(len(asker.things)), key=lambda n: center_of(asker.box(n)))


def by_point(asker: Asker, indices: Sequence[int]) -> list[int]:
    """Return things in the order of their points in tenths: one that can be told from the points alone."""
    return sorted(indices, key=lambda n: point_of(asker.box(n)))


def absent_names(asker: Asker, count: int) -> list[str]:
    """Return names of things that are not there and that no thing there could be called."""
    there = {thing.kind.kin for thing in asker.things}
    names: list[str] = []
    while len(names) < count:
        kind = asker.world.kinds[int(asker.rng.integers(len(asker.world.kinds)))]
        if kind.kin not in there:
            there.add(kind.kin)
            names.append(kind.name)
    return names


def choice(
    asker: Asker, problem: str, reasoning: str, answer: str, others: Sequence[str], *, note: Note | None = None
) -> Question:
    """Return a multiple-choice question with the answer and others as its options, shuffled, and a note at each that
    reasoning reads.
    """
    return with_options(asker.rng, Question(asker.shot, problem, reasoning, answer), others, note=note)


def look_for(asker: Asker, name: str, where: Callable[[Box], str] = corner_name) -> str:
    """Return where a thing of a name is, or "no" where there is none."""
    found = [n for n, thing in enumerate(asker.things) if thing.kind.name == name]
    return where(asker.box(found[0])) if found else "no"


def count_aloud(asker: Asker, indices: Sequence[int], name: str) -> str:
    """Return where each counted thing is, in the order of their points."""
    listed = [f"{k} at {point_of(asker.box(n))}" for k, n in enumerate(by_point(asker, indices), 1)]
    return f"{name}: {', '.join(listed)}." if listed else f"i see no {name}."


def name_and_count(asker: Asker, counted: Collection[int]) -> str:
    """Return where all things are, in the order of their points, and behind each of those to count its number."""
    listed, number = [], 0
    for n in by_point(asker, range(len(asker.things))):
        number += n in counted
        listed.append(f"{point_of(asker.box(n))} {asker.things[n].kind.name}{f' {number}' if n in counted else ''}")
    return f"{', '.join(listed)}."


def number_things(asker: Asker, order: Sequence[int]) -> str:
    """Return things in an order, each with its number and where it is before its name."""
    return ", ".join(f"{k} at {point_of(asker.box(n))} {asker.things[n].kind.name}" for k, n in enumerate(order, 1))


def count_of(asker: Asker, thing: Thing) -> int:
    """Return how many things are of the same kind."""
    return len(like(asker, thing))


def like(asker: Asker, thing: Thing) -> list[int]:
    """Return the indices of all things of the same kind."""
    return [n for n, other in enumerate(asker.things) if other.kind == thing.kind]


def one_of_each_kind(asker: Asker) -> list[Thing]:
    """Return one thing of each kind, the kind that comes first in the scene first."""
    return list({thing.kind.name: thing for thing in asker.things}.values())
