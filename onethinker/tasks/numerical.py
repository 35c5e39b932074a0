"""Numerical: a number that is exactly right, to two decimals.

"How many cups are on the shelf?" -> 12
"""

import math
import re

from onethinker.clip import Clip
from onethinker.drawing import draw_caption
from onethinker.errors import AnswerError
from onethinker.response import MAX_NUMBER_CHARS, show
from onethinker.tasks.task import Profile, Task

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:,[0-9]+)*(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")


def parse_number(text: str) -> float:
    """Return the number that a text is, commas between its digits ignored.

    Digits are ASCII; words, units, "nan", "inf" and "true" are refused.

    >>> parse_number("1,250.5"), parse_number(" -3 ")
    (1250.5, -3.0)

    Raises: AnswerError
    """
    text = text.strip()
    if len(text) > MAX_NUMBER_CHARS:
        raise AnswerError(f"expected a number of at most {MAX_NUMBER_CHARS} characters, got {len(text)}")
    if not _NUMBER.fullmatch(text):
        raise AnswerError(f"expected a number in plain digits, got {show(text)}")
    number = float(text.replace(",", ""))
    if not math.isfinite(number):
        raise AnswerError(f"expected a finite number, got {show(text)}")
    return number


class Numerical(Task[float]):
    """One number; there is no credit for a near miss."""

    problem_type = "numerical"
    statistics = problem_type
    instructions = "Answer with one number in digits, without words or unit."
    example = "12"

    def parse(self, text: str, options: tuple[str, ...] = ()) -> float:
        """Return the number. Raises: AnswerError."""
        return parse_number(text)

    def accuracy(self, answer: float, truth: float, profile: Profile) -> float:
        """Return 1 where both numbers are the same to two decimals, else 0."""
        return float(round(answer, 2) == round(truth, 2))

    def metrics(self, answer: float | None, truth: float) -> dict[str, float]:
        """Return the share of right answers."""
        return {"accuracy": 0.0 if answer is None else self.accuracy(answer, truth, "paper")}

    def draw(self, clip: Clip, answer: float) -> Clip:
        """Return the clip with the number written below."""
        return draw_caption(clip, f"{answer:.12g}")
