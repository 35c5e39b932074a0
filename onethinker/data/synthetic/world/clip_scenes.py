"""Scenes for clips: things that move, turn, grow, come and go, hide, cross and repeat. Everything begins and ends on
half seconds.
"""

from dataclasses import replace

import numpy as np

from onethinker.core.geometry import Span
from onethinker.data.synthetic.world.clip_parts import WALLS, draw_duration, draw_span, finish_scene
from onethinker.data.synthetic.world.motion import Track, at_rest
from onethinker.data.synthetic.world.scene import (
    Act,
    Scene,
    Thing,
    Wall,
    World,
    draw_color,
    draw_kinds,
    draw_thing,
    draw_things,
    scatter,
)

DIRECTIONS = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}


_EARLY_S = 0.04  # a thing is covered this long before the first frame in which it is hidden, and after the last


def _lanes(rng: np.random.Generator, world: World, count: int, *, upright: bool) -> list[Thing]:
    """Return things at the start of lanes of their own, below each other, or beside each other when `upright`."""
    lane = 0.96 / count
    kinds = draw_kinds(rng, world, count)
    things = []
    for row, kind in enumerate(kinds):
        color = draw_color(rng) if kind.is_tintable and rng.random() < 0.4 else None
        thing = draw_thing(rng, world, kind, size=min(0.36, lane * 0.92), color=color, tilt=0.0)
        along, across = 0.05 + thing.size / 2 + float(rng.uniform(0, 0.08)), 0.02 + lane * (row + 0.5)
        x, y = (across, along) if upright else (along, across)
        things.append(replace(thing, track=at_rest(x, y, thing.size)))
    return things


def _far_end(thing: Thing, *, upright: bool) -> Thing:
    x, y = thing.center
    return replace(thing, track=at_rest(*((x, 1 - y) if upright else (1 - x, y)), thing.size))


def _moving(thing: Thing, direction: str, way: float, span: Span) -> Thing:
    dx, dy = DIRECTIONS[direction]
    thing = _far_end(thing, upright=dx == 0) if dx + dy < 0 else thing
    x, y = thing.center
    track = thing.track.then(*span, x=x + dx * way, y=y + dy * way)
    return replace(thing, track=track, act=Act(f"moves {direction}", span))


def _acting(rng: np.random.Generator, thing: Thing, span: Span, *, upright: bool, verbs: tuple[str, ...]) -> Thing:
    """Return a thing that does one of the verbs in the span."""
    verb = verbs[int(rng.integers(len(verbs)))]
    size = thing.size
    if verb == "moves":
        direction = (("down", "up") if upright else ("right", "left"))[int(rng.integers(2))]
        return _moving(thing, direction, float(rng.uniform(0.3, 0.45)), span)
    if verb == "turns":
        turn = 180.0 if rng.random() < 0.5 else -180.0
        return replace(thing, track=thing.track.then(*span, angle=turn), act=Act(verb, span))
    if verb == "grows":
        small = at_rest(*thing.center, size * 0.5)
        return replace(thing, track=small.then(*span, size=size), act=Act(verb, span))
    if verb == "shrinks":
        return replace(thing, track=thing.track.then(*span, size=size * 0.5), act=Act(verb, span))
    return thing


VERBS = ("moves", "moves", "turns", "grows", "shrinks")


def draw_stage(rng: np.random.Generator, world: World) -> Scene:
    """Return one to three things in lanes, of which the first does something for a while and each other something or
    nothing.
    """
    duration_s, upright = draw_duration(rng, world), bool(rng.integers(2))
    things = _lanes(rng, world, int(rng.integers(1, 4)), upright=upright)
    acting = []
    for index, thing in enumerate(things):
        span = draw_span(rng, duration_s)
        acting.append(
            _acting(rng, thing, span, upright=upright, verbs=VERBS) if index == 0 or rng.random() < 0.5 else thing
        )
    order = rng.permutation(len(acting))
    return finish_scene(rng, tuple(acting[int(n)] for n in order), duration_s)


def draw_walk(rng: np.random.Generator, world: World) -> Scene:
    """Return one or two things in lanes of which the first moves along its lane for a while."""
    duration_s, upright = draw_duration(rng, world), bool(rng.integers(2))
    first, *others = _lanes(rng, world, int(rng.integers(1, 3)), upright=upright)
    return finish_scene(
        rng, (_acting(rng, first, draw_span(rng, duration_s), upright=upright, verbs=("moves",)), *others), duration_s
    )


def draw_race(rng: np.random.Generator, world: World) -> Scene:
    """Return two things that move the same way for the same time, one at least 1.7 times as fast as the other."""
    duration_s, upright = draw_duration(rng, world), bool(rng.integers(2))
    things = _lanes(rng, world, 2, upright=upright)
    direction = (("down", "up") if upright else ("right", "left"))[int(rng.integers(2))]
    span = Span(float(rng.integers(0, 2)) / 2, duration_s - 0.5)
    ways = [float(rng.uniform(0.46, 0.54)), float(rng.uniform(0.14, 0.27))]
    if rng.random() < 0.5:
        ways.reverse()
    return finish_scene(
        rng, tuple(_moving(thing, direction, way, span) for thing, way in zip(things, ways, strict=True)), duration_s
    )


