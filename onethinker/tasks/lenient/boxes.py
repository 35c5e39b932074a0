"""Boxes and points however they are written: corners, width and height, shares, pixels, under other keys."""

import re
from collections.abc import Sequence
from typing import Any

from onethinker.core.errors import AnswerError
from onethinker.core.geometry import FULL
from onethinker.core.grammar import show
from onethinker.tasks.base import Reader
from onethinker.tasks.lenient.fields import find_field, plain
from onethinker.tasks.lenient.loose_json import load_loosely
from onethinker.tasks.notation import fold_characters
from onethinker.tasks.places import sides_from_px

BOX_KEYS = frozenset(("boxes", "box", "bbox", "bboxes", "bbox2d", "boundingbox", "boundingboxes", "coordinates"))
BOX_KEYS |= {"coords", "coordinate", "rect", "region", "location", "bboxlist", "xyxy"}
POINT_KEYS = frozenset(("point", "points", "point2d", "points2d", "coordinates", "xy", "location"))
_SIDES = (
    ("x1", "y1", "x2", "y2"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("left", "top", "right", "bottom"),
    ("minx", "miny", "maxx", "maxy"),
)
_SIZED = (("x", "y", "w", "h"), ("x", "y", "width", "height"), ("left", "top", "width", "height"))
_NUMBER = re.compile(r"-?[0-9]{1,12}(?:\.[0-9]{1,12})?")
_SIDE = re.compile(r"[~≈]?\s*(?P<number>[+-]?[0-9]{1,12}(?:\.[0-9]{1,12})?)\s*(?P<unit>px|pixels?|%|‰)?")
_BINS = re.compile(r"(?:<loc_?[0-9]{1,4}>){4}")
_REFERENCE = re.compile(r"<(ref|p)>[^<>]*</\1>|<\|(?:object_)?ref(?:_start)?\|>[^<>]*<\|(?:object_ref_end|/ref)\|>")
_ROWS_FIRST = "box2d"
"""The key under which Gemini writes [ymin, xmin, ymax, xmax]."""
SIDE_KEYS = frozenset((_ROWS_FIRST, *(name for names in (*_SIDES, *_SIZED) for name in names)))
_MARKS = re.compile(r"<\|?/?(?:box|ref|quad|object_ref|point)(?:_start|_end)?\|?>")


def to_box(value: Any, reader: Reader, repairs: list[str]) -> list[float]:
    """Return four thousandths, the upper left corner first. Raises: AnswerError: it is not one box.

    >>> to_box([[10, 20, 30, 40]], Reader("lenient"), []), to_box("(10,20),(30,40)", Reader("lenient"), [])
    ([10.0, 20.0, 30.0, 40.0], [10.0, 20.0, 30.0, 40.0])
    """
    x1, y1, x2, y2 = in_thousandths(_sides(value, repairs), reader, repairs)
    if x1 > x2 or y1 > y2:
        repairs.append("corners swapped")
    return [min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)]


def to_points(value: Any, reader: Reader, repairs: list[str]) -> list[list[float]]:
    """Return points in thousandths. Raises: AnswerError: they are none.

    >>> to_points([{"point_2d": [1, 2]}, {"x": 3, "y": 4}], Reader("lenient"), [])
    [[1.0, 2.0], [3.0, 4.0]]
    """
    if isinstance(value, str):
        repairs.append(f"the points in {show(value)}")
        value = [float(number) for number in _NUMBER.findall(fold_characters(value))]
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list) and len(value[0]) > 2:
        repairs.append("points in a list too many")
        [value] = value
    if isinstance(value, list) and len(value) % 2 == 0 and len(value) > 2 and not any(map(_is_nested, value)):
        repairs.append("points one after the other")
        value = [value[index : index + 2] for index in range(0, len(value), 2)]
    if not isinstance(value, list) or not value:
        raise AnswerError(f"expected points [x, y], got {show(value)}")
    points = [_point(item, repairs) for item in value]
    flat = in_thousandths([side for point in points for side in point], reader, repairs)
    return [flat[index : index + 2] for index in range(0, len(flat), 2)]


def in_thousandths(sides: Sequence[float], reader: Reader, repairs: list[str]) -> list[float]:
    """Return x, y, x, y, … in thousandths: out of the reader's pixels, or where all of them are shares of 0 to 1."""
    if reader.frame_px is not None:
        repairs.append(f"pixels of a frame of {reader.frame_px[0]} x {reader.frame_px[1]}")
        return sides_from_px(sides, reader.frame_px)
    if all(0 <= side <= 1 for side in sides) and any(0 < side < 1 for side in sides):
        repairs.append("fractions of the frame")
        return [round(side * FULL, 6) for side in sides]
    return list(sides)


def _is_nested(value: object) -> bool:
    return isinstance(value, list | dict) or (isinstance(value, str) and not _SIDE.fullmatch(value.strip()))


def _sides(value: Any, repairs: list[str]) -> list[float]:
    """Return the four numbers of one box. Raises: AnswerError."""
    if isinstance(value, dict):
        return _sides_of_object(value, repairs)
    if isinstance(value, str):
        return _sides_in(value, repairs)
    if isinstance(value, list):
        return _sides_of_list(value, repairs)
    raise AnswerError(f"expected one box [x1, y1, x2, y2], got {show(value)}")


