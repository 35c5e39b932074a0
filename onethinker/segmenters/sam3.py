"""SAM 3 by words, in a picture or through a video, and its tracker for pictures alone; both by transformers.

Words find every object that they fit; the model's box decides which of them is meant.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from onethinker.core.errors import EngineError
from onethinker.core.frames import Clip
from onethinker.core.geometry import FULL, Box, box_iou
from onethinker.core.masks import Mask
from onethinker.media.sampling import choose_frames
from onethinker.segmenters.sam2 import Sam2Segmenter, box_and_points, memory_errors
from onethinker.tasks.segmentation import NamedSelection, Selection

MIN_SCORE = 0.3
"""Objects that the detector is less sure of are not there. Source: transformers, post-processing of Sam3Model."""


@dataclass(frozen=True, eq=False)
class TextSegmenter:
    """A SAM 3 that finds what words name. With a tracker it follows what it found through a video."""

    detector: Any
    processor: Any
    name: str
    tracker: Sam2Segmenter | None = None
    for_benchmarks: ClassVar[bool] = True

    def segment(self, clip: Clip, selection: Selection) -> Iterator[tuple[int, Mask]]:
        """Yield the index of a frame in the clip and its mask: from the selected time to the end, then back to the
        start.

        Of the objects that the words name in the frame nearest to that time, the one that fits the box best is cut
        out; all masks are empty where none touches the box.

        Raises: EngineError: there are no words; a video, and no tracker; the device has not enough memory.
        """
        if not isinstance(selection, NamedSelection):
            raise EngineError(
                f"{self.name} segments what words name, and no words are given: ask a question, or use a --segmenter"
                " that takes a box, such as facebook/sam3"
            )
        if self.tracker is None:
            check_picture(self.name, clip, by_text=True)
        [start] = choose_frames(clip.times_s, [selection.time_s])
        with memory_errors(self.name, clip):
            mask = self._find(clip.frames[start], selection)
        if self.tracker is not None and mask.any():
            for index, followed in self.tracker.follow(clip, start, {"input_masks": mask}):
                yield index, mask if index == start else followed
        else:
            yield start, mask
            for index in (*range(start + 1, len(clip.frames)), *range(start - 1, -1, -1)):
                yield index, np.zeros_like(mask)

    def _find(self, frame: npt.NDArray[np.uint8], selection: NamedSelection) -> Mask:
        """Return the mask of what is meant, at the size of the frame; only that one is made so large."""
        from torch import inference_mode
        from torch.nn.functional import interpolate

        length = self.detector.text_encoder.config.max_position_embeddings
        words = self.processor.tokenizer(
            selection.words, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        )
        pixels = self.processor.image_processor(frame, return_tensors="pt")["pixel_values"]
        device = self.detector.device
        with inference_mode():
            outputs = self.detector(
                pixel_values=pixels.to(device),
                input_ids=words["input_ids"].to(device),
                attention_mask=words["attention_mask"].to(device),
            )
        scores = (outputs.pred_logits[0].sigmoid() * outputs.presence_logits[0].sigmoid()).tolist()
        boxes = [Box(*(FULL * side for side in sides)) for sides in outputs.pred_boxes[0].tolist()]
        chosen = best_fit(boxes, scores, selection.box)
        if chosen is None:
            return np.zeros(frame.shape[:2], bool)
        soft = outputs.pred_masks[:, chosen : chosen + 1].sigmoid().cpu()
        mask: Mask = (interpolate(soft, frame.shape[:2], mode="bilinear")[0, 0] > 0.5).numpy()
        return mask


@dataclass(frozen=True, eq=False)
class PictureSegmenter:
    """SAM 3's tracker for pictures alone: box and points, no memory of other frames."""

    model: Any
    processor: Any
    name: str
    for_benchmarks: ClassVar[bool] = True

    def segment(self, clip: Clip, selection: Selection) -> Iterator[tuple[int, Mask]]:
        """Yield 0 and the mask of a picture. Raises: EngineError: it is a video, or the device has not enough
        memory.
        """
        from torch import inference_mode

        check_picture(self.name, clip, by_text=False)
        with memory_errors(self.name, clip), inference_mode():
            inputs = self.processor(images=clip.frames[0], return_tensors="pt", **box_and_points(clip, selection))
            prompts = inputs.to(self.model.device)
            features = self.model.get_image_embeddings(prompts.pop("pixel_values"))
            # Transformers 5.24 adds this to a fourth level of features, which is then dropped, in place of the third.
            features[-1] = features[-1] + self.model.no_memory_embedding.view(1, -1, 1, 1)
            outputs = self.model(image_embeddings=features, **prompts, multimask_output=False)
            masks = self.processor.post_process_masks(outputs.pred_masks.cpu(), [[clip.height, clip.width]])
        yield 0, masks[0][0, 0].numpy()


def best_fit(boxes: Sequence[Box], scores: Sequence[float], box: Box) -> int | None:
    """Return the index of the object, of those that the detector is sure enough of, whose box overlaps a given one
    best; of two alike the surer. None where none touches it.

    >>> best_fit([Box(0, 0, 400, 1000), Box(500, 0, 1000, 1000)], [0.9, 0.4], Box(600, 0, 1000, 1000))
    1
    """
    found = [index for index, score in enumerate(scores) if score > MIN_SCORE]
    fits = {index: (box_iou(boxes[index], box), scores[index]) for index in found}
    best = max(fits, key=fits.__getitem__, default=None)
    return None if best is None or fits[best][0] == 0 else best


def check_picture(name: str, clip: Clip, *, by_text: bool) -> None:
    """Raise EngineError for a video, which a segmenter for pictures alone cannot follow anything through."""
    if clip.kind == "video":
        raise EngineError(f"{clip.name}: {only_pictures(name, by_text=by_text)}")


def only_pictures(name: str, *, by_text: bool) -> str:
    """Return what to tell someone who gives a video to a segmenter for pictures alone."""
    other = "facebook/sam3:text" if by_text else "facebook/sam3 or facebook/sam2.1-hiera-large"
    return f"{name} works on pictures only; for a video use a --segmenter such as {other}"
