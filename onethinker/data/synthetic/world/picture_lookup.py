"""What questions about pictures look up in a scene: the order and number of its things, and names of absent ones."""

from collections.abc import Callable, Collection, Sequence

from onethinker.core.geometry import Box
from onethinker.data.synthetic.questions import Note, Question, corner_name, with_options
from onethinker.data.synthetic.world.asking import (
    Asker,
    kind_name,
    point_of,
    size_of,
)
from onethinker.data.synthetic.world.scene import Thing


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


def name_and_count(
    asker: Asker,
    *counted: Collection[int],
    passed: Collection[int] = (),
    name_of: Callable[[Thing], str] = kind_name,
    order: Sequence[int] | None = None,
) -> str:
    """Return where all things are, in the order of their points or another one, and which: "1 4 cup, 2 6 bus".

    Behind each of those to count is its number, of each sort from 1: "1 4 cup 1, 2 6 bus 1, 5 5 cup 2"; behind those
    that are of the sort and do not count is "no". Points without names would be a list of everything there is
    (docs/results/things.md).
    """
    listed, numbers = [], [0] * len(counted)
    for n in by_point(asker, range(len(asker.things))) if order is None else order:
        noted = [point_of(asker.box(n)), name_of(asker.things[n])]
        for k, sort in enumerate(counted):
            if n in sort:
                numbers[k] += 1
                noted.append(str(numbers[k]))
        listed.append(" ".join([*noted, "no"] if n in passed else noted))
    return f"{', '.join(listed)}."


def name_and_size(asker: Asker) -> str:
    """Return where all things are, how large, in hundredths of the frame, and what, in the order of their points."""
    listed = [
        f"{point_of(asker.box(n))} {size_of(asker.box(n))} {asker.things[n].kind.name}"
        for n in by_point(asker, range(len(asker.things)))
    ]
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
