"""What questions about clips look up in a scene: which things act, come and go, and are seen well enough."""

from collections.abc import Callable, Sequence

import numpy as np

from onethinker.core.geometry import Span
from onethinker.data.synthetic.world.asking import (
    Asker,
    cell_name,
    kind_name,
    point_of,
    size_of,
)
from onethinker.data.synthetic.world.rendering import Shot
from onethinker.data.synthetic.world.scene import Act, Thing

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


def in_order(asker: Asker, *, name_of: Callable[[Thing], str] = kind_name) -> list[str]:
    """Return notes of a parade: half second by half second which one is there, the first, second, …, and its name. A
    name is looked up by the number before it.
    """
    notes = []
    for number, n in enumerate(sorted(range(len(asker.things)), key=lambda n: visit_of(asker, n).start), 1):
        visit, name = visit_of(asker, n), name_of(asker.things[n])
        notes += [f"{half / 2} {number} {name}" for half in range(int(2 * visit.start), int(2 * visit.end) + 1)]
    return notes


def follow(asker: Asker, n: int) -> str:
    """Return where a thing that acts is at first and at last, what it does, and half second by half second, to half
    a second after it ends, whether it does so then; before that where it is if it moves, and its size if that changes.
    """
    act, things = asker.things[n].act, asker.things
    assert act
    notes = []
    for half in range(int(2 * min(act.span.end + 0.5, asker.shot.clip.duration_s - 0.5)) + 1):
        box = asker.box(n, asker.shot.frame_at(half / 2))
        seen = point_of(box) if act.verb.startswith("moves") else "" if act.verb == "turns" else size_of(box)
        acts = "yes" if act.span.start <= half / 2 < act.span.end else "no"
        notes.append(" ".join(filter(None, (str(half / 2), seen, acts))))
    return f"the {things[n].kind.name} {ends_of(asker, n, sized=True)} {act.verb}. {', '.join(notes)}."


def is_well_seen(shot: Shot, n: int) -> bool:
    """Whether at least half of a thing is seen in every frame in which it is painted."""
    return all(shot.seen_fraction(n, frame) >= SEEN_FRACTION for frame in np.flatnonzero(shot.amodal_px[:, n]).tolist())


def watch(shot: Shot, is_seen: Callable[[float], bool], *, until_s: float, from_s: float = 0.0) -> str:
    """Return a note for each half second up to one after `until_s`: whether something is seen."""
    last = min(until_s + 0.5, shot.clip.duration_s - 0.5)
    times_s = [half / 2 for half in range(int(2 * from_s), int(2 * last) + 1)]
    return ", ".join(f"{time_s} {'yes' if is_seen(time_s) else 'no'}" for time_s in times_s)


def watch_visit(asker: Asker, n: int, *, from_s: float = 0.0) -> str:
    """Return half second by half second whether a thing is there, to the first one after its visit, or to the end."""
    visit = asker.things[n].visible or Span(0.0, asker.shot.clip.duration_s)
    return watch(asker.shot, lambda s: visit.start <= s <= visit.end, until_s=visit.end, from_s=from_s)


def place_at(asker: Asker, n: int, time_s: float) -> str:
    """Return a note of where a thing is at a second, or that it is not there."""
    box = asker.shot.box(n, asker.shot.frame_at(time_s))
    return f"{time_s} {point_of(box) if box else 'no'}"


def places_of(asker: Asker, n: int, until_s: float) -> str:
    """Return notes of where a thing is, half second by half second, up to one after `until_s`."""
    last = min(until_s + 0.5, asker.shot.clip.duration_s - 0.5)
    return ", ".join(place_at(asker, n, half / 2) for half in range(int(2 * last) + 1))


def ends_of(asker: Asker, n: int, *, sized: bool = False) -> str:
    """Return where a thing is at first and in the last half second, in tenths of the frame, with its size where that is
    wanted, as in "0.0 2 5 to 5.5 6 5".
    """
    notes = []
    for time_s in (0.0, asker.shot.clip.duration_s - 0.5):
        box = asker.box(n, asker.shot.frame_at(time_s))
        notes.append(" ".join(filter(None, (str(time_s), point_of(box), size_of(box) if sized else ""))))
    return " to ".join(notes)
