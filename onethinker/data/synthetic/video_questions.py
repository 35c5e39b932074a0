"""Questions about clips, by problem type. Things appear, leave, move, stop and pass behind a wall on half seconds."""

from dataclasses import replace

import numpy as np

from onethinker.core.geometry import Span
from onethinker.data.synthetic.motion import Motion, at_rest
from onethinker.data.synthetic.painting import Painting
from onethinker.data.synthetic.questions import (
    Builder,
    Painter,
    Question,
    boxes_by_second,
    compact_json,
    corner_name,
    count_aloud,
    list_aloud,
    masks_of,
    seen_box,
    segmentation_answer,
    with_article,
    with_options,
)
from onethinker.data.synthetic.scene import (
    COLORS,
    WORDS,
    Scene,
    Thing,
    Wall,
    Writing,
    draw_background,
    draw_ink,
    draw_lanes,
    draw_things,
    near_middle,
)

_SPLINTER = 30  # thousandths: what is narrower could be overlooked
_DIRECTIONS = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}


def _draw_duration(rng: np.random.Generator) -> float:
    return float(rng.integers(4, 7))


def _draw_span(rng: np.random.Generator, duration_s: float, *, shortest_s: float = 1.0) -> Span:
    """Return half seconds between which something goes on; it is over at least a second before the clip is."""
    last = int(2 * (duration_s - 1))
    start = int(rng.integers(0, last - int(2 * shortest_s) + 1))
    return Span(start / 2, int(rng.integers(start + int(2 * shortest_s), last + 1)) / 2)


def _draw_travel(rng: np.random.Generator, count: int, span: Span) -> tuple[tuple[Thing, ...], str]:
    """Return things in lanes of which the first goes along its lane during the span, and the direction's name."""
    direction = str(rng.choice(list(_DIRECTIONS)))
    dx, dy = _DIRECTIONS[direction]
    first, *others = draw_lanes(rng, count, upright=dx == 0)
    x, y = first.center
    if dx + dy < 0:  # from the far end back
        x, y = (1 - x, y) if dx else (x, 1 - y)
    way = float(rng.uniform(0.3, 0.44))
    motion = at_rest(x, y).moved(*span, dx=dx * way, dy=dy * way)
    return (replace(first, motion=motion), *others), direction


def _ask_direction(rng: np.random.Generator, paint: Painter) -> Question:
    duration_s = _draw_duration(rng)
    things, direction = _draw_travel(rng, int(rng.integers(1, 3)), Span(0.0, duration_s - 0.5))
    name = things[0].name
    painting = paint(Scene(draw_background(rng), things, duration_s=duration_s))
    question = Question(painting, f"Which way does the {name} move?", f"The {name} moves {direction}.", direction)
    return with_options(rng, question, list(_DIRECTIONS))


def _ask_order(rng: np.random.Generator, paint: Painter) -> Question:
    """Ask which of two or three things, seen one after the other, comes first or last."""
    scene, names = _draw_parade(rng, int(rng.integers(2, 4)))
    which = str(rng.choice(["first", "last"]))
    answer = scene.things[0 if which == "first" else -1].color
    question = Question(paint(scene), f"What color comes {which}?", list_aloud(names), answer)
    return with_options(rng, question, list(COLORS))


def _draw_parade(rng: np.random.Generator, count: int) -> tuple[Scene, list[str]]:
    """Return a scene in which things are seen one after the other, and their colours in this order."""
    duration_s = _draw_duration(rng)
    things = draw_things(rng, count, largest=0.4)
    cuts = [round(2 * duration_s * k / count) / 2 for k in range(count + 1)]
    shown = tuple(replace(t, visible=Span(cuts[k], cuts[k + 1] - 0.25)) for k, t in enumerate(things))
    return Scene(draw_background(rng), shown, duration_s=duration_s), [t.color for t in shown]


def _count(rng: np.random.Generator, paint: Painter) -> Question:
    scene, names = _draw_parade(rng, int(rng.integers(1, 5)))
    return Question(paint(scene), "How many shapes appear?", count_aloud(names, [True] * len(names)), str(len(names)))


def _measure(rng: np.random.Generator, paint: Painter) -> Question:
    scene, name, span = _draw_visit(rng)
    reasoning = f"It comes at {span.start} and goes at {span.end}."
    return Question(paint(scene), f"How many seconds is the {name} visible?", reasoning, str(span.end - span.start))


