"""Scenes for clips in which things wander, for tracking and grounding: the camera may move, look-alikes may cross."""

from dataclasses import replace

import numpy as np

from onethinker.data.synthetic.world.clip_parts import WALLS, draw_duration, draw_span, finish_scene
from onethinker.data.synthetic.world.motion import at_rest
from onethinker.data.synthetic.world.scene import (
    Camera,
    Scene,
    Thing,
    Wall,
    World,
    draw_color,
    draw_kinds,
    draw_thing,
    draw_things,
)


def _draw_camera(rng: np.random.Generator) -> Camera | None:
    """Return a slow pan or zoom, or none."""
    if rng.random() < 0.6:
        return None
    if rng.random() < 0.5:
        zoom = float(rng.uniform(1.15, 1.35))
        return Camera((0, 0, 1.0), (0, 0, zoom)) if rng.random() < 0.5 else Camera((0, 0, zoom), (0, 0, 1.0))
    dx, dy = rng.uniform(-0.1, 0.1, 2).tolist()
    return Camera((-dx, -dy, 1.0), (dx, dy, 1.0))


def draw_roaming(rng: np.random.Generator, world: World) -> Scene:
    """Return one or two things that come, wander and go, seen by a camera that may move."""
    duration_s = draw_duration(rng, world)
    things = draw_things(rng, world, int(rng.integers(1, 3)), largest=0.4)
    span = draw_span(rng, duration_s)
    moving = tuple(_wandering(rng, thing, duration_s) for thing in things)
    return finish_scene(rng, (*moving[1:], replace(moving[0], visible=span)), duration_s, camera=_draw_camera(rng))


def draw_chase(rng: np.random.Generator, world: World) -> Scene:
    """Return things that wander, for tracking: at times look-alikes that cross, a narrow wall before them, or a camera
    that moves.
    """
    duration_s = draw_duration(rng, world)
    kinds = draw_kinds(rng, world, int(rng.integers(1, 3)))
    size = float(rng.uniform(0.26, 0.36))
    color = draw_color(rng) if kinds[0].is_tintable and rng.random() < 0.5 else None
    first = draw_thing(rng, world, kinds[0], size=size, color=color)
    things = [_wandering(rng, first, duration_s)]
    if rng.random() < 0.5:
        things.append(_crossing(rng, things[0], duration_s))
    things += [_wandering(rng, draw_thing(rng, world, kind, size=size), duration_s) for kind in kinds[1:]]
    wall = None
    if rng.random() < 0.2:
        left = float(rng.uniform(0.25, 0.6))
        wall = Wall(left, left + size * 0.35, WALLS[int(rng.integers(len(WALLS)))])
    order = [int(n) for n in rng.permutation(len(things))]
    return finish_scene(
        rng, tuple(things[n] for n in order), duration_s, wall=wall, camera=None if wall else _draw_camera(rng)
    )


def _wandering(rng: np.random.Generator, thing: Thing, duration_s: float) -> Thing:
    """Return a thing that goes to one position, turns and goes to another; at times it rests, grows or shrinks on its
    way.
    """
    turn_s = float(rng.integers(2, int(2 * duration_s - 2))) / 2
    low, high = 0.08 + thing.size / 2, 0.92 - thing.size / 2
    positions = rng.uniform(low, high, (3, 2)).tolist()
    sizes = (
        [thing.size * scale for scale in rng.uniform(0.75, 1.0, 3).tolist()] if rng.random() < 0.3 else [thing.size] * 3
    )
    track = at_rest(positions[0][0], positions[0][1], sizes[0], thing.track.angles[0])
    track = track.then(0.0, turn_s, x=positions[1][0], y=positions[1][1], size=sizes[1])
    rest_s = 0.5 * int(rng.integers(0, 2))
    return replace(
        thing, track=track.then(turn_s + rest_s, duration_s, x=positions[2][0], y=positions[2][1], size=sizes[2])
    )


def _crossing(rng: np.random.Generator, thing: Thing, duration_s: float) -> Thing:
    """Return a look-alike that goes straight from near where the thing ends to near where it starts."""
    low, high = 0.08 + thing.size / 2, 0.92 - thing.size / 2
    shift = rng.uniform(-0.15, 0.15, 4).tolist()
    ends = (thing.track.xs[-1], thing.track.ys[-1], thing.track.xs[0], thing.track.ys[0])
    x0, y0, x1, y1 = (min(high, max(low, end + by)) for end, by in zip(ends, shift, strict=True))
    track = at_rest(x0, y0, thing.size, thing.track.angles[0]).then(0.0, duration_s, x=x1, y=y1)
    return replace(thing, track=track)
