"""What a track of one box a second is worth at every frame, as GOT-10k's own toolkit counts.

Between two answered seconds the box moves on a straight line; after the last one it stays where it is. Before the first
answered second there is none, and without an answer there is none at all: such frames overlap nothing.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from onethinker.core.geometry import Box, box_at, box_iou
from onethinker.core.sample import Sample
from onethinker.tasks import STRICT, Reader, read_response, task_of
from onethinker.tasks.grading import Grade
from onethinker.tasks.tracking import Track


def with_frame_metrics(grade: Grade, sample: Sample, response: str, reader: Reader = STRICT) -> Grade:
    """Return the grade of a response, with the parts of GOT-10k's own numbers where the sample has a box for every
    frame.
    """
    if not sample.frame_boxes:
        return grade
    answer = read_response(response, task_of(sample), sample.options, reader).answer
    return replace(grade, metrics={**grade.metrics, **frame_overlaps(answer, sample.frame_boxes)})


def frame_overlaps(answer: Track | None, truth: Mapping[float, Box]) -> dict[str, float]:
    """Return over the truth's frames, by their seconds, but that at 0 s: their number, the sum of IoUs, how many are
    above 0.5 and 0.75.

    Source: got10k toolkit, which leaves the first frame out, compares strictly, and counts the frames of all videos
    together.

    >>> still = Box(0, 0, 10, 10)
    >>> frame_overlaps(Track({0: still, 1: Box(0, 0, 10, 5)}), {0.0: still, 0.5: still, 1.0: still})
    {'frames': 2.0, 'overlaps': 1.25, 'frames_above_0.5': 1.0, 'frames_above_0.75': 0.0}
    """
    boxes = answer.boxes if answer is not None else {}
    found = [(box_at(boxes, time_s), box) for time_s, box in truth.items() if time_s > 0]
    ious = [box_iou(own, box) if own is not None else 0.0 for own, box in found]
    above: dict[str, Any] = {
        f"frames_above_{threshold:g}": float(sum(iou > threshold for iou in ious)) for threshold in (0.5, 0.75)
    }
    return {"frames": float(len(ious)), "overlaps": math.fsum(ious), **above}
