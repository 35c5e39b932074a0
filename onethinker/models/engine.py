"""Requests in, texts out: the one interface that local, remote and scripted models share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from onethinker.clip import Clip


@dataclass(frozen=True)
class Request:
    """One user message: media first, then the complete text (question, options, instructions)."""

    text: str
    media: tuple[Clip, ...] = ()
    system: str | None = None


@dataclass(frozen=True)
class Sampling:
    """How an answer is drawn; temperature 0 is greedy."""

    max_new_tokens: int = 4096
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Reply:
    """A model's text with what it cost; `seconds` is wall time of the batch that it was part of."""

    text: str
    prompt_tokens: int
    answer_tokens: int
    finish_reason: Literal["stop", "length"]
    seconds: float


class Engine(Protocol):
    """A model that answers."""

    @property
    def name(self) -> str:
        """What a report calls the model: hub id, folder or address."""
        ...

    def answer(self, requests: Sequence[Request], sampling: Sampling) -> list[Reply]:
        """Return one reply per request, in order. Raises: EngineError (never an empty text in place of a failure)."""
        ...
