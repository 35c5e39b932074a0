"""What questions about pictures look up in a scene: the order and number of its things, and names of absent ones."""

from collections.abc import Sequence

from onethinker.data.synthetic.questions import Question, with_options
from onethinker.data.synthetic.world.asking import (
    Asker,
    center_of,
)
from onethinker.data.synthetic.world.scene import Thing


def by_position(asker: Asker, indices: Sequence[int] | None = None) -> list[int]:
    """Return things in reading order: from left to right."""
    chosen = range(len(asker.things)) if indices is None else indices
    return sorted(chosen, key=lambda n: center_of(asker.box(n)))


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


def choice(asker: Asker, problem: str, reasoning: str, answer: str, others: Sequence[str]) -> Question:
    """Return a multiple-choice question with the answer and others as its options, shuffled."""
    return with_options(asker.rng, Question(asker.shot, problem, reasoning, answer), others)


def count_of(asker: Asker, thing: Thing) -> int:
    """Return how many things are of the same kind."""
    return sum(other.kind == thing.kind for other in asker.things)


def one_of_each_kind(asker: Asker) -> list[Thing]:
    """Return one thing of each kind, the kind that comes first in the scene first."""
    return list({thing.kind.name: thing for thing in asker.things}.values())


def name_for(thing: Thing, count: int) -> str:
    """Return the name of a kind, in the plural unless it is one."""
    return thing.kind.name if count == 1 else thing.kind.plural
