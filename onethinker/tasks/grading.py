"""From a response to its grade: read it once, compare it once with a truth that is read once."""

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from onethinker.core.errors import AnswerError, DataError
from onethinker.core.grammar import show
from onethinker.tasks.base import STRICT, Reader, RewardScheme, Score, Task
from onethinker.tasks.reading import Part, read_response, reasons

ROUNDING = 1e-9
"""Sums of thirds may miss 1 by less than this."""
REMEMBERED = 64
"""Truths kept as the tasks read them: the answers of a group come one after the other, and share theirs."""


@dataclass(frozen=True)
class Grade:
    """What a response is worth and why.

    `reward` follows the reward scheme; `accuracy` (0 to 1), `format` (0 or 1) and `structure` (0 to 0.5) are its parts
    before weighting; `metrics` are what papers report; `problems` are the reasons why something was lost.
    """

    reward: float
    accuracy: float
    format: float
    structure: float
    metrics: dict[str, float] = field(default_factory=dict)
    problems: dict[Part, str] = field(default_factory=dict)

    @property
    def reasons(self) -> tuple[str, ...]:
        """The problems as texts that say what they are about."""
        return reasons(self.problems)


@lru_cache(REMEMBERED)
def parse_truth(truth: str, task: Task[Any], options: tuple[str, ...] = ()) -> Any:
    """Return a reference answer in the task's own type. Raises: DataError: it is none."""
    try:
        return task.parse_truth(truth, options)
    except AnswerError as error:
        raise DataError(f"the truth {show(truth)} is not an answer to {task.problem_type!r}: {error}") from error


def grade_response(
    response: str,
    truth: str,
    *,
    task: Task[Any],
    options: tuple[str, ...] = (),
    reward_scheme: RewardScheme = "paper",
    reader: Reader = STRICT,
) -> Grade:
    """Return the grade of any text whatsoever; `truth` is the inside of the reference answer block.

    A response that breaks the grammar loses its format reward; its last answer block after the last `</think>`, if it
    has one, still counts. An answer of which only a part can be used has the accuracy of that part and loses the reward
    for its form, and so does one that the lenient reader has repaired. Rewards are by the strict reader alone.

    Raises: DataError: the truth itself is not an answer of the task.
    """
    meant = parse_truth(truth, task, options)
    reading = read_response(response, task, options, reader, truth=meant)
    problems = dict(reading.problems)
    has_answer, has_tags = "answer" not in problems, "format" not in problems
    score = (
        task.score(reading.answer, meant, reward_scheme) if has_answer else Score(0.0, dict.fromkeys(task.metrics, 0.0))
    )
    if has_answer and score.accuracy < 1 - ROUNDING:
        problems["accuracy"] = f"{score.reason or f'{score.accuracy:.3g} of 1'}; the truth is {show(truth)}"
    has_form = reading.is_exact or not task.structured
    structure = 0.0
    if has_tags and has_form:
        structure = task.structure(reading.answer, meant) if has_answer else 0.5
    has_format = has_tags and (has_form or reward_scheme == "release")
    return Grade(
        reward=_reward(task, reward_scheme, accuracy=score.accuracy, has_format=has_format, structure=structure),
        accuracy=score.accuracy,
        format=float(has_format),
        structure=structure,
        metrics=score.metrics,
        problems=problems,
    )


def judged_grade(grade: Grade, accuracy: float, *, task: Task[Any], reward_scheme: RewardScheme, by: str) -> Grade:
    """Return a grade whose accuracy somebody else has given: the reward follows, form and metrics stay as they are.

    `by` says who, and how; it becomes a problem of an answer that is not wholly right.
    """
    problems: dict[Part, str] = {part: problem for part, problem in grade.problems.items() if part != "accuracy"}
    if accuracy < 1 - ROUNDING:
        problems["accuracy"] = f"{accuracy:.3g} of 1 by {by}"
    reward = _reward(task, reward_scheme, accuracy=accuracy, has_format=bool(grade.format), structure=grade.structure)
    return replace(grade, reward=reward, accuracy=accuracy, problems=problems)


def max_reward(task: Task[Any], reward_scheme: RewardScheme) -> float:
    """Return the reward of a perfect response."""
    return _reward(task, reward_scheme, accuracy=1.0, has_format=True, structure=0.5)


def _reward(
    task: Task[Any], reward_scheme: RewardScheme, *, accuracy: float, has_format: bool, structure: float
) -> float:
    """Return the total reward. Source: paper, R = R_acc + R_format; release, onethinker_reward.py."""
    if reward_scheme == "paper":
        return task.terms * accuracy + has_format
    return 0.9 * accuracy + 0.1 * has_format + structure
