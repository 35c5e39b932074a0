"""Pointing: one point on what a sentence names in a picture, graded by how far it is from the true one.

"Point at the kettle." -> {"point": [412, 630]}
"""

from collections.abc import Mapping, Sequence
from math import dist

from onethinker import Clip
from onethinker.core.geometry import Point
from onethinker.core.values import Faults, as_point, read_fields
from onethinker.drawing.draw import draw_points
from onethinker.tasks import RewardScheme, Score, StructuredTask

FAR = 200.0
"""Thousandths of the frame from which on a point is worth nothing."""


class Pointing(StructuredTask[Point]):
    """One point in one picture."""

    problem_type = "pointing"
    key = problem_type
    data_types = ("image",)
    instructions = (
        'Answer with one JSON object: {"point": [x, y]}. x counts thousandths of the picture\'s width from the left and'
        " y thousandths of its height from the top."
    )
    example = '{"point": [412, 630]}'
    metrics = ("distance", "hit@50")

    def read(self, text: str, options: tuple[str, ...], faults: Faults) -> Point:
        """Return the point. Raises: AnswerError: there is none."""
        return as_point(read_fields(text, "point", faults=faults)["point"], "'point'", faults)

    def score(self, answer: Point, truth: Point, reward_scheme: RewardScheme) -> Score:
        """Return 1 for the true point, less the farther away it is."""
        far = dist(answer, truth)
        return Score(
            max(0.0, 1 - far / FAR), {"distance": far, "hit@50": float(far <= 50)}, f"{far:.0f} thousandths off"
        )

    def points(self, answer: Point) -> Mapping[str, Sequence[Point]]:
        """Return the point as a segmenter takes it."""
        return {"positive": [answer]}

    def draw(self, clip: Clip, answer: Point) -> Clip:
        """Return the picture with the point."""
        return draw_points(clip, [answer], "#22cc66")


TASKS = {"pointing": Pointing}
"""For `plugins = ["my_lab.pointing"]`, where the package is not installed."""
