"""How a processor of transformers makes inputs of frames that have their size and times already; it says itself what
its visual tokens are.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from onethinker.core.errors import EngineError
from onethinker.core.frames import Clip
from onethinker.core.request import Request
from onethinker.media.budget import MediaBudget

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import BatchFeature

KINDS = ("image", "video")
_DEFAULT = MediaBudget()
"""What a budget counts in where the family is not known."""


def placeholder_tokens(processor: Any) -> dict[str, int]:
    """Return for "image" and "video" the token that stands in a prompt for each visual feature; no answer may hold
    one.
    """
    tokens = {kind: getattr(processor, f"{kind}_token_id", None) for kind in KINDS}
    return {kind: token for kind, token in tokens.items() if token is not None}


def token_types(config: Any, ids: "Tensor") -> "Tensor":
    """Return `mm_token_type_ids` by a model's config: 1 for the tokens of pictures, 2 for those of videos, else 0."""
    types = ids.new_zeros(ids.shape)
    for name, kind in (("image_token_id", 1), ("video_token_id", 2)):
        if (token := getattr(config, name, None)) is not None:
            types[ids == token] = kind
    return types


def placeholder_texts(processor: Any) -> dict[str, str]:
    """Return for "image" and "video" the text that a chat template writes in place of a medium."""
    texts = {kind: getattr(processor, f"{kind}_token", None) for kind in KINDS}
    return {kind: text for kind, text in texts.items() if text}


def has_token_side(processor: Any, side_px: int) -> bool:
    """Return whether a visual token of this picture or video processor is a square of pixels of this side."""
    return bool(getattr(processor, "patch_size", 0) * getattr(processor, "merge_size", 0) == side_px)


def video_times(clip: Clip, frames_per_token: int = _DEFAULT.frames_per_token) -> dict[str, Any]:
    """Return the description of frames that were sampled by us, as vLLM takes it: a video of 1000 fps, numbered in
    milliseconds.

    So every frame keeps its true time, whatever the frame rate of the source does.

    >>> frames = np.zeros((3, 32, 32, 3), np.uint8)
    >>> clip = Clip("video", frames, (0.0, 0.5, 1.25), (0, 15, 31), 32, 32, 2.0, "clip.mp4")
    >>> video_times(clip)["frames_indices"], video_times(clip)["duration"]
    ([0, 500, 1250, 1250], 2.0)
    """
    milliseconds = [round(time_s * 1000) for time_s in clip.times_s]
    milliseconds += milliseconds[-1:] * (-len(milliseconds) % frames_per_token)
    return {
        "num_frames": -1,
        "fps": 1000.0,
        "frames_indices": milliseconds,
        "total_num_frames": max(milliseconds[-1] + 1, round(clip.duration_s * 1000), len(milliseconds)),
        "duration": clip.duration_s,
        "do_sample_frames": False,
    }


def position_ids(positions: "Tensor") -> "Tensor":
    """Return positions (axes, B, T) as a model takes them: those of one axis without it."""
    return positions if len(positions) > 1 else positions[0]


def encode(
    processor: Any,
    texts: Sequence[str],
    requests: Sequence[Request],
    *,
    token_side_px: int = _DEFAULT.token_side_px,
    frames_per_token: int = _DEFAULT.frames_per_token,
) -> "BatchFeature":
    """Return the model's inputs for a batch of requests, padded on the left, as CPU tensors.

    Those are `input_ids`, `attention_mask`, `mm_token_type_ids` (rows in the order of the requests) and patches and
    grids of pictures and of videos, where there are any (media in the order of the requests). Frames keep their size; a
    video whose frames do not fill their tokens shows its last frame again. A processor whose visual token has another
    side sizes the frames again, in its own way.

    Raises: EngineError: the processor cannot take such media, or placeholders and features differ in number.
    """
    media = {
        **_image_inputs(processor, requests, token_side_px),
        **_video_inputs(processor, requests, token_side_px, frames_per_token),
    }
    try:
        batch: BatchFeature = processor(
            text=texts, text_kwargs={"padding": True, "padding_side": "left"}, return_tensors="pt", **media
        )
    except (ValueError, TypeError, IndexError, StopIteration) as error:
        raise EngineError(f"{type(processor).__name__} cannot take the media of this batch: {error}") from error
    _check_placeholders(processor, batch, requests)
    return batch


