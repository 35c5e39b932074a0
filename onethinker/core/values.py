"""The values in an answer: numbers, seconds, points and boxes out of JSON, with a fault for each place that is wrong.

A fault costs its own place and nothing else: a number beyond the frame is clipped to it, a malformed box is missing.
Every reader here raises `AnswerError` where nothing of its value can be used.
"""

import math
import re
from collections.abc import Callable
from typing import Any, NoReturn, ParamSpec, TypeVar

from onethinker.core.errors import AnswerError
from onethinker.core.geometry import FULL, Box, Point, Span
from onethinker.core.grammar import Malformed, read_json, show

_KEY = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)
P = ParamSpec("P")
T = TypeVar("T")


class Faults:
    """What is wrong with an answer of which the rest can be used, in the order in which it was found."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def add(self, text: str) -> None:
        """Take one fault."""
        self.texts.append(text)

    def attempt(self, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Return what a reader returns, or None with its reason among the faults."""
        try:
            return read(*args, **kwargs)
        except AnswerError as error:
            self.add(str(error))
            return None


class _Exact(Faults):
    def add(self, text: str) -> NoReturn:
        """Refuse the whole answer: no fault is allowed. Raises: AnswerError."""
        raise AnswerError(text)


EXACT = _Exact()
"""Raises the first fault: for truths, and wherever an answer is either exact or none."""


def read_fields(text: str, *names: str, faults: Faults = EXACT) -> dict[str, Any]:
    """Return the values of a JSON object under these keys, as many of them as there are; any other key is a fault.

    >>> read_fields('{"boxes": [1, 2, 3, 4]}', "boxes")
    {'boxes': [1, 2, 3, 4]}

    Raises: AnswerError: no such object, or none of its keys.
    """
    value = read_json(text)
    expected = "a JSON object with " + " and ".join(f'"{name}"' for name in names)
    if not isinstance(value, dict):
        raise AnswerError(f"expected {expected}, got {show(value)}")
    missing = [name for name in names if name not in value]
    if len(missing) == len(names):
        raise AnswerError(f"expected {expected}, {show(missing[0])} is missing")
    for name in missing:
        faults.add(f"expected {expected}, {show(name)} is missing")
    for name in value:
        if name not in names:
            faults.add(f"expected {expected}, got {show(name)} too")
    return {name: value[name] for name in names if name in value}


def as_number(value: object, name: str) -> float:
    """Return a number out of JSON as a float; true, "1" and the like are none. Raises: AnswerError.

    >>> as_number(3, "'time'")
    3.0
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise AnswerError(_refusal(value, f"{name} must be a number"))
    if not math.isfinite(value):
        raise AnswerError(f"{name} must be finite, got {value}")
    return float(value)


def as_second(value: object, name: str, faults: Faults = EXACT) -> float:
    """Return a timestamp in a video; one before its start is clipped to 0 s. Raises: AnswerError."""
    if (second := as_number(value, name)) < 0:
        faults.add(f"{name} must be at least 0 seconds, got {second:g}")
    return max(0.0, second)


def as_span(value: object, name: str, faults: Faults = EXACT) -> Span:
    """Return two seconds as a span with a length. Raises: AnswerError.

    >>> as_span([1, 2.5], "'time'")
    Span(start=1.0, end=2.5)
    """
    seconds = _as_list(value, 2, f"{name} must be two seconds [start, end]")
    start, end = (as_second(item, name, faults) for item in seconds)
    if start >= end:
        raise AnswerError(f"{name} must end after it starts, got [{start:g}, {end:g}]")
    return Span(start, end)


def as_point(value: object, name: str, faults: Faults = EXACT) -> Point:
    """Return two thousandths as a point, clipped to the frame. Raises: AnswerError."""
    sides = _as_list(value, 2, f"{name} must be two thousandths [x, y]")
    x, y = (_as_thousandths(item, name, faults) for item in sides)
    return Point(x, y)


def as_points(value: object, count: int, name: str, faults: Faults = EXACT) -> tuple[Point, ...]:
    """Return `count` points, the first ones of a longer list. Raises: AnswerError: fewer can be used."""
    if not isinstance(value, list) or len(value) < count:
        raise AnswerError(_refusal(value, f"{name} must be {count} points"))
    if len(value) > count:
        faults.add(f"{name} must be {count} points, got {len(value)}")
    read = [faults.attempt(as_point, item, name, faults) for item in value[: 2 * count]]
    points = tuple(point for point in read if point is not None)
    if len(points) < count:
        raise AnswerError(f"{name} must be {count} points, {len(points)} can be used")
    return points[:count]


def as_box(value: object, name: str, faults: Faults = EXACT) -> Box:
    """Return four thousandths as a box with an area, its sides clipped to the frame. Raises: AnswerError.

    >>> as_box([100, 200, 300, 400], "'boxes'")
    Box(x1=100.0, y1=200.0, x2=300.0, y2=400.0)
    """
    sides = _as_list(value, 4, f"{name} must be four thousandths [x1, y1, x2, y2]")
    box = Box(*(_as_thousandths(item, name, faults) for item in sides))
    if box.x1 >= box.x2 or box.y1 >= box.y2:
        raise AnswerError(f"{name} must have x1 < x2 and y1 < y2, got {show(sides)}")
    return box


def as_numbered_boxes(value: object, name: str, faults: Faults = EXACT) -> dict[int, Box]:
    """Return the boxes of a JSON object under whole numbers, no keys like "01" or "1.0"; one that is malformed is
    missing.

    >>> as_numbered_boxes({"3": [0, 0, 10, 10]}, "'boxes'")
    {3: Box(x1=0.0, y1=0.0, x2=10.0, y2=10.0)}

    Raises: AnswerError: there is no object, or nothing in it.
    """
    if not isinstance(value, dict) or not value:
        raise AnswerError(_refusal(value, f"{name} must be an object with a box under each number"))
    boxes: dict[int, Box] = {}
    for key, item in value.items():
        if not _KEY.fullmatch(key):
            faults.add(f'{name} must have whole numbers like "7" as keys, got {show(key)}')
        elif (box := faults.attempt(as_box, item, f"{name} at {key}", faults)) is not None:
            boxes[int(key)] = box
    return boxes


def _as_list(value: object, length: int, expected: str) -> list[object]:
    if not isinstance(value, list) or len(value) != length:
        raise AnswerError(_refusal(value, expected))
    return value


def _as_thousandths(value: object, name: str, faults: Faults) -> float:
    number = as_number(value, name)
    if not 0 <= number <= FULL:
        faults.add(f"{name} must lie between 0 and {FULL}, got {number:g}")
    return min(max(number, 0.0), float(FULL))


def _refusal(value: object, expected: str) -> str:
    return f"{expected}: {value}" if isinstance(value, Malformed) else f"{expected}, got {show(value)}"
