"""Requests in, texts out: the one interface that local, remote and scripted models share."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from onethinker.core.request import Request, SamplingParams


@dataclass(frozen=True)
class Completion:
    """A model's text with what it cost; `seconds` is wall time of the batch that it was part of."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: Literal["stop", "length"]
    seconds: float


class Engine(Protocol):
    """A model that answers."""

    @property
    def name(self) -> str:
        """What a report calls the model: hub id, folder or address."""
        ...

    def answer(self, requests: Sequence[Request], sampling: SamplingParams) -> list[Completion]:
        """Return one reply per request, in order. Raises: EngineError (never an empty text in place of a failure)."""
        ...


@runtime_checkable
class ConcurrentEngine(Protocol):
    """An engine that is kept busy by many requests under way at once, each of which is answered when it is answered."""

    @property
    def max_concurrent(self) -> int:
        """Requests that may be under way."""
        ...

    def asking(self, sampling: SamplingParams) -> AbstractContextManager[Callable[[Request], Future[Completion]]]:
        """Return a context with a function that sends a request and comes back at once; leaving it drops what is under
        way.

        The reply to come raises EngineError where there is none.
        """
        ...