def _image_inputs(processor: Any, requests: Sequence[Request], token_side_px: int) -> dict[str, Any]:
    """Return the pictures of requests as a processor takes them; {} without any."""
    images = [[clip.frames[0] for clip in request.media if clip.kind == "image"] for request in requests]
    if not any(images):
        return {}
    is_sized = has_token_side(processor.image_processor, token_side_px)
    return {"images": images, "images_kwargs": {"do_resize": not is_sized}}


def _video_inputs(
    processor: Any, requests: Sequence[Request], token_side_px: int, frames_per_token: int
) -> dict[str, Any]:
    """Return the videos of requests as a processor takes them; {} without any. Raises: EngineError: it takes none."""
    videos = [clip for request in requests for clip in request.media if clip.kind == "video"]
    if not videos:
        return {}
    if getattr(processor, "video_processor", None) is None:
        raise EngineError(f"{type(processor).__name__} takes no videos, only pictures; load a model that reads video")
    is_sized = has_token_side(processor.video_processor, token_side_px)
    kwargs = {
        "do_sample_frames": False,
        "do_resize": not is_sized,
        "video_metadata": [video_metadata(clip, frames_per_token) for clip in videos],
    }
    if is_sized and hasattr(processor.video_processor, "cap_pixels_per_frame"):
        kwargs["cap_pixels_per_frame"] = False
    return {
        "videos": [full_frames(clip, frames_per_token) for clip in videos],
        "videos_kwargs": kwargs,
    }


def full_frames(clip: Clip, frames_per_token: int) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """Return the frames of a video, the last one again where they do not fill their tokens."""
    missing = -len(clip.frames) % frames_per_token
    return np.concatenate([clip.frames, *[clip.frames[-1:]] * missing]) if missing else clip.frames


def video_metadata(clip: Clip, frames_per_token: int) -> dict[str, Any]:
    """Return the description of frames that were sampled by us, as processors of transformers take it."""
    times = video_times(clip, frames_per_token)
    names = ("fps", "frames_indices", "total_num_frames", "duration")
    return {**{name: times[name] for name in names}, "width": clip.width, "height": clip.height}


def _check_placeholders(processor: Any, batch: "BatchFeature", requests: Sequence[Request]) -> None:
    """Raise an EngineError unless every request has as many media tokens as its media have features."""
    import torch

    tokens = placeholder_tokens(processor)
    grids_of = {kind: batch[f"{kind}_grid_thw"] for kind in tokens if f"{kind}_grid_thw" in batch}
    if not grids_of:
        return
    expected_B = torch.zeros(len(requests), dtype=torch.long)
    for kind, grids in grids_of.items():
        merge = getattr(processor, "image_processor" if kind == "image" else "video_processor").merge_size
        features = grids.prod(-1) // merge**2
        owners = torch.tensor(
            [row for row, request in enumerate(requests) for clip in request.media if clip.kind == kind]
        )
        if len(owners) != len(features):
            raise EngineError(f"the processor made features for {len(features)} {kind}s out of {len(owners)}")
        expected_B.index_add_(0, owners, features)
    check_counts(batch["input_ids"], tokens.values(), expected_B)


def check_counts(ids_BT: "Tensor", tokens: Iterable[int], expected_B: "Tensor") -> None:
    """Raise an EngineError unless each request has as many media tokens as visual features."""
    import torch

    places_B = torch.isin(ids_BT, torch.tensor([*tokens])).sum(1)
    for row in (places_B != expected_B).nonzero()[:1, 0].tolist():
        raise EngineError(
            f"request {row}: {places_B[row]} media tokens in the prompt for {expected_B[row]} visual features"
        )
