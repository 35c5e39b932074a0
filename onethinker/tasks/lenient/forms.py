"""Structured answers: the forms of other models as the JSON that the tasks read."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from onethinker.core.errors import AnswerError
from onethinker.core.grammar import show
from onethinker.tasks.base import Reader
from onethinker.tasks.lenient.boxes import BOX_KEYS, SIDE_KEYS, to_box, to_points
from onethinker.tasks.lenient.fields import as_json, find_field, plain, unwrapped
from onethinker.tasks.lenient.loose_json import load_loosely, without_fence
from onethinker.tasks.lenient.times import END_KEYS, START_KEYS, TIME_KEYS, to_second, to_span

Convert = Callable[[Any, Reader, list[str]], Any]
_WHOLE = re.compile(r"0|[1-9][0-9]{0,8}")
_KEY = re.compile(r"(?:frame|key|second|sec|t|time|index|#)?[ _=:]*0*([0-9]{1,6})(?:\.0+)?", re.IGNORECASE)
_POSITIVE = frozenset(("positivepoints", "positive", "positivepoint", "pospoints", "foreground", "pointspositive"))
_NEGATIVE = frozenset(("negativepoints", "negative", "negativepoint", "negpoints", "background", "pointsnegative"))
_INDEX_KEYS = frozenset(("key", "frame", "frameid", "frameindex", "index", "frameidx", "id"))


def repair_box(text: str, reader: Reader, repairs: list[str]) -> str:
    """Return the JSON of spatial grounding. Raises: AnswerError: there is not one box in the text."""
    value = _load(text, reader, repairs)
    if isinstance(value, dict):
        _drop_others(value, BOX_KEYS | SIDE_KEYS, repairs)
    elif isinstance(value, list):
        repairs.append("a bare list")
    return as_json({"boxes": to_box(value, reader, repairs)})


def repair_span(text: str, reader: Reader, repairs: list[str]) -> str:
    """Return the JSON of temporal grounding. Raises: AnswerError: there is not one span in the text."""
    value = _load(text, reader, repairs)
    if isinstance(value, dict):
        _drop_others(value, TIME_KEYS | START_KEYS | END_KEYS, repairs)
    elif isinstance(value, list):
        repairs.append("a bare list")
    return as_json({"time": to_span(value["time"] if isinstance(value, dict) and "time" in value else value, repairs)})


def repair_track(text: str, reader: Reader, repairs: list[str]) -> str:
    """Return the JSON of tracking; seconds become keys, which begin at 1. Raises: AnswerError: there are no boxes."""
    value = _load(text, reader, repairs)
    if not isinstance(value, dict) or any(_KEY.fullmatch(str(key)) for key in value):
        repairs.append("boxes that are not under 'boxes'")
    else:
        _drop_others(value, BOX_KEYS | {"track", "tracks"}, repairs)
        value = find_field(value, "boxes", BOX_KEYS | {"track", "tracks"}, repairs)
    return as_json({"boxes": _numbered(value, reader, repairs, first=1, shift=1)})


def repair_tube(text: str, reader: Reader, repairs: list[str]) -> str:
    """Return the JSON of spatio-temporal grounding. Raises: AnswerError: there is neither a time nor boxes."""
    value = _load(text, reader, repairs)
    if isinstance(value, list):
        repairs.append("boxes that are not under 'boxes'")
        value = {"boxes": value}
    if not isinstance(value, dict):
        raise AnswerError(f"expected a time and boxes, got {show(value)}")
    found: dict[str, Any] = {}
    boxes = _attempt(lambda: find_field(value, "boxes", BOX_KEYS | {"track", "tracks", "tube"}, repairs))
    if any(plain(key) in TIME_KEYS | START_KEYS for key in value):
        time = value.get("time", {key: item for key, item in value.items() if item is not boxes})
        found["time"] = _kept(to_span, time, repairs)
    if boxes is not None:
        numbered = _attempt(lambda: _numbered(boxes, reader, repairs, first=None, shift=0))
        found["boxes"] = boxes if numbered is None else numbered
        seconds = sorted(int(key) for key in numbered or () if _WHOLE.fullmatch(key))
        if "time" not in found and seconds:
            repairs.append("the time from the first box to the last")
            found["time"] = [seconds[0], max(seconds[-1], seconds[0] + 1)]
    return as_json(found)


def repair_selection(text: str, reader: Reader, repairs: list[str], *, has_time: bool) -> str:
    """Return the JSON of segmentation. Raises: AnswerError: there is no object with its parts."""
    value = _load(text, reader, repairs)
    if not isinstance(value, dict):
        raise AnswerError(f"expected an object with a box and points, got {show(value)}")
    parts: list[tuple[str, frozenset[str], Convert]] = [
        ("boxes", BOX_KEYS, to_box),
        ("positive_points", _POSITIVE, to_points),
        ("negative_points", _NEGATIVE, to_points),
    ]
    if has_time:
        parts.insert(0, ("time", TIME_KEYS, lambda item, _, repairs: to_second(item, repairs)))
    found: dict[str, Any] = {}
    for name, others, convert in parts:
        part = _attempt(lambda name=name, others=others: find_field(value, name, others, repairs))  # type: ignore[misc]
        if part is not None:
            found[name] = _kept(lambda item, repairs, convert=convert: convert(item, reader, repairs), part, repairs)  # type: ignore[misc]
    _drop_others(value, frozenset().union(*(others for _, others, _ in parts)), repairs)
    return as_json(found)


def _load(text: str, reader: Reader, repairs: list[str]) -> Any:
    """Return the value in a text: of its JSON, or the words themselves."""
    text = without_fence(text, repairs)
    if not re.search(r"[{\[]", text.replace("［", "[").replace("｛", "{")):
        return text
    try:
        return unwrapped(load_loosely(text, repairs, truncated=reader.truncated), repairs)
    except AnswerError:
        return text


def _attempt(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except AnswerError:
        return None


def _kept(convert: Callable[[Any, list[str]], Any], value: Any, repairs: list[str]) -> Any:
    """Return a value converted, or itself for the strict reader to say what is wrong with it."""
    tried: list[str] = []
    try:
        converted = convert(value, tried)
    except AnswerError:
        return value
    repairs += tried
    return converted


def _drop_others(value: Mapping[str, Any], known: set[str] | frozenset[str], repairs: list[str]) -> None:
    """Name the keys that nothing reads."""
    if others := [key for key in value if plain(key) not in known]:
        repairs.append(f"{', '.join(map(show, others[:5]))} left out")


def _numbered(value: Any, reader: Reader, repairs: list[str], *, first: int | None, shift: int) -> dict[str, Any]:
    """Return boxes under whole numbers.

    `first` is the number of the first in a list without numbers, None where such a list means nothing; `shift` is added
    to seconds to make the task's numbers. Raises: AnswerError: there are none.
    """
    boxes: dict[str, Any] = {}
    for number, item in _pairs(value, repairs, first=first, shift=shift):
        if number is not None:
            boxes.setdefault(number, _kept(lambda box, tried: to_box(box, reader, tried), item, repairs))
    if not boxes:
        raise AnswerError(f"expected boxes by number, got {show(value)}")
    return boxes


def _pairs(value: Any, repairs: list[str], *, first: int | None, shift: int) -> list[tuple[str | None, Any]]:
    """Return numbers with what is to be a box; None for what has no number. Raises: AnswerError: there is nothing."""
    if isinstance(value, dict):
        return [(_number_of_key(key, shift, repairs), item) for key, item in value.items()]
    if not isinstance(value, list) or not value:
        raise AnswerError(f"expected boxes by number, got {show(value)}")
    pairs = [(_number_of_item(item, shift, repairs) if isinstance(item, dict) else None, item) for item in value]
    if first is not None and all(number is None for number, _ in pairs):
        repairs.append(f"boxes in order, the first as {first}")
        return [(str(first + index), item) for index, item in enumerate(value)]
    repairs.append("a list of boxes with their times")
    return pairs


def _number_of_key(key: str, shift: int, repairs: list[str]) -> str:
    """Return the number that a key is, a key that is none as it stands."""
    if _WHOLE.fullmatch(key):
        return key
    if match := _KEY.fullmatch(key.strip()):
        repairs.append(f"the key {show(key)}")
        return str(int(match[1]))
    return _number_of_second(key, shift, repairs) or key


def _number_of_item(item: Mapping[str, Any], shift: int, repairs: list[str]) -> str | None:
    """Return the number under which an item of a list belongs, by its second or its index; None where it has none."""
    for key, value in item.items():
        if plain(key) in TIME_KEYS:
            return _number_of_second(value, shift, repairs)
        if plain(key) in _INDEX_KEYS and isinstance(value, int):
            return str(value)
    return None


def _number_of_second(value: Any, shift: int, repairs: list[str]) -> str | None:
    second = _attempt(lambda: to_second(value, repairs))
    return None if second is None or second != int(second) else str(int(second) + shift)
