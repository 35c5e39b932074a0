"""Boxes, spans and points: thousandths of the frame and seconds, and how much two of them share."""

from typing import NamedTuple


class Point(NamedTuple):
    """A place in the frame, in thousandths of its width and height (0 to 1000)."""

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
