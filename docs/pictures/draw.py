"""Draw world.jpg: synthetic scenes with their true answers drawn in. Run: .venv/bin/python
docs/pictures/draw.py.
"""

import textwrap
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from onethinker.core.frames import Clip
from onethinker.data.synthetic import make_sample
from onethinker.data.synthetic.worlds import WorldName
from onethinker.tasks import find_task

THINGS = (
    ("spatial grounding", "image", 1),
    ("segmentation", "image", 1),
    ("multiple choice", "image", 3),
    ("numerical", "image", 2),
    ("math", "image", 2),
    ("OCR", "image", 2),
    ("regression", "image", 2),
    ("open-ended", "image", 1),
    ("temporal grounding", "video", 0),
    ("spatial-temporal grounding", "video", 4),
    ("tracking", "video", 3),
    ("segmentation", "video", 3),
)
"""Problem type, kind of media, and number of the sample."""
SIDE_PX, TEXT_PX, COLUMNS = 320, 60, 4


def main() -> None:
    """Write the picture beside this file."""
    sheet = in_rows([draw_tile(*shown, world="things") for shown in THINGS])
    Image.fromarray(sheet).save(Path(__file__).with_name("world.jpg"), quality=80)


def in_rows(tiles: list[np.ndarray]) -> np.ndarray:
    """Return tiles beside and below each other."""
    return np.concatenate(
        [np.concatenate(tiles[start : start + COLUMNS], axis=1) for start in range(0, len(tiles), COLUMNS)]
    )


def draw_tile(
    problem_type: str, data_type: str, index: int, *, split: str = "train", world: WorldName = "shapes"
) -> np.ndarray:
    """Return one scene at the middle of what is asked, its answer drawn in, the question below it."""
    sample = make_sample(
        7, index, problem_type=problem_type, data_type=data_type, split=split, side_px=SIDE_PX, world=world
    )
    task = find_task(problem_type, data_type)
    (clip,) = sample.media
    assert isinstance(clip, Clip)
    answer = task.parse(sample.truth, sample.options)
    shown = task.draw(clip, answer).frames[middle(answer, clip)]
    tile = Image.new("RGB", (SIDE_PX, SIDE_PX + TEXT_PX), "white")
    picture = Image.fromarray(shown)
    picture.thumbnail((SIDE_PX - 8, SIDE_PX))
    tile.paste(picture, ((SIDE_PX - picture.width) // 2, (SIDE_PX - picture.height) // 2))
    pen = ImageDraw.Draw(tile)
    pen.text((8, SIDE_PX + 4), f"{problem_type}, {data_type}", "#cc2244", font=ImageFont.load_default(13))
    words = " ".join((sample.problem, *sample.options))
    for row, line in enumerate(textwrap.wrap(words if world == "things" else sample.problem, 50)[:2]):
        pen.text((8, SIDE_PX + 22 + 16 * row), line, "black", font=ImageFont.load_default(12))
    return np.asarray(tile)


def middle(answer: object, clip: Clip) -> int:
    """Return the frame in the middle of the time that an answer speaks of, or of the clip."""
    span = answer if hasattr(answer, "start") else getattr(answer, "span", None)
    middle_s = (span.start + span.end) / 2 if span else getattr(answer, "time_s", clip.times_s[-1] / 2)
    return int(np.argmin([abs(time_s - middle_s) for time_s in clip.times_s]))


if __name__ == "__main__":
    main()
