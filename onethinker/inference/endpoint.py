"""How a server of models is asked: with pauses that grow, as often as is stated, and with a key that is never shown."""

import asyncio
import json
import logging
import os
import random
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
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
BUSY_STATUSES = frozenset({408, 425, 429, 502, 503, 504})
"""A server that is gone for a while, starts, or has too much to do."""
RETRIED_STATUSES = BUSY_STATUSES | {500}
MAX_HANGS = 2
"""A server that lets a request wait for `timeout_s` so often hangs."""
LONGEST_PAUSE_S = 30.0
"""Between two tries, unless the server asks for more."""
LONGEST_WAIT_S = 120.0
"""A server that asks for a longer pause is treated as one that does not answer."""
_log = logging.getLogger(__name__)
T = TypeVar("T")
OnEvent = Callable[[dict[str, Any]], None]


class GoneError(EngineError):
    """A server gave no answer for as long as it was asked; another one might."""


class UnusableError(EngineError):
    """A server answered, each time with something that cannot be used; another one might do better."""


class RubbishError(Exception):
    """A server answered something that cannot be used, but may do better when it is asked again."""


def is_here(address: str) -> bool:
    """Tell whether the host of an address is this machine; a name that cannot be found is another one's.

    >>> is_here("http://127.0.0.1:8000/v1")
    True
    """
    try:
        host = httpx.URL(address).host
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)
    except (httpx.InvalidURL, OSError, UnicodeError):
        return False
    return any(map(_is_own, found))


def _is_own(found: tuple[Any, ...]) -> bool:
    family, kind, protocol, _, place = found
    try:
        with socket.socket(family, kind, protocol) as tried:
            tried.bind(place)  # the system lets nobody listen at the address of another machine
    except OSError:
        return False
    return True


@dataclass(frozen=True)
class Endpoint:
    """An address ("http://host:8000/v1") and how patiently it is asked.

    A request is tried `max_tries` times, and while nothing answers there, or what answers is busy, for at least
    `patience_s`. One try waits for an answer for `timeout_s`.
    """

    address: str
    key_variable: str = API_KEY_VARIABLE
    max_in_flight: int = 32
    max_tries: int = 6
    first_wait_s: float = 0.5
    timeout_s: float = 600.0
    patience_s: float = 0.0
    _silent_until: list[float] = field(default_factory=lambda: [0.0], init=False, repr=False, compare=False)

    def say_waiting(self, failure: str) -> None:
        """Say that what is asked waits for the server: once, however many requests do."""
        if (now := time.monotonic()) >= self._silent_until[0]:
            self._silent_until[0] = now + self.patience_s
            _log.warning("%s does not answer (%s): waiting, for up to %.0f s", self.address, failure, self.patience_s)

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
        on_event: OnEvent | None = None,
    ) -> T:
        """Return what `read` makes of the server's JSON, asking again with growing pauses while the failure may pass.

        `read` raises RubbishError for what may be better next time, and EngineError for what never will be. `on_event`
        is handed each event of a reply that is streamed, of which `read` then gets {}; after the first event nothing is
        asked again.

        Raises: GoneError: no answer for as long as is stated. UnusableError: none that can be used. EngineError: one
        that trying again cannot help.
        """
        url = self.address + path
        heard = _Heard(on_event) if on_event is not None else None
        content = None if body is None else to_json(body).encode()
        failed = _Failures(self, url)
        while True:
            try:
                async with asyncio.timeout(self.timeout_s):
                    response = await _exchange(client, method, url, content, heard)
                if response.status_code not in RETRIED_STATUSES:
                    return read(self._json(response, url))
                busy = response.status_code in BUSY_STATUSES
                failure = f"status {response.status_code}: {self._message(response)}"
                wait_s = failed.add(failure, is_gone=busy, at_least_s=_retry_after_s(response))
            except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
                raise EngineError(f"{url}: not an address: {error}") from error
            except (httpx.RequestError, TimeoutError, RubbishError) as error:
                failure = str(error) if isinstance(error, RubbishError) else f"{type(error).__name__} {error}".strip()
                if heard is not None and heard.count:
                    raise EngineError(
                        f"{url}: the streamed reply broke off after {heard.count} events: {failure}"
                    ) from error
                is_gone = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
                hangs = isinstance(error, TimeoutError | httpx.ReadTimeout | httpx.WriteTimeout)
                is_unusable = isinstance(error, RubbishError)
                wait_s = failed.add(failure, is_gone=is_gone, hangs=hangs, is_unusable=is_unusable)
            await asyncio.sleep(wait_s)

    def _json(self, response: httpx.Response, url: str) -> dict[str, Any]:
        """Return the body of a good response. Raises: EngineError: for every other status, with the server's words.
        RubbishError.
        """
        message = self._message(response)
        if response.status_code in (401, 403):
            raise EngineError(
                f"{url}: status {response.status_code}: set the environment variable {self.key_variable} to the"
                " server's key"
            )
        if response.is_redirect:
            there = response.headers.get("Location", "nowhere")[:200]
            raise EngineError(f"{url}: the server redirects to {there}; give that address instead")
        if not response.is_success:
            raise EngineError(f"{url}: status {response.status_code}: {message}")
        body = _parsed(response)
        if not isinstance(body, dict):
            raise RubbishError(f"expected a JSON object, got {message!r}")
        return body

    def _message(self, response: httpx.Response) -> str:
        """Return the server's own words, from the error object when there is one, cut to a readable length, and without
        the key.
        """
        message: object = None
        try:
            body = _parsed(response)
            if isinstance(body, dict):
                message = body["error"].get("message") if isinstance(body.get("error"), dict) else body.get("message")
        except RubbishError:
            pass
        text = message if isinstance(message, str) else response.content[:2000].decode("utf-8", "replace")
        key = os.environ.get(self.key_variable)
        return (text.replace(key, "…") if key else text)[:500]


