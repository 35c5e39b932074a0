"""What a task is: its words for the model, the form of its answer, and how right an answer is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, Literal, TypeVar

from onethinker.core.errors import AnswerError
from onethinker.core.frames import Clip
from onethinker.core.geometry import Box, Point, Span
from onethinker.core.grammar import read_json
from onethinker.core.values import EXACT, Faults
from onethinker.tasks.lenient.words import passages
from onethinker.tasks.places import FrameSize, places_from_px

RewardScheme = Literal["paper", "release"]
DataType = Literal["image", "video"]
ReadingMode = Literal["strict", "lenient"]
Coordinates = Literal["thousandths", "pixels"]
IN_PIXELS = (
    "x counts pixels from the left and y pixels from the top, as you are shown it: {0} pixels wide and {1} high, so x"
    " lies between 0 and {0} and y between 0 and {1}."
)
"""What instructions say of coordinates in place of thousandths."""
A = TypeVar("A")


@dataclass(frozen=True)
class Reader:
    """How a response is read.

    The strict reader takes the exact form, and of an answer with faults what can be used. The lenient one first turns
    what other models and people write into that form, and names each repair. `frame_px` is the width and height of the
    frame in whose pixels the model writes coordinates, None for thousandths. `truncated` says that the response was cut
    off at the token limit.
    """

    mode: ReadingMode = "strict"
    frame_px: FrameSize | None = None
    truncated: bool = False


STRICT, LENIENT = Reader(), Reader("lenient")


@dataclass(frozen=True)
class Score:
    """An answer beside the truth: how right it is (0 to 1), what papers report, and why it is not wholly right.

    `accuracy` is the training reward before format and structure. Without a `reason` the accuracy is reason enough.
    """

    accuracy: float
    metrics: dict[str, float]
    reason: str = ""


class Task(ABC, Generic[A]):
    """One problem type: wording, answer type, parsing, grading and drawing, all in one file."""

    problem_type: ClassVar[str]
    """The name in data files, lower case, e.g. "spatial grounding"."""
    key: ClassVar[str]
    """The name under which rewards are averaged: the problem type, with "/image" or "/video" for segmentation."""
    data_types: ClassVar[tuple[DataType, ...]] = ("image", "video")
    """What the question may be about."""
    instructions: ClassVar[str]
    """Our wording of what the answer must look like, appended to every question."""
    units: ClassVar[str] = ""
    """The end of the instructions that says what coordinates count; "" for a task without."""
    places: ClassVar[frozenset[str]] = frozenset()
    """The fields of an answer that hold boxes or points, which a model may count in pixels."""
    example: ClassVar[str]
    """The inside of an answer block in the task's form."""
    metrics: ClassVar[tuple[str, ...]]
    """The names of what papers report; all are 0 for a response without an answer."""
    structured: ClassVar[bool] = False
    """Whether the answer is JSON, so that a wrong form loses the format (paper) or structure (release) reward."""
    terms: ClassVar[int] = 1
    """How many rewards of 0 to 1 the paper adds up; their mean is the accuracy."""
    judged: ClassVar[bool] = False
    """Whether in training a reward model, where one is configured, says how right an answer is instead of
    `score`.
    """

    def __reduce__(self) -> tuple[type["Task[A]"], tuple[()]]:
        """Travel to another process as the class alone; what a task keeps running (a grader's process) is started anew
        there.
        """
        return type(self), ()

    def wording(self, frame_px: tuple[object, object] | None = None) -> str:
        """Return the instructions; for a model that counts pixels of frames of this size they say so."""
        if frame_px is None or not self.units:
            return self.instructions
        return self.instructions.removesuffix(self.units) + IN_PIXELS.format(*frame_px)

    def in_thousandths(self, text: str, frame_px: FrameSize | None) -> str:
        """Return an answer in the task's own form with thousandths for pixels; None for one that has them."""
        return text if frame_px is None else places_from_px(text, self.places, frame_px)

    @abstractmethod
    def parse(self, text: str, options: tuple[str, ...] = ()) -> A:
        """Return the typed answer that stands in `text`, the inside of an answer block. Raises: AnswerError.

        `options` are the choices that came with the question; only multiple choice looks at them. Nothing in the text
        may be wrong: truths are read like this.
        """

    def read(self, text: str, options: tuple[str, ...], faults: Faults) -> A:
        """Return what can be used of an answer, its faults among `faults`; by default an answer is exact or none.

        Raises: AnswerError: nothing can be used.
        """
        return self.parse(text, options)

    def parse_truth(self, text: str, options: tuple[str, ...] = ()) -> A:
        """Return a reference answer; by default it is read as an answer is. Raises: AnswerError."""
        return self.parse(text, options)

    def read_like(self, text: str, options: tuple[str, ...], truth: A, faults: Faults) -> A:
        """Return what can be used of an answer where the truth is known; by default this tells nothing about its form.

        Raises: AnswerError: nothing can be used.
        """
        return self.read(text, options, faults)

    def repair(self, text: str, options: tuple[str, ...], reader: Reader, repairs: list[str]) -> str:
        """Return an answer in the task's own form for the lenient reader, with what was changed among `repairs`."""
        return text

    def structure(self, answer: A, truth: A) -> float:
        """Return the release's structure term (0 to 0.5) of an answer in the right form; the paper does not use it."""
        return 0.5

    @abstractmethod
    def score(self, answer: A, truth: A, reward_scheme: RewardScheme) -> Score:
        """Return how right an answer is, and a value for each of `metrics`."""

    def boxes(self, answer: A) -> Mapping[float, Box]:
        """Return the boxes of an answer by their second (a picture: 0), in order; {} for a task without boxes."""
        return {}

    def span(self, answer: A) -> Span | None:
        """Return the time that an answer names; None for a task without."""
        return None

    def points(self, answer: A) -> Mapping[str, Sequence[Point]]:
        """Return the points of an answer by their kind, "positive" and "negative"; {} for a task without points."""
        return {}

    def last_moment(self, answer: A) -> tuple[float, str] | None:
        """Return the last second that an answer speaks of, and how it does; None for a task without times."""
        return None

    @abstractmethod
    def draw(self, clip: Clip, answer: A) -> Clip:
        """Return the clip with the answer drawn in."""


