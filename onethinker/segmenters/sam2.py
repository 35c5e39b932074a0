"""SAM 2 and SAM 3 by transformers: masks from a box and points, in a picture or through a video in both directions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from onethinker.core.errors import EngineError
from onethinker.core.frames import Clip
from onethinker.core.geometry import box_to_px, point_to_px
from onethinker.core.masks import Mask
from onethinker.core.nearest import ask_for, near_path
from onethinker.families.hub import HUB_ID, hub_answers
from onethinker.media.sampling import choose_frames
from onethinker.processes.machine import default_device
from onethinker.tasks.segmentation import Selection

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, ProcessorMixin

MODEL_TYPES = {"sam2_video": "SAM 2", "sam3_tracker_video": "SAM 3", "sam3_video": "SAM 3"}
"""What config.json calls weights that follow an object through a video; they cut pictures as well. facebook/sam3 is a
"sam3_video", of which the tracker alone is loaded."""
HUB_EXAMPLE = "facebook/sam2.1-hiera-large"
HUB_EXAMPLE_3 = "facebook/sam3"
ALIASES = dict.fromkeys(("sam", "sam2", "sam 2", "sam2 1"), (HUB_EXAMPLE,)) | {"sam3": (HUB_EXAMPLE_3,)}
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
        from torch import OutOfMemoryError

        try:
            yield from self._propagate(clip, selection)
        except OutOfMemoryError as error:
            raise EngineError(
                f"{clip.name}: {self.name} has not enough memory for {clip.width} x {clip.height} pixels: {error}"
            ) from error

    def _propagate(self, clip: Clip, selection: Selection) -> Iterator[tuple[int, Mask]]:
        [start] = choose_frames(clip.times_s, [selection.time_s])
        session = self.processor.init_video_session(inference_device=self.model.device, dtype=self.model.dtype)
        # The session wants all frames in SAM 2's size at once, which are 12 MB each: this one makes them when they are
        # asked for.
        session.processed_frames = _Frames(clip, self.processor)
        size = clip.height, clip.width
        self.processor.add_inputs_to_inference_session(
            session, start, TARGET, original_size=size, **_prompts(clip, selection)
        )
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


def load_sam2(model: str) -> Sam2Segmenter:
    """Return SAM 2 or SAM 3 from a folder or a hub id ("facebook/sam2.1-hiera-large", "facebook/sam3"), on the first
    GPU if there is one, in float32. The name of a SAM 3 says that it is one.

    Raises: EngineError: there is no such folder, its weights are of neither, or the hub cannot be reached.
    """
    folder = Path(model).expanduser()
    if not folder.is_dir() and (not HUB_ID.fullmatch(model) or model.startswith(".")):
        near = near_path(folder) or ask_for(model, ("grabcut", HUB_EXAMPLE), ALIASES)
        raise EngineError(f"{model}: no such folder, and not a hub id such as {HUB_EXAMPLE} or {HUB_EXAMPLE_3}{near}")
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise EngineError(f"{model}: the folder holds no model: there is no config.json in it")
    # Mistakes that show without torch are reported; from here on it is imported.
    source, offline = (str(folder), True) if folder.is_dir() else (model, not hub_answers(model))
    network, processor, kind = _read_sam2(model, source, offline=offline)
    name = model if kind == "SAM 2" else f"{model} ({kind})"
    return Sam2Segmenter(network.to(default_device()).eval(), processor, name)


def _read_sam2(model: str, source: str, *, offline: bool) -> "tuple[PreTrainedModel, ProcessorMixin, str]":
    """Return the network and processor in a folder, or those of a hub id, and which SAM it is. Raises: EngineError."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError
    from transformers import (
        AutoConfig,
        Sam2VideoModel,
        Sam2VideoProcessor,
        Sam3TrackerVideoModel,
        Sam3TrackerVideoProcessor,
    )

    try:
        word = AutoConfig.from_pretrained(source, local_files_only=offline).model_type
        kind = MODEL_TYPES.get(word)
        if kind is None:
            raise EngineError(
                f"{model}: expected the weights of a SAM 2 or SAM 3 that follows through videos"
                f" ({', '.join(MODEL_TYPES)} in config.json), got {word!r}"
            )
        is_third = kind == "SAM 3"
        processors = Sam3TrackerVideoProcessor if is_third else Sam2VideoProcessor
        networks = Sam3TrackerVideoModel if is_third else Sam2VideoModel
        processor = processors.from_pretrained(source, local_files_only=offline)
        network, found = networks.from_pretrained(
            source, local_files_only=offline, output_loading_info=True, dtype="float32"
        )
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        ImportError,
        RuntimeError,
        SafetensorError,
        StrictDataclassError,
    ) as error:
        raise EngineError(f"{model}: its SAM cannot be read from here: {str(error).strip()[:600]}") from error
    if found["missing_keys"]:
        raise EngineError(
            f"{model}: not all weights of {kind} are here; missing are {', '.join(sorted(found['missing_keys'])[:3])}"
        )
    return network, processor, kind


def _prompts(clip: Clip, selection: Selection) -> dict[str, Any]:
    """Return a box and its points, if there are any, in pixels and nested as the processor takes them."""
    size = {"width_px": clip.width, "height_px": clip.height}
    prompts: dict[str, Any] = {"input_boxes": [[list(box_to_px(selection.box, **size))]]}
    points = [*selection.positive_points, *selection.negative_points]
    if points:
        prompts["input_points"] = [[[list(point_to_px(point, **size)) for point in points]]]
        prompts["input_labels"] = [[[1] * len(selection.positive_points) + [0] * len(selection.negative_points)]]
    return prompts
