"""What questions about clips look up in a scene: which things act, come and go, and are seen well enough."""

from collections.abc import Sequence

import numpy as np

from onethinker.core.geometry import Span
from onethinker.data.synthetic.world.asking import (
    Asker,
    cell_name,
)
from onethinker.data.synthetic.world.rendering import Shot
from onethinker.data.synthetic.world.scene import Act

SEEN_FRACTION = 0.5  # of a thing: less is too little to ask where it is


def only_of_kind(asker: Asker) -> list[int]:
    """Return things that are the only one of their kind."""
    names = [thing.kind.name for thing in asker.things]
    return [n for n, name in enumerate(names) if names.count(name) == 1]


def admitted(asker: Asker, indices: Sequence[int], relation: str) -> list[int]:
    """Return things that the split admits with their first position and a relation."""
    good = []
    for n in indices:
        frame = next(k for k in range(len(asker.shot.owners)) if asker.shot.box(n, k))
        if asker.admits(asker.things[n].kind.name, asker.things[n].color, cell_name(asker.box(n, frame)), relation):
            good.append(n)
    return good


def acting(asker: Asker, kind: str) -> list[tuple[int, Act]]:
    """Return things that do something, as far as the split admits it, with what they do."""
    acts = [(n, thing.act) for n, thing in enumerate(asker.things) if thing.act]
    return [(n, act) for n, act in acts if admitted(asker, [n], f"{kind} {act.verb}")]


def pick_visitor(asker: Asker, relation: str) -> int | None:
    """Return a thing that comes and goes and is seen well whenever it is there; None where the split admits none."""
    visitors = [n for n in only_of_kind(asker) if asker.things[n].visible and is_well_seen(asker.shot, n)]
    return asker.pick(admitted(asker, visitors, relation))


def visit_of(asker: Asker, n: int) -> Span:
    """Return when a thing that comes and goes is there."""
    visible = asker.things[n].visible
    assert visible
    return visible


def in_order(asker: Asker, *, colors: bool = False) -> list[str]:
    """Return, thing by thing, the second at which it comes and its name, with its colour where that is wanted."""
    order = sorted(range(len(asker.things)), key=lambda n: visit_of(asker, n).start)
    names = [asker.things[n].name if colors else asker.things[n].kind.name for n in order]
    return [f"{visit_of(asker, n).start} {name}" for n, name in zip(order, names, strict=True)]


def is_well_seen(shot: Shot, n: int) -> bool:
    """Whether at least half of a thing is seen in every frame in which it is painted."""
    return all(shot.seen_fraction(n, frame) >= SEEN_FRACTION for frame in np.flatnonzero(shot.amodal_px[:, n]).tolist())


def arrival(name: str, span: Span) -> str:
    """Return a sentence: whether a thing is there from the start or comes later."""
    return f"the {name} is there at first." if span.start == 0 else f"the {name} comes later."
