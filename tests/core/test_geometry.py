"""Overlaps and distances: by hand, and by the laws that they obey."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from onethinker.core.geometry import Box, Point, Span, box_from_px, box_iou, box_to_px, mean_distance, span_iou


@pytest.mark.parametrize(
    ("a", "b", "iou"),
    [
        pytest.param(Box(0, 0, 10, 10), Box(0, 0, 10, 10), 1.0, id="the same"),
        pytest.param(Box(0, 0, 10, 10), Box(5, 5, 15, 15), 25 / 175, id="a corner"),
        pytest.param(Box(0, 0, 10, 10), Box(2, 2, 4, 4), 4 / 100, id="inside"),
        pytest.param(Box(0, 0, 10, 10), Box(10, 0, 20, 10), 0.0, id="an edge in common"),
        pytest.param(Box(0, 0, 10, 10), Box(20, 20, 30, 30), 0.0, id="apart"),
        pytest.param(Box(5, 5, 5, 5), Box(5, 5, 5, 5), 0.0, id="without area"),
        pytest.param(Box(10, 10, 0, 0), Box(0, 0, 10, 10), 0.0, id="swapped"),
    ],
)
def test_box_iou_worked_out_by_hand(a: Box, b: Box, iou: float) -> None:
    assert box_iou(a, b) == box_iou(b, a) == iou


@pytest.mark.parametrize(
    ("a", "b", "iou"),
    [
        pytest.param(Span(1, 3), Span(1, 3), 1.0, id="the same"),
        pytest.param(Span(0, 3), Span(2, 6), 1 / 6, id="some"),
        pytest.param(Span(0, 10), Span(2, 4), 0.2, id="inside"),
        pytest.param(Span(0, 2), Span(2, 4), 0.0, id="one after the other"),
        pytest.param(Span(2, 2), Span(2, 2), 0.0, id="without length"),
        pytest.param(Span(3, 1), Span(1, 3), 0.0, id="swapped"),
    ],
)
def test_span_iou_worked_out_by_hand(a: Span, b: Span, iou: float) -> None:
    assert span_iou(a, b) == span_iou(b, a) == iou


def test_iou_stays_between_0_and_1_and_does_not_depend_on_scale() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        a, b = (
            Box(*map(float, (*low, *(low + size)))) for low, size in (rng.uniform(0, 500, (2, 2)) for _ in range(2))
        )
        assert 0 <= box_iou(a, b) <= 1
        assert box_iou(Box(*(2 * side for side in a)), Box(*(2 * side for side in b))) == pytest.approx(box_iou(a, b))


def test_points_are_paired_so_that_they_are_nearest() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b = rng.uniform(0, 1000, (2, 3, 2))
        costs = np.linalg.norm(a[:, None] - b[None], axis=-1)
        rows, columns = linear_sum_assignment(costs)
        ours = mean_distance([Point(*map(float, p)) for p in a], [Point(*map(float, p)) for p in b])
        assert ours == pytest.approx(costs[rows, columns].mean())


def test_sets_of_points_that_cannot_be_paired_are_refused() -> None:
    with pytest.raises(ValueError, match="got 1 and 2"):
        mean_distance([Point(0, 0)], [Point(0, 0), Point(1, 1)])


def test_boxes_go_to_pixels_and_back() -> None:
    box = Box(125, 250, 500, 1000)
    assert box_to_px(box, width_px=1920, height_px=1080) == (240, 270, 960, 1080)
    assert box_from_px((240, 270, 960, 1080), width_px=1920, height_px=1080) == box
