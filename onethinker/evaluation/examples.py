"""Pictures for a report: what a sample shows, with its truth or a model's answer drawn in, as one small WebP each."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from onethinker.core.frames import Clip
from onethinker.core.masks import Mask, decode_rle, resize_mask
from onethinker.core.sample import Sample
from onethinker.data.published.masks import truth_masks
from onethinker.drawing.draw import draw_masks
from onethinker.drawing.sheets import for_sheet, sheet_webp
from onethinker.evaluation.masking import AnswerMasks, newest_masks
from onethinker.evaluation.results import Result, read_settings
from onethinker.evaluation.scoring import unparsable
from onethinker.media.budget import MediaBudget
from onethinker.media.reading import read_clip
from onethinker.storage.atomic import write_atomically, writing
from onethinker.storage.folders import EXAMPLES_FOLDER
from onethinker.tasks import parse_truth, read_response, task_of

MOST_EXAMPLES = 96
"""Samples of an evaluation that are drawn, shared out among its tasks."""


def truth_picture(folder: Path, key: str) -> Path:
    """Return the file of the picture that shows the truth of a result."""
    return folder / EXAMPLES_FOLDER / f"{key}.truth.webp"


def answer_picture(folder: Path, key: str) -> Path:
    """Return the file of the picture that shows the answer of a result; there is none for an answer that is not usable.

    The key is that of the result, or, where masks were made of the answer, of the masks: those of another segmenter
    look different.
    """
    return folder / EXAMPLES_FOLDER / f"{key}.answer.webp"


def masks_by_result(folder: Path) -> dict[str, AnswerMasks]:
    """Return the masks that were last made in an evaluation's folder, by the key of the result. Raises:
    CheckpointError.
    """
    return {made.result_key: made for made in newest_masks(folder) if made.masks is not None}


def is_sheet(path: Path) -> bool:
    """Tell whether a picture holds several frames side by side."""
    with Image.open(path) as picture:
        return picture.width > 2 * picture.height


def draw_examples(
    samples: Sequence[Sample], results: Sequence[Result], output: Path, *, most: int = MOST_EXAMPLES
) -> None:
    """Draw what a report shows of an evaluation: some samples of each task with their truth and answer, masks too where
    there are any; `most` in all.

    What is drawn already stays. Raises: MediaError: a picture or clip cannot be read any more. CheckpointError,
    DataError.
    """
    budget = MediaBudget.model_validate(read_settings(output)["settings"]["budget"])
    masks = masks_by_result(output)
    shown = choose_examples(results, most)
    for sample, result in zip(samples, results, strict=True):
        if result.key in shown:
            draw_example(sample, result, budget, output, masks=masks.get(result.key))


def choose_examples(results: Sequence[Result], most: int = MOST_EXAMPLES) -> set[str]:
    """Return the keys of the results to draw, as many of each task: half are its first ones, the others the first that
    are wrong.

    Of these half are answers that could not be read, where there are so many. A result without a grade is never among
    them.
    """
    by_task: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        if result.grade is not None:
            by_task[result.task].append(result)
    chosen: set[str] = set()
    for own in by_task.values():
        num_examples = max(1, most // len(by_task))
        unread = set(unparsable(own))
        by_need = [
            *own[: (num_examples + 1) // 2],
            *[result for result in own if result.sample_id in unread][: num_examples // 4],
            *[result for result in own if result.grade is not None and result.grade.accuracy < 1],
            *own,
        ]
        chosen.update(list(dict.fromkeys(result.key for result in by_need))[:num_examples])
    return chosen


def draw_example(
    sample: Sample, result: Result, budget: MediaBudget, folder: Path, *, masks: AnswerMasks | None = None
) -> None:
    """Write the pictures of a result, once: with the truth and, if the answer can be used, with the answer drawn in.

    Where an answer is words or a number there is one picture, of what was asked about.
    """
    truth_path, answer_path = (
        truth_picture(folder, result.key),
        answer_picture(folder, masks.key if masks else result.key),
    )
    if not sample.media or (truth_path.exists() and (masks is None or answer_path.exists())):
        return
    task = task_of(sample)
    clip = for_sheet(read_clip(sample.media[0], budget))
    with writing(truth_path.parent):
        truth_path.parent.mkdir(parents=True, exist_ok=True)
    if not task.structured:
        write_atomically(truth_path, truth_sheet(sample, clip))
        return
    answer = read_response(result.response, task, sample.options, result.reader).answer
    if answer is not None:
        cut = {key: decode_rle(rle) for key, rle in masks.masks.items()} if masks and masks.masks else {}
        write_atomically(answer_path, sheet_webp(task.draw(_with_masks(clip, sample, cut), answer)))
    write_atomically(truth_path, truth_sheet(sample, clip))


def truth_sheet(sample: Sample, clip: Clip) -> bytes:
    """Return a picture of the first medium of a sample, a clip that is small enough for it, with the truth drawn in.

    Where there is no truth, or it is words or a number, nothing is drawn. Raises: DataError: the masks or the truth
    cannot be read.
    """
    task = task_of(sample)
    if task.structured:
        clip = _with_masks(clip, sample, truth_masks(sample) if sample.masks is not None else {})
        if sample.truth:
            clip = task.draw(clip, parse_truth(sample.truth, task, sample.options))
    return sheet_webp(clip)


def _with_masks(clip: Clip, sample: Sample, masks: Mapping[str, Mask]) -> Clip:
    """Return the clip with masks by frame key laid over it, on each frame the one nearest in time; untouched where
    there are none.
    """
    if not masks or sample.masks is None:
        return clip
    times_s = sample.masks.times_s
    keys = [min(masks, key=lambda key: abs(times_s[key] - shown_s)) for shown_s in clip.times_s]
    return draw_masks(clip, np.stack([resize_mask(masks[key], (clip.width, clip.height)) for key in keys]))
