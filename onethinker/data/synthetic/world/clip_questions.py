"""Questions about clips of things, by problem type."""

from collections.abc import Sequence

import numpy as np

from onethinker.core.geometry import Span
from onethinker.data.synthetic.questions import (
    Question,
    boxes_by_second,
    compact_json,
    corner_name,
    masks_of,
    with_options,
)
from onethinker.data.synthetic.world import clip_scenes as scenes
from onethinker.data.synthetic.world.asking import (
    ORDINALS,
    Ask,
    Asker,
    Family,
    cell_name,
    center_of,
    inner_and_outer_points,
)
from onethinker.data.synthetic.world.charts import add_aloud
from onethinker.data.synthetic.world.phrasing import say
from onethinker.data.synthetic.world.rendering import Shot
from onethinker.data.synthetic.world.scene import Act, Thing
from onethinker.data.synthetic.world.things import with_article

_SPLINTER = 30  # thousandths: what is narrower could be overlooked
_SEEN = 0.5  # of a thing: less is too little to ask where it is


def _alone(asker: Asker) -> list[int]:
    """Return things that are the only one of their kind."""
    names = [thing.kind.name for thing in asker.things]
    return [n for n, name in enumerate(names) if names.count(name) == 1]


def _admitted(asker: Asker, numbers: Sequence[int], relation: str) -> list[int]:
    """Return things that the split admits with their first place and a relation."""
    good = []
    for n in numbers:
        frame = next(k for k in range(len(asker.shot.owners)) if asker.shot.box(n, k))
        if asker.admits(asker.things[n].kind.name, asker.things[n].color, cell_name(asker.box(n, frame)), relation):
            good.append(n)
    return good


def _acting(asker: Asker, kind: str) -> list[tuple[int, Act]]:
    """Return things that do something, as far as the split admits it, with what they do."""
    acts = [(n, thing.act) for n, thing in enumerate(asker.things) if thing.act]
    return [(n, act) for n, act in acts if _admitted(asker, [n], f"{kind} {act.verb}")]


def _choice(asker: Asker, problem: str, reasoning: str, answer: str, others: Sequence[str]) -> Question:
    return with_options(asker.rng, Question(asker.shot, problem, reasoning, answer), others)


def ask_direction(asker: Asker) -> Question | None:
    """Ask which way a thing moves."""
    moving = [(n, act) for n, act in _acting(asker, "direction") if act.verb.startswith("moves")]
    chosen = asker.pick(range(len(moving)))
    if chosen is None:
        return None
    n, act = moving[chosen]
    name, direction = asker.things[n].kind.name, act.verb.removeprefix("moves ")
    return _choice(
        asker,
        say(asker.rng, "direction", thing=name),
        f"the {name} moves {direction}.",
        direction,
        list(scenes.DIRECTIONS),
    )


def ask_acts(asker: Asker) -> Question | None:
    """Ask which thing does something; no other does the same."""
    acts = [thing.act.verb if thing.act else "stays as it is" for thing in asker.things]
    ways = [n for n in range(len(acts)) if acts.count(acts[n]) == 1 and _admitted(asker, [n], f"who {acts[n]}")]
    n = asker.pick(ways)
    if n is None or len(acts) < 2:
        return None
    names = [thing.kind.name for thing in asker.things]
    reasoning = " ".join(f"the {name} {act}." for name, act in zip(names, acts, strict=True))
    return _choice(asker, say(asker.rng, "acts", acts=acts[n]), reasoning, names[n], names)


def ask_happens(asker: Asker) -> Question | None:
    """Ask what a thing does."""
    ways = _acting(asker, "happens")
    chosen = asker.pick(range(len(ways)))
    if chosen is None:
        return None
    n, act = ways[chosen]
    name = asker.things[n].kind.name
    verbs = ["it turns", "it grows", "it shrinks", *(f"it moves {direction}" for direction in scenes.DIRECTIONS)]
    return _choice(asker, say(asker.rng, "happens", thing=name), f"the {name} {act.verb}.", f"it {act.verb}", verbs)


def ask_faster(asker: Asker) -> Question | None:
    """Ask which of two things is faster or slower."""
    most = "faster" if asker.rng.random() < 0.5 else "slower"
    ways = [abs(t.track.xs[-1] - t.track.xs[0]) + abs(t.track.ys[-1] - t.track.ys[0]) for t in asker.things]
    n = int(np.argmax(ways) if most == "faster" else np.argmin(ways))
    if not _admitted(asker, [n], f"{most} {asker.things[1 - n].kind.name}"):
        return None
    names = [thing.kind.name for thing in asker.things]
    far, near = names[int(np.argmax(ways))], names[int(np.argmin(ways))]
    problem = say(asker.rng, "faster", faster=most, thing=names[0], other=names[1])
    return _choice(asker, problem, f"the {far} goes further than the {near}.", names[n], names)


