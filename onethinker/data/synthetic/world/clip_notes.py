"""Short notes about clips: what is there at a moment, where something is then, when it is seen, where it begins and
ends.

Moments are asked for in any order, so that what is noted has to be looked up at its time. That is learned where nearly
every token asks for it, within a hundred steps, and not in four hundred among all notes (docs/results/things.md).
"""

from collections.abc import Callable

from onethinker.data.synthetic.questions import Question
from onethinker.data.synthetic.world import clip_scenes as scenes
from onethinker.data.synthetic.world.asking import Asker, Questions, center_of, point_of
from onethinker.data.synthetic.world.clip_lookup import (
    SEEN_FRACTION,
    admitted,
    ends_of,
    in_order,
    is_well_seen,
    only_of_kind,
    watch_visit,
)
from onethinker.data.synthetic.world.clip_wandering import draw_roaming


def _is_plain(asker: Asker, relation: str) -> bool:
    """Whether every thing has a name of its own and is seen well while it is there, and the split admits the first."""
    return (
        len(only_of_kind(asker)) == len(asker.things)
        and all(is_well_seen(asker.shot, n) for n in range(len(asker.things)))
        and bool(admitted(asker, [0], relation))
    )


def _things_at(asker: Asker, time_s: float) -> list[int]:
    """Return what is seen at a second, from left to right."""
    frame = asker.shot.frame_at(time_s)
    seen = [n for n in range(len(asker.things)) if asker.shot.seen_fraction(n, frame) >= SEEN_FRACTION]
    return sorted(seen, key=lambda n: center_of(asker.box(n, frame)))


def note_moments(asker: Asker) -> Question | None:
    """Ask what is there at each half second."""
    if not _is_plain(asker, "moments"):
        return None
    return _at_each_moment(
        asker, "what?", lambda s: " ".join(asker.things[n].kind.name for n in _things_at(asker, s)) or "no"
    )


def note_positions(asker: Asker) -> Question | None:
    """Ask where a thing is at each half second."""
    n = asker.pick(range(len(asker.things)))
    if n is None or not _is_plain(asker, "positions"):
        return None
    return _at_each_moment(
        asker,
        f"where? {asker.things[n].kind.name}",
        lambda s: point_of(asker.box(n, asker.shot.frame_at(s))) if n in _things_at(asker, s) else "no",
    )


def _at_each_moment(asker: Asker, asked: str, seen_at: Callable[[float], str]) -> Question:
    """Ask for what is seen at each half second of a clip, in any order."""
    times_s = [int(half) / 2 for half in asker.rng.permutation(int(2 * asker.shot.clip.duration_s))]
    notes = [f"{time_s} {seen_at(time_s)}" for time_s in times_s]
    return _note(asker, f"{asked} {', '.join(map(str, times_s))}", notes)


def note_visit(asker: Asker) -> Question | None:
    """Ask when a thing is there."""
    n = asker.pick(range(len(asker.things)))
    if n is None or not _is_plain(asker, "visit"):
        return None
    return _note(asker, f"when? {asker.things[n].kind.name}", watch_visit(asker, n).split(", "))


def note_order(asker: Asker) -> Question | None:
    """Ask what comes when, from the first to the last."""
    return _note(asker, "from the first?", in_order(asker)) if _is_plain(asker, "order") else None


def note_ends(asker: Asker) -> Question | None:
    """Ask where each thing is, and how large, at first and at last."""
    if not _is_plain(asker, "ends"):
        return None
    order = [int(n) for n in asker.rng.permutation(len(asker.things))]
    names = [asker.things[n].kind.name for n in order]
    notes = [f"{name} {ends_of(asker, n, sized=True)}" for n, name in zip(order, names, strict=True)]
    return _note(asker, f"from first to last? {', '.join(names)}", notes)


def _note(asker: Asker, problem: str, notes: list[str]) -> Question:
    return Question(asker.shot, f"{problem}.", f"{', '.join(notes)}.", f"{notes[-1]}.")


_AT_MOMENTS = (note_moments, note_positions, note_visit)
CLIP_NOTES: Questions = {
    ("open-ended", "video"): (
        (scenes.draw_parade, (note_moments, note_positions, note_order)),
        (scenes.draw_visits, _AT_MOMENTS),
        (scenes.draw_leaving, _AT_MOMENTS),
        (draw_roaming, _AT_MOMENTS),
        (scenes.draw_stage, (note_ends, note_positions)),
        (scenes.draw_race, (note_ends,)),
    ),
}
"""By problem type and data type: sorts of scenes, each with what notes are taken about them."""
MOMENTS: Questions = {("open-ended", "video"): ((scenes.draw_parade, (note_moments,)),)}
"""The first of these notes alone, about one thing after the other."""
