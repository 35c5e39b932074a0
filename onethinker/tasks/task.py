"""What a task is: its words for the model, the form of its answer, and how an answer is graded."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from onethinker.clip import Clip

Profile = Literal["paper", "release"]
A = TypeVar("A")


@dataclass(frozen=True)
class Grade:
    """What a response is worth and why.

    `reward` follows the profile; `accuracy`, `format` and `structure` are its parts before weighting; `metrics` are
    what papers report; `problems` are the reasons for everything that was lost.
    """

    reward: float
    accuracy: float
    format: float
    structure: float
    metrics: dict[str, float] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


class Task(ABC, Generic[A]):
    """One problem type: wording, answer type, parsing, grading and drawing, all in one file."""

    problem_type: str
    """The name in data files, lower case, e.g. "spatial grounding"."""
    statistics: str
    """The name under which rewards are averaged: the problem type, with "/image" or "/video" for segmentation."""
    instructions: str
    """Our wording of what the answer must look like, appended to every question."""

    @abstractmethod
    def parse(self, text: str) -> A:
        """Return the typed answer that stands in `text`, the inside of an answer block. Raises: AnswerError."""

    @abstractmethod
    def accuracy(self, answer: A, truth: A, profile: Profile) -> float:
        """Return the training reward of an answer before format and structure terms."""

    def structure(self, answer: A, truth: A) -> float:
        """Return the release's structure term (0 to 0.5); the paper profile does not use it."""
        return 0.5

    @abstractmethod
    def metrics(self, answer: A | None, truth: A) -> dict[str, float]:
        """Return what papers report, for a sample; `None` (nothing parsable) gives the worst values."""

    @abstractmethod
    def draw(self, clip: Clip, answer: A) -> Clip:
        """Return the clip with the answer drawn in."""