def _sides_of_list(value: list[Any], repairs: list[str]) -> list[float]:
    if len(value) == 1:
        repairs.append("one box in a list")
        return _sides(value[0], repairs)
    if len(value) == 2 and all(map(_is_nested, value)):
        repairs.append("a box as two corners")
        return [side for corner in value for side in _point(corner, repairs)]
    if len(value) == 4 and all(map(_is_nested, value)):
        return _sides_of_corners([_point(corner, repairs) for corner in value], repairs)
    if len(value) == 4 and not any(map(_is_nested, value)):
        return [_side(item, repairs) for item in value]
    raise AnswerError(f"expected one box [x1, y1, x2, y2], got {show(value)}")


def _sides_of_object(value: dict[str, Any], repairs: list[str]) -> list[float]:
    fields = {plain(key): item for key, item in value.items()}
    for names in _SIDES:
        if fields.keys() >= set(names):
            repairs.append(f"a box under {', '.join(names)}")
            return [_side(fields[name], repairs) for name in names]
    for names in _SIZED:
        if fields.keys() >= set(names):
            repairs.append(f"a box under {', '.join(names)}")
            x, y, width, height = (_side(fields[name], repairs) for name in names)
            return [x, y, x + width, y + height]
    if _ROWS_FIRST in fields and len(sides := _sides(fields[_ROWS_FIRST], repairs)) == 4:
        repairs.append("a box_2d, y before x")
        return [sides[1], sides[0], sides[3], sides[2]]
    key = next(iter(value), "")
    if len(value) == 1 and plain(key) not in BOX_KEYS and isinstance(value[key], list) and len(value[key]) == 4:
        repairs.append(f"the box of {show(key)}")
        return _sides(value[key], repairs)
    return _sides(find_field(value, "boxes", BOX_KEYS, repairs), repairs)


def _sides_in(text: str, repairs: list[str]) -> list[float]:
    """Return the only four numbers in a text. Raises: AnswerError."""
    folded = fold_characters(text)
    if bins := set(_BINS.findall(folded)):
        return _sides_of_bins(bins, repairs)
    folded = _MARKS.sub(" ", _REFERENCE.sub(" ", folded))
    if "[" in folded or "{" in folded:
        return _sides(load_loosely(folded, repairs), repairs)
    numbers = _NUMBER.findall(re.sub(r"[A-Za-z]+_?[0-9]+", " ", folded))
    if len(numbers) != 4:
        raise AnswerError(f"expected one box [x1, y1, x2, y2], got {show(text)}")
    repairs.append(f"the box in {show(text.strip())}")
    factor = 10 if folded.count("%") == 4 else 1
    return [float(number) * factor for number in numbers]


def _sides_of_corners(corners: list[list[float]], repairs: list[str]) -> list[float]:
    """Return the box whose four corners these are. Raises: AnswerError: they are of no box."""
    xs, ys = ({corner[axis] for corner in corners} for axis in (0, 1))
    if len(xs) != 2 or len(ys) != 2 or len({(x, y) for x, y in corners}) != 4:
        raise AnswerError(f"expected one box [x1, y1, x2, y2], got {show(corners)}")
    repairs.append("a box as four corners")
    return [min(xs), min(ys), max(xs), max(ys)]


def _sides_of_bins(found: set[str], repairs: list[str]) -> list[float]:
    """Return a box of location tokens: "<loc_10>", x first in 1000 bins, or PaliGemma's "<loc0010>", y first in 1024.

    Raises: AnswerError: there are several.
    """
    if len(found) != 1:
        raise AnswerError(f"expected one box, got {len(found)} in location tokens")
    [tokens] = found
    first, second, third, fourth = (float(number) for number in re.findall("[0-9]+", tokens))
    if "_" in tokens:
        repairs.append("a box in location tokens")
        return [first, second, third, fourth]
    repairs.append("a box in location tokens, y before x, of 1024")
    return [round(side * FULL / 1024, 6) for side in (second, first, fourth, third)]


def _point(value: Any, repairs: list[str]) -> list[float]:
    """Return the two numbers of a point. Raises: AnswerError."""
    if isinstance(value, dict):
        fields = {plain(key): item for key, item in value.items()}
        if fields.keys() >= {"x", "y"}:
            repairs.append("a point under x and y")
            return [_side(fields["x"], repairs), _side(fields["y"], repairs)]
        return _point(find_field(value, "point", POINT_KEYS, repairs), repairs)
    if isinstance(value, str):
        repairs.append(f"the point in {show(value)}")
        value = [float(number) for number in _NUMBER.findall(fold_characters(value))]
    if isinstance(value, list) and len(value) == 1:
        return _point(value[0], repairs)
    if not isinstance(value, list) or len(value) != 2:
        raise AnswerError(f"expected a point [x, y], got {show(value)}")
    return [_side(item, repairs) for item in value]


def _side(value: Any, repairs: list[str]) -> float:
    """Return a number, out of a text with a unit too. Raises: AnswerError."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    match = _SIDE.fullmatch(fold_characters(value).strip()) if isinstance(value, str) else None
    if match is None:
        raise AnswerError(f"expected a number, got {show(value)}")
    repairs.append(f"the number {show(value)}")
    return float(match["number"]) * (10 if match["unit"] == "%" else 1)
