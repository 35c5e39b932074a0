"""Several servers of one model as one engine: a request goes to the one that has the fewest, elsewhere when it dies."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from onethinker.core.addresses import split_addresses
from onethinker.core.errors import EngineError
from onethinker.core.request import Request, SamplingParams
from onethinker.inference.connection import Connection
from onethinker.inference.endpoint import Endpoint
from onethinker.inference.engine import Completion, Engine
from onethinker.inference.least_loaded import TRIES, LeastLoaded, connect_any
from onethinker.inference.openai import RemoteEngine
from onethinker.media.budget import MediaBudget
from onethinker.tasks import Coordinates
from onethinker.tasks.template import PromptTemplate

T = TypeVar("T")


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
    _fleet: LeastLoaded[RemoteEngine] = field(init=False, repr=False, compare=False)
    _waiting: Connection = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(models := sorted({server.model for server in self.servers})) > 1:
            raise EngineError(f"all servers must serve the same model, but these serve {', '.join(models)}")
        object.__setattr__(self, "name", f"{models[0]} on several servers")
        object.__setattr__(self, "max_in_flight", sum(server.max_in_flight for server in self.servers))
        fleet = LeastLoaded(self.servers, patience_s=self.patience_s, check_alive=self.check_alive)
        object.__setattr__(self, "_fleet", fleet)
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

        Raises: EngineError: none answers for `patience_s`, or they serve different models.
        """
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
        """Return at once what will hold the result of work with a server, the first that gives one."""
        return self._waiting.submit(self._fleet.complete(work))

    def submit_coroutine(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Return at once what will hold the result of a coroutine, which runs where the work with servers does."""
        return self._waiting.submit(work)

    def close(self) -> None:
        """Drop what is in flight, and all connections."""
        self._waiting.close()
        for server in self.servers:
            server.close()


def connect_servers(addresses: str, *, patience_s: float = 0.0, **known: Any) -> RemoteEngine | FleetEngine:
    """Return the server at an address, or several, with commas between, as one engine; `known` is as for `connect`.

    Raises: ConfigError: one of them is none. EngineError: nothing answers, or they serve different models.
    """
    each = split_addresses(addresses, field="a model on servers")
    if len(each) > 1:
        return FleetEngine.connect(each, patience_s=patience_s, **known)
    connect = partial(RemoteEngine.connect, patience_s=patience_s, **known)
    return connect_any(each, connect, patience_s=patience_s)[each[0]]
