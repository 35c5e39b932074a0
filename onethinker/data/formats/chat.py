"""What forms share in which a sample is a conversation: a user's turn with the whole prompt, and an assistant's; or the
turns of a sample that is a conversation itself.

Beside the turns stand the fields of our own record, which programs that train on conversations leave alone; by them
a row is read back as it was. A row without them is a question that is its user's turn.
"""

import re
from collections.abc import Mapping, Sequence

from onethinker.core.errors import DataError
from onethinker.core.grammar import answer_text, show
from onethinker.core.sample import Sample
from onethinker.data.formats.records import Record
from onethinker.data.formats.released import media_kinds
from onethinker.tasks.template import PromptTemplate

_TAG = re.compile(r"<(image|video|audio)>")
_ROLES = {"system": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant"}


def user_text(sample: Sample) -> str:
    """Return the whole prompt of a sample, with a placeholder for each medium before it unless its words have them.

    Raises: DataError: there are words that the trainer would take for media.
    """
    text, kinds = PromptTemplate().text(sample), media_kinds(sample)
    found, later = _TAG.findall(text), _TAG.findall(sample.response or "")
    if found and not later and sorted(found) == sorted(kinds):
        return text
    if found or later:
        tag = show(f"<{[*found, *later][0]}>")
        raise DataError(
            f"the question or response contains {tag}, which this form would read as a medium: write it in another way"
        )
    return f"{''.join(f'<{kind}>' for kind in kinds)}\n{text}" if kinds else text


def need_response(sample: Sample, form: str) -> None:
    """Raise DataError for a sample without a response."""
    if sample.response is None:
        raise DataError(f"there is no response, but the {form} form needs one")


def turns_of(sample: Sample, record: Record) -> list[Record]:
    """Return the turns of a sample, each with "role" and "content": its whole prompt and response, or the conversation
    that its record holds. Raises: DataError: there are words that the trainer would take for media.
    """
    if sample.is_conversation:
        return list(record["messages"])
    turns = [{"role": "user", "content": user_text(sample)}]
    return [*turns, {"role": "assistant", "content": sample.response}] if sample.response is not None else turns


def all_learned(turns: Sequence[Record]) -> list[Record]:
    """Return turns as they are. Raises: DataError: an answer is not to be learned, which this form cannot say."""
    if any("learn" in turn for turn in turns):
        raise DataError("an answer has 'learn' false; lost: this mark, which the form does not have")
    return list(turns)


def read_turns(turns: object, *, role: str, content: str, named: str) -> list[Record]:
    """Return turns with "role" and "content", and what else they say. Raises: DataError: they are none."""
    found: list[Record] = []
    for turn in turns if isinstance(turns, list) else []:
        who = turn.get(role) if isinstance(turn, Mapping) else None
        if not isinstance(who, str) or who not in _ROLES:
            raise DataError(
                f"{named!r} must only have turns of system, user and assistant; this one would be lost: {show(turn)}"
            )
        more = {name: value for name, value in turn.items() if name not in (role, content)}
        found.append({"role": _ROLES[who], "content": turn.get(content), **more})
    if not found:
        raise DataError(f"{named!r} must be a list of turns, got {show(turns)}")
    return found


def with_lists(record: Record) -> Record:
    """Return a record whose media in "image" and "video" stand in the lists "images" and "videos".

    >>> with_lists({"image": "a.png", "id": "1"})
    {'id': '1', 'images': ['a.png']}
    """
    own = {name: value for name, value in record.items() if name not in ("image", "video")}
    for name in ("image", "video"):
        if (value := record.get(name)) is not None and not own.get(f"{name}s"):
            own[f"{name}s"] = value if isinstance(value, list) else [value]
    return own


def own_record(record: Record, turns: Sequence[Record], *, taken: Sequence[str]) -> Record:
    """Return a record of our own from a conversation, without the fields in `taken`: a question and its response, or
    all turns where there are more. Raises: DataError: a turn is no text.
    """
    own = {name: value for name, value in record.items() if name not in taken}
    single = [turn["role"] for turn in turns] in (["user"], ["user", "assistant"])
    if not single or any(turn.keys() - {"role", "content"} for turn in turns):
        own["messages"] = list(turns)
        return own
    said = [turn["content"] for turn in turns]
    for text in said:
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"a turn must be a text that is not empty, got {show(text)}")
    own.setdefault("problem", said[0])
    own.setdefault("problem_type", "open-ended")
    own.setdefault("data_type", "video" if own.get("videos") else "image")
    if len(said) > 1:
        own["response"] = said[1]
        if (inside := answer_text(said[1])) and not own.get("answer") and not own.get("solution"):
            own["answer"] = inside
    return own
