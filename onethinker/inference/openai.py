"""Models behind an OpenAI-compatible address: the frames that a local model would see, sent with their true times."""

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from onethinker.core.errors import EngineError
from onethinker.core.request import Request, SamplingParams
from onethinker.families.folder import TOLD_SETTINGS, ModelSettings
from onethinker.inference.chat import chat_request, raw_chat_request, sglang_chat_request
from onethinker.inference.connection import Connection
from onethinker.inference.endpoint import Endpoint, OnEvent, RubbishError
from onethinker.inference.engine import Completion, Engine
from onethinker.inference.streaming import ReplyPieces
from onethinker.media.budget import MediaBudget
from onethinker.tasks import Coordinates
from onethinker.tasks.template import PromptTemplate

T = TypeVar("T")
LISTED_WITHIN_S = 60.0
"""A server that does not list its models in that time is not asked anything."""
MOST_TOKENS = 2**31
"""No prompt, answer or vocabulary has so many."""
REFUSED_MEDIA_KWARGS = (
    "the server refuses the frame times and sizes that we send with every request. Start vLLM with"
    " --trust-request-mm-kwargs. If you cannot, start it with --mm-processor-kwargs '{\"do_resize\": false}' and send"
    " it clips re-encoded at the sampled rate with your own client; the frame times are then the server's, not those of"
    " `onethinker inspect`"
)


Form = Literal["vllm", "sglang", "onethinker"]
"""How a request is spelled: as vLLM, SGLang or a server of `onethinker serve` takes it."""


@dataclass(frozen=True)
class RemoteEngine(Engine):
    """A model that a server serves; connections are kept, and `max_in_flight` requests are with the server at once."""

    address: str
    model: str
    prompt_template: PromptTemplate = field(default_factory=PromptTemplate)
    budget: MediaBudget = field(default_factory=MediaBudget)
    max_in_flight: int = 32
    max_tries: int = 6
    first_wait_s: float = 0.5
    timeout_s: float = 600.0
    patience_s: float = 0.0
    coordinates: Coordinates = "thousandths"
    form: Form = "vllm"
    name: str = field(init=False)
    _connection: Connection = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        endpoint = Endpoint(
            self.address,
            max_in_flight=self.max_in_flight,
            max_tries=self.max_tries,
            first_wait_s=self.first_wait_s,
            timeout_s=self.timeout_s,
            patience_s=self.patience_s,
        )
        object.__setattr__(self, "name", f"{self.model} at {self.address}")
        object.__setattr__(self, "_connection", Connection(endpoint))

    @classmethod
    def connect(
        cls,
        address: str,
        *,
        prompt_template: PromptTemplate | None = None,
        budget: MediaBudget | None = None,
        patience_s: float = 0.0,
        timeout_s: float = 600.0,
        max_tries: int = 6,
    ) -> "RemoteEngine":
        """Return an engine for the first model that the server at `address` ("http://host:8000/v1") lists; a server of
        `onethinker serve` says its words and budget, which others are told here.

        Raises: EngineError: when nothing answers there, or what answers lists no model.
        """
        address = address.rstrip("/")
        with cls(address, "", max_tries=2, timeout_s=min(timeout_s, LISTED_WITHIN_S)) as engine:
            connection = engine._connection
            listed = connection.submit(connection.send("GET", "/models", read=dict)).result()
        try:
            first = listed["data"][0]
            model, told = str(first["id"]), first.get(TOLD_SETTINGS)
            own = ModelSettings.model_validate(told or {})
            form: Form = "sglang" if first.get("owned_by") == "sglang" else "vllm"
        except (KeyError, IndexError, TypeError, AttributeError, ValidationError) as error:
            raise EngineError(f"{address}/models: expected a list of models, got {str(listed)[:200]}") from error
        return cls(
            address,
            model,
            prompt_template or own.prompt_template,
            budget or own.budget,
            coordinates=own.coordinates or "thousandths",
            form=form if told is None else "onethinker",
            max_tries=max_tries,
            patience_s=patience_s,
            timeout_s=timeout_s,
        )

    def submit(self, request: Request, params: SamplingParams) -> Future[Completion]:
        """Return at once what will hold the completion; its `seconds` are those since it was sent."""
        return self._connection.submit(self._complete(request, params))

    def submit_body(self, make_body: Callable[[], dict[str, Any]], read: Callable[[dict[str, Any]], T]) -> Future[T]:
        """Return at once what will hold what `read` makes of the reply to a request for chat completions of one's own,
        which is made in a thread when its turn has come.
        """
        return self._connection.submit(self._answered(make_body, read))

    def close(self) -> None:
        """Drop what is in flight, and the connections."""
        self._connection.close()

    def _body(self, request: Request, params: SamplingParams) -> dict[str, Any]:
        if self.form == "onethinker":
            return raw_chat_request(request, params, model=self.model)
        if self.form == "sglang":
            return sglang_chat_request(request, params, model=self.model)
        return chat_request(request, params, model=self.model, frames_per_token=self.budget.frames_per_token)

    async def _answered(self, make_body: Callable[[], dict[str, Any]], read: Callable[[dict[str, Any]], T]) -> T:
        async with self._connection.free:
            return await self._send(await asyncio.to_thread(make_body), read)

    async def _complete(self, request: Request, params: SamplingParams) -> Completion:
        async with self._connection.free:
            started = time.perf_counter()
            body = await asyncio.to_thread(self._body, request, params)
            pieces = ReplyPieces(request.on_text) if request.on_text is not None else None
            if pieces is not None:
                body |= {"stream": True, "stream_options": {"include_usage": True}}
            return await self._send(
                body,
                lambda reply: _completion(
                    pieces.completion() if pieces is not None and not reply else reply,
                    time.perf_counter() - started,
                    where=self.name,
                ),
                on_event=pieces.add if pieces else None,
            )

    async def _send(
        self, body: dict[str, Any], read: Callable[[dict[str, Any]], T], *, on_event: OnEvent | None = None
    ) -> T:
        try:
            return await self._connection.send("POST", "/chat/completions", body, read=read, on_event=on_event)
        except EngineError as error:
            if "trust-request-mm-kwargs" in str(error).replace("_", "-"):
                raise EngineError(f"{self.address}: {REFUSED_MEDIA_KWARGS} (it said: {error})") from error
            raise


