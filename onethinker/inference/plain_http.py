"""HTTP/1.1 without TLS for httpx, at a fraction of the processor time that its own transport takes for each event of a
stream.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import cast
from urllib.request import getproxies

import h11
import httpx

_PIECE = 1 << 16


class PlainTransport(httpx.AsyncBaseTransport):
    """Connections to servers of http:// addresses, which are kept; the caller bounds how many there are, and how long
    an answer may take.
    """

    def __init__(self) -> None:
        self._idle: dict[tuple[str, int], list[_Kept]] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return a response whose body is still to be read. Raises: httpx.TransportError."""
        place = request.url.host, request.url.port or 80
        kept = self._take(place) or await _connect(place, request.extensions["timeout"]["connect"])
        try:
            await kept.send(request)
            while not isinstance(event := await kept.next_event(), h11.Response):
                if isinstance(event, h11.ConnectionClosed):
                    raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
        except BaseException:
            kept.close()
            raise
        return httpx.Response(
            event.status_code, headers=event.headers.raw_items(), stream=_Body(kept, self._idle.setdefault(place, []))
        )

    async def aclose(self) -> None:
        """Close what is idle."""
        for kept in (each for idle in self._idle.values() for each in idle):
            kept.close()
        self._idle.clear()

    def _take(self, place: tuple[str, int]) -> "_Kept | None":
        """Return a connection that the server has not closed, None where there is none."""
        idle = self._idle.get(place, [])
        while idle:
            kept = idle.pop()
            if kept.is_open():
                return kept
            kept.close()
        return None


class _Kept:
    """A connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer, self._state = reader, writer, h11.Connection(h11.CLIENT)

    def is_open(self) -> bool:
        """Return whether the server has neither ended it nor sent what nobody asked for."""
        return not (self._reader.at_eof() or self._writer.is_closing() or self._state.trailing_data[0])

    async def send(self, request: httpx.Request) -> None:
        """Send a request. Raises: httpx.WriteError."""
        head = h11.Request(method=request.method, target=request.url.raw_path, headers=request.headers.raw)
        try:
            self._writer.write(self._state.send(head) or b"")
            async for part in cast("httpx.AsyncByteStream", request.stream):
                self._writer.write(self._state.send(h11.Data(part)) or b"")
            self._writer.write(self._state.send(h11.EndOfMessage()) or b"")
            await self._writer.drain()
        except OSError as error:
            raise httpx.WriteError(str(error)) from error

    async def next_event(self) -> object:
        """Return what comes next of the response. Raises: httpx.ReadError, httpx.RemoteProtocolError."""
        try:
            while (event := self._state.next_event()) is h11.NEED_DATA:
                self._state.receive_data(await self._reader.read(_PIECE))
        except OSError as error:
            raise httpx.ReadError(str(error)) from error
        except h11.RemoteProtocolError as error:
            raise httpx.RemoteProtocolError(str(error)) from error
        return event

    def came(self) -> object:
        """Return what of the response is here already, h11.NEED_DATA for nothing. Raises: httpx.RemoteProtocolError."""
        try:
            return self._state.next_event()
        except h11.RemoteProtocolError as error:
            raise httpx.RemoteProtocolError(str(error)) from error

    def renew(self) -> bool:
        """Return whether the connection can take a further request."""
        if self._state.our_state is not h11.DONE or self._state.their_state is not h11.DONE:
            return False
        self._state.start_next_cycle()
        return True

    def close(self) -> None:
        """End it at once."""
        with suppress(RuntimeError):  # its loop has ended, and it with that
            self._writer.close()


class _Body(httpx.AsyncByteStream):
    """The body of a response; once it is closed, its connection is kept where all of it has been read."""

    def __init__(self, kept: _Kept, idle: list[_Kept]) -> None:
        self._kept, self._idle = kept, idle

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield what has come, in as few pieces as it can be."""
        event = await self._kept.next_event()
        while isinstance(event, h11.Data):
            parts = [event.data]
            while isinstance(event := self._kept.came(), h11.Data):
                parts.append(event.data)
            yield b"".join(parts)
            if event is h11.NEED_DATA:
                event = await self._kept.next_event()

    async def aclose(self) -> None:
        """Give the connection back, or end it."""
        if self._kept.renew():
            self._idle.append(self._kept)
        else:
            self._kept.close()


async def _connect(place: tuple[str, int], seconds: float | None) -> _Kept:
    """Return a new connection. Raises: httpx.ConnectError, httpx.ConnectTimeout."""
    try:
        async with asyncio.timeout(seconds):
            return _Kept(*await asyncio.open_connection(*place))
    except TimeoutError as error:
        raise httpx.ConnectTimeout(f"no connection within {seconds:g} s") from error
    except OSError as error:
        raise httpx.ConnectError(str(error)) from error


def is_plain(address: str) -> bool:
    """Return whether an address is asked without TLS, in an environment that names no proxy for it."""
    return address.lower().startswith("http://") and not {"http", "all"} & getproxies().keys()
