"""The socket that a server listens on, and its end: in order at SIGTERM, with what is in flight."""

import asyncio
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from onethinker.core.errors import ConfigError

BACKLOG = 2048


class Server(uvicorn.Server):
    """Ends after a signal once its requests have ended, and with exit code 0."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take the signals of this process while the block runs."""
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(signum, self.handle_exit, signum, None)
        yield


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that will listen. Raises: ConfigError: the port is taken, or the address is not ours.

    What it accepts sends at once (TCP_NODELAY): asyncio sees to that only where a socket names its protocol, and else
    each second write of a reply waits 40 ms for the client's acknowledgement of the first.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host.strip("[]"), port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot listen on {host}, port {port}: {reason}; choose another --port or --host") from error
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # which accepted sockets inherit
    return listening


def run(app: FastAPI, listening: socket.socket, *, drain_s: int) -> None:
    """Serve until a signal comes; what is in flight then has `drain_s` to end."""
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=drain_s, server_header=False
    )
    Server(config).run(sockets=[listening])
