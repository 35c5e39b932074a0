"""Spatial grounding: one box around what a sentence names in a picture.

"Where is the cat on the left?" -> {"boxes": [112, 240, 398, 771]}
"""

from collections.abc import Mapping

from onethinker.core.frames import Clip
from onethinker.core.geometry import Box, box_iou
from onethinker.core.values import Faults, as_box, read_fields
from onethinker.drawing.draw import draw_box
from onethinker.tasks.base import Reader, RewardScheme, Score, StructuredTask, recalls
from onethinker.tasks.lenient.forms import repair_box


class SpatialGrounding(StructuredTask[Box]):
    """One box in one picture."""

    problem_type = "spatial grounding"
    key = problem_type
    data_types = ("image",)
    units = (
        "x counts thousandths of the picture's width from the left and y thousandths of its height from the top, so"
        " every number lies between 0 and 1000."
    )
    instructions = (
        'Answer with one JSON object: {"boxes": [x1, y1, x2, y2]}. The box encloses the object tightly: x1, y1 is its'
        f" upper left corner and x2, y2 its lower right corner. {units}"
    )
    places = frozenset({"boxes"})
    example = '{"boxes": [112, 240, 398, 771]}'
    metrics = ("IoU", "R@0.5")

    def read(self, text: str, options: tuple[str, ...], faults: Faults) -> Box:
        """Return the box. Raises: AnswerError: there is none."""
        return as_box(read_fields(text, "boxes", faults=faults)["boxes"], "'boxes'", faults)

    def convert(self, text: str, reader: Reader, repairs: list[str]) -> str:
        """Return the one box of an answer in another form. Raises: AnswerError."""
        return repair_box(text, reader, repairs)

    def score(self, answer: Box, truth: Box, reward_scheme: RewardScheme) -> Score:
        """Return the IoU, and whether it reaches 0.5."""
        iou = box_iou(answer, truth)
        return Score(iou, {"IoU": iou, **recalls(iou, 0.5)})

    def boxes(self, answer: Box) -> Mapping[float, Box]:
        """Return the box by second."""
        return {0.0: answer}

    def draw(self, clip: Clip, answer: Box) -> Clip:
        """Return the picture with the box."""
        return draw_box(clip, answer)
