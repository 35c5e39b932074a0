"""Requests in, texts out: the one interface that local, remote and scripted models share."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from onethinker.core.errors import ConfigError
from onethinker.core.frames import Clip


@dataclass(frozen=True)
class Request:
    """One user message: media first, then the complete text (question, options, instructions).

    `seed` is what the answer is drawn with; None takes the sampling's, plus the request's place among those asked
    together.
    """

    text: str
    media: tuple[Clip, ...] = ()
    system: str | None = None
    seed: int | None = None

    def seed_at(self, place: int, sampling: "Sampling") -> int:
        """Return the seed that the request is drawn with at this place among others."""
        return self.seed if self.seed is not None else sampling.seed + place


@dataclass(frozen=True)
class Sampling:
    """How an answer is drawn; temperature 0 is greedy. Raises: ConfigError: a number that means nothing."""

    max_new_tokens: int = 4096
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ConfigError(f"max_new_tokens must be at least 1, got {self.max_new_tokens}")
        if not 0 <= self.temperature < float("inf"):
            raise ConfigError(f"temperature must be 0 or more, got {self.temperature:g}")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p must be more than 0 and at most 1, got {self.top_p:g}")


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


@runtime_checkable
class ConcurrentEngine(Protocol):
    """An engine that is kept busy by many requests under way at once, each of which is answered when it is answered."""

    @property
    def max_concurrent(self) -> int:
        """Requests that may be under way."""
        ...

    def asking(self, sampling: Sampling) -> AbstractContextManager[Callable[[Request], Future[Reply]]]:
        """Return a context with a function that sends a request and comes back at once; leaving it drops what is under
        way.

        The reply to come raises EngineError where there is none.
        """
        ...