@dataclass
class _Failures:
    """How often one request has failed, and since when nothing has answered it."""

    endpoint: Endpoint
    url: str
    tries: int = 0
    hangs: int = 0
    gone_since: float | None = None

    def add(
        self,
        failure: str,
        *,
        is_gone: bool = False,
        hangs: bool = False,
        is_unusable: bool = False,
        at_least_s: float = 0.0,
    ) -> float:
        """Return the seconds until the next try. Raises: GoneError, UnusableError: there is none."""
        endpoint, now = self.endpoint, time.monotonic()
        self.tries, self.hangs = self.tries + 1, self.hangs + hangs
        self.gone_since = (self.gone_since or now) if is_gone else None
        wait_s = min(endpoint.first_wait_s * 2 ** min(self.tries - 1, 20), LONGEST_PAUSE_S) * random.uniform(0.5, 1)
        wait_s = max(float(wait_s), at_least_s)
        if wait_s > LONGEST_WAIT_S:
            raise GoneError(
                f"{self.url}: the server asks to wait {wait_s:.0f} s, which is more than the allowed"
                f" {LONGEST_WAIT_S:.0f} s ({failure})"
            )
        if self.hangs >= MAX_HANGS:
            raise GoneError(
                f"{self.url}: the server hangs: {self.hangs} requests got no answer within {endpoint.timeout_s:g} s"
            )
        is_patient = self.gone_since is not None and now - self.gone_since < endpoint.patience_s
        if self.tries >= endpoint.max_tries and not is_patient:
            waited = f" in {endpoint.patience_s:g} s" if is_gone and endpoint.patience_s else ""
            says = f"{self.url}: no answer after {self.tries} tries{waited}; the last one gave {failure}"
            if is_unusable:
                raise UnusableError(says)
            raise GoneError(f"{says}. Start a server at this address, or give the address of a running one")
        if self.tries >= endpoint.max_tries:
            endpoint.say_waiting(failure)
        return wait_s


@dataclass
class _Heard:
    """Hands events on, and counts them."""

    on_event: OnEvent
    count: int = 0

    def __call__(self, event: dict[str, Any]) -> None:
        self.count += 1
        self.on_event(event)


async def _exchange(
    client: httpx.AsyncClient, method: str, url: str, content: bytes | None, on_event: OnEvent | None
) -> httpx.Response:
    """Return a server's reply; one that is streamed has been handed over event by event, and {} is left of it.

    Raises: EngineError: something in a stream is no event. httpx.TransportError
    """
    async with client.stream(method, url, content=content, headers={"Content-Type": "application/json"}) as response:
        response.encoding = "utf-8"  # of JSON and of events, whatever a server calls it
        is_streamed = "text/event-stream" in response.headers.get("Content-Type", "") and response.is_success
        if on_event is None or not is_streamed:
            await response.aread()
            return response
        rest = b""
        async for piece in response.aiter_bytes():
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                _hear(line, on_event, url)
        _hear(rest, on_event, url)
    return httpx.Response(response.status_code, json={})


def _hear(line: bytes, on_event: OnEvent, url: str) -> None:
    """Hand over the event in a line, if there is one. Raises: EngineError: it is an error of the server, or none."""
    data = line.removeprefix(b"data:").strip()
    if not line.startswith(b"data:") or data == b"[DONE]":
        return
    try:
        event = json.loads(data)
        failure = event.get("error")
        if not failure:
            on_event(event)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise EngineError(
            f"{url}: expected an event of a streamed reply, got {data[:300].decode(errors='replace')}"
        ) from error
    if failure:
        message = failure.get("message", failure) if isinstance(failure, dict) else failure
        raise EngineError(f"{url}: the server failed while it answered: {str(message)[:500]}")


def _parsed(response: httpx.Response) -> Any:
    """Return the value of a reply's JSON. Raises: RubbishError: it is none, or nested too deep to be looked at."""
    try:
        body = json.loads(response.content)
        repr(body)
    except (ValueError, RecursionError) as error:
        start = response.content[:500].decode("utf-8", "replace")
        raise RubbishError(f"expected JSON, got {start!r}") from error
    return body


def _retry_after_s(response: httpx.Response) -> float:
    """Return the pause that the server asks for: seconds or a date, 0 when it says neither."""
    pause = response.headers.get("Retry-After", "")
    if pause.strip().isdigit():
        return float(pause)
    try:
        return max(0.0, (parsedate_to_datetime(pause) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
