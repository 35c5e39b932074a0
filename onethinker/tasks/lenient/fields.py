"""Finding a value among the keys that other models use."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from onethinker.core.errors import AnswerError
from onethinker.core.grammar import show
from onethinker.storage.strict_json import to_json

WRAPPERS = frozenset(("answer", "finalanswer", "answers", "result", "results", "output", "response", "prediction"))
WRAPPERS |= {"objects", "object", "detections", "detection", "events", "event"}
_DEEPEST = 4


def plain(key: object) -> str:
    """Return a key without case and marks: "bbox_2d" and "bbox-2D" are one.

    >>> plain("Bbox_2d"), plain("start time")
    ('bbox2d', 'starttime')
    """
    return re.sub(r"[^a-z0-9]", "", str(key).lower())


def unwrapped(value: Any, repairs: list[str]) -> Any:
    """Return what is in {"answer": …}, or in a list of one object."""
    for _ in range(_DEEPEST):
        if isinstance(value, dict) and len(value) == 1 and plain(next(iter(value))) in WRAPPERS:
            repairs.append(f"the value of {show(next(iter(value)))}")
            [value] = value.values()
        elif isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
            repairs.append("one object in a list")
            [value] = value
        elif _is_repeated(value):
            repairs.append(f"the same {len(value)} times")
            value = value[:1]
        else:
            break
    return value


def _is_repeated(value: Any) -> bool:
    """Return whether a list holds the same list or object several times."""
    if not isinstance(value, list) or len(value) < 2 or not isinstance(value[0], list | dict):
        return False
    return value.count(value[0]) == len(value)


def find_field(fields: Mapping[str, Any], name: str, others: Collection[str], repairs: list[str]) -> Any:
    """Return the value under a name, or under one other name of it. Raises: AnswerError: there is none, or several."""
    if name in fields:
        return fields[name]
    found = [key for key in fields if plain(key) in others or plain(key) == plain(name)]
    if len(found) != 1:
        raise AnswerError(f"expected one field {show(name)}, got {', '.join(map(show, found or fields)) or 'none'}")
    repairs.append(f"{show(found[0])} is {show(name)}")
    return fields[found[0]]


def as_json(fields: Mapping[str, Any]) -> str:
    """Return fields as the strict reader's JSON."""
    return to_json(fields, ensure_ascii=False)
