import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onethinker.core.masks import decode_rle, encode_rle
from onethinker.core.sample import PICTURE, Masks, Sample
from onethinker.evaluation.mask_metrics import (
    image_mask_metrics,
    paper_boundary_f,
    sample_mask_metrics,
    video_mask_metrics,
)

TRACKEVAL = json.loads((Path(__file__).parent / "trackeval.json").read_text())
"""Made by benchmarks/masks_with_trackeval.py with TrackEval 1.3.0 in an environment of its own."""


def rectangle(x1: int, y1: int, x2: int, y2: int, size: tuple[int, int] = (60, 80)) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[y1:y2, x1:x2] = True
    return mask


@pytest.mark.parametrize("number", range(len(TRACKEVAL)))
def test_j_and_f_are_those_of_trackeval(number):
    case = TRACKEVAL[number]
    answers, truths = ({str(n): decode_rle(rle) for n, rle in enumerate(case[name])} for name in ("answers", "truths"))
    metrics = video_mask_metrics(answers, truths)
    for name in ("J", "F", "J&F"):
        assert metrics[f"{name} (official)"] == pytest.approx(case[name], abs=1e-12)


def test_the_cases_of_trackeval_are_neither_trivial_nor_alike():
    assert len({case["F"] for case in TRACKEVAL}) == len(TRACKEVAL)
    assert sum(0.2 < case["F"] < 0.98 for case in TRACKEVAL) > 15


def test_areas_of_a_picture_add_up_to_ciou_and_an_answer_that_is_none_counts_with_the_truths_area():
    truth = rectangle(0, 0, 10, 10)
    assert image_mask_metrics(rectangle(0, 0, 10, 5), truth) == {"gIoU": 0.5, "intersection_px": 50, "union_px": 100}
    assert image_mask_metrics(None, truth) == {"gIoU": 0, "intersection_px": 0, "union_px": 100}
    assert image_mask_metrics(None, truth & False)["gIoU"] == 0


def test_the_paper_gives_no_j_but_the_whole_f_for_frames_that_both_leave_empty_and_davis_everything():
    # Source: release, seg_post_sam2.py: compute_iou is 0 without a union, boundary_fscore 1 where both are empty.
    empty, box = rectangle(0, 0, 0, 0), rectangle(10, 10, 30, 30)
    metrics = video_mask_metrics({"0": empty, "1": box}, {"0": empty, "1": box})
    assert (metrics["J (paper)"], metrics["F (paper)"], metrics["J&F (paper)"]) == (0.5, 1, 0.75)
    assert (metrics["J (official)"], metrics["F (official)"], metrics["J&F (official)"]) == (1, 1, 1)


def test_a_frame_without_a_mask_is_an_empty_one_for_davis_and_nothing_for_the_paper():
    empty, box = rectangle(0, 0, 0, 0), rectangle(10, 10, 30, 30)
    metrics = video_mask_metrics({}, {"0": empty, "1": box})
    assert (metrics["J (paper)"], metrics["J (official)"], metrics["F (official)"]) == (0, 0.5, 0.5)


def test_no_answer_is_nothing_throughout_and_surplus_frames_cost_nothing():
    box = rectangle(10, 10, 30, 30)
    assert set(video_mask_metrics(None, {"0": box & False, "1": box}).values()) == {0.0}
    assert set(video_mask_metrics({"0": box, "9": box}, {"0": box}).values()) == {1.0}


def test_the_papers_tolerance_is_a_square_around_the_outline():
    # 60 x 80: the diagonal is 100 px, so the paper's square reaches round(0.75) = 1 px to each side, also along
    # diagonals.
    assert paper_boundary_f(rectangle(11, 11, 31, 31), rectangle(10, 10, 30, 30)) == 1
    assert paper_boundary_f(rectangle(13, 13, 27, 27), rectangle(10, 10, 30, 30)) == 0


def release_f(answer: np.ndarray, truth: np.ndarray) -> float:
    """F by the definition of the release, pixel by pixel, as slow as it reads."""
    height, width = truth.shape
    reach = max(1, round(0.0075 * float(np.hypot(height, width))))

    def edge(mask: np.ndarray) -> set[tuple[int, int]]:
        framed = np.pad(mask, 1)
        return {(y, x) for y, x in np.argwhere(mask) if framed[y : y + 3, x : x + 3].sum() < 9}

    def matched(edge: set[tuple[int, int]], other: set[tuple[int, int]]) -> float:
        return sum(any(max(abs(y - b), abs(x - a)) <= reach for b, a in other) for y, x in edge) / len(edge)

    precision, recall = matched(edge(answer), edge(truth)), matched(edge(truth), edge(answer))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


AT_THE_BORDER = {
    "fills the frame": (rectangle(0, 0, 80, 60), rectangle(0, 0, 80, 60)),
    "one side": (rectangle(0, 20, 30, 40), rectangle(0, 22, 33, 44)),
    "a corner": (rectangle(60, 40, 80, 60), rectangle(64, 37, 80, 60)),
    "inside": (rectangle(20, 20, 40, 40), rectangle(21, 20, 42, 41)),
    "fills or not": (rectangle(0, 0, 80, 60), rectangle(2, 2, 78, 58)),
}


@pytest.mark.parametrize("case", AT_THE_BORDER)
def test_the_papers_outline_runs_along_the_border_of_the_frame(case):
    answer, truth = AT_THE_BORDER[case]
    assert paper_boundary_f(answer, truth) == pytest.approx(release_f(answer, truth), abs=1e-12)


def test_a_samples_masks_are_measured_by_its_frames():
    box, still = rectangle(10, 10, 30, 30), rectangle(40, 10, 50, 30)
    masks = Masks({"5": (encode_rle(box),), "6": (encode_rle(box), encode_rle(still))}, fps=2)
    video = Sample("v", "?", "segmentation", "video", (), masks=masks)
    assert sample_mask_metrics(video, {"5": box, "6": box})["J (official)"] == pytest.approx((1 + 400 / 600) / 2)
    image = Sample("i", "?", "segmentation", "image", (), masks=Masks({PICTURE: (encode_rle(box),)}))
    assert sample_mask_metrics(image, {"image": box}) == {"gIoU": 1, "intersection_px": 400, "union_px": 400}
    assert sample_mask_metrics(image, None)["union_px"] == 400


def test_frames_for_which_the_record_has_no_mask_are_left_out_by_the_paper_and_empty_for_davis(tmp_path):
    box = rectangle(10, 10, 30, 30)
    Image.fromarray(box.astype(np.uint8)).save(tmp_path / "a.png")
    for mark in (encode_rle(box), tmp_path / "a.png"):
        video = Sample("v", "?", "segmentation", "video", (), masks=Masks({"a": (mark,), "b": (), "c": ()}, fps=2))
        metrics = sample_mask_metrics(video, {"a": box, "b": box, "c": box & False})
        assert (metrics["J (paper)"], metrics["F (paper)"]) == (1, 1)
        assert (metrics["J (official)"], metrics["F (official)"]) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert video_mask_metrics({"a": box}, {"a": box}, unmarked={"a"})["J (paper)"] == 0
