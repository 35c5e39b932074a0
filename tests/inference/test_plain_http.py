"""HTTP without TLS, against a server that does what it is told with each connection."""

import asyncio

import httpx
import pytest

from onethinker.inference.plain_http import PlainTransport, is_plain

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
STREAMED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Peer:
    """A server: each connection gets the next script, which writes what it likes for each request on it."""

    def __init__(self, *scripts):
        self.scripts, self.asked = list(scripts), []

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.address = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self._server.close()

    async def _talk(self, reader, writer):
        script, requests = self.scripts.pop(0), []
        self.asked.append(requests)
        try:
            for reply in script:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next((int(line[15:]) for line in head.split(b"\r\n") if line[:15] == b"Content-Length:"), 0)
                requests.append(await reader.readexactly(length))
                for part in reply if isinstance(reply, tuple) else (reply,):
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0.01)
        except asyncio.IncompleteReadError:
            pass  # the client has left
        finally:
            writer.close()


def talk(work, *scripts):
    """Return what `work`, given a client and an address, comes to, and what was asked on each connection."""

    async def run():
        async with Peer(*scripts) as peer, httpx.AsyncClient(mounts={"http://": PlainTransport()}, timeout=5) as client:
            return await asyncio.wait_for(work(client, peer.address), 20), peer.asked

    return asyncio.run(run())


def test_a_connection_is_kept_for_the_next_request():
    async def work(client, address):
        return [(await client.post(address, content=content)).text for content in (b"one", b"two")]

    assert talk(work, [WHOLE, WHOLE, WHOLE]) == (["ok", "ok"], [[b"one", b"two"]])


def test_one_that_the_server_has_closed_meanwhile_is_opened_anew():
    async def work(client, address):
        first = (await client.post(address, content=b"one")).text
        await asyncio.sleep(0.2)
        return first, (await client.post(address, content=b"two")).text

    assert talk(work, [WHOLE], [WHOLE]) == (("ok", "ok"), [[b"one"], [b"two"]])


def test_a_stream_comes_in_pieces_as_the_server_sends_them():
    async def work(client, address):
        async with client.stream("POST", address, content=b"") as response:
            return [piece async for piece in response.aiter_bytes()]

    chunks = b"3\r\nabc\r\n", b"1\r\nd\r\n1\r\ne\r\n", b"2\r\n", b"fg\r\n0\r\n\r\n"
    pieces, _ = talk(work, [(STREAMED, *chunks)])
    assert b"".join(pieces) == b"abcdefg"
    assert len(pieces) > 1


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"", httpx.RemoteProtocolError),
        ((STREAMED, b"3\r\nabc\r\n"), httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", httpx.RemoteProtocolError),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", httpx.RemoteProtocolError),
    ],
    ids=["nothing", "half a stream", "half a body", "another protocol"],
)
def test_a_reply_that_is_none_is_the_error_that_httpx_has_for_it(reply, error):
    async def work(client, address):
        with pytest.raises(error):
            await client.post(address, content=b"")

    talk(work, [reply])


def test_nobody_who_listens_is_a_connect_error():
    async def work(client, _):
        with pytest.raises(httpx.ConnectError):
            await client.get("http://127.0.0.1:1")

    talk(work)


def test_leaving_a_stream_closes_its_connection():
    async def work(client, address):
        async with client.stream("POST", address, content=b"") as response:
            async for _ in response.aiter_bytes():
                break
        return (await client.post(address, content=b"next")).text

    assert talk(work, [(STREAMED, b"1\r\na\r\n"), WHOLE], [WHOLE]) == ("ok", [[b""], [b"next"]])


@pytest.mark.parametrize(
    ("address", "proxy", "plain"),
    [
        ("http://127.0.0.1:8000/v1", None, True),
        ("https://example.com/v1", None, False),
        ("http://example.com/v1", "http_proxy", False),
        ("http://example.com/v1", "ALL_PROXY", False),
    ],
)
def test_tls_and_proxies_stay_with_httpx(address, proxy, plain, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    if proxy:
        monkeypatch.setenv(proxy, "http://127.0.0.1:3128")
    assert is_plain(address) is plain
