"""Masks are coded without loss and measured as DAVIS and RefCOCO do."""

import numpy as np
import pytest

from onethinker.core.errors import DataError
from onethinker.core.masks import boundary_f, decode_rle, encode_rle, mask_iou, outline


def square(top: int, left: int, side: int, *, size: int = 100) -> np.ndarray:
    mask = np.zeros((size, size), dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask


def davis_f(answer: np.ndarray, truth: np.ndarray) -> float:
    """DAVIS's own recipe, step by step: seg2bmap, a disk footprint, dilation."""
    from scipy.ndimage import binary_dilation

    def seg2bmap(seg: np.ndarray) -> np.ndarray:
        e, s, se = np.zeros_like(seg), np.zeros_like(seg), np.zeros_like(seg)
        e[:, :-1], s[:-1], se[:-1, :-1] = seg[:, 1:], seg[1:], seg[1:, 1:]
        b = seg ^ e | seg ^ s | seg ^ se
        b[-1], b[:, -1] = seg[-1] ^ e[-1], seg[:, -1] ^ s[:, -1]
        b[-1, -1] = False
        return b

    radius = int(np.ceil(0.008 * np.linalg.norm(truth.shape)))
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disk = x * x + y * y <= radius * radius
    fg, gt = seg2bmap(answer), seg2bmap(truth)
    n_fg, n_gt = fg.sum(), gt.sum()
    if n_fg == 0 and n_gt == 0:
        precision, recall = 1.0, 1.0
    elif n_fg == 0 or n_gt == 0:
        return 0.0
    else:
        precision, recall = (fg & binary_dilation(gt, disk)).sum() / n_fg, (gt & binary_dilation(fg, disk)).sum() / n_gt
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def test_a_mask_survives_run_length_coding() -> None:
    rng = np.random.default_rng(0)
    for shape in [(1, 1), (3, 7), (240, 320)]:
        mask = rng.random(shape) < 0.5
        assert (decode_rle(encode_rle(mask)) == mask).all()


def test_uncompressed_runs_go_down_the_columns_and_start_with_background() -> None:
    assert decode_rle({"size": [2, 3], "counts": [1, 3, 2]}).tolist() == [[False, True, False], [True, True, False]]


@pytest.mark.parametrize(
    ("rle", "reason"),
    [
        ("22", "object with 'size' and 'counts'"),
        ({"size": [2, 2]}, "object with 'size' and 'counts'"),
        ({"size": [2], "counts": "22"}, "height and width"),
        ({"size": [2, -2], "counts": "22"}, "height and width"),
        ({"size": [10**6, 10**6], "counts": "22"}, "at most"),
        ({"size": [2, 2], "counts": 4}, "text or a list"),
        ({"size": [2, 2], "counts": [2, 1]}, "add up to 4"),
        ({"size": [2, 2], "counts": [5, -1]}, "add up to 4"),
        ({"size": [2, 2], "counts": "222222222"}, "cannot be read"),
        ({"size": [100, 100], "counts": "22"}, "fill it exactly"),
        ({"size": [100, 100], "counts": ""}, "fill it exactly"),
        ({"size": [2, 2], "counts": "ÿ"}, "cannot be read"),
    ],
)
def test_damaged_runs_are_refused_with_a_reason(rle: object, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        decode_rle(rle)


def test_iou_of_masks_worked_out_by_hand() -> None:
    assert mask_iou(square(0, 0, 10), square(0, 5, 10)) == 50 / 150
    assert mask_iou(square(0, 0, 10), square(50, 50, 10)) == 0


def test_two_empty_masks_agree_and_one_empty_mask_does_not() -> None:
    empty = np.zeros((100, 100), dtype=bool)
    assert mask_iou(empty, empty) == boundary_f(empty, empty) == 1
    assert mask_iou(empty, square(0, 0, 10)) == boundary_f(empty, square(10, 10, 10)) == 0


def test_f_forgives_two_pixels_of_a_100_pixel_frame_and_not_three() -> None:
    assert boundary_f(square(20, 20, 40), square(22, 20, 40)) == 1
    assert boundary_f(square(20, 20, 40), square(23, 20, 40)) < 1


@pytest.mark.parametrize("seed", range(8))
def test_f_equals_the_recipe_of_davis(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = int(rng.integers(40, 400))
    a = square(int(rng.integers(0, 20)), int(rng.integers(0, 20)), int(rng.integers(5, 30)), size=size)
    b = square(int(rng.integers(0, 20)), int(rng.integers(0, 20)), int(rng.integers(5, 30)), size=size)
    b ^= rng.random(b.shape) < 0.001
    assert boundary_f(a, b) == pytest.approx(davis_f(a, b), abs=1e-12)


def test_a_mask_that_fills_the_frame_has_no_outline() -> None:
    assert not outline(np.ones((5, 5), dtype=bool)).any()


def test_masks_of_another_size_are_our_mistake() -> None:
    with pytest.raises(ValueError, match="same size"):
        mask_iou(np.ones((2, 2), bool), np.ones((2, 3), bool))
