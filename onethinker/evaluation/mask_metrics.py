"""What a sample's masks are worth, next to what its answer is: the names under which `metrics` averages them.

A video's "(paper)" is the definition of the paper's release, "(official)" that of the benchmark's own toolkit. Nothing
is left out for want of an answer: a frame without an answered mask is compared with an empty one, and no answer at all
is 0 throughout.
"""

import math
from collections.abc import Collection, Mapping

import numpy as np

from onethinker.core.masks import Mask, boundary_f, mask_iou, resize_mask
from onethinker.core.sample import PICTURE, Sample
from onethinker.data.published.masks import truth_masks

PAPER_TOLERANCE = 0.0075
"""Largest distance of outlines in the paper's F, as a fraction of the frame's diagonal. Source: release,
seg_post_sam2.py.
"""
VIDEO_NAMES = tuple(f"{name} ({whose})" for whose in ("paper", "official") for name in ("J", "F", "J&F"))


def sample_mask_metrics(sample: Sample, answers: Mapping[str, Mask] | None) -> dict[str, float]:
    """Return what the answered masks of a segmentation sample are worth, under its frame keys; None stands for no
    answer.

    Masks of another size than the truth's are brought to that.

    Raises: DataError: the sample has no masks as its truth.
    """
    truths = truth_masks(sample)
    height, width = next(iter(truths.values())).shape
    shown = {key: resize_mask(mask, (width, height)) for key, mask in answers.items()} if answers is not None else None
    if sample.data_type == "video" and sample.masks is not None:
        unmarked = [key for key, marks in sample.masks.frames.items() if not marks]
        return video_mask_metrics(shown, truths, unmarked=unmarked)
    return image_mask_metrics(shown.get(PICTURE) if shown is not None else None, truths[PICTURE])


def image_mask_metrics(answer: Mask | None, truth: Mask) -> dict[str, float]:
    """Return the IoU of a picture's mask (its mean is gIoU) and the two areas whose sums make cIoU.

    The release leaves pictures without an answer out of both; here they stand in them with 0.

    >>> image_mask_metrics(np.array([[True, False]]), np.array([[True, True]]))
    {'gIoU': 0.5, 'intersection_px': 1.0, 'union_px': 2.0}
    """
    if answer is None:
        return {"gIoU": 0.0, "intersection_px": 0.0, "union_px": float(np.count_nonzero(truth))}
    iou = mask_iou(answer, truth)
    return {
        "gIoU": iou,
        "intersection_px": float(np.count_nonzero(answer & truth)),
        "union_px": float(np.count_nonzero(answer | truth)),
    }


def video_mask_metrics(
    answers: Mapping[str, Mask] | None, truths: Mapping[str, Mask], *, unmarked: Collection[str] = ()
) -> dict[str, float]:
    """Return J, F and J&F over the frames of the truth, by the paper's and by DAVIS' definition.

    DAVIS: outlines match within a disk of 0.008 of the diagonal, two empty masks agree. The paper: within a square of
    0.0075 of the diagonal to each side; two empty masks have F 1 and J 0, a frame without an answered mask has 0 for
    both; frames for which the record has no mask, `unmarked`, are left out, and without any other the video is 0.

    Source: DAVIS; release, seg_post_sam2.py.
    """
    if answers is None:
        return dict.fromkeys(VIDEO_NAMES, 0.0)
    paper_j, paper_f, j, f = [], [], [], []
    for key, truth in truths.items():
        answer = answers.get(key)
        shown = answer if answer is not None else np.zeros_like(truth)
        j.append(mask_iou(shown, truth))
        f.append(boundary_f(shown, truth))
        if key not in unmarked:
            paper_j.append(j[-1] if answer is not None and (shown | truth).any() else 0.0)
            paper_f.append(paper_boundary_f(answer, truth) if answer is not None else 0.0)
    means = [math.fsum(values) / len(values) if values else 0.0 for values in (paper_j, paper_f, j, f)]
    values = (means[0], means[1], (means[0] + means[1]) / 2, means[2], means[3], (means[2] + means[3]) / 2)
    return dict(zip(VIDEO_NAMES, values, strict=True))


def paper_boundary_f(answer: Mask, truth: Mask) -> float:
    """Return how well two outlines agree within a square, 0 to 1; two empty masks agree, an empty one with no other.

    >>> filled = np.ones((4, 4), bool)
    >>> paper_boundary_f(filled, filled), paper_boundary_f(~filled, ~filled), paper_boundary_f(filled, ~filled)
    (1.0, 1.0, 0.0)
    """
    import cv2

    if not answer.any() or not truth.any():
        return float(not answer.any() and not truth.any())
    answer_edge, truth_edge = _inner_outline(answer), _inner_outline(truth)
    radius_px = max(1, round(PAPER_TOLERANCE * math.hypot(*truth.shape)))
    square = np.ones((2 * radius_px + 1, 2 * radius_px + 1), np.uint8)
    near_truth, near_answer = (
        cv2.dilate(edge.astype(np.uint8), square).astype(bool) for edge in (truth_edge, answer_edge)
    )
    precision = np.count_nonzero(answer_edge & near_truth) / np.count_nonzero(answer_edge)
    recall = np.count_nonzero(truth_edge & near_answer) / np.count_nonzero(truth_edge)
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def _inner_outline(mask: Mask) -> Mask:
    """Return a mask's pixels of whose eight neighbours one is not in it; beyond the frame nothing is.

    >>> _inner_outline(np.ones((3, 3), bool)).astype(int).tolist()
    [[1, 1, 1], [1, 0, 1], [1, 1, 1]]
    """
    import cv2

    inside = cv2.erode(
        mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0.0
    )
    edge: Mask = mask & ~inside.astype(bool)
    return edge
