"""Questions about pictures, by problem type."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from onethinker.data.synthetic.questions import (
    Builder,
    Painter,
    Question,
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
    SHAPES,
    WORDS,
    Scene,
    Thing,
    Writing,
    draw_background,
    draw_ink,
    draw_things,
    near_middle,
)

_CORNERS = ("top left", "top right", "bottom left", "bottom right")


def _draw_scene(rng: np.random.Generator, most: int = 3) -> Scene:
    return Scene(draw_background(rng), draw_things(rng, int(rng.integers(1, most + 1))))


def _look(scene: Scene) -> str:
    """Return what is seen, in the order of the colours: found once and written down, a thing can be told from the
    text.
    """
    return list_aloud([thing.name for thing in _by_color(scene.things)])


def _search(scene: Scene, wanted: Thing) -> str:
    """Return what is seen, in the order of the colours, up to the thing that is asked about: it is the last one
    named.
    """
    listed = _by_color(scene.things)
    return list_aloud([thing.name for thing in listed[: listed.index(wanted) + 1]])


def _by_color(things: Sequence[Thing]) -> list[Thing]:
    return sorted(things, key=lambda thing: list(COLORS).index(thing.color))


def _ask_color(rng: np.random.Generator, paint: Painter) -> Question:
    scene = _draw_scene(rng)
    thing = scene.things[0]
    question = Question(
        paint(scene),
        f"What color is the {thing.shape}?",
        f"{_search(scene, thing)} The {thing.shape} is {thing.color}.",
        thing.color,
    )
    return with_options(rng, question, list(COLORS))


def _ask_shape(rng: np.random.Generator, paint: Painter) -> Question:
    scene = _draw_scene(rng)
    thing = scene.things[0]
    question = Question(
        paint(scene),
        f"What shape is {thing.color}?",
        f"{_search(scene, thing)} A {thing.shape} is {thing.color}.",
        thing.shape,
    )
    return with_options(rng, question, SHAPES)


def _ask_corner(rng: np.random.Generator, paint: Painter) -> Question:
    scene = _draw_scene(rng)
    while min(abs(fraction - 0.5) for fraction in scene.things[0].center) < 0.08:
        scene = _draw_scene(rng)
    painting = paint(scene)
    corner = corner_name(seen_box(painting, 0))
    name = scene.things[0].name
    question = Question(painting, f"Where is the {name}?", f"{_look(scene)} The {name} is at the {corner}.", corner)
    return with_options(rng, question, _CORNERS)


def _count(rng: np.random.Generator, paint: Painter) -> Question:
    """Ask how many things there are, or how many of one shape; the reasoning counts aloud in the order of the
    colours.
    """
    things = draw_things(rng, int(rng.integers(1, 5)), largest=0.36)
    shape = str(rng.choice(SHAPES))
    all_count = rng.random() < 0.5
    if not all_count:
        alike = rng.integers(1, len(things) + 1)
        other = str(rng.choice([s for s in SHAPES if s != shape]))
        things = tuple(replace(t, shape=shape if index < alike else other) for index, t in enumerate(things))
    listed = _by_color(things)
    counted = [all_count or t.shape == shape for t in listed]
    what = "shapes" if all_count else f"{shape}s"
    reasoning = count_aloud([t.name for t in listed], counted)
    return Question(
        paint(Scene(draw_background(rng), things)), f"How many {what} are there?", reasoning, str(sum(counted))
    )


def _measure(rng: np.random.Generator, paint: Painter) -> Question:
    scene = _draw_scene(rng, most=2)
    painting = paint(scene)
    box, name = seen_box(painting, 0), scene.things[0].name
    side, low, high = ("wide", box.x1, box.x2) if rng.random() < 0.5 else ("tall", box.y1, box.y2)
    percent = round((high - low) / 10)
    return Question(painting, f"How {side} is the {name} in percent?", f"It goes from {low} to {high}.", str(percent))


def _calculate(rng: np.random.Generator, paint: Painter) -> Question:
    left, right = (int(number) for number in rng.integers(1, 10, 2))
    if rng.random() < 0.5:
        sum_text, result = f"{left}+{right}", left + right
    else:
        left, right = max(left, right), min(left, right)
        sum_text, result = f"{left}-{right}", left - right
    background = draw_background(rng)
    _, ink = draw_ink(rng, background)
    writing = Writing(sum_text, ink, near_middle(rng), float(rng.uniform(0.26, 0.3)))
    return Question(
        paint(Scene(background, writings=(writing,))), "What is the result?", f"{sum_text}={result}.", str(result)
    )


def _read(rng: np.random.Generator, paint: Painter) -> Question:
    background = draw_background(rng)
    color, ink = draw_ink(rng, background)
    word, number = str(rng.choice(WORDS)), str(rng.integers(10, 100))
    lines = ([word], [number], [word, number])[rng.integers(3)]
    x, y = near_middle(rng)
    first = y - 0.2 * (len(lines) - 1)
    height = float(rng.uniform(0.24, 0.26))
    writings = tuple(Writing(line, ink, (x, first + 0.4 * row), height) for row, line in enumerate(lines))
    return Question(
        paint(Scene(background, writings=writings)), "Read the text.", f"The text is {color}.", " ".join(lines)
    )


def _describe(rng: np.random.Generator, paint: Painter) -> Question:
    scene = _draw_scene(rng, most=2)
    painting = paint(scene)
    if len(scene.things) == 1:
        text = f"{with_article(scene.things[0].name)} at the {corner_name(seen_box(painting, 0))}."
        return Question(painting, "Describe the picture.", "There is 1 shape.", text)
    text = _relation(*sorted(scene.things, key=lambda thing: thing.center))
    return Question(painting, "Describe the picture.", "There are 2 shapes.", text)


def _relation(left: Thing, right: Thing) -> str:
    dx, dy = (b - a for a, b in zip(left.center, right.center, strict=True))
    if dx >= abs(dy):
        return f"{with_article(left.name)} left of {with_article(right.name).lower()}."
    upper, lower = (left, right) if dy > 0 else (right, left)
    return f"{with_article(upper.name)} above {with_article(lower.name).lower()}."


def _locate(rng: np.random.Generator, paint: Painter) -> Question:
    scene = _draw_scene(rng)
    painting = paint(scene)
    box, name = seen_box(painting, 0), scene.things[0].name
    return Question(
        painting,
        f"Find the {name}.",
        f"{_look(scene)} It is at the {corner_name(box)}.",
        compact_json({"boxes": list(box)}),
    )


def _segment(rng: np.random.Generator, paint: Painter) -> Question:
    scene = _draw_scene(rng)
    painting = paint(scene)
    box, name = seen_box(painting, 0), scene.things[0].name
    return Question(
        painting,
        f"Segment the {name}.",
        f"It is at the {corner_name(box)}.",
        compact_json(segmentation_answer(box)),
        masks=masks_of(painting, 0),
    )


IMAGE_QUESTIONS: dict[str, tuple[Builder, ...]] = {
    "multiple choice": (_ask_color, _ask_shape, _ask_corner),
    "numerical": (_count,),
    "regression": (_measure,),
    "math": (_calculate,),
    "OCR": (_read,),
    "open-ended": (_describe,),
    "spatial grounding": (_locate,),
    "segmentation": (_segment,),
}
