"""Boxes, spans and points: thousandths of the frame and seconds, and how much two of them overlap."""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import NamedTuple

FULL = 1000
"""The right and lower edge of every frame: coordinates are thousandths of its width and height."""


class Point(NamedTuple):
    """A point in the frame, in thousandths of its width and height (0 to 1000)."""

    x: float
    y: float


class Box(NamedTuple):
    """A rectangle in thousandths of the frame's width and height: left, top, right, bottom."""

    x1: float
    y1: float
    x2: float
    y2: float


class Span(NamedTuple):
    """A stretch of time in seconds from the start of the video."""

    start: float
    end: float


def box_iou(a: Box, b: Box) -> float:
    """Return the overlap of two boxes as a fraction of the area they cover together, 0 to 1.

    Boxes without area, or with sides swapped, overlap nothing: the result is 0.

    >>> box_iou(Box(0, 0, 10, 10), Box(0, 0, 10, 5))
    0.5
    """
    shared = _length(max(a.x1, b.x1), min(a.x2, b.x2)) * _length(max(a.y1, b.y1), min(a.y2, b.y2))
    union = _area(a) + _area(b) - shared
    return shared / union if shared > 0 else 0.0


def span_iou(a: Span, b: Span) -> float:
    """Return the overlap of two spans as a fraction of the time they cover together (tIoU), 0 to 1.

    Spans without length, or with ends swapped, overlap nothing: the result is 0.

    >>> span_iou(Span(0, 4), Span(2, 6))
    0.3333333333333333
    """
    shared = _length(max(a.start, b.start), min(a.end, b.end))
    return shared / (_length(*a) + _length(*b) - shared) if shared > 0 else 0.0


def mean_distance(a: Sequence[Point], b: Sequence[Point]) -> float:
    """Return the mean distance, in thousandths, of two equally long sets of points under their best pairing.

    Every pairing is tried, so this is for a handful of points. Two empty sets are 0 apart.

    Source: paper, reward of segmentation (three points to three points).

    >>> mean_distance([Point(0, 0), Point(10, 0)], [Point(10, 3), Point(0, 4)])
    3.5

    Raises: ValueError: the sets differ in length.
    """
    if len(a) != len(b):
        raise ValueError(f"points can only be paired one to one, got {len(a)} and {len(b)}")
    return min(sum(math.dist(p, q) for p, q in zip(a, order, strict=True)) for order in permutations(b)) / max(
        len(a), 1
    )


def box_to_px(box: Box, *, width_px: int, height_px: int) -> tuple[float, float, float, float]:
    """Return left, top, right, bottom in pixels of a frame of this size, not rounded.

    >>> box_to_px(Box(0, 250, 500, 1000), width_px=640, height_px=480)
    (0.0, 120.0, 320.0, 480.0)
    """
    x1, y1 = point_to_px(Point(box.x1, box.y1), width_px=width_px, height_px=height_px)
    x2, y2 = point_to_px(Point(box.x2, box.y2), width_px=width_px, height_px=height_px)
    return x1, y1, x2, y2


def box_from_px(box_px: Sequence[float], *, width_px: int, height_px: int) -> Box:
    """Return a box in thousandths from left, top, right, bottom in pixels of a frame of this size.

    >>> box_from_px((0, 120, 320, 480), width_px=640, height_px=480)
    Box(x1=0.0, y1=250.0, x2=500.0, y2=1000.0)
    """
    x1, y1, x2, y2 = box_px
    return Box(x1 * FULL / width_px, y1 * FULL / height_px, x2 * FULL / width_px, y2 * FULL / height_px)


def point_to_px(point: Point, *, width_px: int, height_px: int) -> tuple[float, float]:
    """Return a point in pixels of a frame of this size, not rounded.

    >>> point_to_px(Point(500, 500), width_px=640, height_px=480)
    (320.0, 240.0)
    """
    return point.x * width_px / FULL, point.y * height_px / FULL


def box_at(
    boxes: Mapping[int, Box],
    time_s: float,
    *,
    glide_s: float = math.inf,
    hold_before_s: float = 0.0,
    hold_after_s: float = math.inf,
) -> Box | None:
    """Return where a track of boxes by second is at a time in seconds; None where nothing says so.

    Between two seconds that are at most `glide_s` apart the box moves on a straight line. Else it stays where it was
    for `hold_after_s`, and is where it will be `hold_before_s` ahead.

    >>> box_at({0: Box(0, 0, 10, 10), 2: Box(4, 0, 14, 10)}, 0.5)
    Box(x1=1.0, y1=0.0, x2=11.0, y2=10.0)
    >>> box_at({1: Box(0, 0, 10, 10)}, 2.0, hold_after_s=0.5)
    """
    seconds = sorted(boxes)
    index = bisect_right(seconds, time_s)
    before = seconds[index - 1] if index else None
    after = seconds[index] if index < len(seconds) else None
    if before is not None and after is not None and before < time_s and after - before <= glide_s:
        fraction = (time_s - before) / (after - before)
        return Box(*(a + fraction * (b - a) for a, b in zip(boxes[before], boxes[after], strict=True)))
    if before is not None and time_s - before <= hold_after_s:
        return boxes[before]
    return boxes[after] if after is not None and after - time_s <= hold_before_s else None


def _length(start: float, end: float) -> float:
    return max(0.0, end - start)


def _area(box: Box) -> float:
    return _length(box.x1, box.x2) * _length(box.y1, box.y2)
