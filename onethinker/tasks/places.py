"""Places in the texts of answers and questions: thousandths of the frame, as all data and stages have them, to whole
pixels of the frame that a model is shown, and back.
"""

import math
import re
from collections.abc import Callable, Collection, Sequence

from onethinker.core.errors import AnswerError
from onethinker.core.geometry import FULL, Box
from onethinker.core.grammar import read_json
from onethinker.storage.strict_json import to_json

FARTHEST = 1e9
"""A number beyond is no place, and is left for the reader, which cuts it at the frame's edge and says so."""
DECIMALS = 3
"""Of thousandths that were pixels: of any frame far less than a pixel, and short enough to be read and learned."""
FrameSize = tuple[int, int]
"""Width and height in pixels."""
_NUMBER = r"\s*([0-9]{1,4}(?:\.[0-9]{1,12})?)\s*"
_BOX_IN_WORDS = re.compile(rf"\[{','.join([_NUMBER] * 4)}\]")


def places_from_px(text: str, fields: Collection[str], frame_px: FrameSize) -> str:
    """Return a JSON object in which some fields hold pixels with thousandths there; other text as it is.

    >>> places_from_px('{"boxes": [64, 96, 192, 480], "time": 3}', ("boxes",), (640, 480))
    '{"boxes": [100.0, 200.0, 300.0, 1000.0], "time": 3}'
    """
    return _changed(text, fields, lambda sides: sides_from_px(sides, frame_px))


def sides_from_px(sides: Sequence[float], frame_px: FrameSize) -> list[float]:
    """Return the pixels of a box, or of points one after the other, in thousandths.

    >>> sides_from_px([50, 56, 151, 112], (504, 280))
    [99.206, 200.0, 299.603, 400.0]
    """
    return [round(side * FULL / frame_px[axis % 2], DECIMALS) for axis, side in enumerate(sides)]


def places_to_px(text: str, fields: Collection[str], frame_px: FrameSize) -> str:
    """Return a JSON object in which some fields hold thousandths with whole pixels there; other text as it is.

    >>> places_to_px('{"boxes": [100, 200, 301, 1000], "time": 3}', ("boxes",), (640, 480))
    '{"boxes": [64, 96, 193, 480], "time": 3}'
    """
    return _changed(text, fields, lambda sides: whole_px(sides, frame_px))


def boxes_in_words_to_px(question: str, frame_px: FrameSize) -> str:
    """Return a text in which every box, four thousandths in brackets, is in whole pixels.

    >>> boxes_in_words_to_px("Track the car at [537,403, 768, 703].", (504, 280))
    'Track the car at [271,113,387,197].'
    """

    def written(found: re.Match[str]) -> str:
        sides = [float(side) for side in found.groups()]
        return f"[{','.join(map(str, whole_px(sides, frame_px)))}]" if max(sides) <= FULL else found[0]

    return _BOX_IN_WORDS.sub(written, question)


def whole_px(sides: Sequence[float], frame_px: FrameSize) -> list[int]:
    """Return the sides of a box, or a point, in whole pixels; a box that has an area keeps one.

    >>> whole_px((500, 500), (504, 280)), whole_px((0, 0, 1, 1000), (252, 280))
    ([252, 140], [0, 0, 1, 280])
    """
    exact = [side * frame_px[axis % 2] / FULL for axis, side in enumerate(sides)]
    rounded = [round(side) for side in exact]
    for low in (0, 1) if len(exact) == len(Box._fields) else ():
        if rounded[low] >= rounded[low + 2] and exact[low] < exact[low + 2]:
            rounded[low] = math.floor(exact[low])
            rounded[low + 2] = rounded[low] + 1
    return rounded


def _changed(text: str, fields: Collection[str], change: Callable[[Sequence[float]], Sequence[float]]) -> str:
    """Return JSON with the numbers of every place changed; what is no list of numbers is left for the reader."""
    try:
        value = read_json(text)
    except AnswerError:
        return text
    if not isinstance(value, dict) or value.keys().isdisjoint(fields):
        return text
    changed = {key: _mapped(item, change) if key in fields else item for key, item in value.items()}
    return to_json(changed, ensure_ascii=False)


def _is_side(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= FARTHEST


def _mapped(value: object, change: Callable[[Sequence[float]], Sequence[float]]) -> object:
    if isinstance(value, dict):
        return {key: _mapped(item, change) for key, item in value.items()}
    if isinstance(value, list) and value and all(map(_is_side, value)):
        return change(value)
    return [_mapped(item, change) for item in value] if isinstance(value, list) else value
