"""Regression: a measured number, better the nearer it is.

"How many metres is the sofa from the door?" -> 2.4
"""

from onethinker.core.frames import Clip
from onethinker.drawing.draw import draw_caption
from onethinker.tasks.base import Reader, RewardScheme, Score, Task
from onethinker.tasks.lenient.words import number_in, repair_value
from onethinker.tasks.numerical import parse_number, units_agree

TOLERANCES = tuple(twentieths / 20 for twentieths in range(1, 11))
"""Relative errors from 0.05 to 0.5; one point a tolerance that is kept."""


def mean_relative_accuracy(answer: float, truth: float) -> float:
    """Return the fraction of the tolerances 5 %, 10 %, … 50 % that the relative error stays below, 0 to 1.

    A truth of 0 is met only by 0 (to within 5e-9).

    >>> mean_relative_accuracy(88, 100)
    0.8

    Source: paper, and the release's onethinker_reward.py (its 1e-8 in the denominator included).
    """
    error = abs(answer - truth) / (abs(truth) + 1e-8)
    return sum(error < tolerance for tolerance in TOLERANCES) / len(TOLERANCES)


class Regression(Task[float]):
    """One number, graded by mean relative accuracy."""

    problem_type = "regression"
    key = problem_type
    instructions = (
        "Answer with your best estimate as one number in digits, in the unit that the question asks for, without words"
        " or unit."
    )
    example = "2.4"
    metrics = ("MRA",)

    def parse(self, text: str, options: tuple[str, ...] = ()) -> float:
        """Return the number. Raises: AnswerError."""
        return parse_number(text)

    def repair(self, text: str, options: tuple[str, ...], reader: Reader, repairs: list[str]) -> str:
        """Return the number that is in JSON, in a sentence or in words, in digits."""
        return repair_value(text, parse_number, repairs, number_in)

    def score(self, answer: float, truth: float, reward_scheme: RewardScheme) -> Score:
        """Return the mean relative accuracy; nothing where both are in different units."""
        accuracy = mean_relative_accuracy(answer, truth) if units_agree(answer, truth) else 0.0
        return Score(accuracy, {"MRA": accuracy})

    def draw(self, clip: Clip, answer: float) -> Clip:
        """Return the clip with the number written below."""
        return draw_caption(clip, f"{answer:.12g}")
