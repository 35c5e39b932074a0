"""A question while it is answered: its pieces as they come, its end, and the client that may leave before."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from starlette.requests import Request as HttpRequest

from onethinker.serving.answering import Answered, Answering, Asked
from onethinker.serving.refusals import RefusedError, refusing
from onethinker.serving.uploads import Slot

LOOK_EVERY_S = 0.25
"""How often it is looked whether the client is still there."""
CLIENT_GONE = 499
"""The status that nobody reads. Source: nginx."""


class Running:
    """Starts the work on a question; leaving before its end stops it."""

    def __init__(self, answering: Answering, asked: Asked, slot: Slot, http: HttpRequest) -> None:
        self._http, self._slot, self._loop = http, slot, asyncio.get_running_loop()
        self._pieces: asyncio.Queue[str | None] = asyncio.Queue()
        self._task = answering.start(asked, slot, self._on_text)
        self._task.add_done_callback(lambda _: self._pieces.put_nowait(None))

    def _on_text(self, text: str) -> None:
        with suppress(RuntimeError):  # the loop has ended with its clients
            self._loop.call_soon_threadsafe(self._pieces.put_nowait, text)

    async def pieces(self) -> AsyncIterator[str]:
        """Yield the pieces of the reply, and "" now and then while none comes; an engine that cannot stream gives one.

        Raises: RefusedError: the client is gone.
        """
        any_came = is_over = False
        try:
            while not is_over:
                try:
                    async with asyncio.timeout(LOOK_EVERY_S):
                        came = [await self._pieces.get()]
                except TimeoutError:
                    await self._check_client()
                    yield ""
                    continue
                while not self._pieces.empty():  # on a busy machine several are sent at once
                    came.append(self._pieces.get_nowait())
                is_over = None in came
                if text := "".join(filter(None, came)):
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
            raise RefusedError(CLIENT_GONE, "the client is gone")
