"""Scenes for pictures: different things, look-alikes, rows and crowds."""

from dataclasses import replace

import numpy as np

from onethinker.data.synthetic.world.motion import at_rest
from onethinker.data.synthetic.world.scene import (
    CROWDED,
    Scene,
    Thing,
    World,
    background_for,
    draw_color,
    draw_kinds,
    draw_look,
    draw_thing,
    draw_things,
    scatter,
)
from onethinker.data.synthetic.world.things import CATEGORIES, COLORS


def _finished(rng: np.random.Generator, things: tuple[Thing, ...]) -> Scene:
    return Scene(background_for(rng, things), things, look=draw_look(rng))


def draw_mixed(rng: np.random.Generator, world: World) -> Scene:
    """Return one to six different things, some before others."""
    count = (1, 2, 2, 3, 3, 4, 4, 5, 6)[int(rng.integers(9))]
    return _finished(rng, scatter(rng, draw_things(rng, world, count), overlap=0.3 * int(rng.integers(2))))


def draw_colored(rng: np.random.Generator, world: World) -> Scene:
    """Return one to four different things of which at least one has a colour that it was given."""
    count = int(rng.integers(1, 5))
    tintable = [kind for kind in world.kinds if kind.is_tintable]
    first = tintable[int(rng.integers(len(tintable)))]
    others = [thing for thing in draw_things(rng, world, count) if thing.kind.kin != first.kin][: count - 1]
    size = 0.48 * CROWDED[count - 1] * float(rng.uniform(0.68, 1.0))
    return _finished(rng, scatter(rng, [*others, draw_thing(rng, world, first, size=size, color=draw_color(rng))]))


def draw_few(rng: np.random.Generator, world: World) -> Scene:
    """Return one to three different things, large ones."""
    return _finished(rng, scatter(rng, draw_things(rng, world, int(rng.integers(1, 4)), largest=0.56)))


def draw_several(rng: np.random.Generator, world: World) -> Scene:
    """Return two to four different things that do not touch."""
    return _finished(rng, scatter(rng, draw_things(rng, world, int(rng.integers(2, 5)))))


def draw_alike(rng: np.random.Generator, world: World) -> Scene:
    """Return two to four things of one kind, in colours of their own where it can be given one, and one or two
    others.
    """
    return _alike(rng, world, most_colors=len(COLORS))


def draw_shades(rng: np.random.Generator, world: World) -> Scene:
    """Return two to four things of one kind, in one or two colours where it can be given one, and one or two others."""
    return _alike(rng, world, most_colors=2)


def _alike(rng: np.random.Generator, world: World, *, most_colors: int) -> Scene:
    count, others = int(rng.integers(2, 5)), int(rng.integers(1, 3))
    tintable = [kind for kind in world.kinds if kind.is_tintable]
    first, *rest = draw_kinds(rng, world, 1 + others)
    use_colors = bool(tintable) and rng.random() < 0.5
    if use_colors:
        first = tintable[int(rng.integers(len(tintable)))]
        rest = [kind for kind in rest if kind.kin != first.kin]
    shades = [str(color) for color in rng.permutation(list(COLORS))[: min(count, most_colors)]]
    colors = [*shades, *rng.choice(shades, count - len(shades)).tolist()] if use_colors else [None] * count
    size = 0.46 * CROWDED[count + len(rest) - 1]
    scales = rng.uniform(0.7, 1.0, count + len(rest))
    template = draw_thing(rng, world, first, size=size)
    things = [
        replace(template, color=color, track=template.track.sized(float(s)))
        for color, s in zip(colors, scales, strict=False)
    ]
    things += [draw_thing(rng, world, kind, size=size * float(s)) for kind, s in zip(rest, scales[count:], strict=True)]
    return _finished(rng, scatter(rng, things))


def draw_row(rng: np.random.Generator, world: World) -> Scene:
    """Return three to five different things in a row, from left to right or from top to bottom."""
    count = int(rng.integers(3, 6))
    things = draw_things(rng, world, count, largest=0.9 / count / CROWDED[count - 1])
    upright = bool(rng.integers(2))
    along = (np.arange(count) + 0.5) / count
    middle = float(rng.uniform(0.3, 0.7))
    placed = []
    for thing, position, shift in zip(things, along, rng.uniform(-0.08, 0.08, count), strict=True):
        across, turn = middle + float(shift), thing.track.angles[0]
        x, y = (across, float(position)) if upright else (float(position), across)
        placed.append(replace(thing, track=at_rest(x, y, thing.size, turn)))
    return _finished(rng, tuple(placed))


def draw_crowd(rng: np.random.Generator, world: World) -> Scene:
    """Return several things each of two kinds, and at times one of a third: for counting and comparing."""
    kinds = draw_kinds(rng, world, 3)
    if rng.random() < 0.3:
        two = draw_kinds(rng, world, 2, category=_a_category(rng, world))
        kinds = two + [kind for kind in kinds if kind.kin not in (two[0].kin, two[1].kin)][:1]
    counts = (int(rng.integers(1, 6)), int(rng.integers(0, 4)), int(rng.integers(0, 2)))[: len(kinds)]
    size = 0.46 * CROWDED[min(sum(counts), len(CROWDED)) - 1]
    things = []
    for kind, count in zip(kinds, counts, strict=True):
        color = draw_color(rng) if kind.is_tintable and rng.random() < 0.5 else None
        template = draw_thing(rng, world, kind, size=size, color=color)
        for scale in rng.uniform(0.75, 1.0, count).tolist():
            things.append(replace(template, track=template.track.sized(scale)))
    order = rng.permutation(len(things))
    return _finished(rng, scatter(rng, [things[int(n)] for n in order]))


def _a_category(rng: np.random.Generator, world: World) -> str:
    """Return a category of which the world has kinds enough to draw two that are no kin."""
    full = [c for c in CATEGORIES if len({kind.kin for kind in world.kinds if kind.category == c}) >= 2]
    return full[int(rng.integers(len(full)))]
