"""Pictures for a report: what a sample shows, with its truth or a model's answer drawn in, as one PNG."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from onethinker.clip import Clip
from onethinker.data.sample import Sample
from onethinker.errors import AnswerError
from onethinker.evaluation.results import Result
from onethinker.files import write_atomically
from onethinker.media.budget import MediaBudget
from onethinker.media.reading import read_clip
from onethinker.response import find_answer
from onethinker.tasks import find_task

EXAMPLES_FOLDER = "examples"
SHEET_FRAMES = 6
"""Frames of a clip that a sheet shows side by side."""
IMAGE_SIDE_PX = 320
FRAME_SIDE_PX = 200
_GAP_PX = 6


def truth_picture(folder: Path, key: str) -> Path:
    """Return where the picture with the truth of a result stands."""
    return folder / EXAMPLES_FOLDER / f"{key}.truth.png"


def answer_picture(folder: Path, key: str) -> Path:
    """Return where the picture with the answer of a result stands; there is none for an answer that is not usable."""
    return folder / EXAMPLES_FOLDER / f"{key}.answer.png"


def is_sheet(path: Path) -> bool:
    """Tell whether a picture holds several frames side by side."""
    with Image.open(path) as picture:
        return picture.width > 2 * picture.height


def draw_example(sample: Sample, result: Result, budget: MediaBudget, folder: Path) -> None:
    """Write the pictures of a result, once: with the truth and, if the answer can be used, with the answer drawn in.

    Where an answer is words or a number there is one picture, of what was asked about.
    """
    truth_path, answer_path = truth_picture(folder, result.key), answer_picture(folder, result.key)
    if truth_path.exists() or not sample.media:
        return
    task = find_task(sample.problem_type, sample.data_type)
    clip = for_sheet(read_clip(sample.media[0], budget))
    truth_path.parent.mkdir(parents=True, exist_ok=True)
    if not task.structured:
        write_atomically(truth_path, sheet_png(clip))
        return
    try:
        answer = task.parse(find_answer(result.response), sample.options)
    except AnswerError:
        pass
    else:
        write_atomically(answer_path, sheet_png(task.draw(clip, answer)))
    write_atomically(truth_path, sheet_png(task.draw(clip, task.parse(sample.truth, sample.options))))


def for_sheet(clip: Clip) -> Clip:
    """Return what a sheet shows of a clip: some of its frames, in the size in which they are drawn on."""
    return _enlarged(_thinned(clip))


def _thinned(clip: Clip) -> Clip:
    """Return the clip with at most `SHEET_FRAMES` of its frames, first and last among them."""
    kept = np.unique(np.linspace(0, len(clip.times_s) - 1, SHEET_FRAMES).round().astype(int))
    return replace(
        clip,
        frames=clip.frames[kept],
        times_s=tuple(clip.times_s[index] for index in kept),
        indices=tuple(clip.indices[index] for index in kept),
    )


def _enlarged(clip: Clip) -> Clip:
    """Return the clip in the size of the sheet, so that lines and letters are fine however small the model's frames are."""
    scale = (IMAGE_SIDE_PX if len(clip.frames) == 1 else FRAME_SIDE_PX) / max(clip.width, clip.height)
    size = max(1, round(clip.width * scale)), max(1, round(clip.height * scale))
    resample = Image.Resampling.LANCZOS
    return replace(clip, frames=np.stack([np.asarray(Image.fromarray(frame).resize(size, resample)) for frame in clip.frames]))


def sheet_png(clip: Clip) -> bytes:
    """Return the frames side by side, as a PNG with transparent gaps."""
    count, height, width, _ = clip.frames.shape
    sheet = np.zeros((height, count * width + (count - 1) * _GAP_PX, 4), dtype=np.uint8)
    for position, frame in enumerate(clip.frames):
        left = position * (width + _GAP_PX)
        sheet[:, left : left + width, :3] = frame
        sheet[:, left : left + width, 3] = 255
    return png_bytes(sheet)


def png_bytes(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return pixels (height, width, 3 or 4) as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return file.getvalue()
