"""Spatio-temporal grounding: when something is in a video, and where at each second of it.

"When and where is the dog on the sofa?" -> {"time": [4.2, 6.5], "boxes": {"5": [310, 402, 560, 780], "6": [322, 399,
571, 776]}}
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from onethinker.core.errors import AnswerError
from onethinker.core.frames import Clip
from onethinker.core.geometry import Box, Span, box_iou, span_iou
from onethinker.core.values import Faults, as_numbered_boxes, as_span, read_fields
from onethinker.drawing.draw import draw_span, draw_track
from onethinker.tasks.base import Reader, RewardScheme, Score, StructuredTask, recalls
from onethinker.tasks.lenient.forms import repair_tube


@dataclass(frozen=True)
class Tube:
    """A span of time with the box of an object at its whole seconds; no span where an answer has none that can be
    used.
    """

    span: Span | None
    boxes: Mapping[int, Box]


class SpatiotemporalGrounding(StructuredTask[Tube]):
    """One span of one video, with a box a second."""

    problem_type = "spatial-temporal grounding"
    key = problem_type
    data_types = ("video",)
    units = (
        "x counts thousandths of the frame's width from the left and y thousandths of its height from the top, so every"
        " box number lies between 0 and 1000."
    )
    instructions = (
        'Answer with one JSON object: {"time": [start, end], "boxes": {"<second>": [x1, y1, x2, y2], ...}}. start and'
        " end are seconds from the start of the video, decimals allowed. boxes has one box for every whole second"
        ' between start and end, under that second as its key, for instance "5" and "6" for the time [4.2, 6.5]. x1, y1'
        f" is the upper left corner of the object and x2, y2 the lower right one. {units}"
    )
    places = frozenset({"boxes"})
    example = '{"time": [4.2, 6.5], "boxes": {"5": [310, 402, 560, 780], "6": [322, 399, 571, 776]}}'
    metrics = ("tIoU", "tIoU@0.5", "sIoU", "sIoU@0.5", "vIoU", "vIoU@0.3", "vIoU@0.5")
    terms = 2

    def read(self, text: str, options: tuple[str, ...], faults: Faults) -> Tube:
        """Return the tube; a second that the span only begins or ends in may have a box too.

        Boxes outside the span are missing. Raises: AnswerError: there is neither a span nor a box.
        """
        fields = read_fields(text, "time", "boxes", faults=faults)
        span = faults.attempt(as_span, fields["time"], "'time'", faults) if "time" in fields else None
        found = faults.attempt(as_numbered_boxes, fields["boxes"], "'boxes'", faults) if "boxes" in fields else None
        boxes = {second: box for second, box in sorted((found or {}).items()) if _is_in(span, second, faults)}
        if span is None and not boxes:
            raise AnswerError("neither a time nor a box can be used")
        return Tube(span, boxes)

    def convert(self, text: str, reader: Reader, repairs: list[str]) -> str:
        """Return the time and the boxes of an answer in another form. Raises: AnswerError."""
        return repair_tube(text, reader, repairs)

    def structure(self, answer: Tube, truth: Tube) -> float:
        """Return 0.25 for the form and up to 0.25 for the fraction of the truth's seconds that have a box."""
        return 0.25 + 0.25 * len(answer.boxes.keys() & truth.boxes.keys()) / len(truth.boxes)

    def score(self, answer: Tube, truth: Tube, reward_scheme: RewardScheme) -> Score:
        """Return the mean of tIoU and sIoU; the release takes sIoU over the common seconds only.

        The metrics are tIoU, the paper's sIoU (common seconds), whether they reach 0.5, and the literature's vIoU (all
        seconds).
        """
        tiou = span_iou(answer.span, truth.span) if answer.span and truth.span else 0.0
        common, union = common_siou(answer, truth), union_siou(answer, truth)
        metrics = {
            "tIoU": tiou,
            **recalls(tiou, 0.5, name="tIoU"),
            "sIoU": common,
            **recalls(common, 0.5, name="sIoU"),
            "vIoU": union,
            **recalls(union, 0.3, 0.5, name="vIoU"),
        }
        return Score((tiou + (union if reward_scheme == "paper" else common)) / 2, metrics)

    def boxes(self, answer: Tube) -> Mapping[float, Box]:
        """Return the boxes by second."""
        return {float(second): box for second, box in answer.boxes.items()}

    def span(self, answer: Tube) -> Span | None:
        """Return its time."""
        return answer.span

    def last_moment(self, answer: Tube) -> tuple[float, str] | None:
        """Return its last second."""
        return (answer.span.end, "'time' ends at") if answer.span else None

    def draw(self, clip: Clip, answer: Tube) -> Clip:
        """Return the video with a bar of its time, the box and the trail that it leaves."""
        tracked = draw_track(clip, answer.boxes) if answer.boxes else clip
        return draw_span(tracked, answer.span) if answer.span else tracked


def _is_in(span: Span | None, second: int, faults: Faults) -> bool:
    """Return whether a second may have a box; one outside the span is a fault."""
    if span is None or math.floor(span.start) <= second <= math.ceil(span.end):
        return True
    faults.add(f"'boxes' must have whole seconds of the time [{span.start:g}, {span.end:g}] as keys, got {second}")
    return False


def union_siou(answer: Tube, truth: Tube) -> float:
    """Return the mean IoU over every second that has a box in one of the two; a missing or surplus box counts 0.

    >>> a = Tube(Span(0, 2), {1: Box(0, 0, 10, 10)})
    >>> union_siou(a, Tube(Span(0, 2), {1: Box(0, 0, 10, 10), 2: Box(0, 0, 10, 10)}))
    0.5
    """
    return _sum_iou(answer, truth) / len(answer.boxes.keys() | truth.boxes.keys())


def common_siou(answer: Tube, truth: Tube) -> float:
    """Return the mean IoU over the seconds that have a box in both, 0 if there are none: lenient to short answers.

    >>> a = Tube(Span(0, 2), {1: Box(0, 0, 10, 10)})
    >>> common_siou(a, Tube(Span(0, 2), {1: Box(0, 0, 10, 10), 2: Box(0, 0, 10, 10)}))
    1.0
    """
    return _sum_iou(answer, truth) / max(1, len(answer.boxes.keys() & truth.boxes.keys()))


def _sum_iou(answer: Tube, truth: Tube) -> float:
    return sum(
        box_iou(answer.boxes[second], truth.boxes[second]) for second in answer.boxes.keys() & truth.boxes.keys()
    )
