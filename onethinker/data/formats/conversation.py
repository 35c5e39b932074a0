"""Conversations in records: "messages" with a system turn, several questions and answers, media in any question."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from onethinker.core.errors import DataError
from onethinker.core.grammar import show
from onethinker.core.request import Turn

PLACEHOLDER = re.compile(r"<(image|video)>")
LEADING = re.compile(r"\s*(?:<(?:image|video)>\s*)*")
OWN_LINE = re.compile(r"^[ \t]*(?:<(?:image|video)>[ \t]*)+$\n?", re.MULTILINE)
_OTHER_MARKS = ("loss", "weight", "train", "trainable", "loss_weight", "mask", "masked", "learned")
"""What other trainers call `learn`: to read past it would learn what is meant to be left."""


@dataclass(frozen=True)
class Conversation:
    """Questions and answers as they are written, how many of them there are up to the last answer that is learned, and
    what the system says.
    """

    system: str | None
    turns: tuple[Turn, ...]
    used: int

    @property
    def is_single(self) -> bool:
        """Whether it is one question with its answer, to which a task's own words are added."""
        return self.system is None and len(self.turns) == 1


def read_messages(messages: Any) -> Conversation:
    """Return what "messages" hold. Raises: DataError: roles that do not take turns, no text, nothing to learn."""
    turns = messages if isinstance(messages, list) else []
    roles = [turn.get("role") if isinstance(turn, dict) else None for turn in turns]
    has_system = roles[:1] == ["system"]
    spoken = roles[has_system:]
    if not spoken or spoken != ["user", "assistant"] * (len(spoken) // 2):
        raise DataError(
            "'messages' must alternate between user and assistant, optionally after a system turn, and end with an"
            f" assistant turn, got roles {show(roles)}"
        )
    texts = [_text(turn, number) for number, turn in enumerate(turns, 1)]
    learned = [_is_learned(turn, number) for number, turn in enumerate(turns, 1)][has_system:][1::2]
    if not any(learned):
        raise DataError("'messages' has no turn to train on: 'learn' is false in every assistant turn")
    asked, answered = texts[has_system:][::2], texts[has_system:][1::2]
    pairs = tuple(Turn(*parts) for parts in zip(asked, answered, learned, strict=True))
    return Conversation(texts[0] if has_system else None, pairs, len(learned) - learned[::-1].index(True))


def _text(turn: dict[str, Any], number: int) -> str:
    content = turn.get("content")
    if not isinstance(content, str) or not content.strip():
        raise DataError(f"'messages', turn {number}: 'content' must be a text, got {show(content)}")
    if turn["role"] == "system" and (found := PLACEHOLDER.search(content)):
        raise DataError(f"'messages', turn {number}: {found[0]} must be in a user turn, not in a system turn")
    return content


def _is_learned(turn: dict[str, Any], number: int) -> bool:
    learn = turn.get("learn", True)
    if other := next((name for name in _OTHER_MARKS if name in turn), None):
        raise DataError(
            f"'messages', turn {number}: there is no field {other!r}; did you mean 'learn' (true or false)?"
        )
    if not isinstance(learn, bool) or ("learn" in turn and turn["role"] != "assistant"):
        raise DataError(
            f"'messages', turn {number}: 'learn' must be true or false, in an assistant turn, got {show(learn)}"
        )
    return learn


def place_in_turns(
    conversation: Conversation, images: Sequence[Path], videos: Sequence[Path]
) -> tuple[tuple[Turn, ...], tuple[Path, ...], tuple[int, ...]]:
    """Return the turns that are used, without their placeholders, the media in the order of these, and how many stand
    before each question; without placeholders all stand before the first, videos first.

    Raises: DataError: there are not as many placeholders as media; a question is nothing else.
    """
    turns, used = conversation.turns, conversation.used
    kinds = [leading_kinds(turn.question) for turn in turns]
    if not stand_for(chain(*kinds), images, videos):  # else what stands among the words is only words
        kinds = [PLACEHOLDER.findall(turn.question) for turn in turns]
    if not any(kinds):
        return turns[:used], (*videos, *images), (len(videos) + len(images), *[0] * (used - 1))
    media = in_order([*chain(*kinds)], images, videos, named="'messages'", within=" in user turns")
    placed = tuple(replace(turn, question=without_placeholders(turn.question)) for turn in turns)
    if empty := [number for number, turn in enumerate(placed, 1) if not turn.question]:
        raise DataError(f"'messages': question {empty[0]} is empty: it has nothing but <image> and <video>")
    shown = tuple(map(len, kinds[:used]))
    return placed[:used], media[: sum(shown)], shown


def leading_kinds(question: str) -> list[str]:
    """Return the kinds of the placeholders before a question.

    >>> leading_kinds("<image> <video>Is it in <image>?")
    ['image', 'video']
    """
    start = LEADING.match(question)
    return PLACEHOLDER.findall(start[0]) if start else []


def stand_for(kinds: Iterable[str], images: Sequence[Path], videos: Sequence[Path]) -> bool:
    """Tell whether there is a placeholder for each medium, and no other."""
    return Counter(kinds) == Counter(image=len(images), video=len(videos))


def in_order(
    kinds: Sequence[str], images: Sequence[Path], videos: Sequence[Path], *, named: str, within: str = ""
) -> tuple[Path, ...]:
    """Return media in the order of their placeholders, which stand in the field `named`.

    Raises: DataError: there are not as many placeholders as media.
    """
    for kind, paths in (("image", images), ("video", videos)):
        if (found := kinds.count(kind)) != len(paths):
            raise DataError(f"{named} has {found} times <{kind}>{within}, but there are {len(paths)} {kind}s")
    queues = {"image": iter(images), "video": iter(videos)}
    return tuple(next(queues[kind]) for kind in kinds)


def without_placeholders(question: str) -> str:
    r"""Return a question without the placeholders before it and those that have lines of their own; one among the words
    is left there.

    >>> without_placeholders("<image>Is it\n<video>\nin <image>?")
    'Is it\nin <image>?'
    """
    return OWN_LINE.sub("", LEADING.sub("", question, count=1)).strip()