def ask_order(asker: Asker) -> Question | None:
    """Ask what comes first, second, …, or last."""
    names = [thing.kind.name for thing in asker.things]
    ways = [(n, ORDINALS[n]) for n in range(len(names))] + [(len(names) - 1, "last")]
    ways = [(n, ordinal) for n, ordinal in ways if _admitted(asker, [n], f"order {ordinal} of {len(names)}")]
    chosen = asker.pick(range(len(ways)))
    if chosen is None:
        return None
    n, ordinal = ways[chosen]
    return _choice(asker, say(asker.rng, "order", ordinal=ordinal), f"{', '.join(names)}.", names[n], names)


def ask_neighbor(asker: Asker) -> Question | None:
    """Ask what comes right after, or right before, a thing."""
    names = [thing.kind.name for thing in asker.things]
    pairs = [(n, n + 1, "after") for n in range(len(names) - 1)] + [(n + 1, n, "before") for n in range(len(names) - 1)]
    pairs = [(n, m, which) for n, m, which in pairs if _admitted(asker, [n], f"{which} {names[m]}")]
    chosen = asker.pick(range(len(pairs)))
    if chosen is None:
        return None
    n, m, which = pairs[chosen]
    return _choice(asker, say(asker.rng, which, thing=names[n]), f"{', '.join(names)}.", names[m], names)


def count_appear(asker: Asker) -> Question | None:
    """Ask how many things appear one after the other."""
    names = [thing.kind.name for thing in asker.things]
    if not asker.admits(names[0], None, "", f"appear {names[-1]} {len(names)}"):
        return None
    return Question(asker.shot, say(asker.rng, "count_appear"), f"{_numbered(names)}.", str(len(names)))


def _numbered(names: Sequence[str]) -> str:
    return ", ".join(f"{k} {name}" for k, name in enumerate(names, 1))


def count_times(asker: Asker) -> Question | None:
    """Ask how often a thing does what it repeats."""
    thing, times = asker.things[0], asker.shot.scene.values[0]
    assert thing.act
    if not _admitted(asker, [0], f"times {thing.act.verb} {times}"):
        return None
    problem = say(asker.rng, "count_times", thing=thing.kind.name, act=thing.act.plain, acts=thing.act.verb)
    return Question(
        asker.shot,
        problem,
        f"the {thing.kind.name} {thing.act.verb}: {', '.join(map(str, range(1, times + 1)))}.",
        str(times),
    )


def count_moving(asker: Asker) -> Question | None:
    """Ask how many things change their place."""
    moving = [thing.kind.name for thing in asker.things if thing.act and thing.act.verb.startswith("moves")]
    if not asker.admits(asker.things[0].kind.name, None, "", f"moving {len(moving)} of {len(asker.things)}"):
        return None
    return Question(
        asker.shot, say(asker.rng, "count_moving"), f"{_numbered(moving) or 'nothing moves'}.", str(len(moving))
    )


def measure_visible(asker: Asker) -> Question | None:
    """Ask for how many seconds a thing is visible."""
    n = _visitor(asker, "seconds")
    if n is None:
        return None
    span = _visit(asker, n)
    problem = say(asker.rng, "seconds_visible", thing=asker.things[n].kind.name)
    return Question(asker.shot, problem, _from_to("comes", "goes", span), str(span.end - span.start))


def measure_moving(asker: Asker) -> Question | None:
    """Ask for how many seconds a thing moves."""
    moving = [(n, act) for n, act in _acting(asker, "seconds") if act.verb.startswith("moves")]
    chosen = asker.pick(range(len(moving)))
    if chosen is None:
        return None
    n, act = moving[chosen]
    problem = say(asker.rng, "seconds_moving", thing=asker.things[n].kind.name)
    return Question(asker.shot, problem, _from_to("starts", "stops", act.span), str(act.span.end - act.span.start))


def _from_to(starts: str, ends: str, span: Span) -> str:
    return f"it {starts} at {span.start} and {ends} at {span.end}. {span.end}-{span.start}={span.end - span.start}."


def _visitor(asker: Asker, relation: str) -> int | None:
    """Return a thing that comes and goes and is seen well whenever it is there; None where the split admits none."""
    visitors = [n for n in _alone(asker) if asker.things[n].visible and _is_well_seen(asker.shot, n)]
    return asker.pick(_admitted(asker, visitors, relation))


def _visit(asker: Asker, n: int) -> Span:
    visible = asker.things[n].visible
    assert visible
    return visible


def _is_well_seen(shot: Shot, n: int) -> bool:
    """Whether at least half of a thing is seen in every frame in which it is painted."""
    return all(shot.seen_share(n, frame) >= _SEEN for frame in np.flatnonzero(shot.whole[:, n]).tolist())


