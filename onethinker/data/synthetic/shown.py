"""Scenes of things, pleasant to look at, a question of each task: the quickstart asks them, the page of `onethinker
serve` offers some, the README shows them.
"""

from collections.abc import Collection, Iterator

from onethinker.core.sample import Sample
from onethinker.data.synthetic.samples import make_sample
from onethinker.data.synthetic.worlds import HELD_OUT

SIDE_PX = 384
"""Side of the pictures and clips: larger than what the model in the box sees of them, to look at."""
SHOWN = (
    ("multiple choice", "image", 4),
    ("numerical", "image", 4),
    ("regression", "image", 4),
    ("math", "image", 4),
    ("OCR", "image", 6),
    ("open-ended", "image", 4),
    ("spatial grounding", "image", 4),
    ("segmentation", "image", 8),
    ("temporal grounding", "video", 2),
    ("spatial-temporal grounding", "video", 5),
    ("tracking", "video", 9),
)
"""Problem type, data type and index among the held-out scenes of that kind: chosen by eye out of ten, pleasant to look
at, and mostly such as the model can answer; its card has what it can do on all."""


def shown_scenes(problem_types: Collection[str] | None = None) -> Iterator[Sample]:
    """Yield the scenes of `SHOWN`, of all problem types or of some, each with its question and true answer: the same on
    every machine.
    """
    for problem_type, data_type, index in SHOWN:
        if problem_types is not None and problem_type not in problem_types:
            continue
        yield make_sample(
            0,
            index,
            problem_type=problem_type,
            data_type=data_type,
            split=HELD_OUT,
            world="things",
            side_px=SIDE_PX,
        )
