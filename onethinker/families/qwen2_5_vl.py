"""Qwen2.5-VL: patches of 14 pixels, times in the positions, coordinates in pixels of the resized picture."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from onethinker.core.frames import Clip
from onethinker.core.request import Request
from onethinker.families.qwen3_vl import Qwen3VL
from onethinker.media.budget import MediaBudget

if TYPE_CHECKING:
    from transformers import BatchFeature


class Qwen25VL(Qwen3VL):
    """No time is written: the positions of frames are as far apart as the frames, on the average of a video."""

    name = "Qwen2.5-VL"
    model_types = ("qwen2_5_vl",)
    processors = ("Qwen2_5_VLProcessor",)
    token_side_px = 28
    frame_time = ""
    coordinates = "pixels"
    served_by_vllm = True
    differs = (
        "Boxes and points are prompted, read and trained in pixels of the resized picture, unless --coordinates or a"
        " recipe's coordinates say thousandths. Times are encoded as positions, equally spaced in a video, not as text;"
        " the positions of an answer follow the largest one, as in transformers."
    )
    packed_modules = ("transformers.models.qwen2_5_vl.modeling_qwen2_5_vl",)
    position_inputs = (*Qwen3VL.position_inputs, "second_per_grid_ts")

    def encode(self, processor: Any, texts: Sequence[str], requests: Sequence[Request]) -> "BatchFeature":
        """Return the model's inputs; the seconds between frames that share no token are those of the frames."""
        import torch

        batch = super().encode(processor, texts, requests)
        videos = [clip for request in requests for clip in request.media if clip.kind == "video"]
        if videos:
            batch["second_per_grid_ts"] = torch.tensor([seconds_per_frame(clip) for clip in videos])
            batch["second_per_grid_ts"] *= self.frames_per_token
        return batch

    def set_budget(self, processor: Any, budget: MediaBudget) -> None:
        """Let a processor size media by itself as the budget does; its sizes are those of one frame."""
        super().set_budget(processor, budget)
        videos = getattr(processor, "video_processor", None)
        if videos is not None:
            videos.size = type(videos.size)(shortest_edge=budget.frame_min_pixels, longest_edge=budget.frame_max_pixels)
            videos.cap_pixels_per_frame = False

    def head_size(self, text: Any) -> int:
        """Return the width of a head, which its config does not name."""
        size: int = text.hidden_size // text.num_attention_heads
        return size


def seconds_per_frame(clip: Clip) -> float:
    """Return the mean distance of a clip's frames in seconds, 1 of a single frame.

    >>> import numpy as np
    >>> seconds_per_frame(Clip("video", np.zeros((3, 8, 8, 3), np.uint8), (0.0, 0.5, 1.25), (0, 1, 2), 8, 8, 2.0, "c"))
    0.625
    """
    apart = len(clip.times_s) - 1
    return (clip.times_s[-1] - clip.times_s[0]) / apart if apart else 1.0
