"""What scenes for clips share: their length, spans within it, colours of walls, and the finished scene."""

from dataclasses import replace

import numpy as np

from onethinker.core.geometry import Span
from onethinker.data.synthetic.world.scene import (
    Scene,
    Thing,
    World,
    background_for,
    draw_look,
)

WALLS = ((128, 130, 136), (150, 110, 76), (96, 112, 128), (142, 132, 112))


def draw_duration(rng: np.random.Generator, world: World) -> float:
    """Return how many whole seconds a clip of the world lasts."""
    return float(rng.integers(world.seconds[0], world.seconds[1] + 1))


def draw_span(rng: np.random.Generator, duration_s: float, *, shortest_s: float = 1.0) -> Span:
    """Return half seconds between which something goes on; it is over at least a second before the clip is."""
    last, least = int(2 * (duration_s - 1)), int(2 * shortest_s)
    start = int(rng.integers(0, last - least + 1))
    return Span(start / 2, int(rng.integers(start + least, last + 1)) / 2)


def finish_scene(rng: np.random.Generator, things: tuple[Thing, ...], duration_s: float, **more: object) -> Scene:
    """Return the scene of the things on a ground from which they stand out, in a random look."""
    look = replace(draw_look(rng), jpeg_quality=0)
    return replace(Scene(background_for(rng, things), things, look=look, duration_s=duration_s), **more)  # type: ignore[arg-type]
