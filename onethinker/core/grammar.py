"""The language of answers: think block, answer block, strict JSON, and the values in it.

Everything here takes time in proportion to the length of the text, whatever the text is, and refuses with an
`AnswerError` that says what was expected and what came.
"""

import json
import math
import re
from dataclasses import dataclass
from reprlib import Repr
from typing import Any, NoReturn

from onethinker.core.errors import AnswerError
from onethinker.core.geometry import FULL, Box, Point, Span

MAX_JSON_CHARS = 100_000
"""Longer JSON is refused unread; the longest sensible answer, a box for every second of an hour, has 90,000."""
MAX_JSON_DEPTH = 8
MAX_NUMBER_CHARS = 32
"""Longer numbers are refused unread: none of our quantities needs more digits."""

_short = Repr()
_short.maxstring = _short.maxother = 60
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
_KEY = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)


@dataclass(frozen=True)
class Response:
    """The two blocks of a response, without the white space around them."""

    thinking: str
    answer: str


def parse_response(text: str) -> Response:
    """Return the blocks of a text that is one think block, then one answer block, and nothing else but white space.

    >>> parse_response("<think>Two cats.</think><answer>2</answer>")
    Response(thinking='Two cats.', answer='2')

    Raises: AnswerError
    """
    for tag in TAGS:
        if (count := text.count(tag)) != 1:
            raise AnswerError(f"expected {tag} exactly once, got it {count} times")
    open_think, close_think, open_answer, close_answer = (text.index(tag) for tag in TAGS)
    if not open_think < close_think < open_answer < close_answer:
        raise AnswerError("expected the think block, then the answer block, got the tags in another order")
    outside = (
        text[:open_think],
        text[close_think + len("</think>") : open_answer],
        text[close_answer + len("</answer>") :],
    )
    for piece, place in zip(
        outside, ("before the think block", "between the blocks", "after the answer block"), strict=True
    ):
        if stray := piece.strip():
            raise AnswerError(f"expected nothing {place}, got {show(stray)}")
    thinking = text[open_think + len("<think>") : close_think]
    return Response(thinking.strip(), text[open_answer + len("<answer>") : close_answer].strip())


def find_answer(text: str) -> str:
    """Return the inside of the answer block that counts: the last one after the last `</think>`.

    This also reads responses that break the grammar: they lose their format reward, not their answer.

    >>> find_answer("<think>Is it <answer>3</answer>?</think><answer>1</answer> or <answer>2</answer>")
    '2'

    Raises: AnswerError: there is none.
    """
    start = text.rfind("</think>") + 1
    close = text.rfind("</answer>", start)
    opened = text.rfind("<answer>", start, close) if close >= 0 else -1
    if opened < 0:
        raise AnswerError("there is no answer block" + (" after </think>" if start else ""))
    return text[opened + len("<answer>") : close].strip()


def answer_text(text: str) -> str | None:
    """Return the inside of the answer block that counts, None where there is none.

    >>> answer_text("<answer> 2 </answer>"), answer_text("2")
    ('2', None)
    """
    try:
        return find_answer(text)
    except AnswerError:
        return None


def without_opening(response: str, opening: str) -> str:
    r"""Return what a model has left to say of a whole response when its chat template has written the beginning.

    >>> without_opening("<think>Two cats.</think><answer>2</answer>", "<think>\n")
    'Two cats.</think><answer>2</answer>'
    >>> without_opening("<think>Two cats.</think><answer>2</answer>", "")
    '<think>Two cats.</think><answer>2</answer>'
    """
    rest = response.lstrip()
    if not opening or not rest.startswith("<think>"):
        return response
    return rest.removeprefix("<think>").removeprefix(opening.removeprefix("<think>"))


def parse_json(text: str) -> object:
    """Return the value of strict JSON.

    NaN, infinities, numbers beyond a float, duplicate keys, over 100,000 characters and over 8 levels are refused.

    >>> parse_json('{"time": [1, 2.5]}')
    {'time': [1, 2.5]}

    Raises: AnswerError
    """
    if len(text) > MAX_JSON_CHARS:
        raise AnswerError(f"expected at most {MAX_JSON_CHARS} characters of JSON, got {len(text)}")
    too_deep = f"expected JSON of at most {MAX_JSON_DEPTH} levels, got more"
    try:
        value = json.loads(
            text,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_refuse_constant,
            object_pairs_hook=_without_duplicates,
        )
    except json.JSONDecodeError as error:
        raise AnswerError(f"expected JSON, got {show(text)}: {error.msg} at character {error.pos}") from error
    except RecursionError as error:
        raise AnswerError(too_deep) from error
    if _is_deeper(value, MAX_JSON_DEPTH):
        raise AnswerError(too_deep)
    return value


