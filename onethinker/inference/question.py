"""Questions to a thinker, as one typed value each, and what is left of one that could not be asked."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from onethinker.core.errors import ConfigError, OneThinkerError
from onethinker.core.frames import Clip
from onethinker.core.geometry import Box
from onethinker.core.grammar import show
from onethinker.core.request import Turn
from onethinker.core.sample import Sample
from onethinker.tasks import find_task
from onethinker.tasks.guess import guess_task
from onethinker.tasks.tracking import with_first_box

if TYPE_CHECKING:
    from onethinker.inference.thought import Thought
    from onethinker.media.memory import Given

_EXAMPLES = {"options": '["A. red", "B. blue"]', "box": "[537, 403, 768, 703] in thousandths of the frame"}

GivenTurn: TypeAlias = "Turn | Sequence[str] | Mapping[str, str]"
"""A question and its answer, as a pair or by these names."""
_EARLIER = 'pairs of a question and its answer, such as [["Where is the cat?", "On the left."]]'


@dataclass(frozen=True, eq=False)
class Question:
    """A question about one or several pictures and videos; `Thinker.ask` says what each of these is."""

    source: "Given | Sequence[Given] | Thought" = field(repr=False)
    question: str
    task: str | None = None
    box: Sequence[float] | None = None
    options: Sequence[str] = ()
    fps: float | None = None
    earlier: "Sequence[GivenTurn]" = ()

    @property
    def turns(self) -> tuple[Turn, ...]:
        """What was asked and answered before about the same media. Raises: ConfigError: it is said in another way."""
        if isinstance(self.earlier, str) or not isinstance(self.earlier, Iterable):
            raise ConfigError(f"earlier must be {_EARLIER}, got {show(self.earlier)}")
        return tuple(_turn(each) for each in self.earlier)

    def __post_init__(self) -> None:
        """Raise ConfigError for words that are no text, and for a list that is none."""
        words: dict[str, Any] = {"question": self.question, "task": self.task if self.task is not None else ""}
        lists: dict[str, Any] = {"options": self.options, "box": self.box if self.box is not None else ()}
        for name, value in words.items():
            if not isinstance(value, str):
                raise ConfigError(f"{name} must be a text, got {type(value).__name__}")
        for name, value in lists.items():
            if isinstance(value, str) or not isinstance(value, Iterable):
                raise ConfigError(f"{name} must be a list, such as {_EXAMPLES[name]}, got {show(value)}")


def _turn(given: Any) -> Turn:
    match given:
        case Turn():
            return given
        case {"question": str(question), "answer": str(answer)} | [str(question), str(answer)]:
            return Turn(question, answer)
    raise ConfigError(f"earlier must be {_EARLIER}, got {show(given)} among them")


@dataclass(frozen=True, eq=False)
class Failed:
    """A question that could not be asked or answered, in place of its `Thought`; `error` says why."""

    question: Question
    error: OneThinkerError

    @property
    def answer(self) -> None:
        """There is none."""
        return

    @property
    def problems(self) -> tuple[str, ...]:
        """The error."""
        return (str(self.error),)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `json` can write, under the names that a thought has."""
        return {
            "question": self.question.question,
            "task": self.question.task,
            "answer": None,
            "problems": list(self.problems),
        }


Asked: TypeAlias = "Question | tuple[Given | Sequence[Given] | Thought, str] | Mapping[str, Any]"
"""A question, or its source and words, or its fields by name."""


def as_question(asked: Any, *, task: str | None = None) -> Question:
    """Return a question from its source and words, or its fields by name; `task` holds where none is named.

    >>> as_question(("cat.jpg", "Where is the cat?"), task="spatial grounding").task
    'spatial grounding'

    Raises: ConfigError: it is neither.
    """
    known = [each.name for each in fields(Question)]
    match asked:
        case Question():
            return asked
        case (source, words):
            return Question(source, words, task)
        case Mapping():
            if unknown := [name for name in asked if name not in known]:
                raise ConfigError(f"a question has the fields {', '.join(known)}; got {show(unknown[0])}")
            if missing := [name for name in known[:2] if name not in asked]:
                raise ConfigError(f"a question needs the fields source and question; {missing[0]} is missing")
            return Question(**{"task": task, **asked})
    raise ConfigError(
        f"a question is a pair (source, question), a mapping with the fields {', '.join(known)}, or a Question; got"
        f" {show(asked) if isinstance(asked, str | int | float | None) else type(asked).__name__}"
    )


def question_sample(
    clips: Clip | Sequence[Clip],
    question: str,
    *,
    task: str | None = None,
    box: Sequence[float] | None = None,
    options: Sequence[str] = (),
    before: str | None = None,
    earlier: Sequence[Turn] = (),
) -> Sample:
    """Return a question typed by a user as the record that every stage takes; one with a video among its clips is about
    a video, and one without a task has the guessed one; `before` is the task of the question that it follows,
    without one guessed from the last of `earlier`.

    Raises: DataError, ConfigError
    """
    if not question.strip():
        raise ConfigError('the question is empty; give one, such as "Where is the cat?"')
    clips = (clips,) if isinstance(clips, Clip) else tuple(clips)
    kind: Literal["image", "video"] = "video" if any(clip.kind == "video" for clip in clips) else "image"
    if before is None and earlier:
        before = guess_task(earlier[-1].question, kind)
    if task is None:
        task = guess_task(question, kind, options=options, has_box=box is not None, before=before)
    problem_type = find_task(task, kind).problem_type
    problem = question if box is None else with_first_box(question, check_box(box))
    return Sample("ask", problem, problem_type, kind, clips, options=tuple(options))


def check_box(box: Sequence[float]) -> Box:
    """Return a box typed by a user. Raises: ConfigError: it is none in thousandths."""
    box = tuple(box)
    try:
        is_box = len(box) == 4 and all(0 <= side <= 1000 for side in box) and box[0] < box[2] and box[1] < box[3]
    except TypeError:  # sides that are no numbers
        is_box = False
    if not is_box:
        raise ConfigError(f"box must be left, top, right, bottom in thousandths of the frame (0 to 1000), got {box}")
    if max(box) <= 1:
        raise ConfigError(
            f"box must be in thousandths of the frame, and {box} is smaller than one: multiply fractions from 0 to 1 by"
            f" 1000: {' '.join(f'{side * 1000:g}' for side in box)}"
        )
    return Box(*box)
