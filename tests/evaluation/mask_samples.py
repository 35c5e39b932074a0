"""Pictures and videos with true masks, segmenters that need no weights, and answers about them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from onethinker.core.errors import EngineError
from onethinker.core.frames import Clip
from onethinker.core.geometry import box_to_px
from onethinker.core.masks import Mask, encode_rle
from onethinker.core.sample import PICTURE, Masks, Sample
from onethinker.core.sources import FrameFolder
from onethinker.data.published.masks import selection_of
from onethinker.evaluation.metrics import score_tasks
from onethinker.evaluation.results import Result
from onethinker.tasks import grade_response, task_of
from onethinker.tasks.segmentation import Selection


@dataclass
class BoxSegmenter:
    """Fills the box, in every frame; fails and stops where it is told to, and remembers what it cut."""

    name: str = "boxes"
    for_benchmarks: bool = False
    fails_for: tuple[str, ...] = ()
    stops_after: int | None = None
    cut: list[str] = field(default_factory=list)

    def segment(self, clip: Clip, selection: Selection) -> Iterator[tuple[int, Mask]]:
        if len(self.cut) == self.stops_after:
            raise KeyboardInterrupt
        if clip.name in self.fails_for:
            raise EngineError(f"no memory for {clip.name}")
        self.cut.append(clip.name)
        x1, y1, x2, y2 = (round(side) for side in box_to_px(selection.box, width_px=clip.width, height_px=clip.height))
        mask = np.zeros((clip.height, clip.width), bool)
        mask[y1:y2, x1:x2] = True
        for number in range(len(clip.frames)):
            yield number, mask


@dataclass(frozen=True)
class BrightnessSegmenter:
    """Takes for the object as many columns as the frame is bright, so that a mask tells which frame it was made of."""

    name: str = "brightness"
    for_benchmarks: bool = False

    def segment(self, clip: Clip, selection: Selection) -> Iterator[tuple[int, Mask]]:
        for number, frame in enumerate(clip.frames):
            mask = np.zeros(frame.shape[:2], bool)
            mask[:, : round(float(frame.mean()))] = True
            yield number, mask


SQUARE = np.zeros((40, 60), bool)
SQUARE[10:30, 20:40] = True
ANSWER = json.dumps(selection_of(SQUARE))


def pictures(folder: Path, count: int) -> list[Sample]:
    """Gray pictures in which a square is what was meant."""
    samples = []
    for number in range(count):
        Image.new("RGB", (60, 40)).save(folder / f"{number}.png")
        masks = Masks({PICTURE: (encode_rle(SQUARE),)})
        samples.append(
            Sample(f"s{number}", "?", "segmentation", "image", (folder / f"{number}.png",), truth=ANSWER, masks=masks)
        )
    return samples


def answered(samples: list[Sample], *texts: str) -> list[Result]:
    """The results of the answer stage; the last text is said to all further samples."""
    results = []
    for number, sample in enumerate(samples):
        task = task_of(sample)
        response = f"<think>x</think><answer>{texts[min(number, len(texts) - 1)]}</answer>"
        grade = grade_response(response, sample.truth, task=task)
        results.append(Result(f"key {sample.id}", sample.id, task.key, sample.problem, sample.truth, response, grade))
    return results


def metric(results: list[Result], name: str) -> float:
    [score] = score_tasks(results)
    return score.metrics[name].mean


HALF = json.dumps({**json.loads(ANSWER), "boxes": [333.3333, 250, 500, 750]})
"""The left half of the square."""


def video(folder: Path, *, shown: int) -> Sample:
    """A video of 20 frames, each brighter than the one before, whose first `shown` ones have true masks, all but two of
    them.
    """
    keys = [f"{number:05}" for number in range(20)]
    for number, key in enumerate(keys):
        Image.new("RGB", (100, 60), (number,) * 3).save(folder / f"{key}.png")
    masks = {}
    for number, key in enumerate(keys[:shown]):
        mask = np.zeros((60, 100), bool)
        mask[:, :number] = True
        masks[key] = (encode_rle(mask),)
    masks |= {"00005": (), "00006": ()} if shown > 6 else {}
    answer = json.dumps({"time": 1, **json.loads(ANSWER)})
    media = (FrameFolder(folder, tuple(f"{key}.png" for key in keys), 6),)
    return Sample("v", "?", "segmentation", "video", media, truth=answer, masks=Masks(masks, fps=6))


class NoSegmenter(BrightnessSegmenter):
    """One with the name of another that must not be needed."""

    def segment(self, clip, selection):
        raise AssertionError("these masks are there")
