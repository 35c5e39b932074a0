"""A server that is asked in the background, from a thread with an event loop."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from onethinker.inference.endpoint import Endpoint, OnEvent

T = TypeVar("T")


class Connection:
    """A server that is asked in the background: what is submitted runs in a thread with an event loop, on connections
    that are kept.

    Nothing is opened before the first submission, and after `close` the next one opens it anew.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._in_flight: set[Future[Any]] = set()

    @property
    def address(self) -> str:
        """Where the server is."""
        return self.endpoint.address

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Return what will hold the coroutine's result."""
        with self._lock:
            if self._loop is None:
                self._open()
            assert self._loop is not None
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        self._in_flight.add(future)
        future.add_done_callback(self._in_flight.discard)
        return future

    async def send(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        read: Callable[[dict[str, Any]], T],
        on_event: OnEvent | None = None,
    ) -> T:
        """Return what `Endpoint.send` does; only inside what has been submitted."""
        return await self.endpoint.send(self.client, method, path, body, read=read, on_event=on_event)

    def close(self) -> None:
        """Drop what is in flight, wait until all of it has ended, close the connections and end the thread.

        Only what was submitted is cancelled; it cancels the tasks that it has started itself, which may have to begin
        first.
        """
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is None:
            return
        for future in tuple(self._in_flight):
            future.cancel()
        asyncio.run_coroutine_threadsafe(self._finish(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()

    def _open(self) -> None:
        self._loop, self.client = asyncio.new_event_loop(), self.endpoint.client()
        self.free = asyncio.Semaphore(self.endpoint.max_in_flight)
        self._thread = threading.Thread(target=self._loop.run_forever, name=self.endpoint.address, daemon=True)
        self._thread.start()

    async def _finish(self) -> None:
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)
        await self.client.aclose()
