"""The language of answers: think block, answer block, and strict JSON; `values.py` reads what is in it.

Everything here takes time in proportion to the length of the text, whatever the text is, and refuses with an
`AnswerError` that says what was expected and what came.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from reprlib import Repr
from typing import NoReturn

from onethinker.core.errors import AnswerError

MAX_JSON_CHARS = 100_000
"""Longer JSON is refused unread; the longest sensible answer, a box for every second of an hour, has 90,000."""
MAX_JSON_DEPTH = 8
MAX_NUMBER_CHARS = 32
"""Longer numbers are refused unread: none of our quantities needs more digits."""

_short = Repr()
_short.maxstring = _short.maxother = 60
TAGS = ("<think>", "</think>", "<answer>", "</answer>")


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
    for piece, where in zip(
        outside, ("before the think block", "between the blocks", "after the answer block"), strict=True
    ):
        if stray := piece.strip():
            raise AnswerError(f"expected nothing {where}, got {show(stray)}")
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


class Malformed(str):
    """In place of a value that strict JSON does not have, why: NaN, a number beyond a float, a key given twice."""


def parse_json(text: str) -> object:
    """Return the value of strict JSON.

    NaN, infinities, numbers beyond a float, duplicate keys, over 100,000 characters and over 8 levels are refused.

    >>> parse_json('{"time": [1, 2.5]}')
    {'time': [1, 2.5]}

    Raises: AnswerError
    """
    return _load_json(text, _refuse)


def read_json(text: str) -> object:
    """Return the value of JSON, with a `Malformed` in each place where a number or a key is refused.

    >>> read_json('{"time": [1, NaN]}')
    {'time': [1, 'expected finite numbers, got NaN']}

    Raises: AnswerError: the text is no JSON, too long or too deep.
    """
    return _load_json(text, Malformed)


def _load_json(text: str, refuse: Callable[[str], object]) -> object:
    """Return the value of JSON, with what `refuse` makes of a reason in each place that is refused."""
    if len(text) > MAX_JSON_CHARS:
        raise AnswerError(f"expected at most {MAX_JSON_CHARS} characters of JSON, got {len(text)}")
    too_deep = f"expected JSON of at most {MAX_JSON_DEPTH} levels, got more"
    try:
        value = json.loads(
            text,
            parse_int=lambda digits: _number(digits, int, refuse),
            parse_float=lambda digits: _number(digits, float, refuse),
            parse_constant=lambda name: refuse(f"expected finite numbers, got {name}"),
            object_pairs_hook=lambda pairs: _without_duplicates(pairs, refuse),
        )
    except json.JSONDecodeError as error:
        raise AnswerError(f"expected JSON, got {show(text)}: {error.msg} at character {error.pos}") from error
    except RecursionError as error:
        raise AnswerError(too_deep) from error
    if _is_deeper(value, MAX_JSON_DEPTH):
        raise AnswerError(too_deep)
    return value


def show(value: object) -> str:
    """Return a value for a message, shortened.

    >>> show([1, "two", True])
    "[1, 'two', True]"
    """
    return _short.repr(value)


def _refuse(reason: str) -> NoReturn:
    raise AnswerError(reason)


def _number(digits: str, kind: type[int] | type[float], refuse: Callable[[str], object]) -> object:
    if len(digits) > MAX_NUMBER_CHARS:
        return refuse(f"expected numbers of at most {MAX_NUMBER_CHARS} characters, got one of {len(digits)}")
    number = kind(digits)
    return number if math.isfinite(number) else refuse(f"expected finite numbers, got {digits}")


def _without_duplicates(pairs: list[tuple[str, object]], refuse: Callable[[str], object]) -> dict[str, object]:
    value: dict[str, object] = {}
    for name, item in pairs:
        value[name] = refuse(f"expected each key once, got {show(name)} twice") if name in value else item
    return value


def _is_deeper(value: object, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    children = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(child, levels - 1) for child in children)
