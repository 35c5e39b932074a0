"""Segmentation: the box and points with which a segmenter cuts out what a sentence names, in a picture or a video.

"The cup nearest to the plate." ->
{"boxes": [120, 310, 260, 505], "positive_points": [[170, 400], [200, 430], [190, 350]],
 "negative_points": [[100, 400], [290, 410], [190, 560]]}; for a video with "time": 3.5, the moment at which they hold.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from onethinker.core.errors import AnswerError
from onethinker.core.frames import Clip
from onethinker.core.geometry import Box, Point, box_iou, mean_distance
from onethinker.core.values import Faults, as_box, as_points, as_second, read_fields
from onethinker.drawing.draw import NEGATIVE_COLOR, POSITIVE_COLOR, draw_around, draw_box, draw_points
from onethinker.tasks.base import Reader, RewardScheme, Score, StructuredTask, recalls
from onethinker.tasks.lenient.forms import repair_selection

NUM_POINTS = 3
"""Points of either kind. Source: paper."""
POINT_SIGMA = 50.0
"""Thousandths at which the reward for points has fallen to exp(-1/2). Source: paper."""
TIME_SIGMA_S = 1.0
"""Seconds at which the reward for the time has fallen to exp(-1/2). Source: paper."""
RELEASE_TIME_SCALE_S = 2.0
"""Seconds over which the release's reward for the time falls by e."""

_UNITS = (
    "x counts thousandths of the width from the left and y thousandths of the height from the top, so every one of"
    " these numbers lies between 0 and 1000."
)
_PLACES = (
    "boxes encloses the object tightly, x1, y1 its upper left corner and x2, y2 its lower right one; positive_points"
    f" are three points on the object; negative_points are three points close to it but not on it. {_UNITS}"
)
_POINTS = '"positive_points": [[x, y], [x, y], [x, y]], "negative_points": [[x, y], [x, y], [x, y]]'


@dataclass(frozen=True)
class Selection:
    """What a segmenter is prompted with: a box, points on the object, points beside it, and when (a picture: 0 s)."""

    box: Box
    positive_points: tuple[Point, ...]
    negative_points: tuple[Point, ...]
    time_s: float = 0.0


@dataclass(frozen=True)
class NamedSelection(Selection):
    """A selection with the words that name its object, which a segmenter that reads text is prompted with."""

    words: str = field(kw_only=True)


@dataclass(frozen=True)
class PartialSelection:
    """What can be used of an answer without a box or without a time: enough for some metrics, not for a segmenter."""

    box: Box | None
    positive_points: tuple[Point, ...]
    negative_points: tuple[Point, ...]
    time_s: float | None = 0.0


class _Segmentation(StructuredTask[Selection | PartialSelection]):
    """What both kinds share."""

    problem_type = "segmentation"
    units = _UNITS
    places = frozenset({"boxes", "positive_points", "negative_points"})
    release_weights: ClassVar[Mapping[str, float]]
    """What each part counts in the release; the paper counts all the same."""

    def score(
        self, answer: Selection | PartialSelection, truth: Selection | PartialSelection, reward_scheme: RewardScheme
    ) -> Score:
        """Return the mean of the parts, of which a missing one is 0; the release weighs them, and its time kernel is
        another.

        The metrics are the box IoU, whether it reaches 0.5, and how close points and time are; `mask_metrics` measures
        masks.
        """
        parts = closeness(answer, truth)
        metrics = {**{name: parts[name] for name in self.release_weights}, **recalls(parts["IoU"], 0.5)}
        if reward_scheme == "paper":
            return Score(sum(parts[name] for name in self.release_weights) / self.terms, metrics)
        if answer.time_s is not None and truth.time_s is not None:
            parts["time"] = math.exp(-abs(answer.time_s - truth.time_s) / RELEASE_TIME_SCALE_S)
        return Score(sum(weight * parts[name] for name, weight in self.release_weights.items()), metrics)

    def convert(self, text: str, reader: Reader, repairs: list[str]) -> str:
        """Return the parts of an answer in another form. Raises: AnswerError."""
        return repair_selection(text, reader, repairs, has_time="time" in self.release_weights)

    def boxes(self, answer: Selection | PartialSelection) -> Mapping[float, Box]:
        """Return the box by its moment."""
        return {answer.time_s: answer.box} if answer.box is not None and answer.time_s is not None else {}

    def points(self, answer: Selection | PartialSelection) -> Mapping[str, Sequence[Point]]:
        """Return the points on the object and those beside it."""
        return {"positive": answer.positive_points, "negative": answer.negative_points}


