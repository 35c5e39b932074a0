"""From a box and points to masks: one interface for SAM 2, SAM 3 and GrabCut, and what comes back for a whole picture
or video.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from pydantic_core import to_jsonable_python

from onethinker.core.frames import Clip
from onethinker.core.masks import Mask, decode_rle, encode_rle, mask_area, resize_mask
from onethinker.core.sources import home_path
from onethinker.data.annotations import FrameMask
from onethinker.drawing.draw import draw_caption, draw_masks
from onethinker.media.budget import ExactBudget
from onethinker.segmenters.sam2 import SAM3
from onethinker.tasks import find_task
from onethinker.tasks.segmentation import NamedSelection, Selection

GRABCUT = "grabcut"
"""The segmenter that needs no download."""
MASK_BUDGET = ExactBudget(
    fps=10,
    max_frames=900,
    image_max_pixels=4096 * 4096,
    frame_max_pixels=1920 * 1088,
    video_max_pixels=256 * 1280 * 720,
)
"""Which frames get masks, and how much of the source a segmenter sees; masks are enlarged to the size of the source."""


class Segmenter(Protocol):
    """Makes masks from a box and points, or from the words of a `NamedSelection`."""

    @property
    def name(self) -> str:
        """What to call it in results: "grabcut", a hub id or a folder."""
        ...

    @property
    def for_benchmarks(self) -> bool:
        """Whether its masks may stand beside published numbers."""
        ...

    def segment(self, clip: Clip, selection: Selection) -> Iterator[tuple[int, Mask]]:
        """Yield the index of each frame in the clip and its mask, at the frame's size; starts at the selected
        time.
        """
        ...


@dataclass(frozen=True, eq=False)
class ObjectMasks:
    """Where something is in a picture or video: a mask for each frame of the clip, at the size of the source.

    `rles` are in COCO's run-length form; frames in which it is not seen have an empty mask.
    """

    clip: Clip
    selection: Selection
    segmenter: str
    for_benchmarks: bool
    rles: tuple[dict[str, Any], ...] = field(repr=False)

    @property
    def label(self) -> str:
        """Who made the masks, and whether they may be compared with published ones."""
        return self.segmenter if self.for_benchmarks else f"{self.segmenter}, not for benchmark numbers"

    def mask(self, index: int) -> Mask:
        """Return the mask of a frame of the clip, at the size of the source."""
        return decode_rle(self.rles[index])

    def areas(self) -> tuple[int, ...]:
        """Return how many pixels of the source each mask covers."""
        return tuple(map(mask_area, self.rles))

    def by_frame(self) -> dict[int, FrameMask]:
        """Return the masks by the index of the source's frame, as `Annotation` has them."""
        frames = zip(self.clip.indices, self.clip.times_s, self.rles, strict=True)
        return {index: FrameMask(time_s, rle) for index, time_s, rle in frames}

    def draw(self) -> Clip:
        """Return the clip with the masks, the box and the points drawn in, and a caption when they are no
        benchmark's.
        """
        size = self.clip.width, self.clip.height
        masks = np.stack([resize_mask(self.mask(index), size) for index in range(len(self.rles))])
        drawn = find_task("segmentation", self.clip.kind).draw(draw_masks(self.clip, masks), self.selection)
        return drawn if self.for_benchmarks else draw_caption(drawn, self.label)

    def to_dict(self) -> dict[str, Any]:
        """Return all but the pixels as plain values that `json` can write."""
        frames = zip(self.clip.indices, self.clip.times_s, self.rles, strict=True)
        return {
            "source": self.clip.name,
            "width": self.clip.source_width,
            "height": self.clip.source_height,
            "segmenter": self.segmenter,
            "for_benchmarks": self.for_benchmarks,
            "selection": to_jsonable_python(self.selection),
            "frames": [{"index": index, "time_s": time_s, "segmentation": rle} for index, time_s, rle in frames],
        }


def load_segmenter(name: str, kind: str | None = None) -> Segmenter:
    """Return the segmenter that a name means: "grabcut", or SAM 2 or SAM 3 from a folder or a hub id
    ("facebook/sam2.1-hiera-large", "facebook/sam3", "facebook/sam3:text").

    `kind` is what it will be given, "image" or "video", where that is known: weights for pictures alone are refused for
    a video.

    Raises: EngineError: no such folder, no weights of either in it or none that can do this, or the hub cannot be
    reached.
    """
    if name == GRABCUT:
        from onethinker.segmenters.grabcut import GrabCutSegmenter

        return GrabCutSegmenter()
    from onethinker.segmenters.loading import load_sam

    return load_sam(name, kind)


def cut_out(
    segmenter: Segmenter,
    clip: Clip,
    selection: Selection,
    *,
    question: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> ObjectMasks:
    """Return the masks of what is selected, for every frame of a clip; `question` is what it answers, for a segmenter
    that reads text, and `on_progress` hears how many of how many are done.
    """
    size = clip.source_width, clip.source_height
    rles: dict[int, dict[str, Any]] = {}
    prompt = selection if question is None else NamedSelection(**vars(selection), words=expression(question))
    for index, mask in segmenter.segment(clip, prompt):
        rles[index] = encode_rle(resize_mask(mask, size))
        if on_progress is not None:
            on_progress(len(rles), len(clip.frames))
    ordered = tuple(rles[index] for index in range(len(clip.frames)))
    return ObjectMasks(clip, selection, segmenter.name, segmenter.for_benchmarks, ordered)


def expression(question: str) -> str:
    """Return the words of a question that name the object: what our benchmarks quote at its end, else all of it.

    >>> expression('Cut out what this describes: "the left cat"'), expression("the cat")
    ('the left cat', 'the cat')
    """
    quoted = re.search(r': "(.+)"\Z', question)
    return quoted[1] if quoted else question


def weights_folder(name: str) -> Path:
    """Return where the weights of a segmenter lie if its name is of a folder, without what the name says of their kind.

    >>> weights_folder("sams/3 (SAM 3 by text)").as_posix()
    'sams/3'
    """
    return home_path(name.partition(SAM3)[0])
