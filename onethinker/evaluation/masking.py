"""The stage `masks`: a segmenter cuts out what the answers select, and the worth of the masks joins the grades.

One line of `masks.jsonl` an answer, beside the results: its masks by frame in COCO's run lengths, and what they are
worth.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from onethinker.core.errors import DataError, EngineError, MediaError
from onethinker.core.frames import Clip
from onethinker.core.masks import decode_rle
from onethinker.core.sample import PICTURE, Sample
from onethinker.core.sources import Source
from onethinker.data.media_checks import mask_problem
from onethinker.evaluation.mask_metrics import sample_mask_metrics
from onethinker.evaluation.results import (
    Result,
    weights_digest,
    write_results,
)
from onethinker.media.budget import MediaBudget
from onethinker.media.reading import read_clip
from onethinker.media.sampling import choose_frames
from onethinker.segmenters.base import MASK_BUDGET, Segmenter, cut_out, weights_folder
from onethinker.storage.folders import MASKS_FILE
from onethinker.storage.jsonl_log import open_log, read_log
from onethinker.storage.strict_json import to_json
from onethinker.tasks import read_response, task_of
from onethinker.tasks.segmentation import Selection

MAX_FRAMES = 4096
"""Frames of a video at most that are looked at for masks: every frame of the truth of any benchmark is among them."""
_PROBLEM_TYPE = "segmentation"
Reader = Callable[[Path | Clip | Source, MediaBudget], Clip]


@dataclass(frozen=True)
class AnswerMasks:
    """What a segmenter made of one answer.

    `masks` are run lengths by the keys of the truth's frames ("image" for a picture), at the size of the source; None
    where the answer cannot be read, which counts as empty masks. `metrics` are their worth. With an `error` there is
    neither: the next run tries again. `weights` is a digest of those in the segmenter's folder; `for_benchmarks` says
    whether its masks may stand beside published numbers.
    """

    key: str
    result_key: str
    sample_id: str
    segmenter: str
    weights: str | None
    for_benchmarks: bool
    masks: dict[str, Any] | None
    metrics: dict[str, float] | None
    error: str | None = None


def has_segmentation(samples: Sequence[Sample]) -> bool:
    """Return whether there is work for a segmenter; raises DataError for a segmentation sample without masks as its
    truth.
    """
    asked = [sample for sample in samples if sample.problem_type == _PROBLEM_TYPE]
    for sample in asked:
        if sample.masks is None:
            raise DataError(
                f"sample {sample.id!r} has no reference masks: add them in 'segmentation_output', or leave --segmenter"
                " out"
            )
    return bool(asked)


def measure_masks(
    segmenter: Segmenter,
    samples: Sequence[Sample],
    results: Sequence[Result],
    *,
    output: Path,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Result]:
    """Return the results with the metrics of their masks, made now or found in the journal in `output`.

    Stop it at any time and call it again; the results are written anew when all is done. An answer that cannot be read
    has empty masks and counts 0; where the segmenter fails, or the truth's masks cannot be read, the result has no
    grade and the next call tries again. Results of other tasks, and those without a grade, come back as they are.
    `on_progress` gets the answers done and all of them.

    Raises: CheckpointError: the journal is damaged or in use.
    """
    asked = [(sample, result) for sample, result in zip(samples, results, strict=True) if _is_answered(result)]
    if not asked:
        return list(results)
    weights = weights_digest(weights_folder(segmenter.name))
    read = lru_cache(maxsize=1)(read_clip)  # the expressions of one video follow each other
    measured: dict[str, AnswerMasks] = {}
    with open_log(output / MASKS_FILE) as log:
        done = {made.key: made for made in read_masks(output) if made.error is None}
        for count, (sample, result) in enumerate(asked, 1):
            key = _key(result, segmenter.name, weights)
            if key in done:
                made = _with_todays_metrics(done[key], sample)
            else:
                ids = key, result.key, sample.id, segmenter.name, weights
                made = _make(segmenter, sample, result, AnswerMasks(*ids, segmenter.for_benchmarks, None, None), read)
            if made is not done.get(key):
                log.append([made])
            done[key] = measured[result.key] = made
            if on_progress is not None:
                on_progress(count, len(asked))
        graded = [_with_masks(each, measured[each.key]) if each.key in measured else each for each in results]
        write_results(output, graded)
    return graded


def with_stored_masks(results: Sequence[Result], output: Path) -> list[Result]:
    """Return the results with the worth of the masks that the last segmenter in `output` made; as they are unless it
    made all.

    Raises: CheckpointError: the journal is damaged.
    """
    newest = newest_masks(output)
    if not newest:
        return list(results)
    made = {entry.key: entry for entry in newest if entry.error is None}
    keys = {
        result.key: _key(result, newest[-1].segmenter, newest[-1].weights) for result in results if _is_answered(result)
    }
    if not all(key in made for key in keys.values()):
        return list(results)
    return [_with_masks(result, made[keys[result.key]]) if result.key in keys else result for result in results]


def newest_masks(folder: Path) -> list[AnswerMasks]:
    """Return what the last segmenter in a folder made, in order: masks of different ones never stand side by side."""
    made = read_masks(folder)
    return [entry for entry in made if (entry.segmenter, entry.weights) == (made[-1].segmenter, made[-1].weights)]


def read_masks(folder: Path) -> list[AnswerMasks]:
    """Return all that was made in a folder, in order; [] where the stage has not run. Raises: CheckpointError."""
    return read_log(folder / MASKS_FILE, lambda fields: AnswerMasks(**fields))


def _with_masks(result: Result, made: AnswerMasks) -> Result:
    """Return a result whose grade has the worth of its masks among its metrics, or that has no grade where they
    failed.
    """
    if made.metrics is None or result.grade is None:
        return replace(result, grade=None, error=made.error)
    return replace(result, grade=replace(result.grade, metrics={**result.grade.metrics, **made.metrics}))


def _is_answered(result: Result) -> bool:
    return result.grade is not None and result.task.split("/")[0] == _PROBLEM_TYPE


def _make(segmenter: Segmenter, sample: Sample, result: Result, nothing: AnswerMasks, read: Reader) -> AnswerMasks:
    selection = read_response(result.response, task_of(sample), sample.options, result.reader).answer
    try:
        if not isinstance(selection, Selection):
            return replace(nothing, metrics=sample_mask_metrics(sample, None))
        masks = _cut(segmenter, sample, selection, read)
        return replace(nothing, masks=masks, metrics=_worth(sample, masks))
    except (MediaError, EngineError, DataError) as error:
        return replace(nothing, error=f"masks: {error}")


def _worth(sample: Sample, masks: dict[str, Any] | None) -> dict[str, float]:
    return sample_mask_metrics(sample, masks and {name: decode_rle(rle) for name, rle in masks.items()})


def _with_todays_metrics(made: AnswerMasks, sample: Sample) -> AnswerMasks:
    """Return what was made, its masks measured anew where a version with other metrics has measured them."""
    nothing = sample_mask_metrics(sample, None)
    return (
        made
        if made.metrics and made.metrics.keys() == nothing.keys()
        else replace(made, metrics=_worth(sample, made.masks))
    )


def _cut(segmenter: Segmenter, sample: Sample, selection: Selection, read: Reader) -> dict[str, Any]:
    """Return an answer's run lengths at the frames of the truth, each taken from the frame nearest to its second."""
    if sample.data_type == "image":
        picture = read(sample.media[0], MASK_BUDGET)
        _check_shape(sample, picture)
        return {PICTURE: cut_out(segmenter, picture, selection, question=sample.problem).rles[0]}
    assert sample.masks is not None
    budget = MASK_BUDGET.model_copy(update={"fps": sample.masks.fps, "max_frames": MAX_FRAMES})
    clip = read(sample.media[0], budget)
    _check_shape(sample, clip)
    rles = cut_out(segmenter, clip, selection, question=sample.problem).rles
    return {name: rles[choose_frames(clip.times_s, [time_s])[0]] for name, time_s in sample.masks.times_s.items()}


def _check_shape(sample: Sample, clip: Clip) -> None:
    """Raise MediaError for truth masks of another shape than what they are masks of: they could only be stretched over
    it.
    """
    if problem := mask_problem(sample, clip.source_width, clip.source_height):
        raise MediaError(f"{problem} of {clip.name}")


def _key(result: Result, segmenter: str, weights: str | None) -> str:
    """Return what the masks of an answer are filed under: a digest of result, which knows media and truth, answer and
    segmenter.
    """
    return blake2b(to_json([result.key, result.response, segmenter, weights]).encode(), digest_size=16).hexdigest()
