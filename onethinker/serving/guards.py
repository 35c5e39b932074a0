"""What stands before every route: the key, Host and Origin, the size of a body, headers that bind browsers."""

import asyncio
import base64
import binascii
import hmac
import re
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from onethinker.core.addresses import is_loopback
from onethinker.core.errors import ConfigError
from onethinker.serving.limits import Limits
from onethinker.serving.refusals import RefusedError

OPEN_PATHS = frozenset({"/health"})
"""What anybody may ask."""
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
MIN_KEY_CHARS = 16
KEY_FORM = re.compile(r"[!-~]*")
"""What every client can send in a header."""
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:;"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
OnDone = Callable[[MutableMapping[str, Any], int, float], None]
"""Hears of each request: its scope, status and seconds."""


@dataclass(frozen=True)
class Access:
    """Who may ask: everybody who knows the key, under the names that the server goes by."""

    host: str = "127.0.0.1"
    key: str | None = field(default=None, repr=False)
    hosts: frozenset[str] = frozenset()
    """Further names in the Host header, such as that of a proxy, without the port."""

    def __post_init__(self) -> None:
        """Raise ConfigError where anybody on the network could ask, or nobody."""
        if self.key is None and not is_loopback(self.host):
            raise ConfigError(
                f"--host {self.host} can be reached from the network: add --api-key-file FILE, or use --host 127.0.0.1"
                " behind a proxy"
            )
        if self.key is not None and (len(self.key) < MIN_KEY_CHARS or not KEY_FORM.fullmatch(self.key)):
            raise ConfigError(
                f"--api-key-file: the key must be one word of at least {MIN_KEY_CHARS} ASCII characters, got"
                f" {len(self.key)} characters; `openssl rand -hex 16 > key.txt` makes one"
            )
        for name in self.hosts:
            if "/" in name or _without_port(name) != name:
                raise ConfigError(f"--allow-host takes a name such as vision.example.com, not an address, got {name!r}")

    def check(self, path: str, headers: Headers) -> None:
        """Raises: RefusedError: this client may not ask this."""
        if path in OPEN_PATHS:
            return
        host, origin = headers.get("host", ""), headers.get("origin")
        # A page of another site reaches a server on this machine by a name of its own that leads here.
        if self._checks_hosts and _without_port(host) not in LOOPBACK_NAMES | self.hosts | {self.host}:
            raise RefusedError(
                403,
                f"this server does not answer to the host name {host[:100]!r}: start it with --allow-host to add the"
                " name",
            )
        if origin is not None and not self._is_own(origin, host):
            raise RefusedError(403, f"pages from {origin[:100]!r} may not call this server")
        if self.key is not None and not _is_key(headers.get("authorization", ""), self.key):
            raise RefusedError(
                401,
                'the key is missing or wrong: send "Authorization: Bearer KEY"',
                {"WWW-Authenticate": 'Basic realm="onethinker: any name, the key as password", charset="UTF-8"'},
            )

    @property
    def _checks_hosts(self) -> bool:
        return bool(self.hosts) or is_loopback(self.host)

    def _is_own(self, origin: str, host: str) -> bool:
        scheme, _, place = origin.partition("://")
        if scheme not in ("http", "https"):
            return False
        return place.lower() == host.lower() or _without_port(place) in self.hosts


@dataclass
class Quota:
    """Bytes of bodies that are on the disk or in memory at once."""

    most: int
    taken: int = 0

    def take(self, count: int) -> None:
        """Raises: RefusedError: there is no room for more."""
        if self.taken + count > self.most:
            raise RefusedError(503, "too many uploads at once; try again soon", {"Retry-After": "5"})
        self.taken += count

    def give_back(self, count: int) -> None:
        """Make room."""
        self.taken -= count


class Guard:
    """ASGI middleware around all routes."""

    def __init__(self, app: ASGIApp, *, access: Access, limits: Limits, on_done: OnDone) -> None:
        self._app, self._access, self._limits, self._on_done = app, access, limits, on_done
        self._quota = Quota(limits.disk_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":  # uvicorn knows by its own scope to send no body
            scope = {**scope, "method": "GET"}
        started_s, status = time.perf_counter(), 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        headers = Headers(scope=scope)
        body = _Body(receive, self._most(headers), self._limits.idle_seconds, self._quota)
        try:
            self._access.check(scope["path"], headers)
            body.check_length(headers.get("content-length"))
            await self._app(scope, body.receive, answer)
        except RefusedError as refusal:
            await refusal.response()(scope, receive, answer)
        finally:
            self._quota.give_back(body.count)
            self._on_done(scope, status, time.perf_counter() - started_s)

    def _most(self, headers: Headers) -> int:
        is_form = headers.get("content-type", "").lower().startswith("multipart/form-data")
        return self._limits.upload_bytes if is_form else self._limits.body_bytes


class _Body:
    """The body of a request, counted while it comes."""

    def __init__(self, receive: Receive, most: int, idle_seconds: float, quota: Quota) -> None:
        self._receive, self._most, self._idle_seconds, self._quota = receive, most, idle_seconds, quota
        self.count, self._is_whole = 0, False

    def check_length(self, length: str | None) -> None:
        """Raises: RefusedError: the client says that more comes than may, or no number."""
        if length is None:
            return
        if not (length.isascii() and length.isdigit()):
            raise RefusedError(400, "Content-Length must be a number")
        self._check(int(length))

    async def receive(self) -> Message:
        """Return the next piece. Raises: RefusedError: there is more than may be, or nothing comes."""
        if self._is_whole:
            return await self._receive()
        try:
            async with asyncio.timeout(self._idle_seconds):
                message = await self._receive()
        except TimeoutError:
            raise RefusedError(408, f"no more of the request body arrived for {self._idle_seconds} s") from None
        size = len(message.get("body", b""))
        self._check(self.count + size)
        self._quota.take(size)
        self.count += size
        self._is_whole = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    def _check(self, count: int) -> None:
        if count > self._most:
            raise RefusedError(413, f"the body may have at most {self._most} bytes; send files as multipart/form-data")


def _without_port(host: str) -> str:
    """Return a host without its port.

    >>> _without_port("Localhost:8080"), _without_port("[::1]:80"), _without_port("[::1]")
    ('localhost', '[::1]', '[::1]')
    """
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()


def _is_key(authorization: str, key: str) -> bool:
    """Return whether a header has the key, as a bearer token or as the password that a browser asked for."""
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() == "basic":
        try:
            given = base64.b64decode(given.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return False
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), key.encode())