def parse_fields(text: str, *names: str) -> dict[str, Any]:
    """Return the values of a JSON object that has exactly these keys.

    >>> parse_fields('{"boxes": [1, 2, 3, 4]}', "boxes")
    {'boxes': [1, 2, 3, 4]}

    Raises: AnswerError
    """
    value = parse_json(text)
    expected = "a JSON object with " + " and ".join(f'"{name}"' for name in names)
    if not isinstance(value, dict):
        raise AnswerError(f"expected {expected}, got {show(value)}")
    if missing := [name for name in names if name not in value]:
        raise AnswerError(f"expected {expected}, {show(missing[0])} is missing")
    if unknown := [name for name in value if name not in names]:
        raise AnswerError(f"expected {expected}, got {show(unknown[0])} too")
    return value


def as_number(value: object, name: str) -> float:
    """Return a number out of JSON as a float; true, "1" and the like are none. Raises: AnswerError.

    >>> as_number(3, "'time'")
    3.0
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise AnswerError(f"{name} must be a number, got {show(value)}")
    if not math.isfinite(value):
        raise AnswerError(f"{name} must be finite, got {value}")
    return float(value)


def as_second(value: object, name: str) -> float:
    """Return a moment of a video, at least 0 s. Raises: AnswerError."""
    if (second := as_number(value, name)) < 0:
        raise AnswerError(f"{name} must be at least 0 seconds, got {second:g}")
    return second


def as_span(value: object, name: str) -> Span:
    """Return two seconds as a span with a length. Raises: AnswerError.

    >>> as_span([1, 2.5], "'time'")
    Span(start=1.0, end=2.5)
    """
    start, end = (as_second(item, name) for item in _as_list(value, 2, f"{name} must be two seconds [start, end]"))
    if start >= end:
        raise AnswerError(f"{name} must end after it starts, got [{start:g}, {end:g}]")
    return Span(start, end)


def as_point(value: object, name: str) -> Point:
    """Return two thousandths as a point. Raises: AnswerError."""
    x, y = (_as_thousandths(item, name) for item in _as_list(value, 2, f"{name} must be two thousandths [x, y]"))
    return Point(x, y)


def as_points(value: object, count: int, name: str) -> tuple[Point, ...]:
    """Return a list of exactly `count` points. Raises: AnswerError."""
    return tuple(as_point(item, name) for item in _as_list(value, count, f"{name} must be {count} points"))


def as_box(value: object, name: str) -> Box:
    """Return four thousandths as a box with an area. Raises: AnswerError.

    >>> as_box([100, 200, 300, 400], "'boxes'")
    Box(x1=100.0, y1=200.0, x2=300.0, y2=400.0)
    """
    sides = [
        _as_thousandths(item, name) for item in _as_list(value, 4, f"{name} must be four thousandths [x1, y1, x2, y2]")
    ]
    box = Box(*sides)
    if box.x1 >= box.x2 or box.y1 >= box.y2:
        raise AnswerError(f"{name} must have x1 < x2 and y1 < y2, got {sides}")
    return box


def as_numbered_boxes(value: object, name: str) -> dict[int, Box]:
    """Return a JSON object of boxes under whole numbers; at least one, and no key like "01" or "1.0". Raises:
    AnswerError.

    >>> as_numbered_boxes({"3": [0, 0, 10, 10]}, "'boxes'")
    {3: Box(x1=0.0, y1=0.0, x2=10.0, y2=10.0)}
    """
    if not isinstance(value, dict) or not value:
        raise AnswerError(f"{name} must be an object with a box under each number, got {show(value)}")
    for key in value:
        if not _KEY.fullmatch(key):
            raise AnswerError(f'{name} must have whole numbers like "7" as keys, got {show(key)}')
    return {int(key): as_box(box, f"{name} at {key}") for key, box in value.items()}


def show(value: object) -> str:
    """Return a value for a message, shortened.

    >>> show([1, "two", True])
    "[1, 'two', True]"
    """
    return _short.repr(value)


def _as_list(value: object, length: int, expected: str) -> list[object]:
    if not isinstance(value, list) or len(value) != length:
        raise AnswerError(f"{expected}, got {show(value)}")
    return value


def _as_thousandths(value: object, name: str) -> float:
    number = as_number(value, name)
    if not 0 <= number <= FULL:
        raise AnswerError(f"{name} must lie between 0 and {FULL}, got {number:g}")
    return number


def _integer(digits: str) -> int:
    if len(digits) > MAX_NUMBER_CHARS:
        raise AnswerError(f"expected numbers of at most {MAX_NUMBER_CHARS} characters, got one of {len(digits)}")
    return int(digits)


def _float(digits: str) -> float:
    if len(digits) > MAX_NUMBER_CHARS:
        raise AnswerError(f"expected numbers of at most {MAX_NUMBER_CHARS} characters, got one of {len(digits)}")
    number = float(digits)
    if not math.isfinite(number):
        raise AnswerError(f"expected finite numbers, got {digits}")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise AnswerError(f"expected finite numbers, got {name}")


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value: dict[str, object] = {}
    for name, item in pairs:
        if name in value:
            raise AnswerError(f"expected each key once, got {show(name)} twice")
        value[name] = item
    return value


def _is_deeper(value: object, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    children = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(child, levels - 1) for child in children)
