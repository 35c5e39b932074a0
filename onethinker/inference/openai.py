"""Models behind an OpenAI-compatible address: the frames that a local model would see, sent with their true times."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx

from onethinker.core.errors import EngineError
from onethinker.core.request import Request, SamplingParams
from onethinker.inference.chat import chat_request
from onethinker.inference.endpoint import Background, Endpoint
from onethinker.inference.engine import Completion
from onethinker.media.budget import MediaBudget
from onethinker.tasks.template import Wording

REFUSED_MEDIA_KWARGS = (
    "the server refuses the frame times and sizes that we send with every request. Start vLLM with"
    " --trust-request-mm-kwargs. If you cannot: start it with --mm-processor-kwargs '{\"do_resize\": false}' and send"
    " it clips re-encoded at the sampled rate with your own client; then times are the server's, not those of"
    " `onethinker inspect`"
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
    def connect(
        cls, address: str, *, wording: Wording | None = None, budget: MediaBudget | None = None
    ) -> "RemoteEngine":
        """Return an engine for the first model that the server at `address` ("http://host:8000/v1") lists.

        Raises: EngineError: when nothing answers there, or what answers lists no model.
        """
        engine = cls(address.rstrip("/"), "", wording or Wording(), budget or MediaBudget(), max_tries=2)
        listed = _run(engine._list_models())
        try:
            return cls(engine.address, str(listed["data"][0]["id"]), engine.wording, engine.budget)
        except (KeyError, IndexError, TypeError) as error:
            raise EngineError(f"{engine.address}/models: expected a list of models, got {str(listed)[:200]}") from error

    def answer(self, requests: Sequence[Request], sampling: SamplingParams) -> list[Completion]:
        """Return one reply per request, in order; the first request that fails for good cancels the others.

        Each request is drawn with its own seed, so that equal requests differ.

        Raises: EngineError
        """
        return _run(self._answer_all(requests, sampling))

    @contextmanager
    def asking(self, sampling: SamplingParams) -> Iterator[Callable[[Request], Future[Completion]]]:
        """Yield a function that sends a request and comes back at once, with the reply to come; leaving drops what is
        under way.

        The connections to the server are kept. A reply's `seconds` are those since it was sent.
        """
        background, client = Background("asking"), self._endpoint.client()
        try:
            yield lambda request: background.submit(self._answer_one(client, request, sampling))
        finally:
            background.close(client)

    @property
    def _endpoint(self) -> Endpoint:
        return Endpoint(
            self.address,
            max_concurrent=self.max_concurrent,
            max_tries=self.max_tries,
            first_wait_s=self.first_wait_s,
            timeout_s=self.timeout_s,
        )

    async def _list_models(self) -> dict[str, Any]:
        async with self._endpoint.client() as client:
            return await self._endpoint.send(client, "GET", "/models", None, read=dict)

    async def _answer_all(self, requests: Sequence[Request], sampling: SamplingParams) -> list[Completion]:
        started = time.perf_counter()
        free = asyncio.Semaphore(self.max_concurrent)

        async def answer_one(client: httpx.AsyncClient, position: int, request: Request) -> dict[str, Any]:
            async with free:
                return await self._ask(client, request, sampling, seed=request.seed_at(position, sampling.seed))

        try:
            async with self._endpoint.client() as client, asyncio.TaskGroup() as group:
                tasks = [group.create_task(answer_one(client, n, request)) for n, request in enumerate(requests)]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        seconds = time.perf_counter() - started
        return [_reply(task.result(), seconds, where=self.name) for task in tasks]

    async def _answer_one(self, client: httpx.AsyncClient, request: Request, sampling: SamplingParams) -> Completion:
        started = time.perf_counter()
        body = await self._ask(client, request, sampling, seed=request.seed_at(0, sampling.seed))
        return _reply(body, time.perf_counter() - started, where=self.name)

    async def _ask(
        self, client: httpx.AsyncClient, request: Request, sampling: SamplingParams, *, seed: int
    ) -> dict[str, Any]:
        body = await asyncio.to_thread(chat_request, request, sampling, model=self.model, seed=seed)
        try:
            return await self._endpoint.send(client, "POST", "/chat/completions", body, read=dict)
        except EngineError as error:
            if "trust-request-mm-kwargs" in str(error).replace("_", "-"):
                raise EngineError(f"{self.address}: {REFUSED_MEDIA_KWARGS} (it said: {error})") from error
            raise


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Return what the coroutine returns; in a notebook, where a loop already runs in this thread, from another
    thread.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(asyncio.run, work).result()


def _reply(body: dict[str, Any], seconds: float, *, where: str) -> Completion:
    try:
        choice, usage = body["choices"][0], body["usage"]
        message, reason = dict(choice["message"]), choice["finish_reason"]
        tokens = int(usage["prompt_tokens"]), int(usage["completion_tokens"])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise EngineError(f"{where}: expected a chat completion with usage, got {str(body)[:300]}") from error
    if reason not in ("stop", "length"):
        raise EngineError(
            f"{where}: the answer ended for the reason {reason!r}, not with a stop or at the length limit"
        )
    text = message_text(message)
    if text is None:
        raise EngineError(
            f"{where}: expected a message with 'content', 'reasoning' or 'reasoning_content', got {str(message)[:300]}"
        )
    return Completion(text, *tokens, reason, seconds)


def message_text(message: Mapping[str, Any]) -> str | None:
    """Return all that a model said, as it would have come from a model that runs here; None for a message without any
    text.

    A server with a reasoning parser keeps the thinking apart from the content, under one of two names (or both); it
    becomes the think block again, and stays open where nothing came after it. Without a parser, the text of a model
    whose chat template opens the think block begins inside it: the server shows only what comes after its template.

    >>> message_text({"content": "<answer>2</answer>", "reasoning_content": "Two cats."})
    '<think>Two cats.</think><answer>2</answer>'
    >>> message_text({"content": "Two cats.</think><answer>2</answer>"})
    '<think>Two cats.</think><answer>2</answer>'
    """
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(
            str(part["text"]) for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    thoughts = (message.get(name) for name in ("reasoning", "reasoning_content"))
    thinking = next((thought for thought in thoughts if isinstance(thought, str) and thought), None)
    if not isinstance(content, str):
        return None if thinking is None else f"<think>{thinking}"
    if "<think>" in content:
        return content
    if thinking is not None:
        return f"<think>{thinking}</think>{content}" if content else f"<think>{thinking}"
    return f"<think>{content}" if "</think>" in content else content
