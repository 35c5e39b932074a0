"""What every grader of free text outside this process is: asked in the background, closed, and failing closed.

It sees the question, the reference and the answers, never the media; a group of answers has a score for each, or an
EngineError that names why there is none.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, ClassVar, Protocol, TypeVar

from onethinker.core.addresses import split_addresses
from onethinker.core.errors import EngineError
from onethinker.inference.chat import plain_text
from onethinker.inference.connection import Connection
from onethinker.inference.endpoint import Endpoint
from onethinker.inference.least_loaded import LEAST_PATIENCE_S, TRIES, LeastLoaded, connect_any
from onethinker.rewards.config import JudgeSettings

_log = logging.getLogger(__name__)
T = TypeVar("T")
TRIAL = ("What colour is the ball?", "The ball is red.", ("It is a red ball.", "The ball is green."))
"""What the model is asked before a run begins, so that a wrong address, name or key stops it while nothing is lost."""


class AnswerGrader(Protocol):
    """Scores answers in free text; entry points of the group `onethinker.graders` name what makes one of settings."""

    @property
    def name(self) -> str:
        """How scores are named in grades and errors."""

    def submit(self, question: str, truth: str, answers: Sequence[str]) -> Future[list[float]]:
        """Return what will hold a score of 0 to 1 for each answer to a question, in order, or the EngineError why there
        is none.
        """

    def try_out(self) -> None:
        """Do nothing where it can be used. Raises: EngineError."""

    def close(self) -> None:
        """Drop the requests in flight."""


class Served:
    """A model behind an address, or behind several; they are asked in threads that start with the first question."""

    kind: ClassVar[str]

    def __init__(self, settings: JudgeSettings) -> None:
        """Raises: ConfigError: an address is none."""
        self.settings = settings
        addresses = split_addresses(settings.address, field="address")
        is_alone = len(addresses) == 1
        self._servers = [
            Connection(
                Endpoint(
                    address,
                    key_variable=settings.key_variable,
                    max_in_flight=settings.max_concurrent,
                    max_tries=settings.max_tries if is_alone else min(settings.max_tries, TRIES),
                    first_wait_s=settings.first_wait_s,
                    timeout_s=settings.timeout_s,
                    patience_s=settings.patience_s if is_alone else 0.0,
                )
            )
            for address in addresses
        ]
        self._fleet = LeastLoaded(self._servers, patience_s=max(settings.patience_s, LEAST_PATIENCE_S))
        in_flight = settings.max_concurrent * len(addresses)
        self._waiting = Connection(Endpoint(settings.address, max_in_flight=in_flight))

    @property
    def name(self) -> str:
        """How scores are named in grades and errors."""
        return f"{self.kind} {self.settings.model}"

    def close(self) -> None:
        """Give up what is in flight and end the threads."""
        self._waiting.close()
        for server in self._servers:
            server.close()

    def _try_all(self, path: str, body: dict[str, Any], read: Callable[[dict[str, Any]], T]) -> list[T]:
        """Return what `read` makes of a first reply of each server that answers, so that a wrong address, name or key
        is known before anything is spent; of several, others may come later. Raises: EngineError.
        """

        def reply(address: str) -> T:
            trial = Connection(replace(endpoints[address], max_tries=TRIES, patience_s=0.0))
            try:
                return trial.submit(trial.send("POST", path, body, read=read)).result()
            finally:
                trial.close()

        endpoints = {server.address: server.endpoint for server in self._servers}
        try:
            replies = connect_any([*endpoints], reply, patience_s=self.settings.patience_s)
        except EngineError as error:
            raise EngineError(f"a test request to {self.name} failed: {error}") from error
        for address in endpoints.keys() - replies:
            _log.warning("%s does not answer yet; the other servers are used", address)
        return [*replies.values()]

    async def _send(self, path: str, body: dict[str, Any], read: Callable[[dict[str, Any]], T]) -> T:
        """Return what `read` makes of the reply of the server with the least to do, of another where it dies; only
        inside what `_waiting` was given. Raises: EngineError.
        """

        async def sent(server: Connection) -> T:
            async with server.free:
                return await server.send("POST", path, body, read=read)

        async with self._waiting.free:
            if len(self._servers) == 1:
                return await asyncio.wrap_future(self._servers[0].submit(sent(self._servers[0])))
            return await self._fleet.complete(lambda server: asyncio.wrap_future(server.submit(sent(server))))


def sendable(text: str) -> str:
    """Return a text in which nothing spells a special token and halves of characters, which no server reads, are
    question marks.
    """
    return plain_text(text.encode("utf-8", "replace").decode())