class ImageSegmentation(_Segmentation):
    """Box and points in one picture."""

    key = "segmentation/image"
    data_types = ("image",)
    instructions = f'Answer with one JSON object: {{"boxes": [x1, y1, x2, y2], {_POINTS}}}. {_PLACES}'
    example = (
        '{"boxes": [120, 310, 260, 505], "positive_points": [[170, 400], [200, 430], [190, 350]], '
        '"negative_points": [[100, 400], [290, 410], [190, 560]]}'
    )
    terms = 3
    release_weights: ClassVar[Mapping[str, float]] = {"IoU": 0.5, "positive_points": 0.25, "negative_points": 0.25}
    metrics = (*release_weights, "R@0.5")

    def read(self, text: str, options: tuple[str, ...], faults: Faults) -> Selection | PartialSelection:
        """Return the box and the points. Raises: AnswerError: there are none."""
        return _selection(read_fields(text, "boxes", "positive_points", "negative_points", faults=faults), faults)

    def draw(self, clip: Clip, answer: Selection | PartialSelection) -> Clip:
        """Return the picture with the box and the points, positive ones green, negative ones blue."""
        return _draw_selection(clip, answer)


class VideoSegmentation(_Segmentation):
    """Box and points at one moment of a video."""

    key = "segmentation/video"
    data_types = ("video",)
    instructions = (
        f'Answer with one JSON object: {{"time": t, "boxes": [x1, y1, x2, y2], {_POINTS}}}. t is one moment, in seconds'
        " from the start of the video, at which the object can be seen well; boxes and points hold in the frame of"
        f" that moment. {_PLACES}"
    )
    example = (
        '{"time": 3.5, "boxes": [120, 310, 260, 505], "positive_points": [[170, 400], [200, 430], [190, 350]], '
        '"negative_points": [[100, 400], [290, 410], [190, 560]]}'
    )
    terms = 4
    release_weights: ClassVar[Mapping[str, float]] = {
        "IoU": 0.3,
        "time": 0.3,
        "positive_points": 0.2,
        "negative_points": 0.2,
    }
    metrics = (*release_weights, "R@0.5")

    def read(self, text: str, options: tuple[str, ...], faults: Faults) -> Selection | PartialSelection:
        """Return the box, the points and their moment. Raises: AnswerError: there are none."""
        fields = read_fields(text, "time", "boxes", "positive_points", "negative_points", faults=faults)
        time_s = faults.attempt(as_second, fields["time"], "'time'", faults) if "time" in fields else None
        return _selection(fields, faults, time_s=time_s)

    def last_moment(self, answer: Selection | PartialSelection) -> tuple[float, str] | None:
        """Return its moment."""
        return (answer.time_s, "'time' is") if answer.time_s is not None else None

    def draw(self, clip: Clip, answer: Selection | PartialSelection) -> Clip:
        """Return the video with the box and the points around their moment; as it is without a moment."""
        if answer.time_s is None:
            return clip
        return draw_around(clip, answer.time_s, lambda moment: _draw_selection(moment, answer))


def closeness(answer: Selection | PartialSelection, truth: Selection | PartialSelection) -> dict[str, float]:
    """Return how near each part of an answer comes, 0 to 1: the box's IoU, and G of the points' and time's distance.

    A part that is missing is 0.
    """
    has_times = answer.time_s is not None and truth.time_s is not None
    return {
        "IoU": box_iou(answer.box, truth.box) if answer.box and truth.box else 0.0,
        "positive_points": _points_closeness(answer.positive_points, truth.positive_points),
        "negative_points": _points_closeness(answer.negative_points, truth.negative_points),
        "time": gaussian((answer.time_s or 0) - (truth.time_s or 0), sigma=TIME_SIGMA_S) if has_times else 0.0,
    }


def _points_closeness(answer: tuple[Point, ...], truth: tuple[Point, ...]) -> float:
    return gaussian(mean_distance(answer, truth), sigma=POINT_SIGMA) if len(answer) == len(truth) else 0.0


def gaussian(distance: float, *, sigma: float) -> float:
    """Return exp(-d² / 2σ²): 1 for no distance, towards 0 for a large one. Source: paper, G.

    >>> round(gaussian(50, sigma=50), 4)
    0.6065
    """
    ratio = distance / sigma
    return math.exp(-ratio * ratio / 2)


def _selection(
    fields: Mapping[str, object], faults: Faults, *, time_s: float | None = 0.0
) -> Selection | PartialSelection:
    """Return what can be used of the parts. Raises: AnswerError: neither a box nor points."""
    box = faults.attempt(as_box, fields["boxes"], "'boxes'", faults) if "boxes" in fields else None
    positive, negative = (
        (faults.attempt(as_points, fields[name], NUM_POINTS, f"'{name}'", faults) if name in fields else None) or ()
        for name in ("positive_points", "negative_points")
    )
    if box is not None and time_s is not None:
        return Selection(box, positive, negative, time_s)
    if box is None and not positive and not negative and (time_s is None or "time" not in fields):
        raise AnswerError("neither a box nor points can be used")
    return PartialSelection(box, positive, negative, time_s)


def _draw_selection(clip: Clip, answer: Selection | PartialSelection) -> Clip:
    boxed = draw_box(clip, answer.box) if answer.box is not None else clip
    marked = draw_points(boxed, answer.positive_points, POSITIVE_COLOR)
    return draw_points(marked, answer.negative_points, NEGATIVE_COLOR)
