"""Rows that other programs wrote for themselves: how each is known, and which are no records of ours before
`onethinker data convert` has made some of them.
"""

from collections.abc import Callable

from onethinker.core.errors import DataError
from onethinker.data.formats.records import Record


def is_verl(record: Record) -> bool:
    """Return whether a row is one of verl."""
    return isinstance(record.get("prompt"), list) and "reward_model" in record


def is_trl(record: Record) -> bool:
    """Return whether a row has turns out of parts, as TRL and OpenAI write them, or a prompt out of turns."""
    if not _has_turns(record):
        return isinstance(record.get("prompt"), list)
    return any(isinstance(turn, dict) and isinstance(turn.get("content"), list) for turn in record["messages"])


def is_llamafactory(record: Record) -> bool:
    """Return whether a row is one of LLaMA-Factory or LLaVA."""
    return "conversations" in record and not _has_turns(record)


def has_objects(record: Record) -> bool:
    """Return whether a row has boxes or names as ms-swift writes them; "objects" may also be a field of the user's."""
    objects = record.get("objects")
    return _has_turns(record) and isinstance(objects, dict) and not objects.keys().isdisjoint(("bbox", "ref"))


def is_easyr1(record: Record) -> bool:
    """Return whether a row is one that we wrote for EasyR1."""
    answer = record.get("answer")
    return "question" in record and isinstance(answer, str) and answer.startswith('{"problem_type"')


def _is_coco(record: Record) -> bool:
    return "annotations" in record and "images" in record and not _has_turns(record)


def _has_turns(record: Record) -> bool:
    turns = record.get("messages")
    return isinstance(turns, list) and bool(turns)


_ALONE: tuple[tuple[str, Callable[[Record], bool]], ...] = (
    ("TRL's or OpenAI's, with turns out of parts", is_trl),
    ("LLaMA-Factory's or LLaVA's, with 'conversations'", is_llamafactory),
    ("COCO's, with 'annotations'", _is_coco),
)
"""Rows that are records of ours where our own "problem" stands in them, too."""
_NEVER: tuple[tuple[str, Callable[[Record], bool]], ...] = (
    ("verl's, with 'reward_model'", is_verl),
    ("EasyR1's, with a whole record in 'answer'", is_easyr1),
    ("ms-swift's, with 'objects' in pixels", has_objects),
)


def check_ours(record: Record) -> None:
    """Do nothing for a record of ours. Raises: DataError: it is a row of another program."""
    for named, knows in (*_NEVER, *(() if "problem" in record else _ALONE)):
        if knows(record):
            raise DataError(
                f"is a row in another form, {named}: convert it with `onethinker data convert FILE own.jsonl --to own`"
            )
