"""Masks: COCO run-length coding, and how well one mask covers another (IoU, which DAVIS calls J, and F).

A mask is a boolean array (height, width); a video's masks are a sequence of them, one a frame.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from onethinker.core.errors import DataError
from onethinker.core.grammar import show

Mask = npt.NDArray[np.bool_]

BOUNDARY_TOLERANCE = 0.008
"""How far two outlines may lie apart and still match, as a fraction of the frame's diagonal. Source: DAVIS."""
MAX_MASK_PIXELS = 2**27
"""Larger masks are refused: sixteen times an 8K frame is a mistake, or an attack on memory."""


def encode_rle(mask: Mask) -> dict[str, Any]:
    """Return a mask in COCO's compressed run-length form, which `json` can write.

    >>> encode_rle(np.array([[False, True], [False, True]]))
    {'size': [2, 2], 'counts': '22'}
    """
    from pycocotools import mask as coco

    rle = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def mask_area(rle: dict[str, Any]) -> int:
    """Return how many pixels a mask of `encode_rle` covers.

    >>> mask_area({"size": [2, 2], "counts": "22"})
    2
    """
    from pycocotools import mask as coco

    return int(coco.area(rle))


def mask_bounds(rle: dict[str, Any]) -> list[float]:
    """Return left, top, width and height of what a mask of `encode_rle` covers, in pixels; zeros where it is empty.

    >>> mask_bounds({"size": [2, 2], "counts": "22"})
    [1.0, 0.0, 1.0, 2.0]
    """
    from pycocotools import mask as coco

    return [float(side) for side in coco.toBbox(rle)]


def decode_rle(rle: object) -> Mask:
    """Return the mask that COCO's run-length form describes, `counts` compressed (text) or not (a list).

    >>> decode_rle({"size": [2, 2], "counts": [2, 2]}).tolist()
    [[False, True], [False, True]]

    Raises: DataError: it is not of that form, or its runs do not fill the frame exactly.
    """
    from pycocotools import mask as coco

    if not isinstance(rle, dict) or not {"size", "counts"} <= rle.keys():
        raise DataError(f"a mask must be an object with 'size' and 'counts', got {show(rle)}")
    height, width = _size(rle["size"])
    counts = rle["counts"]
    if isinstance(counts, list):
        if not all(type(run) is int and run >= 0 for run in counts) or sum(counts) != height * width:
            raise DataError(
                f"the runs of a {height} x {width} mask must be integers and add up to {height * width}, got"
                f" {show(counts)}"
            )
        return np.asarray(
            coco.decode(coco.frPyObjects({"size": [height, width], "counts": counts}, height, width)), dtype=bool
        )
    if not isinstance(counts, str | bytes):
        raise DataError(f"'counts' of a mask must be text or a list of runs, got {show(counts)}")
    try:
        text = counts.encode("ascii") if isinstance(counts, str) else counts
        pixels = np.asfortranarray(coco.decode({"size": [height, width], "counts": text}))
        # Runs that end early leave pixels undefined.
        is_complete = pixels.max() <= 1 and coco.encode(pixels)["counts"] == text
    except ValueError as error:
        raise DataError(
            f"'counts' of a {height} x {width} mask cannot be read ({error}), got {show(counts)}"
        ) from error
    if not is_complete:
        raise DataError(f"the runs of a {height} x {width} mask must fill it exactly, got {show(counts)}")
    return np.asarray(pixels, dtype=bool)


def rle_of_polygons(polygons: Sequence[object], *, height: int, width: int) -> dict[str, Any]:
    """Return in run lengths what lies inside any of some polygons, each a list of x, y, x, y, … in pixels. Raises:
    DataError: one has fewer than three points.

    >>> int(decode_rle(rle_of_polygons([[0, 0, 2, 0, 2, 2, 0, 2]], height=4, width=4)).sum())
    4
    """
    from pycocotools import mask as coco

    _size([height, width])
    if not polygons or not all(_is_polygon(polygon) for polygon in polygons):
        raise DataError(f"a mask's polygons must have at least three points x, y each, got {show([*polygons])}")
    rle = coco.merge(coco.frPyObjects([*polygons], height, width))
    return {"size": [height, width], "counts": rle["counts"].decode("ascii")}


