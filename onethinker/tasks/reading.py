"""From a response to an answer: the blocks are found, and the task reads what is in the answer block."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from onethinker.core.errors import AnswerError
from onethinker.core.grammar import find_answer, parse_response
from onethinker.core.values import Faults
from onethinker.tasks.base import STRICT, Reader, Task
from onethinker.tasks.lenient.blocks import find_blocks

Part = Literal["format", "answer", "form", "repair", "accuracy"]
"""What can be wrong: the tags, an answer of which nothing can be read, places in an answer of which the rest can, what
the lenient reader has changed, an answer that is not wholly right.
"""
MOST_NAMED = 8
"""Faults, and repairs, that are named one by one."""
LONGEST = 110
"""Characters of one of them."""


@dataclass(frozen=True)
class Reading:
    """A response as a task reads it.

    `thinking` is "" where the strict reader finds the tags wrong, `text` the inside of the answer block that counts (""
    without one), and `answer` the task's own type, None where `problems` says under "answer" why there is none.
    """

    thinking: str = ""
    text: str = ""
    answer: Any = None
    problems: dict[Part, str] = field(default_factory=dict)

    @property
    def reasons(self) -> tuple[str, ...]:
        """The problems as texts that say what they are about."""
        return reasons(self.problems)

    @property
    def is_exact(self) -> bool:
        """Whether the answer has its task's form: nothing is missing, left out or repaired."""
        return not self.problems.keys() & {"answer", "form", "repair"}


def read_response(
    response: str, task: Task[Any], options: tuple[str, ...] = (), reader: Reader = STRICT, *, truth: Any = None
) -> Reading:
    """Return any text whatsoever as a task reads it; an answer block counts also in a text that breaks the grammar.

    A task may take a form only where the typed `truth` has it: several letters of several right ones.
    The strict reader is for rewards. The lenient one first repairs what is in no exact form, and names each repair.

    >>> from onethinker.tasks.spatial_grounding import SpatialGrounding
    >>> read_response("<think>Two cats.</think><answer>2</answer>", SpatialGrounding()).problems
    {'answer': 'expected a JSON object with "boxes", got 2'}
    """
    thinking, text, answer = "", "", None
    problems: dict[Part, str] = {}
    faults, repairs = Faults(), list[str]()
    try:
        thinking = parse_response(response).thinking
    except AnswerError as error:
        problems["format"] = str(error)
    try:
        if reader.mode == "lenient":
            thinking, text = find_blocks(response, reader, repairs)
            text = task.repair(text, options, reader, repairs)
        else:
            text = task.in_thousandths(find_answer(response), reader.frame_px)
        read = task.read if truth is None else partial(task.read_like, truth=truth)
        answer = read(text, options, faults=faults)
    except AnswerError as error:
        problems["answer"] = named([*faults.texts, str(error)])
    if answer is not None and faults.texts:
        problems["form"] = named(faults.texts)
    if answer is not None and repairs:
        problems["repair"] = named(repairs)
    return Reading(thinking, text, answer, problems)


def reasons(problems: dict[Part, str]) -> tuple[str, ...]:
    """Return problems as texts that say what they are about."""
    return tuple(f"{part}: {problem}" for part, problem in problems.items())


def named(texts: Sequence[str]) -> str:
    """Return faults as one text: the first of them, and how many more there are.

    >>> named(["'boxes' at 3 must be four thousandths", "'boxes' at 4 must be four thousandths"])
    "'boxes' at 3 must be four thousandths; 'boxes' at 4 must be four thousandths"
    """
    if len(texts) == 1:
        return texts[0]
    shown = [text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…" for text in texts[:MOST_NAMED]]
    return "; ".join(shown) + (f"; and {len(texts) - MOST_NAMED} more" if texts[MOST_NAMED:] else "")
