"""Several servers of one model as one engine: a request goes to the one that has the fewest, elsewhere when it dies."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from onethinker.core.errors import EngineError
from onethinker.core.request import Request, SamplingParams
from onethinker.inference.connection import Connection
from onethinker.inference.endpoint import Endpoint, GoneError
from onethinker.inference.engine import Completion, Engine
from onethinker.inference.openai import RemoteEngine
from onethinker.media.budget import MediaBudget
from onethinker.tasks import Coordinates
from onethinker.tasks.template import PromptTemplate

T = TypeVar("T")
REST_S = 10.0
"""A server that did not answer gets nothing for so long, and is then tried with what comes next."""
LOOK_S = 1.0
"""Between two looks whether a server has started."""
TRIES = 2
"""What a server of several does not answer so often is sent to another."""
_log = logging.getLogger(__name__)


@dataclass
class _Server:
    engine: RemoteEngine
    in_flight: int = 0
    rests_until: float = 0.0


@dataclass(frozen=True)
class FleetEngine(Engine):
    """The servers of one model. A request waits where all are gone, until nothing has answered it for `patience_s`.

    Its name has no addresses: an evaluation goes on with other servers of the model.
    """

    servers: Sequence[RemoteEngine]
    patience_s: float = 0.0
    prompt_template: PromptTemplate = field(default_factory=PromptTemplate)
    budget: MediaBudget = field(default_factory=MediaBudget)
    coordinates: Coordinates = "thousandths"
    check_alive: Callable[[], None] | None = field(default=None, compare=False)
    """Called while nothing answers: raises EngineError where nothing ever will."""
    name: str = field(init=False)
    max_in_flight: int = field(init=False)
    _fleet: list[_Server] = field(init=False, repr=False, compare=False)
    _waiting: Connection = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(models := sorted({server.model for server in self.servers})) > 1:
            raise EngineError(f"the servers must serve one model, these serve {', '.join(models)}")
        object.__setattr__(self, "name", f"{models[0]} on several servers")
        object.__setattr__(self, "max_in_flight", sum(server.max_in_flight for server in self.servers))
        object.__setattr__(self, "_fleet", [_Server(server) for server in self.servers])
        object.__setattr__(self, "_waiting", Connection(Endpoint(self.name)))

    @classmethod
    def connect(
        cls,
        addresses: Sequence[str],
        *,
        prompt_template: PromptTemplate | None = None,
        budget: MediaBudget | None = None,
        patience_s: float = 0.0,
        timeout_s: float = 600.0,
    ) -> "FleetEngine":
        """Return an engine for the model that the servers at these addresses list; one that does not answer yet is
        taken to serve it too, and where none does they are waited for.

        Raises: EngineError: an address twice, none answers for `patience_s`, or they serve different models.
        """
        addresses = [address.rstrip("/") for address in addresses]
        if len({*addresses}) < len(addresses):
            raise EngineError(f"an address stands more than once: {', '.join(addresses)}")
        connect = partial(
            RemoteEngine.connect, prompt_template=prompt_template, budget=budget, timeout_s=timeout_s, max_tries=TRIES
        )
        found = connect_any(addresses, connect, patience_s=patience_s)
        first = next(iter(found.values()))
        servers = [found.get(address) or replace(first, address=address) for address in addresses]
        return cls(servers, patience_s, first.prompt_template, first.budget, first.coordinates)

    def submit(self, request: Request, params: SamplingParams) -> Future[Completion]:
        """Return at once what will hold the completion, from whichever server gives it."""
        return self.submit_work(lambda server: asyncio.wrap_future(server.submit(request, params)))

    def submit_work(self, work: Callable[[RemoteEngine], Awaitable[T]]) -> Future[T]:
        """Return at once what will hold the result of work with a server, the first that does not raise GoneError."""
        return self._waiting.submit(self._complete(work))

    def submit_coroutine(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Return at once what will hold the result of a coroutine, which runs where the work with servers does."""
        return self._waiting.submit(work)

    def close(self) -> None:
        """Drop what is in flight, and all connections."""
        self._waiting.close()
        for server in self.servers:
            server.close()

    def _cost(self, server: "_Server", failed: set[int], now: float) -> tuple[bool, float, int]:
        """Return what speaks against asking a server: that it failed this request before others were asked, how long it
        rests, and how much it has in flight.
        """
        before_others = id(server) in failed and len(failed) < len(self._fleet)
        return before_others, max(server.rests_until - now, 0.0), server.in_flight

    def _rest(self, server: _Server, now: float, error: GoneError) -> None:
        """Give a server nothing for a while, and say so once."""
        is_known, server.rests_until = server.rests_until > now, now + REST_S
        if is_known:
            return
        _log.warning("%s does not answer and gets nothing for %.0f s: %s", server.engine.address, REST_S, error)
        if all(each.rests_until > now for each in self._fleet):
            _log.warning("none of %d servers answers: waiting, for up to %.0f s", len(self._fleet), self.patience_s)

    async def _complete(self, work: Callable[[RemoteEngine], Awaitable[T]]) -> T:
        """Return the result of the first server that gives one.

        Raises: EngineError: a server refuses the work, or none has done it for as long as is stated.
        """
        gone_since: float | None = None
        failed: set[int] = set()
        while True:
            now = time.monotonic()
            server = min(self._fleet, key=lambda each: self._cost(each, failed, now))
            server.in_flight += 1
            try:
                await asyncio.sleep(server.rests_until - now)
                return await work(server.engine)
            except GoneError as error:
                now = time.monotonic()
                self._rest(server, now, error)
                failed.add(id(server))
                gone_since = (gone_since or now) if len(failed) == len(self._fleet) else None
                if gone_since is not None and self.check_alive is not None:
                    self.check_alive()
                if gone_since is not None and now - gone_since >= self.patience_s:
                    raise EngineError(f"none of {len(self._fleet)} servers answers; the last: {error}") from error
            finally:
                server.in_flight -= 1


def connect_any(
    addresses: Sequence[str], connect: Callable[[str], RemoteEngine], *, patience_s: float
) -> dict[str, RemoteEngine]:
    """Return the servers that answer, by address; where none does, all are asked again for so long.

    Raises: EngineError: none answers, or one says something that is wrong.
    """
    began_s, is_said = time.monotonic(), False
    while True:
        found: dict[str, RemoteEngine] = {}
        for address in addresses:
            try:
                found[address] = connect(address)
            except GoneError as error:
                gone = error
        if found:
            return found
        left_s = patience_s - (time.monotonic() - began_s)
        if left_s <= 0:
            raise EngineError(f"none of {len(addresses)} servers answers; the last: {gone}") from gone
        if not is_said:
            _log.warning(
                "none of %d servers answers: waiting, for up to %.0f s, for %s",
                len(addresses),
                patience_s,
                ", ".join(addresses),
            )
        is_said = True
        time.sleep(min(LOOK_S, left_s))


def connect_servers(addresses: str, *, patience_s: float = 0.0, **known: Any) -> RemoteEngine | FleetEngine:
    """Return the server at an address, or several, with commas between, as one engine; `known` is as for `connect`.

    Raises: EngineError: an address is empty, nothing answers, or they serve different models.
    """
    each = [address.strip() for address in addresses.split(",")]
    if not all(each):
        raise EngineError(f"--model: an address is empty: {addresses!r}")
    if len(each) > 1:
        return FleetEngine.connect(each, patience_s=patience_s, **known)
    return RemoteEngine.connect(addresses, patience_s=patience_s, **known)
