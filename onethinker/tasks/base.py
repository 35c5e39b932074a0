"""What a task is: its words for the model, the form of its answer, and how an answer is graded."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, Literal, TypeVar

from onethinker.core.errors import AnswerError, DataError
from onethinker.core.frames import Clip
from onethinker.core.grammar import find_answer, parse_response, show

Profile = Literal["paper", "release"]
DataType = Literal["image", "video"]
A = TypeVar("A")


@dataclass(frozen=True)
class Grade:
    """What a response is worth and why.

    `reward` follows the profile; `accuracy` (0 to 1), `format` (0 or 1) and `structure` (0 to 0.5) are its parts before
    weighting; `metrics` are what papers report; `problems` are the reasons why an answer could not count.
    """

    reward: float
    accuracy: float
    format: float
    structure: float
    metrics: dict[str, float] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


class Task(ABC, Generic[A]):
    """One problem type: wording, answer type, parsing, grading and drawing, all in one file."""

    problem_type: ClassVar[str]
    """The name in data files, lower case, e.g. "spatial grounding"."""
    statistics: ClassVar[str]
    """The name under which rewards are averaged: the problem type, with "/image" or "/video" for segmentation."""
    data_types: ClassVar[tuple[DataType, ...]] = ("image", "video")
    """What the question may be about."""
    instructions: ClassVar[str]
    """Our wording of what the answer must look like, appended to every question."""
    example: ClassVar[str]
    """The inside of an answer block in the task's form."""
    structured: ClassVar[bool] = False
    """Whether the answer is JSON, so that a wrong form loses the format (paper) or structure (release) reward."""
    terms: ClassVar[int] = 1
    """How many rewards of 0 to 1 the paper adds up; `accuracy` is their mean."""
    judged: ClassVar[bool] = False
    """Whether in training a reward model, where one is configured, says how right an answer is instead of
    `accuracy`.
    """

    def __reduce__(self) -> tuple[type["Task[A]"], tuple[()]]:
        """Travel to another process as the class alone; what a task keeps running (a grader's process) is started anew
        there.
        """
        return type(self), ()

    @abstractmethod
    def parse(self, text: str, options: tuple[str, ...] = ()) -> A:
        """Return the typed answer that stands in `text`, the inside of an answer block. Raises: AnswerError.

        `options` are the choices that came with the question; only multiple choice looks at them.
        """

    def structure(self, answer: A, truth: A) -> float:
        """Return the release's structure term (0 to 0.5) of an answer in the right form; the paper does not use it."""
        return 0.5

    @abstractmethod
    def accuracy(self, answer: A, truth: A, profile: Profile) -> float:
        """Return how right an answer is, 0 to 1: the training reward before format and structure."""

    def explain(self, answer: A, truth: A, accuracy: float) -> str:
        """Return why the accuracy of an answer is less than 1."""
        return f"{accuracy:.3g} of 1"

    @abstractmethod
    def metrics(self, answer: A | None, truth: A) -> dict[str, float]:
        """Return what papers report, always under the same names; `None` (nothing parsable) gives the worst values."""

    @abstractmethod
    def draw(self, clip: Clip, answer: A) -> Clip:
        """Return the clip with the answer drawn in."""


ROUNDING = 1e-9
"""Sums of thirds may miss 1 by less than this."""
ANSWER_PROBLEM = "answer: "
"""How the problem begins that says why there is no answer that could be read."""
ACCURACY_PROBLEM = "accuracy: "
"""How the problem begins that says why an answer is not wholly right."""


def grade_response(
    response: str, truth: str, *, task: Task[Any], options: tuple[str, ...] = (), profile: Profile = "paper"
) -> Grade:
    """Return the grade of any text whatsoever; `truth` is the inside of the reference answer block.

    A response that breaks the grammar loses its format reward; its last answer block after the last `</think>`, if it
    has one, still counts.

    Raises: DataError: the truth itself is not an answer of the task.
    """
    try:
        truth_answer = task.parse(truth, options)
    except AnswerError as error:
        raise DataError(f"the truth {show(truth)} is not an answer to {task.problem_type!r}: {error}") from error
    problems = []
    answer, has_tags, has_answer = None, False, False
    try:
        parse_response(response)
        has_tags = True
    except AnswerError as error:
        problems.append(f"format: {error}")
    try:
        answer = task.parse(find_answer(response), options)
        has_answer = True
    except AnswerError as error:
        problems.append(f"{ANSWER_PROBLEM}{error}")
    accuracy = task.accuracy(answer, truth_answer, profile) if has_answer else 0.0
    if has_answer and accuracy < 1 - ROUNDING:
        problems.append(f"{ACCURACY_PROBLEM}{task.explain(answer, truth_answer, accuracy)}; the truth is {show(truth)}")
    has_form = has_answer or not task.structured
    structure = 0.0
    if has_tags and has_form:
        structure = task.structure(answer, truth_answer) if has_answer else 0.5
    has_format = has_tags and (has_form or profile == "release")
    return Grade(
        reward=_reward(task, profile, accuracy=accuracy, has_format=has_format, structure=structure),
        accuracy=accuracy,
        format=float(has_format),
        structure=structure,
        metrics=task.metrics(answer, truth_answer),
        problems=tuple(problems),
    )


def judged_grade(grade: Grade, accuracy: float, *, task: Task[Any], profile: Profile, by: str) -> Grade:
    """Return a grade whose accuracy somebody else has given: the reward follows, form and metrics stay as they are.

    `by` says who, and how; it becomes a problem of an answer that is not wholly right.
    """
    problems = [problem for problem in grade.problems if not problem.startswith(ACCURACY_PROBLEM)]
    if accuracy < 1 - ROUNDING:
        problems.append(f"{ACCURACY_PROBLEM}{accuracy:.3g} of 1 by {by}")
    reward = _reward(task, profile, accuracy=accuracy, has_format=bool(grade.format), structure=grade.structure)
    return replace(grade, reward=reward, accuracy=accuracy, problems=tuple(problems))


def recalls(value: float, *thresholds: float, name: str = "R") -> dict[str, float]:
    """Return whether a value reaches each threshold, as 1 or 0, under the names that papers use.

    >>> recalls(0.6, 0.5, 0.7)
    {'R@0.5': 1.0, 'R@0.7': 0.0}
    """
    return {f"{name}@{threshold:g}": float(value >= threshold) for threshold in thresholds}


def max_reward(task: Task[Any], profile: Profile) -> float:
    """Return the reward of a perfect response."""
    return _reward(task, profile, accuracy=1.0, has_format=True, structure=0.5)


def _reward(task: Task[Any], profile: Profile, *, accuracy: float, has_format: bool, structure: float) -> float:
    """Return the whole reward. Source: paper, R = R_acc + R_format; release, onethinker_reward.py."""
    if profile == "paper":
        return task.terms * accuracy + has_format
    return 0.9 * accuracy + 0.1 * has_format + structure
