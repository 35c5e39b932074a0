"""Charts, tables and written sums: pictures with numbers, and questions that take one step or two."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from onethinker.data.synthetic.questions import Question, with_options
from onethinker.data.synthetic.world.asking import Ask, Asker, Family
from onethinker.data.synthetic.world.backgrounds import draw_background
from onethinker.data.synthetic.world.characters import characters
from onethinker.data.synthetic.world.lettering import PLAIN_FONT
from onethinker.data.synthetic.world.motion import at_rest
from onethinker.data.synthetic.world.phrasing import say
from onethinker.data.synthetic.world.scene import (
    Bar,
    Color,
    Look,
    Scene,
    Sector,
    Thing,
    World,
    Writing,
    draw_kinds,
    draw_look,
    draw_thing,
)
from onethinker.data.synthetic.world.writing import draw_writing

_CARDS: tuple[Color, ...] = ((248, 247, 242), (238, 243, 250), (250, 243, 226))
_INK: Color = (28, 30, 38)
_BARS: dict[str, Color] = {
    "red": (214, 62, 58),
    "orange": (240, 146, 44),
    "yellow": (242, 206, 56),
    "green": (66, 158, 84),
    "blue": (64, 118, 214),
    "purple": (146, 88, 186),
}
_NAMES = {color: name for name, color in _BARS.items()}


def _card(rng: np.random.Generator) -> Bar:
    return Bar((0.03, 0.03, 0.97, 0.97), _CARDS[int(rng.integers(len(_CARDS)))])


def _icons(rng: np.random.Generator, world: World, count: int, size: float) -> list[Thing]:
    return [draw_thing(rng, world, kind, size=size, tilt=0.0) for kind in draw_kinds(rng, world, count)]


def _number(value: int, x: float, y: float, height: float) -> Writing:
    return Writing((str(value),), PLAIN_FONT, _INK, None, (x, y), height)


def draw_chart(rng: np.random.Generator, world: World) -> Scene:
    """Return a chart with a bar for each of three or four things, its number above it."""
    count = int(rng.integers(3, 5))
    values = tuple(int(value) + 1 for value in rng.permutation(9)[:count])
    step = 0.9 / count
    floor, most = 0.7, max(values)
    colors = [list(_BARS.values())[int(n)] for n in rng.permutation(len(_BARS))[:count]]
    things, bars, writings = [], [_card(rng), Bar((0.06, floor, 0.94, floor + 0.012), _INK)], []
    for k, (icon, value) in enumerate(zip(_icons(rng, world, count, min(0.22, step * 0.9)), values, strict=True)):
        x = 0.05 + step * (k + 0.5)
        top = floor - 0.48 * value / most
        bars.append(Bar((x - step * 0.3, top, x + step * 0.3, floor), colors[k]))
        writings.append(_number(value, x, top - 0.07, 0.1))
        things.append(replace(icon, track=at_rest(x, 0.84, icon.size)))
    return Scene(
        draw_background(rng), tuple(things), tuple(writings), tuple(bars), values=values, look=_plain_look(rng)
    )


def draw_table(rng: np.random.Generator, world: World) -> Scene:
    """Return a table with a thing and its number in each of two to four rows."""
    count = int(rng.integers(2, 5))
    values = tuple(int(value) for value in rng.integers(1, 10, count))
    step = 0.92 / count
    things, writings, bars = [], [], [_card(rng)]
    for k, (icon, value) in enumerate(zip(_icons(rng, world, count, min(0.3, step * 0.86)), values, strict=True)):
        y = 0.04 + step * (k + 0.5)
        things.append(replace(icon, track=at_rest(0.28, y, icon.size)))
        writings.append(_number(value, 0.72, y, min(0.17, step * 0.55)))
        if k:
            bars.append(Bar((0.06, y - step / 2, 0.94, y - step / 2 + 0.009), (176, 178, 184)))
    return Scene(
        draw_background(rng), tuple(things), tuple(writings), tuple(bars), values=values, look=_plain_look(rng)
    )


def draw_pie(rng: np.random.Generator, _: World) -> Scene:
    """Return a disc in two to four colours, their fractions of it in percent, multiples of five."""
    count = int(rng.integers(2, 5))
    cuts = sorted(int(cut) * 5 for cut in rng.choice(np.arange(2, 19), count - 1, replace=False))
    while min(b - a for a, b in zip([0, *cuts], [*cuts, 100], strict=True)) < 10:
        cuts = sorted(int(cut) * 5 for cut in rng.choice(np.arange(2, 19), count - 1, replace=False))
    values = tuple(b - a for a, b in zip([0, *cuts], [*cuts, 100], strict=True))
    names = [list(_BARS)[int(n)] for n in rng.permutation(len(_BARS))[:count]]
    turn, radius = float(rng.uniform(0, 360)), float(rng.uniform(0.3, 0.42))
    x, y = rng.uniform(0.08 + radius, 0.92 - radius, 2).tolist()
    edges = [turn + 3.6 * cut for cut in (0, *cuts, 100)]
    sectors = tuple(Sector((x, y), radius, edges[k], edges[k + 1], _BARS[name]) for k, name in enumerate(names))
    return Scene(
        draw_background(rng, calm=True), bars=(_card(rng),), sectors=sectors, values=values, look=_plain_look(rng)
    )


def draw_sum(rng: np.random.Generator, _: World) -> Scene:
    """Return a written sum, difference or product."""
    background = draw_background(rng, calm=True)
    a, b, c = (int(number) for number in rng.integers(1, 10, 3))
    tens = int(rng.integers(1, 5)) * 10
    ways = (
        f"{a}+{b}",
        f"{tens + a}+{b}",
        f"{max(a, b)}-{min(a, b)}",
        f"{tens + max(a, b)}-{min(a, b)}",
        f"{a}x{b}",
        f"{a}+{b}+{c}",
    )
    text = ways[int(rng.integers(len(ways)))]
    mark = ("", "=", "=?")[int(rng.integers(3))]
    writing = draw_writing(rng, background, (text + mark,), turn=8.0)
    while abs(writing.angle) > 45:
        writing = draw_writing(rng, background, (text + mark,), turn=8.0)
    return Scene(background, writings=(writing,), look=draw_look(rng))


def _plain_look(rng: np.random.Generator) -> Look:
    return replace(draw_look(rng), shadow=(0.0, 0.0, 0.0))


def _name(asker: Asker, n: int) -> str:
    return asker.things[n].kind.name


def _admitted_pairs(asker: Asker, relation: str) -> list[tuple[int, int]]:
    values = asker.shot.scene.values
    count = len(values)
    return [
        (n, m)
        for n in range(count)
        for m in range(count)
        if n != m and asker.admits(_name(asker, n), None, str(values[n]), f"{relation} {_name(asker, m)} {values[m]}")
    ]


def read_value(asker: Asker) -> Question | None:
    """Ask for the number of one thing."""
    values = asker.shot.scene.values
    n = asker.pick([k for k in range(len(values)) if asker.admits(_name(asker, k), None, str(k), f"value {values[k]}")])
    if n is None:
        return None
    problem = say(asker.rng, "chart_value", thing=_name(asker, n), things=asker.things[n].kind.plural)
    return Question(asker.shot, problem, f"the {_name(asker, n)} has {values[n]}.", str(values[n]))


def ask_most(asker: Asker) -> Question | None:
    """Ask which thing has the tallest or the shortest bar."""
    values = asker.shot.scene.values
    most = "tallest" if asker.rng.random() < 0.5 else "shortest"
    n = values.index(max(values) if most == "tallest" else min(values))
    if not asker.admits(_name(asker, n), None, str(n), f"{most} {values[n]}"):
        return None
    names = [_name(asker, k) for k in range(len(values))]
    number = dict(zip(names, values, strict=True))
    reasoning = f"the numbers are {', '.join(map(str, values))}. the {most} {values[n]}."
    question = Question(asker.shot, say(asker.rng, "chart_most", tallest=most), reasoning, names[n])
    return with_options(asker.rng, question, names, note=lambda name: str(number[name]))


def add_two(asker: Asker) -> Question | None:
    """Ask what two things cost together, or how much more one is than the other."""
    values = asker.shot.scene.values
    pairs = _admitted_pairs(asker, "sum")
    chosen = asker.pick(range(len(pairs)))
    if chosen is None:
        return None
    n, m = pairs[chosen]
    a, b, names = values[n], values[m], (_name(asker, n), _name(asker, m))
    listed = f"the {names[0]} has {a}, the {names[1]} {b}."
    if a > b and asker.rng.random() < 0.5:
        problem = say(asker.rng, "price_difference", thing=names[0], other=names[1])
        return Question(asker.shot, problem, f"{listed} {a}-{b}={a - b}.", str(a - b))
    return Question(
        asker.shot,
        say(asker.rng, "price_sum", thing=names[0], other=names[1]),
        f"{listed} {a}+{b}={a + b}.",
        str(a + b),
    )


def multiply(asker: Asker) -> Question | None:
    """Ask what several of a thing cost."""
    values, times = asker.shot.scene.values, int(asker.rng.integers(2, 6))
    n = asker.pick(
        [k for k in range(len(values)) if asker.admits(_name(asker, k), None, str(values[k]), f"times {times}")]
    )
    if n is None:
        return None
    problem = say(asker.rng, "price_times", number=str(times), things=asker.things[n].kind.plural)
    reasoning = f"the {_name(asker, n)} has {values[n]}. {multiply_aloud(times, values[n])}"
    return Question(asker.shot, problem, reasoning, str(times * values[n]))


def add_all(asker: Asker) -> Question | None:
    """Ask for the sum of all numbers, which is taken step by step."""
    values = asker.shot.scene.values
    if not asker.admits(_name(asker, 0), None, "", f"total {values}"):
        return None
    return Question(asker.shot, say(asker.rng, "total"), add_aloud(values), str(sum(values)))


def add_aloud(values: Sequence[int]) -> str:
    """Return how numbers are added one after the other.

    >>> add_aloud([2, 3, 4])
    '2+3=5. 5+4=9.'
    """
    steps, total = [], values[0]
    for value in values[1:]:
        steps.append(f"{total}+{value}={total + value}.")
        total += value
    return " ".join(steps)


def multiply_aloud(a: int, b: int) -> str:
    """Return how two numbers are multiplied: up the multiples of the larger one, which each step adds once more.

    >>> multiply_aloud(8, 3), multiply_aloud(2, 8)
    ('8x1=8, 8x2=16, 8x3=24.', '8x1=8, 8x2=16. 2x8=16.')
    """
    most, times = max(a, b), min(a, b)
    steps = ", ".join(f"{most}x{k}={most * k}" for k in range(1, times + 1))
    return f"{steps}." if a == most else f"{steps}. {a}x{b}={a * b}."


def _calculate_aloud(a: int, sign: str, b: int) -> str:
    """Return how two numbers are added, subtracted or multiplied: of a number with tens first the units.

    >>> _calculate_aloud(28, "+", 5), _calculate_aloud(28, "-", 5), _calculate_aloud(9, "-", 5)
    ('28+5: 8+5=13. 28+5=33.', '28-5: 8-5=3. 28-5=23.', '9-5=4.')
    """
    read = f"{a}{sign}{b}"
    if sign == "x":
        return f"{read}: {multiply_aloud(a, b)}"
    factor, units = (1 if sign == "+" else -1), a % 10
    first = f"{read}: {units}{sign}{b}={units + factor * b}. " if a > units else ""
    return f"{first}{read}={a + factor * b}."


def calculate(asker: Asker) -> Question | None:
    """Ask for the result of what is written."""
    (writing,) = asker.shot.scene.writings
    text = writing.lines[0].rstrip("=?")
    if not asker.admits(text, relation="result"):
        return None
    read = ", ".join(f"{c.point} {c.text}" for c in characters(writing, asker.shot.clip.width)[: len(text)])
    problem = say(asker.rng, "sum_written")
    if text.count("+") == 2:
        numbers = [int(number) for number in text.split("+")]
        return Question(asker.shot, problem, f"{read}. {add_aloud(numbers)}", str(sum(numbers)))
    sign = next(sign for sign in "+-x" if sign in text)
    a, b = (int(number) for number in text.split(sign))
    result = {"+": a + b, "-": a - b, "x": a * b}[sign]
    return Question(asker.shot, problem, f"{read}. {_calculate_aloud(a, sign, b)}", str(result))


def estimate_fraction(asker: Asker) -> Question | None:
    """Ask what percent of a disc has a colour."""
    scene = asker.shot.scene
    ways = [
        k
        for k, s in enumerate(scene.sectors)
        if asker.admits("share", _NAMES[s.color], str(scene.values[k]), str(len(scene.values)))
    ]
    n = asker.pick(ways)
    if n is None:
        return None
    color = _NAMES[scene.sectors[n].color]
    return Question(asker.shot, say(asker.rng, "share", color=color), _go_around(scene, n), str(scene.values[n]))


def _go_around(scene: Scene, asked: int) -> str:
    """Return which colour a disc has in each of twenty directions, clockwise from the top, and behind that of a sector
    how much that makes so far: its fraction is a multiple of five percent.
    """
    notes, seen = [], 0
    for direction in range(20):
        angle = 18 * direction
        n = next(k for k, s in enumerate(scene.sectors) if (angle - s.start) % 360 < s.end - s.start)
        seen += 5 * (n == asked)
        notes.append(f"{direction + 1} {_NAMES[scene.sectors[n].color]}{f' {seen}' if n == asked else ''}")
    return f"{', '.join(notes)}."


CHART_CHOICES: tuple[tuple[Family, tuple[Ask, ...]], ...] = ((draw_chart, (ask_most,)),)
CHART_NUMBERS: tuple[tuple[Family, tuple[Ask, ...]], ...] = ((draw_chart, (read_value,)), (draw_table, (read_value,)))
CHART_ESTIMATES: tuple[tuple[Family, tuple[Ask, ...]], ...] = ((draw_pie, (estimate_fraction,)),)
MATH_QUESTIONS: tuple[tuple[Family, tuple[Ask, ...]], ...] = (
    (draw_sum, (calculate,)),
    (draw_sum, (calculate,)),
    (draw_table, (add_two, multiply, add_all)),
    (draw_chart, (add_two, add_all)),
)
"""Sorts of pictures with numbers, and what can be asked about them."""