def _calculate(rng: np.random.Generator, paint: Painter) -> Question:
    left, right = (int(number) for number in rng.integers(1, 10, 2))
    scene, _ = _draw_captions(rng, [str(left), str(right)], height=0.34)
    result = left + right
    return Question(paint(scene), "What is the sum of the 2 numbers?", f"{left}+{right}={result}.", str(result))


def _read(rng: np.random.Generator, paint: Painter) -> Question:
    texts = [str(rng.choice(WORDS)), str(rng.integers(10, 100))]
    lines = [str(text) for text in rng.permutation(texts)]
    scene, color = _draw_captions(rng, lines, height=float(rng.uniform(0.24, 0.27)))
    return Question(paint(scene), "Read the text.", f"The text is {color}.", " ".join(lines))


def _draw_captions(rng: np.random.Generator, lines: list[str], *, height: float) -> tuple[Scene, str]:
    """Return a scene that shows one line of text after the other, and the name of the text's colour."""
    background = draw_background(rng)
    color, ink = draw_ink(rng, background)
    duration_s, center = 4.0, near_middle(rng)
    each_s = duration_s / len(lines)
    writings = tuple(
        Writing(line, ink, center, height, Span(k * each_s, (k + 1) * each_s - 0.25)) for k, line in enumerate(lines)
    )
    return Scene(background, writings=writings, duration_s=duration_s), color


def _describe(rng: np.random.Generator, paint: Painter) -> Question:
    duration_s = _draw_duration(rng)
    things, direction = _draw_travel(rng, int(rng.integers(1, 3)), Span(0.0, duration_s - 0.5))
    text = f"{with_article(things[0].name)} moves {direction}"
    text += f" and {with_article(things[1].name).lower()} stays." if len(things) == 2 else "."
    amount = "There is 1 shape." if len(things) == 1 else "There are 2 shapes."
    return Question(
        paint(Scene(draw_background(rng), things, duration_s=duration_s)), "Describe the clip.", amount, text
    )


def _draw_visit(rng: np.random.Generator, *, moving: bool = False) -> tuple[Scene, str, Span]:
    """Return a scene whose first thing appears and leaves, its name, and when it can be seen."""
    duration_s = _draw_duration(rng)
    span = _draw_span(rng, duration_s)
    count = int(rng.integers(1, 3))
    things = _draw_travel(rng, count, span)[0] if moving else draw_things(rng, count)
    first = replace(things[0], visible=span)
    return Scene(draw_background(rng), (first, *things[1:]), duration_s=duration_s), first.name, span


def _time_visit(rng: np.random.Generator, paint: Painter) -> Question:
    scene, name, span = _draw_visit(rng)
    return Question(paint(scene), f"When is the {name} visible?", _first_seen(span), compact_json({"time": list(span)}))


def _time_motion(rng: np.random.Generator, paint: Painter) -> Question:
    duration_s = _draw_duration(rng)
    span = _draw_span(rng, duration_s)
    things, direction = _draw_travel(rng, int(rng.integers(1, 3)), span)
    painting = paint(Scene(draw_background(rng), things, duration_s=duration_s))
    return Question(
        painting, f"When does the {things[0].name} move?", f"It moves {direction}.", compact_json({"time": list(span)})
    )


def _time_hidden(rng: np.random.Generator, paint: Painter) -> Question:
    """Ask when a thing that passes behind the wall cannot be seen."""
    span = None
    while span is None:
        scene, direction = _draw_passage(rng)
        painting = paint(scene)
        span = _hidden_span(painting)
    answer = compact_json({"time": list(span)})
    return Question(painting, f"When is the {scene.things[0].name} hidden?", f"It moves {direction}.", answer)


def _hidden_span(painting: Painting) -> Span | None:
    """Return the seconds of the first and last frame without the first thing, or None where these leave room for doubt.

    Doubt is a frame with a mere splinter of it, a moment too short, or a time that is no half second.
    """
    boxes = [painting.box(0, frame) for frame in range(len(painting.clip.times_s))]
    hidden = [time_s for time_s, box in zip(painting.clip.times_s, boxes, strict=True) if not box]
    if not hidden or any(box and box.x2 - box.x1 < _SPLINTER for box in boxes):
        return None
    span = Span(hidden[0], hidden[-1])
    return span if span.end > span.start and not any(2 * time_s % 1 for time_s in span) else None


