"""Tracking: where an object is at every second of a video, from its box in the first frame.

"Track the white convertible at [537,403,768,703]." -> {"boxes": {"1": [537, 403, 768, 703], "2": [520, 400, 749, 698]}}
"""

from collections.abc import Mapping
from dataclasses import dataclass

from onethinker.core.errors import AnswerError
from onethinker.core.frames import Clip
from onethinker.core.geometry import Box, box_iou
from onethinker.core.values import Faults, as_numbered_boxes, read_fields
from onethinker.drawing.draw import draw_track
from onethinker.tasks.base import Reader, RewardScheme, Score, StructuredTask, recalls
from onethinker.tasks.lenient.forms import repair_track

MAX_KEY = 32
"""The last key an answer may have: the first 32 seconds are tracked. Source: paper, GOT-10k evaluation."""


@dataclass(frozen=True)
class Track:
    """An object's box by second from the start of the video: the key k of the text is second k - 1 here."""

    boxes: Mapping[int, Box]


class Tracking(StructuredTask[Track]):
    """One box a second."""

    problem_type = "tracking"
    key = problem_type
    data_types = ("video",)
    units = (
        "x counts thousandths of the frame's width from the left and y thousandths of its height from the top, so every"
        " number lies between 0 and 1000."
    )
    instructions = (
        'Answer with one JSON object: {"boxes": {"1": [x1, y1, x2, y2], "2": [x1, y1, x2, y2], ...}}. Key "1" is'
        ' the first frame (0 seconds), key "2" the frame at 1 second, and so on: one box for every whole second of the'
        f" video, at most {MAX_KEY}. x1, y1 is the upper left corner of the object and x2, y2 the lower right one."
        f" {units}"
    )
    places = frozenset({"boxes"})
    example = '{"boxes": {"1": [537, 403, 768, 703], "2": [520, 400, 749, 698]}}'
    metrics = ("AO", "R@0.3", "R@0.5", "R@0.7")

    def read(self, text: str, options: tuple[str, ...], faults: Faults) -> Track:
        """Return the track; a malformed box is missing. Raises: AnswerError: there is no box at all."""
        boxes = as_numbered_boxes(read_fields(text, "boxes", faults=faults)["boxes"], "'boxes'", faults)
        for key in [key for key in boxes if not 1 <= key <= MAX_KEY]:
            faults.add(f"'boxes' must have keys from 1 to {MAX_KEY}, got {key}")
            del boxes[key]
        if not boxes:
            raise AnswerError("no box can be used")
        return Track({key - 1: box for key, box in sorted(boxes.items())})

    def convert(self, text: str, reader: Reader, repairs: list[str]) -> str:
        """Return the boxes of an answer in another form. Raises: AnswerError."""
        return repair_track(text, reader, repairs)

    def structure(self, answer: Track, truth: Track) -> float:
        """Return 0.25 for the form and up to 0.25 for the fraction of the truth's seconds that have a box."""
        return 0.25 + 0.25 * len(answer.boxes.keys() & truth.boxes.keys()) / len(truth.boxes)

    def score(self, answer: Track, truth: Track, reward_scheme: RewardScheme) -> Score:
        """Return the mean IoU over the truth's seconds, and whether it reaches 0.3, 0.5 and 0.7."""
        overlap = average_overlap(answer, truth)
        return Score(overlap, {"AO": overlap, **recalls(overlap, 0.3, 0.5, 0.7)})

    def boxes(self, answer: Track) -> Mapping[float, Box]:
        """Return the boxes by second."""
        return {float(second): box for second, box in answer.boxes.items()}

    def last_moment(self, answer: Track) -> tuple[float, str]:
        """Return its last second."""
        last = max(answer.boxes)
        return last, f"'boxes' has the key {last + 1}, which stands for second"

    def draw(self, clip: Clip, answer: Track) -> Clip:
        """Return the video with the box and the trail that it leaves."""
        return draw_track(clip, answer.boxes)


def average_overlap(answer: Track, truth: Track) -> float:
    """Return the mean IoU over the truth's seconds (AO); a second without a box counts 0, a surplus one not at all.

    >>> average_overlap(Track({0: Box(0, 0, 10, 10)}), Track({0: Box(0, 0, 10, 5), 1: Box(0, 0, 10, 10)}))
    0.25
    """
    return sum(
        box_iou(answer.boxes[second], box) for second, box in truth.boxes.items() if second in answer.boxes
    ) / len(truth.boxes)


def with_first_box(question: str, box: Box) -> str:
    """Return a tracking question that says where its target is in the first frame; one that says so stays as it is.

    >>> with_first_box("Track the white convertible.", Box(537, 403, 768, 703))
    'Track the white convertible at [537,403,768,703].'
    """
    place = f"[{','.join(f'{side:g}' for side in box)}]"
    if place in question.replace(" ", ""):
        return question
    return f"{question.strip().removesuffix('.')} at {place}."
