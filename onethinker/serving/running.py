"""A question while it is answered: its pieces as they come, its end, and the client that may leave before."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress

from starlette.requests import Request as HttpRequest

from onethinker.serving.answering import Answered, Answering, Asked
from onethinker.serving.refusals import RefusedError, refusing
from onethinker.serving.uploads import Slot

LOOK_EVERY_S = 0.25
"""How often it is looked whether the client is still there."""
SEND_EVERY_S = 0.04
"""Pieces that come faster are sent together: each sending costs more processor time than several pieces."""
CLIENT_GONE = 499
"""The status that nobody reads. Source: nginx."""


class Running:
    """Starts the work on a question; leaving before its end stops it."""

    def __init__(self, answering: Answering, asked: Asked, slot: Slot, http: HttpRequest) -> None:
        self._http, self._slot, self._loop = http, slot, asyncio.get_running_loop()
        self._came: deque[str] = deque()
        self._news, self._is_told, self._sent_s = asyncio.Event(), False, 0.0
        self._task = answering.start(asked, slot, self._on_text)
        self._task.add_done_callback(lambda _: self._news.set())

    def _on_text(self, text: str) -> None:
        """Take a piece, in the engine's thread; the loop is woken once for all that it has not looked at yet."""
        self._came.append(text)
        if not self._is_told:
            self._is_told = True
            with suppress(RuntimeError):  # the loop has ended with its clients
                self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        """Let what has come be sent, as soon as it is time."""
        self._loop.call_at(self._sent_s + SEND_EVERY_S, self._news.set)

    async def pieces(self) -> AsyncIterator[str]:
        """Yield the pieces of the reply, and "" now and then while none comes; an engine that cannot stream gives one.

        Raises: RefusedError: the client is gone.
        """
        any_came = False
        try:
            while not self._task.done() or self._came:
                try:
                    async with asyncio.timeout(LOOK_EVERY_S):
                        await self._news.wait()
                except TimeoutError:
                    await self._check_client()
                    yield ""
                    continue
                self._news.clear()
                self._is_told, self._sent_s = False, self._loop.time()  # first: what comes meanwhile tells again
                if text := "".join(self._came.popleft() for _ in range(len(self._came))):
                    any_came = True
                    yield text
            if not any_came and not self._task.cancelled() and self._task.exception() is None:
                yield self._task.result().thought.text
        finally:
            self._task.cancel()

    async def result(self) -> Answered:
        """Return what the question comes to. Raises: RefusedError: why it comes to nothing."""
        try:
            while not self._task.done():
                await asyncio.wait({self._task}, timeout=LOOK_EVERY_S)
                if not self._task.done():
                    await self._check_client()
            with refusing(self._slot):
                return await self._task
        finally:
            self._task.cancel()

    async def _check_client(self) -> None:
        if await self._http.is_disconnected():
            raise RefusedError(CLIENT_GONE, "the client has disconnected")
