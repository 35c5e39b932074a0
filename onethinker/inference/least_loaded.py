"""Work for one of several servers: the one that has the least, another where it dies."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from onethinker.core.errors import EngineError
from onethinker.inference.endpoint import GoneError, UnusableError

REST_S = 10.0
"""A server that did not answer gets nothing for so long, and is then tried with what comes next."""
TRIES = 2
"""What a server of several does not answer so often is sent to another."""
LOOK_S = 1.0
"""Between two looks whether a server has started."""
LEAST_PATIENCE_S = 10.0
"""For so long servers are waited for before the first question, and where several score answers; more by settings."""
_log = logging.getLogger(__name__)


class Addressed(Protocol):
    """A server, however it is asked."""

    @property
    def address(self) -> str:
        """Where it is."""


T = TypeVar("T")
S = TypeVar("S", bound=Addressed)


@dataclass
class _Server(Generic[S]):
    asked: S
    in_flight: int = 0
    rests_until: float = 0.0


class LeastLoaded(Generic[S]):
    """Servers that do the same work. Work waits where all are gone, until nothing has done it for `patience_s`."""

    def __init__(
        self, servers: Sequence[S], *, patience_s: float, check_alive: Callable[[], None] | None = None
    ) -> None:
        """`check_alive` is called while nothing answers: it raises EngineError where nothing ever will."""
        self.patience_s, self._check_alive = patience_s, check_alive
        self._servers = [_Server(server) for server in servers]

    async def complete(self, work: Callable[[S], Awaitable[T]]) -> T:
        """Return the result of the first server that gives one.

        Raises: EngineError: a server refuses the work, none has a usable answer, or none has done it for as long as is
        stated.
        """
        gone_since: float | None = None
        failed: set[int] = set()
        while True:
            now = time.monotonic()
            server = min(self._servers, key=lambda each: self._cost(each, failed, now))
            server.in_flight += 1
            try:
                await asyncio.sleep(server.rests_until - now)
                return await work(server.asked)
            except UnusableError:
                failed.add(id(server))
                if len(failed) == len(self._servers):
                    raise
            except GoneError as error:
                now = time.monotonic()
                self._rest(server, now, error)
                failed.add(id(server))
                gone_since = (gone_since or now) if len(failed) == len(self._servers) else None
                if gone_since is not None and self._check_alive is not None:
                    self._check_alive()
                if gone_since is not None and now - gone_since >= self.patience_s:
                    raise EngineError(
                        f"none of {len(self._servers)} servers answers; the last error: {error}"
                    ) from error
            finally:
                server.in_flight -= 1

    def _cost(self, server: _Server[S], failed: set[int], now: float) -> tuple[bool, float, int]:
        """Return what speaks against asking a server: that it failed this request before others were asked, how long it
        rests, and how much it has in flight.
        """
        before_others = id(server) in failed and len(failed) < len(self._servers)
        return before_others, max(server.rests_until - now, 0.0), server.in_flight

    def _rest(self, server: _Server[S], now: float, error: GoneError) -> None:
        """Give a server nothing for a while, and say so once."""
        is_known, server.rests_until = server.rests_until > now, now + REST_S
        if is_known:
            return
        _log.warning("%s does not answer and gets no requests for %.0f s: %s", server.asked.address, REST_S, error)
        if all(each.rests_until > now for each in self._servers):
            _log.warning("none of %d servers answers: waiting, for up to %.0f s", len(self._servers), self.patience_s)


def connect_any(addresses: Sequence[str], connect: Callable[[str], T], *, patience_s: float) -> dict[str, T]:
    """Return what was made of the servers that answer, by address; where none does, all are asked again for so long.

    Raises: EngineError: none answers, or one says something that is wrong.
    """
    began_s, is_said, patience_s = time.monotonic(), False, max(patience_s, LEAST_PATIENCE_S)
    none = f"none of {len(addresses)} servers answers" if len(addresses) > 1 else f"{addresses[0]} does not answer"
    while True:
        found: dict[str, T] = {}
        for address in addresses:
            try:
                found[address] = connect(address)
            except GoneError as error:
                gone = error
        if found:
            return found
        left_s = patience_s - (time.monotonic() - began_s)
        if left_s <= 0:
            raise EngineError(f"{none}, after {patience_s:.0f} s of waiting; the last try: {gone}") from gone
        if not is_said:
            names = f", for {', '.join(addresses)}" if len(addresses) > 1 else ""
            _log.warning("%s: waiting, for up to %.0f s%s. The last try: %s", none, patience_s, names, gone)
        is_said = True
        time.sleep(min(LOOK_S, left_s))