def _is_polygon(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) >= 6
        and len(value) % 2 == 0
        and all(type(side) in (int, float) and math.isfinite(side) for side in value)
    )


def mask_iou(a: Mask, b: Mask) -> float:
    """Return the overlap of two masks as a fraction of their union (J), 0 to 1; two empty masks give 1.

    Source: DAVIS, region similarity J.

    >>> mask_iou(np.array([[True, True]]), np.array([[True, False]]))
    0.5
    """
    _check_shapes(a, b)
    union = int(np.count_nonzero(a | b))
    return int(np.count_nonzero(a & b)) / union if union else 1.0


def boundary_f(answer: Mask, truth: Mask) -> float:
    """Return how well the outlines of two masks agree, 0 to 1: the F of precision and recall within a tolerance.

    The tolerance is a disk of 0.008 of the diagonal, rounded up to whole pixels. Two masks without outline give 1.
    Source: DAVIS, contour accuracy F.
    """
    _check_shapes(answer, truth)
    answer_edge, truth_edge = outline(answer), outline(truth)
    if not answer_edge.any() or not truth_edge.any():
        return float(not answer_edge.any() and not truth_edge.any())
    radius_px = math.ceil(BOUNDARY_TOLERANCE * math.hypot(*truth.shape))
    precision = np.count_nonzero(answer_edge & _grown(truth_edge, radius_px)) / np.count_nonzero(answer_edge)
    recall = np.count_nonzero(truth_edge & _grown(answer_edge, radius_px)) / np.count_nonzero(truth_edge)
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def resize_mask(mask: Mask, size: tuple[int, int]) -> Mask:
    """Return the mask at another width and height; a pixel belongs to it when at least half of it does.

    >>> resize_mask(np.array([[True, False]]), (4, 1)).astype(int).tolist()
    [[1, 1, 0, 0]]
    """
    import cv2

    if size == (mask.shape[1], mask.shape[0]):
        return mask
    smaller = size[0] * size[1] < mask.size
    resized = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    result: Mask = np.asarray(resized) >= 0.5
    return result


def outline(mask: Mask) -> Mask:
    """Return the pixels that differ from the one to their right, below, or right below. Source: DAVIS, seg2bmap.

    >>> outline(np.array([[True, True, False], [True, True, False]])).astype(int).tolist()
    [[0, 1, 0], [0, 1, 0]]
    """
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    edge: Mask = (mask != padded[:-1, 1:]) | (mask != padded[1:, :-1]) | (mask != padded[1:, 1:])
    return edge


def _grown(edge: Mask, radius_px: int) -> Mask:
    """Return the pixels at most `radius_px` from an edge pixel."""
    import cv2

    distance = cv2.distanceTransform((~edge).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    grown: Mask = (
        np.asarray(distance) <= radius_px + 1e-3
    )  # float32 squares: the next distance is over 1 / (2 radius + 1) further
    return grown


def _size(size: object) -> tuple[int, int]:
    if not isinstance(size, list | tuple) or len(size) != 2 or not all(type(side) is int and side > 0 for side in size):
        raise DataError(f"'size' of a mask must be its height and width, got {show(size)}")
    if size[0] * size[1] > MAX_MASK_PIXELS:
        raise DataError(f"a mask may have at most {MAX_MASK_PIXELS} pixels, got {size[0]} x {size[1]}")
    return size[0], size[1]


def _check_shapes(a: Mask, b: Mask) -> None:
    if a.shape != b.shape:
        raise ValueError(f"masks must have the same size, got {a.shape} and {b.shape}")
