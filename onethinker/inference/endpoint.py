"""How a server of models is asked: with pauses that grow, as often as is stated, and with a key that is never shown."""

import asyncio
import os
import random
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import httpx

from onethinker.core.errors import EngineError
from onethinker.storage.strict_json import to_json

API_KEY_VARIABLE = "ONETHINKER_API_KEY"
"""The environment variable whose value is sent as the bearer token, unless another is named; it is never stored or
printed.
"""
RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
LONGEST_WAIT_S = 120.0
"""A server that asks for a longer pause is treated as one that does not answer."""
T = TypeVar("T")


class RubbishError(Exception):
    """A server answered something that cannot be used, but may do better when it is asked again."""


@dataclass(frozen=True)
class Endpoint:
    """An address ("http://host:8000/v1") and how patiently it is asked."""

    address: str
    key_variable: str = API_KEY_VARIABLE
    max_in_flight: int = 32
    max_tries: int = 6
    first_wait_s: float = 0.5
    timeout_s: float = 600.0

    def client(self) -> httpx.AsyncClient:
        """Return a client that sends the key, if the environment has one."""
        key = os.environ.get(self.key_variable)
        return httpx.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(self.timeout_s, connect=10),
            limits=httpx.Limits(max_connections=self.max_in_flight),
        )

    async def send(
        self,
        client: httpx.AsyncClient,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        *,
        read: Callable[[dict[str, Any]], T],
    ) -> T:
        """Return what `read` makes of the server's JSON, asking again with growing pauses while the failure may pass.

        `read` raises RubbishError for what may be better next time, and EngineError for what never will be.

        Raises: EngineError: no usable answer after `max_tries` tries, or one that trying again cannot help.
        """
        url, failure = self.address + path, ""
        content = None if body is None else to_json(body).encode()
        for attempt in range(self.max_tries):
            wait_s = self.first_wait_s * 2**attempt * random.uniform(0.5, 1)
            try:
                async with asyncio.timeout(self.timeout_s):
                    response = await client.request(
                        method, url, content=content, headers={"Content-Type": "application/json"}
                    )
            except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
                raise EngineError(f"{url}: not an address: {error}") from error
            except (httpx.TransportError, TimeoutError) as error:
                failure = f"{type(error).__name__} {error}".strip()
            else:
                if response.status_code not in RETRIED_STATUSES:
                    try:
                        return read(self._json(response, url))
                    except RubbishError as error:
                        failure = str(error)
                else:
                    failure = f"status {response.status_code}: {self._said(response)}"
                    wait_s = max(wait_s, _retry_after_s(response))
            if wait_s > LONGEST_WAIT_S:
                raise EngineError(
                    f"{url}: the server asks for a pause of {wait_s:.0f} s, longer than {LONGEST_WAIT_S:.0f} s"
                    f" ({failure})"
                )
            if attempt + 1 < self.max_tries:
                await asyncio.sleep(wait_s)
        raise EngineError(
            f"{url}: no answer after {self.max_tries} tries; the last one gave {failure}. Is the server up at this"
            " address?"
        )

    def _json(self, response: httpx.Response, url: str) -> dict[str, Any]:
        """Return the body of a good response. Raises: EngineError: for every other status, with the server's words.
        RubbishError.
        """
        said = self._said(response)
        if response.status_code in (401, 403):
            raise EngineError(
                f"{url}: status {response.status_code}: put the server's key into the environment variable"
                f" {self.key_variable}"
            )
        if not response.is_success:
            raise EngineError(f"{url}: status {response.status_code}: {said}")
        try:
            body = response.json()
        except ValueError as error:
            raise RubbishError(f"expected JSON, got {said!r}") from error
        if not isinstance(body, dict):
            raise RubbishError(f"expected a JSON object, got {said!r}")
        return body

    def _said(self, response: httpx.Response) -> str:
        """Return the server's own words, from the error object when there is one, cut to a readable length, and without
        the key.
        """
        try:
            body = response.json()
            said = str(body["error"]["message"] if "error" in body else body["message"])
        except (ValueError, KeyError, TypeError):
            said = response.text
        key = os.environ.get(self.key_variable)
        return (said.replace(key, "…") if key else said)[:500]


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
        self, method: str, path: str, body: dict[str, Any] | None = None, *, read: Callable[[dict[str, Any]], T]
    ) -> T:
        """Return what `Endpoint.send` does; only inside what has been submitted."""
        return await self.endpoint.send(self.client, method, path, body, read=read)

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


def _retry_after_s(response: httpx.Response) -> float:
    """Return the pause that the server asks for: seconds or a date, 0 when it says neither."""
    said = response.headers.get("Retry-After", "")
    if said.strip().isdigit():
        return float(said)
    try:
        return max(0.0, (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