def _completion(body: dict[str, Any], seconds: float, *, where: str) -> Completion:
    """Return the completion in a reply. Raises: RubbishError: there is none. EngineError: the server refuses one."""
    try:
        choice, usage = body["choices"][0], body["usage"]
        message, reason = dict(choice["message"]), choice["finish_reason"]
        tokens = count(usage["prompt_tokens"]), count(usage["completion_tokens"])
        ids, content = choice.get("token_ids"), (choice.get("logprobs") or {}).get("content")
        token_ids = None if ids is None else tuple(map(count, ids))
        logprobs = None if content is None else tuple(finite(token["logprob"]) for token in content)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise RubbishError(f"expected a chat completion with usage, got {str(body)[:300]}") from error
    if reason is None:
        raise RubbishError(f"expected a chat completion that has ended, got {str(body)[:300]}")
    if reason not in ("stop", "length"):
        raise EngineError(f"{where}: the answer ended with finish_reason {reason!r}, expected stop or length")
    text = message_text(message)
    if text is None:
        raise RubbishError(
            f"expected a message with 'content', 'reasoning' or 'reasoning_content', got {str(message)[:300]}"
        )
    return Completion(text, *tokens, reason, seconds, token_ids, logprobs)


def count(value: object) -> int:
    """Return a number of tokens, or a token. Raises: ValueError."""
    if type(value) is not int or not 0 <= value < MOST_TOKENS:
        raise ValueError(value)
    return value


def finite(value: object) -> float:
    """Return a log-probability. Raises: ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(value)
    return float(value)


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
