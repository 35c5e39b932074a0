"""Pages full of words and numbers: what the vision tower learns to read from."""

import string
from itertools import product

import numpy as np

from onethinker.data.synthetic.world.backgrounds import draw_background, is_dark
from onethinker.data.synthetic.world.lettering import FONTS, width_of
from onethinker.data.synthetic.world.scene import Scene, World, Writing, draw_look
from onethinker.data.synthetic.world.writing import DARK_INKS, LIGHT_INKS, WORDS, fitting_height

SYMBOLS = "0123456789+-x=?"
"""What numbers and sums are written in."""
CHARACTERS = "".join(dict.fromkeys(SYMBOLS + string.ascii_lowercase))
"""What signs are written in."""
_ROOM = 0.96  # of the frame, for a line


def draw_page(rng: np.random.Generator, _: World) -> Scene:
    """Return one to five lines of words, numbers or symbols, each in a font and ink of its own."""
    background = draw_background(rng, calm=True)
    inks = list((LIGHT_INKS if is_dark(background) else DARK_INKS).values())
    count = int(rng.integers(1, 6))
    writings = []
    for row in range(count):
        text, font = _draw_line(rng), int(rng.integers(len(FONTS)))
        height = fitting_height((text,), font, largest=min(0.4, 0.8 / count)) * float(rng.uniform(0.6, 1.0))
        room = max(0.0, _ROOM - width_of(text, font) * height)
        center = 0.5 + float(rng.uniform(-0.5, 0.5)) * room, (row + 0.5) / count
        angle = float(rng.uniform(-6, 6)) if rng.random() < 0.3 else 0.0
        writings.append(Writing((text,), font, inks[int(rng.integers(len(inks)))], None, center, height, angle))
    return Scene(background, writings=tuple(writings), look=draw_look(rng))


def draw_grid(rng: np.random.Generator, side: int, *, smallest: float) -> Scene:
    """Return single characters in the cells of a grid, four of five of them filled: the first thing to learn.

    They are at least `smallest` of a cell's height, and up to 0.3 of a cell from its middle.
    """
    background = draw_background(rng, calm=True)
    inks = list((LIGHT_INKS if is_dark(background) else DARK_INKS).values())
    font, loose = int(rng.integers(len(FONTS))), float(rng.uniform(0, 0.3))
    writings = []
    for row, column in product(range(side), range(side)):
        if rng.random() < 0.2:
            continue
        if rng.random() < 0.25:
            font = int(rng.integers(len(FONTS)))
        text = CHARACTERS[int(rng.integers(len(CHARACTERS)))]
        height = float(rng.uniform(smallest, 1.05)) * 0.85 / side
        x, y = ((cell + 0.5 + float(rng.uniform(-loose, loose))) / side for cell in (column, row))
        angle = float(rng.uniform(-8, 8)) if rng.random() < 0.3 else 0.0
        writings.append(Writing((text,), font, inks[int(rng.integers(len(inks)))], None, (x, y), height, angle))
    return Scene(background, writings=tuple(writings), look=draw_look(rng))


def _draw_line(rng: np.random.Generator) -> str:
    """Return one or two words, up to three numbers, or up to seven symbols."""
    kind = rng.random()
    if kind < 0.6:
        return " ".join(WORDS[int(n)] for n in rng.integers(len(WORDS), size=int(rng.integers(1, 3))))
    if kind < 0.8:
        return " ".join(str(n) for n in rng.integers(0, 1000, int(rng.integers(1, 4))))
    return "".join(
        SYMBOLS[int(rng.integers(len(SYMBOLS)))] if rng.random() < 0.4 else str(rng.integers(10))
        for _ in range(int(rng.integers(2, 8)))
    )
