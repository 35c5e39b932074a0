"""Questions composed of two that training asks apart: what is beside a thing, and how long or when that is there.

No training sees them. The same scenes are asked about once more with the thing's own name, so that what the composition
costs can be told from what the scene does.
"""

from dataclasses import replace
from functools import partial

import numpy as np

from onethinker.core.geometry import Span
from onethinker.data.synthetic.questions import Question, compact_json
from onethinker.data.synthetic.world.asking import RELATIONS, Asker, Questions, is_beyond, opposite
from onethinker.data.synthetic.world.clip_lookup import admitted, is_well_seen, only_of_kind, places_of, visit_of
from onethinker.data.synthetic.world.clip_parts import draw_duration, draw_span, finish_scene
from onethinker.data.synthetic.world.clip_values import measure_visit
from onethinker.data.synthetic.world.phrasing import say
from onethinker.data.synthetic.world.scene import Scene, World, draw_things, scatter

_OTHER_SIDE = 40.0  # thousandths by which every other thing is on the other side of the one that is named


def draw_company(rng: np.random.Generator, world: World) -> Scene:
    """Return three things, of which two come and go, so that one has to be told from the other, and the last stays."""
    duration_s = draw_duration(rng, world)
    *visitors, staying = scatter(rng, draw_things(rng, world, 3))
    visits = tuple(replace(thing, visible=draw_span(rng, duration_s)) for thing in visitors)
    return finish_scene(rng, (*visits, staying), duration_s)


def _pick_neighbor(asker: Asker) -> tuple[int, str] | None:
    """Return a thing that comes and goes, and words that fit it alone: its side of the thing that stays."""
    shot, staying = asker.shot, len(asker.things) - 1
    only = only_of_kind(asker)
    if staying not in only or not all(is_well_seen(shot, n) for n in range(len(asker.things))):
        return None
    good = []
    for n in range(staying):
        frame = shot.frame_at(visit_of(asker, n).start)
        anchor = asker.box(staying, frame)
        others = [asker.box(m, shot.frame_at(visit_of(asker, m).start)) for m in range(staying) if m != n]
        for side in RELATIONS:
            is_alone = all(is_beyond(other, anchor, opposite(side), clearly=_OTHER_SIDE) for other in others)
            if n in only and is_beyond(asker.box(n, frame), anchor, side) and is_alone:
                good += [(n, side)] if admitted(asker, [n], f"composed {side}") else []
    chosen = asker.pick(range(len(good)))
    if chosen is None:
        return None
    n, side = good[chosen]
    return n, f"thing {side} the {asker.things[staying].kind.name}"


def measure_neighbor(asker: Asker, *, by_name: bool) -> Question | None:
    """Ask for how many seconds what is beside a thing is visible, or with its name in place of that."""
    found = _pick_neighbor(asker)
    if found is None:
        return None
    n, words = found
    span = visit_of(asker, n)
    problem = say(asker.rng, "seconds_visible", thing=asker.things[n].kind.name if by_name else words)
    return Question(asker.shot, problem, measure_visit(asker, n), answer_about(span, "regression"))


def time_neighbor(asker: Asker, *, by_name: bool) -> Question | None:
    """Ask when what is beside a thing is there, or with its name in place of that."""
    found = _pick_neighbor(asker)
    if found is None:
        return None
    n, words = found
    name, span = asker.things[n].kind.name, visit_of(asker, n)
    problem = say(asker.rng, "when_visible", thing=name if by_name else words)
    return Question(asker.shot, problem, f"{places_of(asker, n, span.end)}.", answer_about(span, "temporal grounding"))


def answer_about(span: Span, problem_type: str) -> str:
    """Return the answer to how many seconds a visit lasts (regression), or when it is (temporal grounding)."""
    return str(span.end - span.start) if problem_type == "regression" else compact_json({"time": list(span)})


def _questions(*, by_name: bool) -> Questions:
    return {
        ("regression", "video"): ((draw_company, (partial(measure_neighbor, by_name=by_name),)),),
        ("temporal grounding", "video"): ((draw_company, (partial(time_neighbor, by_name=by_name),)),),
    }


COMPOSED, BY_NAME = _questions(by_name=False), _questions(by_name=True)
"""Questions that name a thing by what it is beside, and the same by its own name."""
