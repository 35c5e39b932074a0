"""Models behind an OpenAI-compatible address: the frames that a local model would see, sent with their true times."""

import asyncio
import os
import random
import time
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import httpx

from onethinker.errors import EngineError
from onethinker.media.budget import MediaBudget
from onethinker.models.chat import chat_request
from onethinker.models.engine import Reply, Request, Sampling
from onethinker.models.wording import Wording

API_KEY_VARIABLE = "ONETHINKER_API_KEY"
"""The environment variable whose value is sent as the bearer token; it is never stored or printed."""
RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
LONGEST_WAIT_S = 120.0
"""A server that asks for a longer pause is treated as one that does not answer."""
REFUSED_MEDIA_KWARGS = (
    "the server refuses the frame times and sizes that we send with every request. Start vLLM with "
    "--trust-request-mm-kwargs. If you cannot: start it with --mm-processor-kwargs '{\"do_resize\": false}' and send it "
    "clips re-encoded at the sampled rate with your own client; then times are the server's, not those of `onethinker inspect`"
)
T = TypeVar("T")


@dataclass(frozen=True)
class RemoteEngine:
    """A model that a server serves; many requests are under way at once, replies come back in order."""

    address: str
    model: str
    wording: Wording = field(default_factory=Wording)
    budget: MediaBudget = field(default_factory=MediaBudget)
    max_concurrent: int = 32
    max_tries: int = 6
    first_wait_s: float = 0.5
    timeout_s: float = 600.0

    @property
    def name(self) -> str:
        """The served model's name and where it is served."""
        return f"{self.model} at {self.address}"

    @classmethod
    def connect(cls, address: str, *, wording: Wording | None = None, budget: MediaBudget | None = None) -> "RemoteEngine":
        """Return an engine for the first model that the server at `address` ("http://host:8000/v1") lists.

        Raises: EngineError: when nothing answers there, or what answers lists no model.
        """
        engine = cls(address.rstrip("/"), "", wording or Wording(), budget or MediaBudget(), max_tries=2)
        listed = _run(engine._list_models())
        try:
            return cls(engine.address, str(listed["data"][0]["id"]), engine.wording, engine.budget)
        except (KeyError, IndexError, TypeError) as error:
            raise EngineError(f"{engine.address}/models: expected a list of models, got {str(listed)[:200]}") from error

    def answer(self, requests: Sequence[Request], sampling: Sampling) -> list[Reply]:
        """Return one reply per request, in order; the first request that fails for good cancels the others.

        Each request is drawn with its own seed, `sampling.seed` plus its position, so that equal requests differ.

        Raises: EngineError
        """
        return _run(self._answer_all(requests, sampling))

    async def _list_models(self) -> dict[str, Any]:
        async with self._client() as client:
            return await self._send(client, "GET", "/models", None)

    async def _answer_all(self, requests: Sequence[Request], sampling: Sampling) -> list[Reply]:
        started = time.perf_counter()
        free = asyncio.Semaphore(self.max_concurrent)

        async def answer_one(client: httpx.AsyncClient, position: int, request: Request) -> dict[str, Any]:
            async with free:
                body = await asyncio.to_thread(chat_request, request, sampling, model=self.model, seed=sampling.seed + position)
                return await self._send(client, "POST", "/chat/completions", body)

        try:
            async with self._client() as client, asyncio.TaskGroup() as group:
                tasks = [group.create_task(answer_one(client, n, request)) for n, request in enumerate(requests)]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        seconds = time.perf_counter() - started
        return [_reply(task.result(), seconds, where=self.name) for task in tasks]

    def _client(self) -> httpx.AsyncClient:
        key = os.environ.get(API_KEY_VARIABLE)
        return httpx.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(self.timeout_s, connect=10),
            limits=httpx.Limits(max_connections=self.max_concurrent),
        )

    async def _send(self, client: httpx.AsyncClient, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        """Return the server's JSON, asking again with growing pauses while the failure may pass."""
        url, failure = self.address + path, ""
        for attempt in range(self.max_tries):
            wait_s = self.first_wait_s * 2**attempt * random.uniform(0.5, 1)
            try:
                response = await client.request(method, url, json=body)
            except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
                raise EngineError(f"{url}: not an address: {error}") from error
            except httpx.TransportError as error:
                failure = f"{type(error).__name__} {error}".strip()
            else:
                if response.status_code not in RETRIED_STATUSES:
                    return _json(response, url)
                failure = f"status {response.status_code}: {_said(response)}"
                wait_s = max(wait_s, _retry_after_s(response))
            if wait_s > LONGEST_WAIT_S:
                raise EngineError(f"{url}: the server asks for a pause of {wait_s:.0f} s, longer than {LONGEST_WAIT_S:.0f} s ({failure})")
            if attempt + 1 < self.max_tries:
                await asyncio.sleep(wait_s)
        raise EngineError(f"{url}: no answer after {self.max_tries} tries; the last one gave {failure}. Is the server up at this address?")


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Return what the coroutine returns; in a notebook, where a loop already runs in this thread, from another thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(asyncio.run, work).result()


def _retry_after_s(response: httpx.Response) -> float:
    """Return the pause that the server asks for: seconds or a date, 0 when it says neither."""
    said = response.headers.get("Retry-After", "")
    if said.strip().isdigit():
        return float(said)
    try:
        return max(0.0, (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def _json(response: httpx.Response, url: str) -> dict[str, Any]:
    """Return the body of a good response. Raises: EngineError: for every other status, with the server's words."""
    said = _said(response)
    if response.status_code == 400 and "trust-request-mm-kwargs" in said.replace("_", "-"):
        raise EngineError(f"{url}: {REFUSED_MEDIA_KWARGS} (it said: {said})")
    if response.status_code in (401, 403):
        raise EngineError(f"{url}: status {response.status_code}: put the server's key into the environment variable {API_KEY_VARIABLE}")
    if not response.is_success:
        raise EngineError(f"{url}: status {response.status_code}: {said}")
    try:
        body = response.json()
    except ValueError as error:
        raise EngineError(f"{url}: expected JSON, got {said!r}") from error
    if not isinstance(body, dict):
        raise EngineError(f"{url}: expected a JSON object, got {said!r}")
    return body


def _said(response: httpx.Response) -> str:
    """Return the server's own words, from the error object when there is one, cut to a readable length."""
    try:
        body = response.json()
        return str(body["error"]["message"] if "error" in body else body["message"])[:500]
    except (ValueError, KeyError, TypeError):
        return response.text[:500]


def _reply(body: dict[str, Any], seconds: float, *, where: str) -> Reply:
    try:
        choice, usage = body["choices"][0], body["usage"]
        text, reason = choice["message"]["content"], choice["finish_reason"]
        tokens = int(usage["prompt_tokens"]), int(usage["completion_tokens"])
    except (KeyError, IndexError, TypeError) as error:
        raise EngineError(f"{where}: expected a chat completion with usage, got {str(body)[:300]}") from error
    if not isinstance(text, str) or choice["message"].get("reasoning"):
        raise EngineError(f"{where}: the server keeps the reasoning apart from the text; start it without --reasoning-parser")
    if reason not in ("stop", "length"):
        raise EngineError(f"{where}: the answer ended for the reason {reason!r}, not with a stop or at the length limit")
    return Reply(text, *tokens, reason, seconds)
