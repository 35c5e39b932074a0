"""Draw answers.jpg, the README's first picture: what the model in the box answers about held-out scenes of things,
drawn in, right or wrong; the scenes are those that `onethinker quickstart` asks about. Run: .venv/bin/python
docs/pictures/answers.py [MODEL].
"""

import sys
import textwrap
from pathlib import Path

import numpy as np
from draw import in_rows, middle
from PIL import Image, ImageDraw, ImageFont

from onethinker.core.frames import Clip
from onethinker.core.request import SamplingParams
from onethinker.core.sample import Sample
from onethinker.data.synthetic.shown import shown_scenes
from onethinker.families.built_in import LONGEST_ANSWER
from onethinker.inference.thinker import Thinker
from onethinker.inference.thought import Thought
from onethinker.segmenters.base import load_segmenter
from onethinker.tasks import grade_response, task_of

SHOWN = (
    "OCR",
    "math",
    "open-ended",
    "spatial grounding",
    "segmentation",
    "temporal grounding",
    "spatial-temporal grounding",
    "tracking",
)
SIDE_PX, TEXT_PX, LINE_PX = 384, 96, 16
LETTERS = 60
"""Of a line below a picture."""


def main() -> None:
    """Ask, draw, and write the picture beside this file."""
    model = sys.argv[1] if sys.argv[1:] else "tiny"
    tiles = []
    with Thinker.load(model, sampling=SamplingParams(LONGEST_ANSWER)) as thinker:
        for sample in shown_scenes():
            if sample.problem_type in SHOWN:
                clip = clip_of(sample)
                thought = thinker.ask(clip, sample.problem, task=sample.problem_type, options=sample.options)
                tiles.append(draw_tile(sample, thought))
    Image.fromarray(in_rows(tiles)).save(Path(__file__).with_name("answers.jpg"), quality=85)


def clip_of(sample: Sample) -> Clip:
    """Return the picture or clip of a scene, in memory."""
    (clip,) = sample.media
    assert isinstance(clip, Clip)
    return clip


def draw_tile(sample: Sample, thought: Thought) -> np.ndarray:
    """Return one scene with the answer drawn in; below it the question, the answer, and what it is worth."""
    tile = Image.new("RGB", (SIDE_PX, SIDE_PX + TEXT_PX), "white")
    picture = Image.fromarray(drawn(sample, thought))
    picture.thumbnail((SIDE_PX - 8, SIDE_PX))
    tile.paste(picture, ((SIDE_PX - picture.width) // 2, (SIDE_PX - picture.height) // 2))
    accuracy = grade_response(thought.text, sample.truth, task=task_of(sample), options=sample.options).accuracy
    asked = textwrap.wrap(" ".join((sample.problem, *sample.options)), LETTERS)[:2]
    said = textwrap.shorten(thought.answer_text or thought.text or "nothing", LETTERS, placeholder=" …")
    pen, font = ImageDraw.Draw(tile), ImageFont.load_default(12)
    head = f"{sample.problem_type}: {accuracy:.2f} of 1"
    lines = [(head, "#cc2244"), *((line, "black") for line in asked), (said, "#1155cc")]
    for row, (line, color) in enumerate(lines):
        pen.text((8, SIDE_PX + 6 + LINE_PX * row), line, color, font=font)
    return np.asarray(tile)


def drawn(sample: Sample, thought: Thought) -> np.ndarray:
    """Return the frame that shows most of an answer, with it drawn in; a mask too where it is of segmentation."""
    clip = clip_of(sample)
    if thought.answer is None:
        return clip.frames[len(clip.frames) // 2]
    is_cut = sample.problem_type == "segmentation"
    shown = thought.segment(load_segmenter("grabcut")).draw() if is_cut else clip
    return task_of(sample).draw(shown, thought.answer).frames[middle(thought.answer, clip)]


if __name__ == "__main__":
    main()
