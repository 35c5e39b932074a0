"""Segmentation: the box and points with which a segmenter cuts out what a sentence names, in a picture or a video.

"The cup nearest to the plate." ->
{"boxes": [120, 310, 260, 505], "positive_points": [[170, 400], [200, 430], [190, 350]],
 "negative_points": [[100, 400], [290, 410], [190, 560]]}; for a video with "time": 3.5, the moment at which they hold.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from onethinker.core.frames import Clip
from onethinker.core.geometry import Box, Point, box_iou, mean_distance
from onethinker.core.grammar import as_box, as_points, as_second, parse_fields
from onethinker.drawing.draw import NEGATIVE_COLOR, POSITIVE_COLOR, draw_around, draw_box, draw_points
from onethinker.tasks.base import RewardScheme, Score, Task, recalls

NUM_POINTS = 3
"""Points of either kind. Source: paper."""
POINT_SIGMA = 50.0
"""Thousandths at which the reward for points has fallen to exp(-1/2). Source: paper."""
TIME_SIGMA_S = 1.0
"""Seconds at which the reward for the time has fallen to exp(-1/2). Source: paper."""
RELEASE_TIME_SCALE_S = 2.0
"""Seconds over which the release's reward for the time falls by e."""

_PLACES = (
    "boxes encloses the object tightly, x1, y1 its upper left corner and x2, y2 its lower right one; positive_points"
    " are three points on the object; negative_points are three points close to it but not on it. x counts thousandths"
    " of the width from the left and y thousandths of the height from the top, so every one of these numbers lies"
    " between 0 and 1000."
)
_POINTS = '"positive_points": [[x, y], [x, y], [x, y]], "negative_points": [[x, y], [x, y], [x, y]]'


@dataclass(frozen=True)
class Selection:
    """What a segmenter is prompted with: a box, points on the object, points beside it, and when (a picture: 0 s)."""

    box: Box
    positive_points: tuple[Point, ...]
    negative_points: tuple[Point, ...]
    time_s: float = 0.0


class _Segmentation(Task[Selection]):
    """What both kinds share."""

    problem_type = "segmentation"
    structured = True
    release_weights: ClassVar[Mapping[str, float]]
    """What each part counts in the release; the paper counts all the same."""

    def score(self, answer: Selection, truth: Selection, reward_scheme: RewardScheme) -> Score:
        """Return the mean of the parts; the release weighs them, and its time kernel is another.

        The metrics are the box IoU, whether it reaches 0.5, and how close points and time are; `mask_metrics` measures
        masks.
        """
        parts = closeness(answer, truth)
        metrics = {**{name: parts[name] for name in self.release_weights}, **recalls(parts["IoU"], 0.5)}
        if reward_scheme == "paper":
            return Score(sum(parts[name] for name in self.release_weights) / self.terms, metrics)
        parts["time"] = math.exp(-abs(answer.time_s - truth.time_s) / RELEASE_TIME_SCALE_S)
        return Score(sum(weight * parts[name] for name, weight in self.release_weights.items()), metrics)

    def boxes(self, answer: Selection) -> Mapping[float, Box]:
        """Return the box by its moment."""
        return {answer.time_s: answer.box}


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

    def parse(self, text: str, options: tuple[str, ...] = ()) -> Selection:
        """Return the box and the points. Raises: AnswerError."""
        return _selection(parse_fields(text, "boxes", "positive_points", "negative_points"))

    def draw(self, clip: Clip, answer: Selection) -> Clip:
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

    def parse(self, text: str, options: tuple[str, ...] = ()) -> Selection:
        """Return the box, the points and their moment. Raises: AnswerError."""
        fields = parse_fields(text, "time", "boxes", "positive_points", "negative_points")
        return _selection(fields, time_s=as_second(fields["time"], "'time'"))

    def last_moment(self, answer: Selection) -> tuple[float, str]:
        """Return its moment."""
        return answer.time_s, "'time' is"

    def draw(self, clip: Clip, answer: Selection) -> Clip:
        """Return the video with the box and the points around their moment."""
        return draw_around(clip, answer.time_s, lambda moment: _draw_selection(moment, answer))


def closeness(answer: Selection, truth: Selection) -> dict[str, float]:
    """Return how near each part of an answer comes, 0 to 1: the box's IoU, and G of the points' and time's distance."""
    return {
        "IoU": box_iou(answer.box, truth.box),
        "positive_points": gaussian(mean_distance(answer.positive_points, truth.positive_points), sigma=POINT_SIGMA),
        "negative_points": gaussian(mean_distance(answer.negative_points, truth.negative_points), sigma=POINT_SIGMA),
        "time": gaussian(answer.time_s - truth.time_s, sigma=TIME_SIGMA_S),
    }


def gaussian(distance: float, *, sigma: float) -> float:
    """Return exp(-d² / 2σ²): 1 for no distance, towards 0 for a large one. Source: paper, G.

    >>> round(gaussian(50, sigma=50), 4)
    0.6065
    """
    ratio = distance / sigma
    return math.exp(-ratio * ratio / 2)


def _selection(fields: Mapping[str, object], *, time_s: float = 0.0) -> Selection:
    return Selection(
        as_box(fields["boxes"], "'boxes'"),
        as_points(fields["positive_points"], NUM_POINTS, "'positive_points'"),
        as_points(fields["negative_points"], NUM_POINTS, "'negative_points'"),
        time_s,
    )


def _draw_selection(clip: Clip, answer: Selection) -> Clip:
    marked = draw_points(draw_box(clip, answer.box), answer.positive_points, POSITIVE_COLOR)
    return draw_points(marked, answer.negative_points, NEGATIVE_COLOR)
