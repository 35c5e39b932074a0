"""Which size a model sees: sides in multiples of a visual token's, the shape kept, the area within the budget."""

import math
from dataclasses import dataclass

from onethinker.core.errors import MediaError
from onethinker.core.frames import Clip
from onethinker.media.budget import MediaBudget
from onethinker.media.sampling import most_frames, target_times

MAX_ASPECT = 200
"""A longer strip than this has no size that a model could read."""


def image_size(width: int, height: int, budget: MediaBudget) -> tuple[int, int]:
    """Return the width and height, in pixels, at which a picture is shown to the model.

    >>> image_size(1920, 1080, MediaBudget())
    (1344, 768)
    """
    if budget.square_px is not None:
        return budget.square_px, budget.square_px
    return fit_size(
        width, height, min_pixels=budget.image_min_pixels, max_pixels=budget.image_max_pixels, side_px=budget.side_px
    )


def frame_size(width: int, height: int, num_frames: int, budget: MediaBudget) -> tuple[int, int]:
    """Return the width and height, in pixels, at which each of so many video frames is shown to the model.

    >>> frame_size(1920, 1080, 16, MediaBudget()), frame_size(1920, 1080, 128, MediaBudget())
    ((672, 384), (576, 320))
    """
    if budget.square_px is not None:
        return budget.square_px, budget.square_px
    most = max(budget.side_px**2, min(budget.frame_max_pixels, budget.video_max_pixels // num_frames))
    return fit_size(
        width, height, min_pixels=min(budget.frame_min_pixels, most), max_pixels=most, side_px=budget.side_px
    )


def fit_size(width: int, height: int, *, min_pixels: int, max_pixels: int, side_px: int) -> tuple[int, int]:
    """Return the size nearest to a given one whose sides are multiples of `side_px` and whose area lies between the
    two.

    The most is never exceeded; the least is missed where no multiple lies between. A size that came out once
    comes out unchanged. Same as `smart_resize` of transformers, which however may exceed its most with narrow pictures.

    >>> fit_size(640, 480, min_pixels=4096, max_pixels=100_000, side_px=32)
    (352, 256)
    >>> fit_size(20, 20, min_pixels=4096, max_pixels=100_000, side_px=32)
    (64, 64)

    Raises: MediaError: one side is more than 200 times the other.
    """
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise MediaError(f"is {width} x {height} pixels; one side may be at most {MAX_ASPECT} times the other")
    fitted = max(1, round(width / side_px)) * side_px, max(1, round(height / side_px)) * side_px
    if math.prod(fitted) > max_pixels:
        fitted = _reduced(width, height, max_pixels, side_px)
    elif math.prod(fitted) < min_pixels:
        scale = math.sqrt(min_pixels / (width * height)) / side_px
        enlarged = math.ceil(width * scale) * side_px, math.ceil(height * scale) * side_px
        fitted = enlarged if math.prod(enlarged) <= max_pixels else fitted
    return (
        fitted
        if fitted == (width, height)
        else fit_size(*fitted, min_pixels=min_pixels, max_pixels=max_pixels, side_px=side_px)
    )


def count_tokens(clip: Clip, budget: MediaBudget) -> int:
    """Return how many visual tokens a clip costs that was sized by this budget.

    >>> import numpy as np
    >>> clip = Clip("video", np.zeros((3, 64, 96, 3), np.uint8), (0.0, 0.5, 1.0), (0, 1, 2), 96, 64, 1.5, "clip")
    >>> count_tokens(clip, MediaBudget())
    12
    """
    groups = 1 if clip.kind == "image" else math.ceil(len(clip.frames) / budget.frames_per_token)
    return groups * frame_tokens(clip.width, clip.height, budget)


def frame_tokens(width: int, height: int, budget: MediaBudget) -> int:
    """Return how many visual tokens a picture, or frames that share theirs, become at a size that the model sees.

    >>> frame_tokens(96, 64, MediaBudget())
    6
    """
    return (width // budget.token_side_px) * (height // budget.token_side_px)


@dataclass(frozen=True)
class Cost:
    """What a medium takes of a prompt at most: visual tokens, and pairs of frames, each with its time in the text (0
    for a picture).
    """

    tokens: int
    pairs: int


def image_cost(width: int, height: int, budget: MediaBudget) -> Cost:
    """Return what a picture of this size costs, exactly.

    >>> image_cost(1920, 1080, MediaBudget())
    Cost(tokens=1008, pairs=0)
    """
    return Cost(frame_tokens(*image_size(width, height, budget), budget), 0)


def video_cost(width: int, height: int, duration_s: float | None, budget: MediaBudget) -> Cost:
    """Return what a video of this size, turned or not, costs at most; of any length where it is not known.

    Lengths out of headers may be wrong by some frames, and fewer frames may be larger ones, so the neighbours of a
    length count too.

    >>> video_cost(1920, 1080, 8.0, MediaBudget()), video_cost(1920, 1080, None, MediaBudget()).pairs
    (Cost(tokens=2268, pairs=9), 64)
    """
    most = most_frames(budget)
    count = most if duration_s is None else len(target_times(duration_s, budget))
    counts = range(max(1, count - 2) if duration_s is not None else 1, min(most, count + 2) + 1)
    costs = []
    for frames in counts:
        for sides in ((width, height), (height, width)):
            pairs = math.ceil(frames / budget.frames_per_token)
            costs.append(Cost(pairs * frame_tokens(*frame_size(*sides, frames, budget), budget), pairs))
    return Cost(max(cost.tokens for cost in costs), max(cost.pairs for cost in costs))


def _reduced(width: int, height: int, max_pixels: int, side_px: int) -> tuple[int, int]:
    scale = math.sqrt(max_pixels / (width * height)) / side_px
    most = max(1, max_pixels // side_px**2)
    across, down = max(1, math.floor(width * scale)), max(1, math.floor(height * scale))
    down = min(down, most)  # a narrow picture keeps one multiple across, and loses length for it
    return min(across, most // down) * side_px, down * side_px
