"""Pictures and videos from the web: fetched into memory, with every address checked before it is connected to."""

import ipaddress
import re
import socket
import time
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import httpx

from onethinker.core.errors import MediaError
from onethinker.core.sources import MemoryFile

MAX_BYTES = 512 * 2**20
"""A larger file is refused."""
MAX_REDIRECTS = 5
TIMEOUT_S = 30.0
"""Longest wait for a connection or for the next bytes."""
MAX_SECONDS = 60.0
"""Longest time that one file may take, however steadily it drips."""
PORTS = (80, 443)
"""Where a host of a list is asked, unless the list says "host:port"."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_NOT_GLOBAL = (ipaddress.ip_network("192.0.0.0/24"), ipaddress.ip_network("3fff::/20"))
"""What Python 3.11 takes for public and the registry does not. Source: IANA special-purpose address registries."""
LISTED_HOST = re.compile(r"(\*\.)?[\w.-]+(:\d+)?")
"""What a list of hosts may hold, see `is_listed`."""


def fetch(
    address: str, *, allow_private: bool = False, max_bytes: int = MAX_BYTES, hosts: Collection[str] | None = None
) -> MemoryFile:
    """Return the file at an http or https address.

    `hosts` are the only ones that may be asked, redirects included: "example.com", "*.example.com" for what is below
    it, "example.com:8080" for another port than 80 and 443; None for all.

    A host is resolved once for each hop, the connection goes to the address that was checked, and redirects are checked
    like the first address. Without `allow_private` only addresses of the public internet are taken, so that a link
    cannot reach what only this machine or its network can see.

    Raises: MediaError: names the address and what is wrong.
    """
    url, deadline_s = _parsed(address, address), time.monotonic() + MAX_SECONDS
    with httpx.Client(timeout=TIMEOUT_S, trust_env=False) as client:
        for _ in range(MAX_REDIRECTS + 1):
            if hosts is not None and not is_listed(url, hosts):
                listed = ", ".join(hosts) or "none"
                raise MediaError(f"{address[:200]}: {url.host} is not one of the allowed hosts: {listed}")
            found = _request(
                client, url, address, allow_private=allow_private, max_bytes=max_bytes, deadline_s=deadline_s
            )
            if isinstance(found, MemoryFile):
                return found
            url = _parsed(str(url.join(found)), address)
    raise MediaError(f"{address}: redirects more than {MAX_REDIRECTS} times")


def is_listed(url: httpx.URL, hosts: Collection[str]) -> bool:
    """Return whether a list of hosts has that of an address.

    >>> [is_listed(httpx.URL(url), ["*.org"]) for url in ("http://a.org/", "http://a.org:22/", "http://a.org.evil/")]
    [True, False, False]
    """
    host = url.host.lower().rstrip(".")
    port = url.port or (443 if url.scheme == "https" else 80)
    for name in map(str.lower, hosts):
        pattern, _, listed_port = name.partition(":")
        is_host = host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern
        if is_host and (port == int(listed_port) if listed_port else port in PORTS):
            return True
    return False


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Return whether an address is of the public internet, and so is the one that stands inside it, if one does.

    >>> [is_public(ipaddress.ip_address(each)) for each in ("8.8.8.8", "10.0.0.1", "64:ff9b::7f00:1", "2002:a00:1::")]
    [True, False, False, False]
    """
    if any(address in network for network in _NOT_GLOBAL):
        return False
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast
    inside = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
    if inside is None and (address in _NAT64 or int(address) < 2**32):
        inside = IPv4Address(int(address) & 0xFFFFFFFF)
    if inside is not None:
        return is_public(inside)
    # The registry has given out 2000::/3 alone; all else is for purposes of its own.
    return address.is_global and int(address) >> 125 == 1


def _parsed(address: str, shown: str) -> httpx.URL:
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL as error:
        raise MediaError(f"{shown}: not an address: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise MediaError(f"{shown}: expected an address that begins with http:// or https://, got {address[:200]}")
    return url


def _request(
    client: httpx.Client, url: httpx.URL, shown: str, *, allow_private: bool, max_bytes: int, deadline_s: float
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
                if time.monotonic() > deadline_s:
                    raise MediaError(
                        f"{shown}: the download took longer than {MAX_SECONDS:g} s; download it yourself, and give the"
                        " file"
                    )
                if len(content) > max_bytes:
                    raise MediaError(
                        f"{shown}: is larger than {max_bytes // 2**20} MiB; download it yourself, and give the file"
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
    except (OSError, UnicodeError) as error:  # a label that is empty or too long
        reason = getattr(error, "strerror", None) or error
        raise MediaError(f"{shown}: the host {url.host} cannot be resolved ({reason})") from error
    addresses = [ipaddress.ip_address(str(each[4][0]).partition("%")[0]) for each in found]
    if not allow_private and (hidden := [each for each in addresses if not is_public(each)]):
        raise MediaError(
            f"{shown}: {url.host} is {hidden[0]}, which is not a public address; --allow-private allows it"
        )
    return str(addresses[0])
