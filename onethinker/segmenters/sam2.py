"""SAM 2 and SAM 3 by transformers: masks from a box and points, in a picture or through a video in both directions."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from onethinker.core.errors import EngineError
from onethinker.core.frames import Clip
from onethinker.core.geometry import box_to_px, point_to_px
from onethinker.core.masks import Mask
from onethinker.media.sampling import choose_frames
from onethinker.tasks.segmentation import Selection

if TYPE_CHECKING:
    from torch import Tensor

SAM3 = " (SAM 3"
"""Follows the folder or hub id in the name of a SAM 3."""
TARGET = 1
"""Id of the one object in a session."""


@dataclass(frozen=True, eq=False)
class Sam2Segmenter:
    """SAM 2, or SAM 3's tracker, which is asked the same way; a picture is a video of one frame, for which the masks
    are those of the image model.
    """

    model: Any
    processor: Any
    name: str
    for_benchmarks: ClassVar[bool] = True

    def segment(self, clip: Clip, selection: Selection) -> Iterator[tuple[int, Mask]]:
        """Yield the index of a frame in the clip and its mask: from the selected time to the end, then back to the
        start.

        Box and points are given in one call, on the frame nearest to that time.

        Source: SAM 2's video predictor, propagated forward and in reverse from the prompted frame as in the paper's
        evaluation.

        Raises: EngineError: the device has not enough memory.
        """
        [start] = choose_frames(clip.times_s, [selection.time_s])
        yield from self.follow(clip, start, box_and_points(clip, selection))

    def follow(self, clip: Clip, start: int, prompts: dict[str, Any]) -> Iterator[tuple[int, Mask]]:
        """Yield as `segment` does what prompts select in the frame with index `start`: a box and points, or a mask.

        Raises: EngineError: the device has not enough memory.
        """
        with memory_errors(self.name, clip):
            yield from self._propagate(clip, start, prompts)

    def _propagate(self, clip: Clip, start: int, prompts: dict[str, Any]) -> Iterator[tuple[int, Mask]]:
        session = self.processor.init_video_session(inference_device=self.model.device, dtype=self.model.dtype)
        # The session wants all frames in SAM 2's size at once, which are 12 MB each: this one makes them when they are
        # asked for.
        session.processed_frames = _Frames(clip, self.processor)
        size = clip.height, clip.width
        self.processor.add_inputs_to_inference_session(session, start, TARGET, original_size=size, **prompts)
        outputs = session.output_dict_per_obj[session.obj_id_to_idx(TARGET)]["non_cond_frame_outputs"]
        for reverse in (False, True):
            for output in self.model.propagate_in_video_iterator(session, start_frame_idx=start, reverse=reverse):
                if output.frame_idx != start or not reverse:
                    yield output.frame_idx, self._to_mask(output.pred_masks, size)
                outputs.get(output.frame_idx, {}).pop("high_res_masks", None)  # 4 MB a frame that nothing reads again

    def _to_mask(self, logits: "Tensor", size: tuple[int, int]) -> Mask:
        mask: npt.NDArray[np.bool_] = self.processor.post_process_masks([logits.cpu()], [list(size)])[0][0, 0].numpy()
        return mask


class _Frames(Mapping[int, "Tensor"]):
    """The frames of a clip as SAM 2 takes them, each made when it is asked for."""

    def __init__(self, clip: Clip, processor: Any) -> None:
        self._clip, self._processor = clip, processor

    def __getitem__(self, index: int) -> "Tensor":
        pixels: Tensor = self._processor(images=self._clip.frames[index], return_tensors="pt")["pixel_values"][0]
        return pixels

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))

    def __len__(self) -> int:
        return len(self._clip.frames)


@contextmanager
def memory_errors(name: str, clip: Clip) -> Iterator[None]:
    """Turn a device's lack of memory into an EngineError that names segmenter and clip."""
    from torch import OutOfMemoryError

    try:
        yield
    except OutOfMemoryError as error:
        raise EngineError(
            f"{clip.name}: {name} has not enough memory for {clip.width} x {clip.height} pixels: {error}"
        ) from error


def box_and_points(clip: Clip, selection: Selection) -> dict[str, Any]:
    """Return a box and its points, if there are any, in pixels and nested as the processor takes them."""
    size = {"width_px": clip.width, "height_px": clip.height}
    prompts: dict[str, Any] = {"input_boxes": [[list(box_to_px(selection.box, **size))]]}
    points = [*selection.positive_points, *selection.negative_points]
    if points:
        prompts["input_points"] = [[[list(point_to_px(point, **size)) for point in points]]]
        prompts["input_labels"] = [[[1] * len(selection.positive_points) + [0] * len(selection.negative_points)]]
    return prompts