def add_numbers(asker: Asker) -> Question | None:
    """Ask for the sum of the numbers that are shown in turn."""
    numbers = [int(writing.lines[0]) for writing in asker.shot.scene.writings]
    if not asker.admits(" ".join(map(str, numbers)), relation="clip sum"):
        return None
    return Question(asker.shot, say(asker.rng, "clip_sum"), add_aloud(numbers), str(sum(numbers)))


def read_all(asker: Asker) -> Question | None:
    """Ask for all that is written, in the order in which it appears."""
    texts = [writing.lines[0] for writing in asker.shot.scene.writings]
    if not asker.admits(" ".join(texts), relation="clip text"):
        return None
    return Question(asker.shot, say(asker.rng, "read_clip"), f"there are {len(texts)} texts.", " ".join(texts))


def read_turn(asker: Asker) -> Question | None:
    """Ask for one of the texts that are shown in turn."""
    texts = [writing.lines[0] for writing in asker.shot.scene.writings]
    n = int(asker.rng.integers(len(texts)))
    if not asker.admits(texts[n], str(asker.shot.scene.writings[n].ink), "", f"turn {n} of {len(texts)}"):
        return None
    ordinal = "last" if n == len(texts) - 1 and asker.rng.random() < 0.5 else ORDINALS[n]
    return Question(
        asker.shot, say(asker.rng, "read_turn", ordinal=ordinal), f"there are {len(texts)} texts.", texts[n]
    )


def describe_stage(asker: Asker) -> Question | None:
    """Ask for a caption: what each thing does, from left to right or from top to bottom."""
    first = asker.things[0]
    if not asker.admits(
        first.kind.name, first.color, "", f"describe {first.act.verb if first.act else 'stays'} {len(asker.things)}"
    ):
        return None
    order = sorted(range(len(asker.things)), key=lambda n: sum(center_of(asker.box(n))))
    clauses = [f"{with_article(asker.things[n].name)} {_verb(asker.things[n])}" for n in order]
    amount = "there is 1 thing." if len(clauses) == 1 else f"there are {len(clauses)} things."
    return Question(asker.shot, say(asker.rng, "describe_clip"), amount, f"{' and '.join(clauses)}.")


def _verb(thing: Thing) -> str:
    return thing.act.verb if thing.act else "stays"


def describe_parade(asker: Asker) -> Question | None:
    """Ask for a caption: what comes one after the other."""
    names = [with_article(thing.name) for thing in asker.things]
    if not asker.admits(asker.things[0].kind.name, asker.things[0].color, "", f"parade {names[-1]} {len(names)}"):
        return None
    return Question(
        asker.shot,
        say(asker.rng, "describe_clip"),
        f"there are {len(names)} things.",
        f"first {', then '.join(names)}.",
    )


def time_visit(asker: Asker) -> Question | None:
    """Ask when a thing is there."""
    n = _visitor(asker, "when visible")
    if n is None:
        return None
    name, span = asker.things[n].kind.name, _visit(asker, n)
    return Question(
        asker.shot, say(asker.rng, "when_visible", thing=name), _comes(name, span), compact_json({"time": list(span)})
    )


def _comes(name: str, span: Span) -> str:
    return f"the {name} is there at first." if span.start == 0 else f"the {name} comes later."


def time_act(asker: Asker) -> Question | None:
    """Ask when a thing does something."""
    ways = _acting(asker, "when")
    chosen = asker.pick(range(len(ways)))
    if chosen is None:
        return None
    n, act = ways[chosen]
    name, verb = asker.things[n].kind.name, act
    problem = say(asker.rng, "when_acts", thing=name, act=verb.plain.split()[0], acts=verb.verb.split()[0])
    return Question(asker.shot, problem, f"the {name} {act.verb}.", compact_json({"time": list(act.span)}))


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
    reasoning = f"the {thing.kind.name} {thing.act.verb} behind the wall."
    return Question(
        asker.shot, say(asker.rng, "when_hidden", thing=thing.kind.name), reasoning, compact_json({"time": list(span)})
    )


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
    if not (_is_well_seen(asker.shot, 0) and _is_well_seen(asker.shot, 1) and _admitted(asker, [0], f"after {other}")):
        return None
    leaves, goes = _visit(asker, 1).end, _visit(asker, 0).end
    reasoning = f"the {other} leaves at {leaves}. the {name} goes at {goes}."
    problem = say(asker.rng, "when_after", thing=name, other=other)
    return Question(asker.shot, problem, reasoning, compact_json({"time": [leaves, goes]}))


