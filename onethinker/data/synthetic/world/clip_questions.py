"""Questions about clips of things, by problem type."""

from onethinker.core.geometry import Span
from onethinker.data.synthetic.questions import (
    Question,
    boxes_by_second,
    compact_json,
    corner_name,
    masks_of,
)
from onethinker.data.synthetic.world import clip_scenes as scenes
from onethinker.data.synthetic.world.asking import (
    ORDINALS,
    Ask,
    Asker,
    Family,
    center_of,
    full_name,
    inner_and_outer_points,
)
from onethinker.data.synthetic.world.clip_choices import (
    ask_acts,
    ask_direction,
    ask_faster,
    ask_happens,
    ask_neighbor,
    ask_order,
)
from onethinker.data.synthetic.world.clip_lookup import (
    SEEN_FRACTION,
    admitted,
    ends_of,
    in_order,
    is_well_seen,
    only_of_kind,
    pick_visitor,
    place_at,
    places_of,
    visit_of,
    watch_visit,
)
from onethinker.data.synthetic.world.clip_texts import draw_numbers, draw_sign_visit, draw_signs
from onethinker.data.synthetic.world.clip_times import time_act, time_after, time_hidden, time_text, time_visit
from onethinker.data.synthetic.world.clip_values import (
    add_numbers,
    count_appear,
    count_moving,
    count_times,
    measure_moving,
    measure_visible,
)
from onethinker.data.synthetic.world.clip_wandering import draw_chase, draw_roaming
from onethinker.data.synthetic.world.phrasing import say
from onethinker.data.synthetic.world.rendering import Shot
from onethinker.data.synthetic.world.scene import Thing
from onethinker.data.synthetic.world.things import with_article
from onethinker.data.synthetic.world.writing import spell, spell_in_turn


def read_all(asker: Asker) -> Question | None:
    """Ask for all that is written, in the order in which it appears."""
    texts = [writing.lines[0] for writing in asker.shot.scene.writings]
    if not asker.admits(" ".join(texts), relation="clip text"):
        return None
    return Question(asker.shot, say(asker.rng, "read_clip"), f"{spell_in_turn(asker)}.", " ".join(texts))


def read_turn(asker: Asker) -> Question | None:
    """Ask for one of the texts that are shown in turn."""
    texts = [writing.lines[0] for writing in asker.shot.scene.writings]
    n = int(asker.rng.integers(len(texts)))
    if not asker.admits(texts[n], str(asker.shot.scene.writings[n].ink), "", f"turn {n} of {len(texts)}"):
        return None
    ordinal = "last" if n == len(texts) - 1 and asker.rng.random() < 0.5 else ORDINALS[n]
    starts_s = [w.visible.start for w in asker.shot.scene.writings if w.visible]
    listed = ", ".join(f"{k} at {start_s}" for k, start_s in enumerate(starts_s, 1))
    reasoning = f"{listed}. the {ordinal} {starts_s[n]} {spell(asker.shot.scene.writings[n], asker.shot.clip.width)}."
    return Question(asker.shot, say(asker.rng, "read_turn", ordinal=ordinal), reasoning, texts[n])


def describe_stage(asker: Asker) -> Question | None:
    """Ask for a caption: what each thing does, from left to right or from top to bottom."""
    first = asker.things[0]
    if not asker.admits(
        first.kind.name, first.color, "", f"describe {first.act.verb if first.act else 'stays'} {len(asker.things)}"
    ):
        return None
    order = sorted(range(len(asker.things)), key=lambda n: sum(center_of(asker.box(n))))
    clauses = [f"{with_article(asker.things[n].name)} {_verb(asker.things[n])}" for n in order]
    listed = ", ".join(f"{ends_of(asker, n, sized=True)} {asker.things[n].name}" for n in order)
    return Question(asker.shot, say(asker.rng, "describe_clip"), f"{listed}.", f"{' and '.join(clauses)}.")


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
        f"{', '.join(in_order(asker, name_of=full_name))}.",
        f"first {', then '.join(names)}.",
    )


def locate_visit(asker: Asker) -> Question | None:
    """Ask when and where a thing is."""
    n = pick_visitor(asker, "when where")
    if n is None:
        return None
    name, span = asker.things[n].kind.name, visit_of(asker, n)
    answer = {"time": list(span), "boxes": boxes_by_second(asker.shot, n, span, first_key=0)}
    noted = places_of(asker, n, span.end)
    return Question(asker.shot, say(asker.rng, "when_where", thing=name), f"{noted}.", compact_json(answer))


def track(asker: Asker) -> Question | None:
    """Ask for every second's box of a thing; others may look the same."""
    shot, seconds = asker.shot, range(int(asker.shot.clip.duration_s))
    good = []
    for n in range(len(asker.things)):
        fractions = [shot.seen_fraction(n, shot.frame_at(second)) for second in seconds]
        if fractions[0] > 0.9 and min(fractions) >= SEEN_FRACTION and admitted(asker, [n], f"track {_ends(shot, n)}"):
            good.append(n)
    chosen = asker.pick(good)
    if chosen is None:
        return None
    n, thing = chosen, asker.things[chosen]
    alike = sum(other.name == thing.name for other in asker.things)
    boxes = boxes_by_second(shot, n, Span(0.0, shot.clip.duration_s - 1), first_key=1)
    noted = ", ".join(place_at(asker, n, float(second)) for second in seconds)
    reasoning = f"{f'there are {alike} {thing.plural}. ' if alike > 1 else ''}{noted}."
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
    indices = [n for n in only_of_kind(asker) if is_well_seen(shot, n)]
    n = asker.pick(admitted(asker, indices, "segment clip"))
    if n is None:
        return None
    thing = asker.things[n]
    span = thing.visible or Span(0.0, shot.clip.duration_s - 1)
    middle_s = round(span.start + span.end) / 2
    frame = shot.frame_at(middle_s)
    answer = {"time": middle_s, "boxes": list(asker.box(n, frame)), **inner_and_outer_points(asker, n, frame)}
    words = thing.name if asker.rng.random() < 0.5 else thing.kind.name
    reasoning = f"{watch_visit(asker, n)}. {place_at(asker, n, middle_s)}."
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
    "math": ((draw_numbers, (add_numbers,)),),
    "OCR": ((draw_signs, (read_all, read_turn)),),
    "open-ended": ((scenes.draw_stage, (describe_stage,)), (scenes.draw_parade, (describe_parade,))),
    "temporal grounding": (
        (scenes.draw_visits, (time_visit,)),
        (scenes.draw_stage, (time_act,)),
        (scenes.draw_passage, (time_hidden,)),
        (scenes.draw_leaving, (time_after,)),
        (draw_sign_visit, (time_text,)),
    ),
    "spatial-temporal grounding": ((draw_roaming, (locate_visit,)), (scenes.draw_visits, (locate_visit,))),
    "tracking": ((draw_chase, (track,)),),
    "segmentation": ((draw_roaming, (segment,)), (scenes.draw_visits, (segment,))),
}
"""By problem type: sorts of scenes, each with what can be asked about them."""
