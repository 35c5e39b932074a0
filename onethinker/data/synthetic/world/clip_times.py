"""Questions about when something happens in a clip."""

from onethinker.core.geometry import Span
from onethinker.data.synthetic.questions import (
    Question,
    compact_json,
)
from onethinker.data.synthetic.world.asking import (
    Asker,
)
from onethinker.data.synthetic.world.clip_lookup import (
    acting,
    admitted,
    follow,
    is_well_seen,
    pick_visitor,
    places_of,
    visit_of,
    watch,
    watch_visit,
)
from onethinker.data.synthetic.world.phrasing import say
from onethinker.data.synthetic.world.rendering import Shot

_SPLINTER = 30  # thousandths: what is narrower could be overlooked


def time_visit(asker: Asker) -> Question | None:
    """Ask when a thing is there."""
    n = pick_visitor(asker, "when visible")
    if n is None:
        return None
    name, span = asker.things[n].kind.name, visit_of(asker, n)
    return Question(
        asker.shot,
        say(asker.rng, "when_visible", thing=name),
        f"{places_of(asker, n, span.end)}.",
        compact_json({"time": list(span)}),
    )


def time_act(asker: Asker) -> Question | None:
    """Ask when a thing does something."""
    ways = acting(asker, "when")
    chosen = asker.pick(range(len(ways)))
    if chosen is None:
        return None
    n, act = ways[chosen]
    name = asker.things[n].kind.name
    problem = say(asker.rng, "when_acts", thing=name, act=act.plain.split()[0], acts=act.verb.split()[0])
    return Question(asker.shot, problem, follow(asker, n), compact_json({"time": list(act.span)}))


def time_hidden(asker: Asker) -> Question | None:
    """Ask when a thing that passes behind the wall cannot be seen."""
    span = hidden_span(asker.shot)
    thing = asker.things[0]
    if (
        span is None
        or not thing.act
        or not asker.admits(thing.kind.name, thing.color, f"{span.start}", f"hidden {thing.act.verb}")
    ):
        return None
    problem = say(asker.rng, "when_hidden", thing=thing.kind.name)
    return Question(asker.shot, problem, f"{places_of(asker, 0, span.end)}.", compact_json({"time": list(span)}))


def hidden_span(shot: Shot) -> Span | None:
    """Return the seconds of the first and last frame without the first thing, or None where these leave room for doubt.

    Doubt is a frame with a mere splinter of it, a moment too short, or a time that is no half second.
    """
    boxes = [shot.box(0, frame) for frame in range(len(shot.clip.times_s))]
    hidden = [time_s for time_s, box in zip(shot.clip.times_s, boxes, strict=True) if not box]
    if not hidden or any(box and box.x2 - box.x1 < _SPLINTER for box in boxes):
        return None
    span = Span(hidden[0], hidden[-1])
    return span if span.end > span.start and not any(2 * time_s % 1 for time_s in span) else None


def time_after(asker: Asker) -> Question | None:
    """Ask when a thing is there after another has left: two steps."""
    name, other = (thing.kind.name for thing in asker.things[:2])
    if not (is_well_seen(asker.shot, 0) and is_well_seen(asker.shot, 1) and admitted(asker, [0], f"after {other}")):
        return None
    leaves, goes = visit_of(asker, 1).end, visit_of(asker, 0).end
    reasoning = f"{other} {watch_visit(asker, 1)}. {name} {watch_visit(asker, 0, from_s=leaves)}."
    problem = say(asker.rng, "when_after", thing=name, other=other)
    return Question(asker.shot, problem, reasoning, compact_json({"time": [leaves, goes]}))


def time_text(asker: Asker) -> Question | None:
    """Ask when a word can be read."""
    (writing,) = asker.shot.scene.writings
    assert writing.visible
    text, span = writing.lines[0], writing.visible
    if not asker.admits(text, str(writing.ink), f"{span.start}", "when text"):
        return None
    seen = watch(asker.shot, lambda s: span.start <= s <= span.end, until_s=span.end)
    problem = say(asker.rng, "when_text", thing=text)
    return Question(asker.shot, problem, f"{seen}.", compact_json({"time": list(span)}))