class StructuredTask(Task[A]):
    """A task whose answer is JSON: a subclass says in `read` what can be used of one, and exact is what has no
    faults.
    """

    structured = True

    def parse(self, text: str, options: tuple[str, ...] = ()) -> A:
        """Return the answer in text of exactly the task's form. Raises: AnswerError."""
        return self.read(text, options, EXACT)

    @abstractmethod
    def read(self, text: str, options: tuple[str, ...], faults: Faults) -> A:
        """Return what can be used of an answer. Raises: AnswerError: nothing can."""

    def convert(self, text: str, reader: Reader, repairs: list[str]) -> str:
        """Return an answer in another form in the task's own. Raises: AnswerError: it is in no form that is known."""
        return text

    def repair(self, text: str, options: tuple[str, ...], reader: Reader, repairs: list[str]) -> str:
        """Return what `convert` makes of an answer that is not exact; where it makes nothing, the text itself."""
        faults = Faults()
        own = self.in_thousandths(text, reader.frame_px)
        try:
            boxes = self.boxes(self.read(own, options, faults)).values()
            has_fractions = reader.frame_px is None and bool(boxes) and all(max(box) <= 1 for box in boxes)
            if not faults.texts and not has_fractions:
                return own
        except AnswerError:
            pass
        for what, passage in passages(text):
            changed = [what] if what else []
            try:
                converted = self.convert(passage, reader, changed)
            except AnswerError:
                continue
            if not changed and _is_same(own, converted):
                return own
            repairs += changed or ["JSON in another form"]
            return converted
        return own


def _is_same(text: str, converted: str) -> bool:
    try:
        return bool(read_json(text) == read_json(converted))
    except AnswerError:
        return False


def recalls(value: float, *thresholds: float, name: str = "R") -> dict[str, float]:
    """Return whether a value reaches each threshold, as 1 or 0, under the names that papers use.

    >>> recalls(0.6, 0.5, 0.7)
    {'R@0.5': 1.0, 'R@0.7': 0.0}
    """
    return {f"{name}@{threshold:g}": float(value >= threshold) for threshold in thresholds}
