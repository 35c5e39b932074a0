"""Pictures and videos from the web: fetched into memory, with every address checked before it is connected to."""

import ipaddress
import socket
from typing import Any

import httpx

from onethinker.core.errors import MediaError
from onethinker.core.sources import MemoryFile

MAX_BYTES = 512 * 2**20
"""A larger file is refused."""
MAX_REDIRECTS = 5
TIMEOUT_S = 30.0
"""Longest wait for a connection or for the next bytes."""


def fetch(address: str, *, allow_private: bool = False, max_bytes: int = MAX_BYTES) -> MemoryFile:
    """Return the file at an http or https address.

    A host is resolved once for each hop, the connection goes to the address that was checked, and redirects are checked
    like the first address. Without `allow_private` only addresses of the public internet are taken, so that a link
    cannot reach what only this machine or its network can see.

    Raises: MediaError: names the address and what is wrong.
    """
    url = _parsed(address, address)
    with httpx.Client(timeout=TIMEOUT_S, trust_env=False) as client:
        for _ in range(MAX_REDIRECTS + 1):
            found = _request(client, url, address, allow_private=allow_private, max_bytes=max_bytes)
            if isinstance(found, MemoryFile):
                return found
            url = _parsed(str(url.join(found)), address)
    raise MediaError(f"{address}: redirects more than {MAX_REDIRECTS} times")


def _parsed(address: str, shown: str) -> httpx.URL:
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL as error:
        raise MediaError(f"{shown}: not an address: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise MediaError(f"{shown}: expected an address that begins with http:// or https://, got {address[:200]}")
    return url


def _request(
    client: httpx.Client, url: httpx.URL, shown: str, *, allow_private: bool, max_bytes: int
) -> MemoryFile | str:
    """Return the file, or the address that the server redirects to."""
    host = _checked_host(url, shown, allow_private=allow_private)
    pinned: dict[str, Any] = {"headers": {"Host": url.netloc.decode()}, "extensions": {"sni_hostname": url.host}}
    try:
        with client.stream("GET", url.copy_with(host=host), **pinned) as response:
            if response.is_redirect:
                return response.headers["Location"]
            if not response.is_success:
                raise MediaError(f"{shown}: the server answered {response.status_code} {response.reason_phrase}")
            content = bytearray()
            for piece in response.iter_bytes():
                content += piece
                if len(content) > max_bytes:
                    raise MediaError(
                        f"{shown}: is larger than {max_bytes // 2**20} MiB; download it, and give the file"
                    )
    except (httpx.HTTPError, OSError) as error:
        raise MediaError(f"{shown}: cannot be fetched ({error or type(error).__name__})") from error
    return MemoryFile(bytes(content), url.path.rpartition("/")[2] or url.host)


def _checked_host(url: httpx.URL, shown: str, *, allow_private: bool) -> str:
    """Return one address of a host. Raises: MediaError: there is none, or one of them is not public."""
    try:
        found = socket.getaddrinfo(
            url.host, url.port or (443 if url.scheme == "https" else 80), type=socket.SOCK_STREAM
        )
    except OSError as error:
        raise MediaError(f"{shown}: there is no host {url.host} ({error.strerror or error})") from error
    addresses = [ipaddress.ip_address(str(each[4][0]).partition("%")[0]) for each in found]
    if not allow_private and (hidden := [each for each in addresses if not each.is_global]):
        raise MediaError(
            f"{shown}: {url.host} is {hidden[0]}, which is not public; --allow-private opens it all the same"
        )
    return str(addresses[0])
