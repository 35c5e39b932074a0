"""Addresses of servers, as flags and recipes give them."""

import ipaddress
from urllib.parse import urlsplit

from onethinker.core.errors import ConfigError


def is_address(text: str) -> bool:
    """Tell whether a text begins as an address does.

    >>> is_address("http://host:8000/v1")
    True
    """
    return text.startswith(("http://", "https://"))


def split_addresses(given: str, *, field: str) -> list[str]:
    """Return the addresses of servers that stand in a text, with commas between; `field` is where a user wrote it.

    >>> split_addresses("http://one:8000/v1, http://two:8000/v1/", field="--judge")
    ['http://one:8000/v1', 'http://two:8000/v1']

    Raises: ConfigError: one is no address, or stands twice.
    """
    addresses = [address.strip().rstrip("/") for address in given.split(",")]
    for address in addresses:
        if not is_address(address):
            among = f" in {given!r}" if "," in given else ""
            raise ConfigError(f"{field} must be an address such as http://host:8000/v1, got {address!r}{among}")
        if addresses.count(address) > 1:
            raise ConfigError(f"{field}: this address is listed more than once: {address}")
    return addresses


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a host.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0"), is_loopback("")
    (True, True, False, False)
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def is_each_machines_own(address: str) -> bool:
    """Tell whether an address means on every machine the machine itself.

    >>> is_each_machines_own("http://localhost:8000/v1"), is_each_machines_own("http://node-1:8000/v1")
    (True, False)
    """
    host = urlsplit(address).hostname or ""
    return is_loopback(host) or host in ("0.0.0.0", "::")  # noqa: S104 (asked, not listened at)
