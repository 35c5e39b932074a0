"""Temporal grounding: when in a video something happens.

"When does the man open the fridge?" -> {"time": [12.3, 25.7]}
"""

from onethinker.core.frames import Clip
from onethinker.core.geometry import Span, span_iou
from onethinker.core.values import Faults, as_span, read_fields
from onethinker.drawing.draw import draw_span
from onethinker.tasks.base import Reader, RewardScheme, Score, StructuredTask, recalls
from onethinker.tasks.lenient.forms import repair_span


class TemporalGrounding(StructuredTask[Span]):
    """One span of one video."""

    problem_type = "temporal grounding"
    key = problem_type
    data_types = ("video",)
    instructions = (
        'Answer with one JSON object: {"time": [start, end]}. Both are seconds from the start of the video, decimals'
        " allowed, and start comes before end."
    )
    example = '{"time": [12.3, 25.7]}'
    metrics = ("tIoU", "R@0.3", "R@0.5", "R@0.7")

    def read(self, text: str, options: tuple[str, ...], faults: Faults) -> Span:
        """Return the span. Raises: AnswerError: there is none."""
        return as_span(read_fields(text, "time", faults=faults)["time"], "'time'", faults)

    def convert(self, text: str, reader: Reader, repairs: list[str]) -> str:
        """Return the one span of an answer in another form. Raises: AnswerError."""
        return repair_span(text, reader, repairs)

    def score(self, answer: Span, truth: Span, reward_scheme: RewardScheme) -> Score:
        """Return the tIoU, and whether it reaches 0.3, 0.5 and 0.7."""
        tiou = span_iou(answer, truth)
        return Score(tiou, {"tIoU": tiou, **recalls(tiou, 0.3, 0.5, 0.7)})

    def span(self, answer: Span) -> Span:
        """Return the answer itself."""
        return answer

    def last_moment(self, answer: Span) -> tuple[float, str]:
        """Return its last second."""
        return answer.end, "'time' ends at"

    def draw(self, clip: Clip, answer: Span) -> Clip:
        """Return the video with a bar of its time and the span in it."""
        return draw_span(clip, answer)
