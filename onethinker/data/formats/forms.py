"""The forms in which the release writes a sample: what each says in fields of its own.

RL          {"problem": "<image>Where is the cat?", "answer": "<answer>…</answer>", "images": ["a.jpg"], …}
evaluation  {"problem": "Where is the cat?", "solution": "<answer>…</answer>", "path": "a.jpg", …}
SFT         {"messages": [{"role": "user", "content": "<image>…"}, {"role": "assistant", "content": "<think>…"}],
             "images": ["a.jpg"], …}

Another form is one more function, and one more row of `FORMS`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from onethinker.core.errors import DataError
from onethinker.core.grammar import show
from onethinker.data.formats.conversation import (
    LEADING,
    OWN_LINE,
    PLACEHOLDER,
    Conversation,
    in_order,
    leading_kinds,
    read_messages,
    stand_for,
)
from onethinker.data.formats.fields import has, read_text
from onethinker.data.formats.records import Record

_ADDRESS = re.compile(r"(?:https?|s3|gs|hf|file|ftp)://|data:[a-z]+/", re.IGNORECASE)


@dataclass(frozen=True)
class Parts:
    """The question as it is written, the complete response if there is one, and the media by kind.

    `is_tagged` says whether the question places its media with <image> and <video>. Of a `conversation` question and
    response are the last ones.
    """

    problem: str
    response: str | None
    images: list[Path]
    videos: list[Path]
    is_tagged: bool = True
    conversation: Conversation | None = None


def read_form(record: Record, root: Path) -> Parts:
    """Return what a record of any form says. Raises: DataError: names the field."""
    return next(read for field, read in FORMS if field is None or has(record, field))(record, root)


def read_sft(record: Record, root: Path) -> Parts:
    """Return one question with its answer, or a whole conversation. Where "problem" stands beside it, that is the
    question, and the user's turn the whole prompt. Raises: DataError.
    """
    conversation = read_messages(record["messages"])
    if has(record, "path"):
        raise DataError("'path' cannot be combined with 'messages'; name files in 'images' or 'videos'")
    last = conversation.turns[conversation.used - 1]
    media = _listed(record, root)
    if conversation.is_single:
        return Parts(read_text(record, "problem", default="") or last.question, last.answer, *media)
    return Parts(last.question, last.answer, *media, conversation=conversation)


def read_evaluation(record: Record, root: Path) -> Parts:
    """Return a question about the one file in "path", or about that video and the picture in "additional_path"."""
    images, videos = _listed(record, root)
    if images or videos:
        raise DataError("'path' cannot be combined with 'images' or 'videos'; use one of them")
    (images if str(record.get("data_type")).strip().lower() == "image" else videos).append(
        root / read_text(record, "path")
    )
    if has(record, "additional_path"):
        images.append(root / read_text(record, "additional_path"))
    return Parts(read_text(record, "problem"), _response(record), images, videos, is_tagged=False)


def read_rl(record: Record, root: Path) -> Parts:
    """Return a question about the files in "images" and "videos". Raises: DataError."""
    return Parts(read_text(record, "problem"), _response(record), *_listed(record, root))


FORMS: tuple[tuple[str | None, Callable[[Record, Path], Parts]], ...] = (
    ("messages", read_sft),
    ("path", read_evaluation),
    (None, read_rl),
)
"""The field by which a record is known to be of a form, and what reads it; the first that fits counts."""


def _response(record: Record) -> str | None:
    """Return what is learned from: "response", or "chosen" where records of preferences call it so."""
    named = [name for name in ("response", "chosen") if has(record, name)]
    if len(named) > 1:
        raise DataError("'chosen' is another name for 'response'; leave out one of them")
    return read_text(record, named[0]) if named else None


def _listed(record: Record, root: Path) -> tuple[list[Path], list[Path]]:
    named: dict[str, list[Path]] = {}
    for name in ("images", "videos"):
        items = record.get(name) or []
        if not isinstance(items, list) or not all(isinstance(item, str) and item for item in items):
            raise DataError(f"{name!r} must be a list of paths, got {show(items)}")
        if addresses := [item for item in items if _ADDRESS.match(item)]:
            raise DataError(f"{name!r} must name files, got {show(addresses[0])}; save it as a file and name that")
        named[name] = [root / item for item in items]
    return named["images"], named["videos"]


def place_media(parts: Parts) -> tuple[str, tuple[Path, ...]]:
    """Return the question and the media in the order of their placeholders, videos first where there are none.

    Placeholders before the question, and those that have lines of their own, are taken out; one among the words is left
    there, because a question may be about the tag itself. Where those before the question stand for all media, and in
    the evaluation form, which needs none (`is_tagged` false), what comes later is only words.
    """
    problem, images, videos, is_tagged = parts.problem, parts.images, parts.videos, parts.is_tagged
    leading = leading_kinds(problem)
    kinds = leading if not is_tagged or stand_for(leading, images, videos) else PLACEHOLDER.findall(problem)
    media = in_order(kinds, images, videos, named="'problem'") if kinds and is_tagged else (*videos, *images)
    question = LEADING.sub("", problem, count=1)
    return (OWN_LINE.sub("", question) if len(kinds) > len(leading) else question).strip(), media
