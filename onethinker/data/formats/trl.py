"""TRL's chat form: "prompt" and "completion", each turns whose content is a list of texts and places of media.

OpenAI's parts, "image_url" with a path, are read too. Source: TRL documentation, dataset formats, vision.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onethinker.core.errors import DataError
from onethinker.core.grammar import show
from onethinker.core.sample import Sample
from onethinker.data.formats.chat import all_learned, own_record, read_turns, with_lists
from onethinker.data.formats.foreign import is_trl
from onethinker.data.formats.form import Form, record_with, without
from onethinker.data.formats.records import Record
from onethinker.data.formats.released import media_kinds
from onethinker.tasks.template import PromptTemplate

_MEDIA = ("image", "video")
_TAGS = ("<image>", "<video>")


def read(record: Record, root: Path) -> Record:
    """Return a record out of a conversation in "prompt" and "completion", or in "messages". Raises: DataError."""
    turns = record.get("messages")
    if turns is None:
        prompt, completion = record["prompt"], record.get("completion") or []
        turns = [*prompt, *completion] if isinstance(prompt, list) and isinstance(completion, list) else prompt
    said = [
        {**turn, "content": _plain(turn["content"])}
        for turn in read_turns(turns, role="role", content="content", named="prompt")
    ]
    own = with_lists(record)
    own |= {name: value for name, value in _named(said).items() if value and not own.get(name)}
    texts = [{**turn, "content": _text(turn["content"])} for turn in said]
    return own_record(own, texts, taken=("messages", "prompt", "completion"))


def write(sample: Sample, root: Path) -> Record:
    """Return a sample as a prompt, and the response as its completion where there is one. Raises: DataError."""
    record = record_with(sample, root, ("prompt", "completion"))
    if sample.is_conversation:
        turns = [{**turn, "content": _parts(turn["content"])} for turn in all_learned(record["messages"])]
        return {**without(record, "messages"), "prompt": turns[:-1], "completion": turns[-1:]}
    places = [{"type": kind} for kind in media_kinds(sample)]
    asked = [*places, {"type": "text", "text": PromptTemplate().text(sample)}]
    record["prompt"] = [{"role": "user", "content": asked}]
    if sample.response is not None:
        record["completion"] = [{"role": "assistant", "content": [{"type": "text", "text": sample.response}]}]
    return without(record, "response")


def _parts(text: str) -> list[Record]:
    """Return a turn as a list of places of media and texts."""
    parts = [part for part in re.split(r"(<image>|<video>)\n?", text) if part]
    return [{"type": part[1:-1]} if part in _TAGS else {"type": "text", "text": part} for part in parts]


def _plain(content: Any) -> Any:
    """Return the content of a turn with OpenAI's parts ("image_url") as TRL has them ("image")."""
    if not isinstance(content, list):
        return content
    return [_plain_part(part) for part in content]


def _plain_part(part: Any) -> Any:
    for kind in _MEDIA:
        if isinstance(part, dict) and part.get("type") == f"{kind}_url":
            address = part.get(f"{kind}_url")
            path = address.get("url") if isinstance(address, dict) else address
            if not isinstance(path, str) or not path.strip():
                raise DataError(f'a part of "{kind}_url" must name a file, as {{"url": "PATH"}}, got {show(part)}')
            return {"type": kind, kind: path}
    return part


def _text(content: Any) -> str:
    """Return what a turn says, media as placeholders. Raises: DataError: a part is neither text nor a medium."""
    if isinstance(content, str):
        return content
    said = []
    for part in content if isinstance(content, list) else [content]:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in (*_MEDIA, "text"):
            raise DataError(f"a part of a turn must be a text, an image or a video, got {show(part)}")
        said.append(str(part.get("text")) if kind == "text" else f"<{kind}>")
    return "".join(said)


def _named(turns: Sequence[Record]) -> dict[str, list[Any]]:
    """Return the files that stand in the parts of the turns themselves."""
    contents = [turn["content"] for turn in turns if isinstance(turn["content"], list)]
    parts = [part for content in contents for part in content if isinstance(part, dict)]
    return {f"{kind}s": [part[kind] for part in parts if part.get(kind) is not None] for kind in _MEDIA}


TRL = Form("trl", "TRL's chat form", is_trl, read, write)
