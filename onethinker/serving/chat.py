"""OpenAI's chat completions: their messages to a question of ours, our replies to their chunks."""

import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

from onethinker.core.errors import ConfigError
from onethinker.core.request import Turn
from onethinker.core.sources import TimedFrames
from onethinker.serving.answering import Answered, Asked
from onethinker.serving.frame_lists import are_frames, timed_frames, times_of
from onethinker.serving.refusals import RefusedError
from onethinker.serving.replies import reply_of, usage_of
from onethinker.serving.running import CLIENT_GONE, Running
from onethinker.serving.schemas import ChatBody, ChatMessage, ChatPart
from onethinker.serving.splitting import Part, Piece, Splitter, split_reply
from onethinker.serving.uploads import Slot, Sources
from onethinker.storage.strict_json import to_json

_OWN_FORM = re.compile(r"<\s*answer\s*>", re.IGNORECASE)
"""A client whose words say this brings its own instructions, and looks for the tags itself."""
MEDIA_PARTS = ("image_url", "video_url")
FIELDS = {"thinking": "reasoning_content", "answer": "content"}
"""Where each part of a reply stands in a message."""


def asked_in(body: ChatBody, sources: Sources, slot: Slot) -> Asked:
    """Return the last question of a chat with all its media, the turns before it, and the system's words.

    Raises: ConfigError: there is no question. MediaError: a file cannot be opened.
    """
    said = [(message, _text(message.content)) for message in body.messages]
    system = "\n\n".join(text for message, text in said if message.role in ("system", "developer") and text)
    talk = [(message.role, text) for message, text in said if message.role in ("user", "assistant")]
    files = [tuple(_files(message, body, sources, slot)) for message in body.messages]
    if not talk or talk[-1][0] != "user" or not talk[-1][1].strip():
        raise ConfigError("messages: the last one must be from the user and contain a question")
    question = talk[-1][1]
    return Asked(
        question,
        tuple(chain.from_iterable(files)),
        task=body.task,
        box=body.box,
        options=body.options,
        turns=tuple(_turns(talk[:-1], raw=body.raw)),
        system=system or None,
        as_it_is=body.raw or bool(_OWN_FORM.search(question)),
        raw=body.raw,
        shown=_shown(body.messages, files) if body.raw else (),
        sampling=body,
        max_new_tokens=body.max_completion_tokens or body.max_tokens,
    )


def _turns(talk: Sequence[tuple[str, str]], *, raw: bool) -> Iterable[Turn]:
    """Yield each question with the answer that follows it; what has no partner is left out."""
    for (role, text), (next_role, next_text) in pairwise(talk):
        if (role, next_role) == ("user", "assistant") and text.strip() and next_text.strip():
            yield Turn(text, next_text if raw else split_reply(next_text)["answer"] or next_text)


def _shown(messages: Sequence[ChatMessage], files: Sequence[Sequence[object]]) -> tuple[int, ...]:
    return tuple(len(own) for message, own in zip(messages, files, strict=True) if message.role == "user")


def _text(content: str | tuple[ChatPart, ...] | None) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(part.text for part in content if part.type == "text" and part.text)


def _files(message: ChatMessage, body: ChatBody, sources: Sources, slot: Slot) -> Iterable[Path | TimedFrames]:
    """Yield the files of a message, each once it is on the disk. Raises: ConfigError, MediaError."""
    for part in message.content if isinstance(message.content, tuple) else ():
        if part.type == "text":
            continue
        if part.type not in MEDIA_PARTS:
            raise ConfigError(f"messages: a part must be text, image_url or video_url, got {part.type[:40]!r}")
        given = getattr(part, part.type)
        url = given.get("url") if isinstance(given, dict) else given
        if not isinstance(url, str):
            raise ConfigError(f'messages: {part.type} must be {{"url": "data:…"}}')
        if len(slot.names) >= sources.limits.media:
            raise ConfigError(f"messages: at most {sources.limits.media} pictures and videos in one request")
        if are_frames(url):
            yield timed_frames(url, times_of(given, body.media_io_kwargs), slot, sources.limits)
        else:
            yield sources.open(url, slot)


class Completion:
    """One chat completion on its way out."""

    def __init__(self, body: ChatBody, asked: Asked, model: str) -> None:
        self._body, self._asked = body, asked
        self._shared = {"id": f"chatcmpl-{uuid4().hex}", "created": int(time.time()), "model": model}

    def whole(self, answered: Answered) -> dict[str, Any]:
        """Return the JSON of a reply that is not streamed."""
        parts: dict[Part, str] = {"answer": answered.thought.text, "thinking": ""}
        if not self._asked.raw:
            parts = split_reply(answered.thought.text, keep_answer_tags=self._asked.as_it_is)
        message = {"role": "assistant", "content": parts["answer"], "reasoning_content": parts["thinking"] or None}
        choice = {"index": 0, "message": message, "finish_reason": answered.thought.reply.finish_reason}
        return {
            **self._shared,
            "object": "chat.completion",
            "choices": [{**choice, "logprobs": None}],
            "usage": usage_of(answered),
            "onethinker": reply_of(answered, guessed=self._asked.task is None),
        }

    async def chunks(self, running: Running, answer: Callable[[Running], Awaitable[Answered]]) -> AsyncIterator[bytes]:
        """Yield the server-sent events of a reply; the last has what `answer` says that it was read as."""
        splitter = Splitter(keep_answer_tags=self._asked.as_it_is)
        try:
            yield self._chunk({"role": "assistant", "content": ""})
            async for text in running.pieces():
                for piece in [Piece("answer", text)] if self._asked.raw and text else splitter.add(text):
                    yield self._piece(piece)
                if not text:
                    yield b": waiting\n\n"
            for piece in splitter.finish():
                yield self._piece(piece)
            answered = await answer(running)
        except RefusedError as refusal:
            if refusal.status != CLIENT_GONE:
                yield _data(refusal.record())
            return
        own = {"onethinker": reply_of(answered, guessed=self._asked.task is None)}
        yield self._chunk({}, finish=answered.thought.reply.finish_reason, own=own)
        if (self._body.stream_options or {}).get("include_usage"):
            yield _data({**self._shared, "object": "chat.completion.chunk", "choices": [], "usage": usage_of(answered)})
        yield b"data: [DONE]\n\n"

    def _piece(self, piece: Piece) -> bytes:
        return self._chunk({FIELDS[piece.part]: piece.text})

    def _chunk(self, delta: dict[str, Any], finish: str | None = None, own: dict[str, Any] | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return _data({**self._shared, "object": "chat.completion.chunk", "choices": [choice], **(own or {})})


def _data(value: object) -> bytes:
    return f"data: {to_json(value)}\n\n".encode()