def draw_jumps(rng: np.random.Generator, world: World) -> Scene:
    """Return one or two things of which the first jumps or bows one to four times, a second each."""
    verb = "jumps" if rng.random() < 0.6 else "bows"
    duration_s = float(world.seconds[1])
    times = int(rng.integers(1, min(5, int(duration_s))))
    things = _lanes(rng, world, int(rng.integers(1, 3)), upright=True)
    x, y, size = things[0].center[0], 0.68, things[0].size
    track = at_rest(x, y, size)
    start_s = float(rng.integers(0, int(2 * (duration_s - times)) - 1 + 1)) / 2
    for jump in range(times):
        up, down = start_s + jump + 0.5, start_s + jump + 1.0
        low = {"y": y} if verb == "jumps" else {"angle": 0.0}
        high = {"y": y - 0.34} if verb == "jumps" else {"angle": 75.0}
        track = track.then(up - 0.5, up, **high).then(up, down, **low)
    first = replace(things[0], track=track, act=Act(verb, Span(start_s, start_s + times)))
    return finish_scene(rng, (first, *things[1:]), duration_s, values=(times,))


def draw_parade(rng: np.random.Generator, world: World) -> Scene:
    """Return two to four things seen one after the other, at positions of their own."""
    duration_s, count = draw_duration(rng, world), int(rng.integers(2, 5))
    things = scatter(rng, draw_things(rng, world, count, largest=0.46 / 0.8), overlap=0.6)
    cuts = [round(2 * duration_s * k / count) / 2 for k in range(count + 1)]
    shown = tuple(replace(thing, visible=Span(cuts[k], cuts[k + 1] - 0.5)) for k, thing in enumerate(things))
    return finish_scene(rng, shown, duration_s)


def draw_visits(rng: np.random.Generator, world: World) -> Scene:
    """Return one to three things of which the first comes and goes; others stay, or come and go as well."""
    duration_s, count = draw_duration(rng, world), int(rng.integers(1, 4))
    things = scatter(rng, draw_things(rng, world, count))
    visits = [
        replace(thing, visible=draw_span(rng, duration_s)) if n == 0 or rng.random() < 0.3 else thing
        for n, thing in enumerate(things)
    ]
    return finish_scene(rng, tuple(visits), duration_s)


def draw_leaving(rng: np.random.Generator, world: World) -> Scene:
    """Return two or three things of which the second leaves while the first is there, and the first at least a second
    later.
    """
    duration_s = draw_duration(rng, world)
    things = scatter(rng, draw_things(rng, world, int(rng.integers(2, 4))))
    leaves = float(rng.integers(2, int(2 * duration_s) - 3)) / 2
    goes = float(rng.integers(int(2 * leaves) + 2, int(2 * duration_s))) / 2
    comes = float(rng.integers(0, int(2 * leaves))) / 2
    shown = (replace(things[0], visible=Span(comes, goes)), replace(things[1], visible=Span(0.0, leaves)), *things[2:])
    return finish_scene(rng, shown, duration_s)


def draw_passage(rng: np.random.Generator, world: World) -> Scene:
    """Return a thing that passes behind a wall, which covers it between two half seconds."""
    duration_s, speed = draw_duration(rng, world), float(rng.uniform(0.18, 0.28))
    (kind,) = draw_kinds(rng, world, 1)
    thing = draw_thing(rng, world, kind, size=float(rng.uniform(0.22, 0.28)), tilt=0.0)
    wide = thing.size * thing.sprite.width
    start_s = float(rng.integers(2, int(2 * duration_s) - 4)) / 2
    end_s = start_s + float(rng.integers(1, 4)) / 2
    left = float(rng.uniform(0.3, 0.36))
    right = left + wide + speed * (end_s - start_s + 2 * _EARLY_S)
    covered_x, covered_s = left + wide / 2, start_s - _EARLY_S
    near, far, y = 0.04 + wide / 2, 0.96 - wide / 2, float(rng.uniform(0.2, 0.8))
    times_s = tuple(covered_s + (x - covered_x) / speed for x in (near, far))
    xs, edges, direction = (near, far), (left, right), "right"
    if rng.random() < 0.5:
        xs, edges, direction = (1 - near, 1 - far), (1 - right, 1 - left), "left"
    track = Track(times_s, xs, (y, y), (thing.size,) * 2, (0.0, 0.0))
    thing = replace(thing, track=track, act=Act(f"moves {direction}", Span(0.0, duration_s)))
    wall = Wall(*edges, WALLS[int(rng.integers(len(WALLS)))])
    return finish_scene(rng, (thing,), duration_s, wall=wall)
