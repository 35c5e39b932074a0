"""Where each character of a writing stands in a picture."""

from dataclasses import dataclass

import numpy as np

from onethinker.data.synthetic.world.asking import tenths
from onethinker.data.synthetic.world.lettering import place_characters
from onethinker.data.synthetic.world.scene import Writing


@dataclass(frozen=True)
class Character:
    """A character of a writing: the word that it belongs to, and the upright box around it in fractions of the side."""

    text: str
    word: int
    box: tuple[float, float, float, float]

    @property
    def point(self) -> str:
        """How far right and how far down its middle is, in tenths of the frame."""
        left, top, right, bottom = self.box
        return f"{tenths(500 * (left + right))} {tenths(500 * (top + bottom))}"


def characters(writing: Writing, side_px: int) -> list[Character]:
    """Return the characters of a writing in a picture of so many pixels a side, in the order in which they are read."""
    (height, width), placed = place_characters(
        writing.lines, writing.font, writing.height * side_px, has_board=writing.board is not None
    )
    cos, sin = np.cos(np.deg2rad(writing.angle)), np.sin(np.deg2rad(writing.angle))
    found: list[Character] = []
    word = -1
    for line, boxes in zip(writing.lines, placed, strict=True):
        is_inside = False
        for text, (left, top, right, bottom) in zip(line, boxes, strict=True):
            word += text != " " and not is_inside
            is_inside = text != " "
            if is_inside:
                x = np.array([left, right, right, left]) - width / 2
                y = np.array([top, top, bottom, bottom]) - height / 2
                xs = writing.center[0] + (cos * x - sin * y) / side_px
                ys = writing.center[1] + (sin * x + cos * y) / side_px
                found.append(Character(text, word, (xs.min(), ys.min(), xs.max(), ys.max())))
    return found
