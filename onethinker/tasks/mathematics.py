r"""Mathematics: a number or an expression, right when math-verify finds it equal to the reference.

>>> Mathematics().score(r"$\frac{1}{2}$", r"\frac{1}{2}", "paper").accuracy
1.0
"""

from dataclasses import dataclass, field

from onethinker.core.errors import AnswerError
from onethinker.core.frames import Clip
from onethinker.drawing.draw import draw_caption
from onethinker.tasks.base import Reader, RewardScheme, Score, Task
from onethinker.tasks.lenient.words import repair_expression
from onethinker.tasks.math.differences import find_difference
from onethinker.tasks.math.expressions import PERCENT, Expression, attached_unit, fold_expression
from onethinker.tasks.math.sandbox import MathSandbox, Verdict
from onethinker.tasks.notation import without_space

LONGEST = 2000
"""Characters; no reference answer is near it, and reading more costs the grader time."""


def bare(text: str) -> str:
    r"""Return an expression without white space and without the dollars around it.

    >>> bare("$$ x + 1 $$")
    'x+1'
    """
    text = without_space(text)
    for mark in ("$$", "$"):
        inside = text[len(mark) : -len(mark)]
        if text.startswith(mark) and text.endswith(mark) and inside and "$" not in inside:
            return inside
    return text


def _with_percent(expression: Expression) -> Expression:
    """Return an expression with its percent sign in the value, where math-verify reads it both as a hundredth and as a
    unit.
    """
    return Expression(expression.value + r"\%") if expression.unit == PERCENT else expression


@dataclass(frozen=True)
class Mathematics(Task[str]):
    """A number or LaTeX; equality is decided in a process of its own that can be killed."""

    problem_type = "math"
    key = problem_type
    instructions = (
        "The answer is the final result alone: a number or an expression in LaTeX, without words, unit or working. "
        "Give a fraction or root in exact form unless the question asks for decimals."
    )
    example = r"$\frac{3}{4}$"
    metrics = ("accuracy",)
    sandbox: MathSandbox = field(default_factory=MathSandbox, repr=False, compare=False)

    def parse(self, text: str, options: tuple[str, ...] = ()) -> str:
        """Return the expression as it stands. Raises: AnswerError."""
        text = text.strip()
        if not text.strip("$ "):
            raise AnswerError("the answer is empty; expected a number or an expression")
        if len(text) > LONGEST:
            raise AnswerError(f"the expression has {len(text)} characters; at most {LONGEST} are read")
        return text

    def repair(self, text: str, options: tuple[str, ...], reader: Reader, repairs: list[str]) -> str:
        """Return the expression that a worked solution ends in."""
        return repair_expression(text, repairs)

    def compare(self, answer: str, truth: str) -> Verdict:
        """Return whether two expressions are equal once both are spelled alike, and why they could not be compared if
        they could not.
        """
        if bare(answer) == bare(truth):
            return True, None
        folded_truth, folded = fold_expression(truth), fold_expression(answer)
        folded = attached_unit(folded, folded_truth)
        if folded_truth.compact + folded_truth.unit == folded.compact + folded.unit:
            return True, None
        if (difference := find_difference(folded_truth, folded)) is not None:
            return False, difference
        if folded_truth.compact == folded.compact or folded.says() is not None:
            return True, None
        if PERCENT in (folded_truth.unit, folded.unit) and folded_truth.unit != folded.unit:
            folded_truth, folded = _with_percent(folded_truth), _with_percent(folded)
        return self.sandbox.compare(folded_truth.value, folded.value)

    def score(self, answer: str, truth: str, reward_scheme: RewardScheme) -> Score:
        """Return 1 for an expression equal to the reference, else 0; one that takes too long to compare is 0."""
        is_equal, problem = self.compare(answer, truth)
        return Score(float(is_equal), {"accuracy": float(is_equal)}, problem or "not equal")

    def draw(self, clip: Clip, answer: str) -> Clip:
        """Return the clip with the expression written below."""
        return draw_caption(clip, answer)
