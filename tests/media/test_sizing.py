"""Sizes: multiples of 32, within the budget, as Qwen's own function has them, and settled after one go."""

import numpy as np
import pytest
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

from onethinker.core.errors import MediaError
from onethinker.core.frames import Clip
from onethinker.media.budget import MediaBudget
from onethinker.media.sizing import count_tokens, fit_size, frame_size, image_size

SIZES = np.random.default_rng(1).integers(1, 3000, (400, 2)).tolist()
LIMITS = [(4096, 1024 * 1024), (4096, 4096), (65536, 100_352), (1024, 6 * 1024)]


def test_ordinary_sizes_are_those_of_qwen() -> None:
    ordinary = [
        (width, height)
        for width, height in SIZES
        if min(width, height) > 100 and max(width, height) < 5 * min(width, height)
    ]
    assert len(ordinary) > 200
    for width, height in ordinary:
        expected = smart_resize(height, width, factor=32, min_pixels=65536, max_pixels=1024 * 1024)
        assert fit_size(width, height, min_pixels=65536, max_pixels=1024 * 1024, side_px=32) == expected[::-1]


@pytest.mark.parametrize(("min_pixels", "max_pixels"), LIMITS)
def test_every_size_is_a_multiple_of_32_never_above_the_most_and_final(min_pixels: int, max_pixels: int) -> None:
    for width, height in SIZES:
        if max(width, height) <= 200 * min(width, height):
            size = fit_size(width, height, min_pixels=min_pixels, max_pixels=max_pixels, side_px=32)
            assert [side % 32 for side in size] == [0, 0]
            assert 32 * 32 <= size[0] * size[1] <= max_pixels
            assert fit_size(*size, min_pixels=min_pixels, max_pixels=max_pixels, side_px=32) == size


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((640, 480), (640, 480)),
        ((1, 1), (64, 64)),
        ((33, 33), (64, 64)),
        ((4000, 3000), (1152, 864)),
        ((6000, 40), (6016, 32)),
    ],
)
def test_pictures_have_these_sizes(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert image_size(*size, MediaBudget()) == expected


def test_many_frames_become_smaller_ones() -> None:
    budget = MediaBudget(frame_max_pixels=256 * 1024, video_max_pixels=1024 * 1024)
    assert frame_size(512, 512, 4, budget) == (512, 512)
    assert frame_size(512, 512, 16, budget) == (256, 256)
    assert frame_size(512, 512, 1024, budget) == (32, 32)


def test_a_strip_is_refused() -> None:
    with pytest.raises(MediaError, match="is 4001 x 20 pixels"):
        image_size(4001, 20, MediaBudget())


@pytest.mark.parametrize(
    ("kind", "num_frames", "expected"),
    [("image", 1, 6), ("video", 1, 6), ("video", 2, 6), ("video", 3, 12), ("video", 128, 384)],
)
def test_tokens_of_a_picture_and_of_pairs_of_frames(kind: str, num_frames: int, expected: int) -> None:
    frames = np.zeros((num_frames, 64, 96, 3), np.uint8)
    clip = Clip(
        kind, frames, tuple(map(float, range(num_frames))), tuple(range(num_frames)), 96, 64, float(num_frames), "clip"
    )
    assert count_tokens(clip, MediaBudget()) == expected


def test_a_budget_whose_least_exceeds_its_most_is_refused() -> None:
    with pytest.raises(ValueError, match="image_min_pixels must not exceed image_max_pixels, got 4096 and 1024"):
        MediaBudget(image_max_pixels=1024)