def _draw_passage(rng: np.random.Generator) -> tuple[Scene, str]:
    """Return a scene in which a thing passes behind a wall that covers it between two half seconds, and the direction's
    name.
    """
    duration_s, speed = _draw_duration(rng), float(rng.uniform(0.18, 0.28))
    start_s = float(rng.integers(2, int(2 * duration_s) - 4)) / 2
    end_s = start_s + float(rng.integers(1, 4)) / 2
    early_s = 0.04  # it is covered this long before the first hidden frame, and after the last
    thing = draw_things(rng, 1, largest=0.26)[0]
    left = float(rng.uniform(0.3, 0.36))
    right = left + thing.size + speed * (end_s - start_s + 2 * early_s)
    covered_x, covered_s = left + thing.size / 2, start_s - early_s
    near, far, y = 0.04 + thing.size / 2, 0.96 - thing.size / 2, thing.center[1]
    times_s = tuple(covered_s + (x - covered_x) / speed for x in (near, far))
    if rng.random() < 0.5:
        direction, wall, xs = "right", Wall(left, right), (near, far)
    else:
        direction, wall, xs = "left", Wall(1 - right, 1 - left), (1 - near, 1 - far)
    thing = replace(thing, motion=Motion(times_s, xs, (y, y)))
    return Scene(draw_background(rng), (thing,), wall=wall, duration_s=duration_s), direction


def _first_seen(span: Span) -> str:
    return "It is there at first." if span.start == 0 else "It comes later."


def _locate_visit(rng: np.random.Generator, paint: Painter) -> Question:
    scene, name, span = _draw_visit(rng, moving=True)
    painting = paint(scene)
    answer = {"time": list(span), "boxes": boxes_by_second(painting, 0, span, first_key=0)}
    return Question(painting, f"When and where is the {name} visible?", _first_seen(span), compact_json(answer))


def _track(rng: np.random.Generator, paint: Painter) -> Question:
    """Ask for every second's box of a thing that wanders, at times in part behind another thing or a narrow wall."""
    while True:
        scene = _draw_wander(rng)
        painting = paint(scene)
        if _is_well_seen(painting):
            break
    name = scene.things[0].name
    boxes = boxes_by_second(painting, 0, Span(0.0, scene.duration_s - 1), first_key=1)
    start, end = seen_box(painting, 0), seen_box(painting, 0, painting.frame_at(scene.duration_s - 1))
    reasoning = f"It goes from {corner_name(start)} to {corner_name(end)}."
    return Question(
        painting, f"Track the {name} at {compact_json(boxes['1'])}.", reasoning, compact_json({"boxes": boxes})
    )


def _draw_wander(rng: np.random.Generator) -> Scene:
    duration_s = _draw_duration(rng)
    turn_s = float(rng.integers(2, int(2 * duration_s - 2))) / 2
    things = draw_things(rng, int(rng.integers(1, 3)), largest=0.34)

    def wander(thing: Thing) -> Thing:
        low, high = 0.06 + thing.size / 2, 0.94 - thing.size / 2
        (x1, y1), (x2, y2) = rng.uniform(low, high, (2, 2)).tolist()
        x0, y0 = thing.center
        return replace(thing, motion=Motion((0.0, turn_s, duration_s), (x0, x1, x2), (y0, y1, y2)))

    wall = None
    if rng.random() < 0.25:
        left = float(rng.uniform(0.25, 0.6))
        wall = Wall(left, left + things[0].size * 0.4)
    return Scene(draw_background(rng), tuple(wander(t) for t in things), wall=wall, duration_s=duration_s)


def _is_well_seen(painting: Painting) -> bool:
    """Whether the first thing is all but whole at first and not hidden by more than half at any whole second."""
    areas = [painting.mask(0, painting.frame_at(second)).sum() for second in range(int(painting.clip.duration_s))]
    return bool(areas[0] > 0.9 * max(areas) and min(areas) > 0.5 * max(areas))


def _segment(rng: np.random.Generator, paint: Painter) -> Question:
    scene, name, span = _draw_visit(rng, moving=bool(rng.random() < 0.5))
    painting = paint(scene)
    middle_s = round(span.start + span.end) / 2
    box = seen_box(painting, 0, painting.frame_at(middle_s))
    answer = {"time": middle_s, **segmentation_answer(box)}
    return Question(
        painting,
        f"Segment the {name}.",
        _first_seen(span),
        compact_json(answer),
        masks=masks_of(painting, 0),
    )


VIDEO_QUESTIONS: dict[str, tuple[Builder, ...]] = {
    "multiple choice": (_ask_direction, _ask_order),
    "numerical": (_count,),
    "regression": (_measure,),
    "math": (_calculate,),
    "OCR": (_read,),
    "open-ended": (_describe,),
    "temporal grounding": (_time_visit, _time_motion, _time_hidden),
    "spatial-temporal grounding": (_locate_visit,),
    "tracking": (_track,),
    "segmentation": (_segment,),
}