def time_text(asker: Asker) -> Question | None:
    """Ask when a word can be read."""
    (writing,) = asker.shot.scene.writings
    assert writing.visible
    text, span = writing.lines[0], writing.visible
    if not asker.admits(text, str(writing.ink), f"{span.start}", "when text"):
        return None
    reasoning = "the text is there at first." if span.start == 0 else "the text comes later."
    return Question(asker.shot, say(asker.rng, "when_text", thing=text), reasoning, compact_json({"time": list(span)}))


def locate_visit(asker: Asker) -> Question | None:
    """Ask when and where a thing is."""
    n = _visitor(asker, "when where")
    if n is None:
        return None
    name, span = asker.things[n].kind.name, _visit(asker, n)
    answer = {"time": list(span), "boxes": boxes_by_second(asker.shot, n, span, first_key=0)}
    return Question(asker.shot, say(asker.rng, "when_where", thing=name), _comes(name, span), compact_json(answer))


def track(asker: Asker) -> Question | None:
    """Ask for every second's box of a thing; others may look the same."""
    shot, seconds = asker.shot, range(int(asker.shot.clip.duration_s))
    good = []
    for n in range(len(asker.things)):
        shares = [shot.seen_share(n, shot.frame_at(second)) for second in seconds]
        if shares[0] > 0.9 and min(shares) >= _SEEN and _admitted(asker, [n], f"track {_ends(shot, n)}"):
            good.append(n)
    chosen = asker.pick(good)
    if chosen is None:
        return None
    n, thing = chosen, asker.things[chosen]
    alike = sum(other.name == thing.name for other in asker.things)
    boxes = boxes_by_second(shot, n, Span(0.0, shot.clip.duration_s - 1), first_key=1)
    reasoning = f"{f'there are {alike} {thing.plural}. ' if alike > 1 else ''}it goes {_ends(shot, n)}."
    problem = say(asker.rng, "track", thing=thing.kind.name, box=compact_json(boxes["1"]))
    return Question(shot, problem, reasoning, compact_json({"boxes": boxes}))


def _ends(shot: Shot, n: int) -> str:
    """Return in which quarters a thing is at first and in the last whole second."""
    first, last = shot.box(n), shot.box(n, shot.frame_at(shot.clip.duration_s - 1))
    assert first
    assert last
    return f"from {corner_name(first)} to {corner_name(last)}"


def segment(asker: Asker) -> Question | None:
    """Ask for the mask of a thing, seen best in the middle of its visit."""
    shot = asker.shot
    numbers = [n for n in _alone(asker) if _is_well_seen(shot, n)]
    n = asker.pick(_admitted(asker, numbers, "segment clip"))
    if n is None:
        return None
    thing = asker.things[n]
    span = thing.visible or Span(0.0, shot.clip.duration_s - 1)
    middle_s = round(span.start + span.end) / 2
    frame = shot.frame_at(middle_s)
    answer = {"time": middle_s, "boxes": list(asker.box(n, frame)), **inner_and_outer_points(asker, n, frame)}
    words = thing.name if asker.rng.random() < 0.5 else thing.kind.name
    reasoning = f"{_comes(thing.kind.name, span)} it is at the {corner_name(asker.box(n, frame))}."
    return Question(
        shot, say(asker.rng, "segment", thing=words), reasoning, compact_json(answer), masks=masks_of(shot, n)
    )


CLIP_QUESTIONS: dict[str, tuple[tuple[Family, tuple[Ask, ...]], ...]] = {
    "multiple choice": (
        (scenes.draw_stage, (ask_direction, ask_acts, ask_happens)),
        (scenes.draw_parade, (ask_order, ask_neighbor)),
        (scenes.draw_race, (ask_faster,)),
    ),
    "numerical": (
        (scenes.draw_parade, (count_appear,)),
        (scenes.draw_jumps, (count_times,)),
        (scenes.draw_stage, (count_moving,)),
    ),
    "regression": ((scenes.draw_visits, (measure_visible,)), (scenes.draw_walk, (measure_moving,))),
    "math": ((scenes.draw_numbers, (add_numbers,)),),
    "OCR": ((scenes.draw_signs, (read_all, read_turn)),),
    "open-ended": ((scenes.draw_stage, (describe_stage,)), (scenes.draw_parade, (describe_parade,))),
    "temporal grounding": (
        (scenes.draw_visits, (time_visit,)),
        (scenes.draw_stage, (time_act,)),
        (scenes.draw_passage, (time_hidden,)),
        (scenes.draw_leaving, (time_after,)),
        (scenes.draw_sign_visit, (time_text,)),
    ),
    "spatial-temporal grounding": ((scenes.draw_roaming, (locate_visit,)), (scenes.draw_visits, (locate_visit,))),
    "tracking": ((scenes.draw_chase, (track,)),),
    "segmentation": ((scenes.draw_roaming, (segment,)), (scenes.draw_visits, (segment,))),
}
"""By problem type: sorts of scenes, each with what can be asked about them."""
