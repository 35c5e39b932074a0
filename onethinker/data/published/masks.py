"""The masks that are a segmentation sample's truth: run lengths in the record, as released, or files that are opened
when needed.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from onethinker.core.errors import DataError
from onethinker.core.geometry import FULL, Box, box_from_px
from onethinker.core.masks import Mask, decode_rle, encode_rle
from onethinker.core.sample import Masks, RunLengths, Sample
from onethinker.media.pictures import open_picture
from onethinker.storage.strict_json import to_json
from onethinker.tasks.segmentation import NUM_POINTS

LOOKED_AT = 5
"""Moments of a video among which the largest mask gives the box and the points."""
_BESIDE = 0.08
"""Fraction of the frame's diagonal within which points beside an object lie."""


def truth_masks(sample: Sample) -> dict[str, Mask]:
    """Return a segmentation sample's masks by frame, in order of time; an empty one where nothing is marked.

    Raises: DataError: the sample has no masks, or they cannot be read.
    """
    try:
        if sample.masks is None:
            raise DataError("there are no masks: add them in 'segmentation_output'")
        objects = sample.masks.objects
        found = {key: _union(marks, objects) for key, marks in sample.masks.frames.items() if marks}
        if not found and sample.resolution is None:
            raise DataError("no frame has a mask, so 'resolution' must give width and height")
        shape = next(iter(found.values())).shape if found else (sample.resolution or ())[::-1]
        if other := [key for key, mask in found.items() if mask.shape != shape]:
            raise DataError(f"all masks must have the same size, but that of frame {other[0]!r} differs")
        return {key: found[key] if key in found else np.zeros(shape, bool) for key in sample.masks.frames}
    except DataError as error:
        raise DataError(f"sample {sample.id!r}: {error}") from error


def with_masks_inside(sample: Sample) -> Sample:
    """Return a sample whose masks are run lengths, and no files. Raises: DataError: they cannot be read."""
    if sample.masks is None or not sample.masks.files:
        return sample
    found = truth_masks(sample)
    frames = {key: (encode_rle(mask),) if mask.any() else () for key, mask in found.items()}
    size = next(iter(found.values())).shape[::-1]
    return replace(sample, masks=Masks(frames, sample.masks.fps), resolution=(size[0], size[1]))


def with_truth_from_masks(sample: Sample) -> Sample:
    """Return a segmentation sample whose record has masks only with the box and points that they give as its truth.

    Of a video the largest of five masks is taken. Masks are what the benchmarks measure; this truth is for rewards and
    pictures.

    Raises: DataError: the object is nowhere.
    """
    if sample.truth or sample.problem_type != "segmentation":
        return sample
    masks = truth_masks(sample)
    keys = list(masks)
    looked_at = [keys[round(index * (len(keys) - 1) / (LOOKED_AT - 1))] for index in range(LOOKED_AT)]
    key = max(looked_at, key=lambda key: np.count_nonzero(masks[key]))
    if not masks[key].any():
        key = max(keys, key=lambda key: np.count_nonzero(masks[key]))
    if not masks[key].any():
        raise DataError(f"sample {sample.id!r}: its masks are empty in every frame, so there is nothing to find")
    answer = selection_of(masks[key])
    if sample.data_type == "video":
        assert sample.masks is not None
        answer = {"time": round(sample.masks.times_s[key], 3), **answer}
    return replace(sample, truth=to_json(answer))


def selection_of(mask: Mask) -> dict[str, Any]:
    """Return the box of a mask that is not empty, three points deep inside it and three close beside it, in
    thousandths.

    >>> mask = np.zeros((100, 200), bool)
    >>> mask[20:80, 50:150] = True
    >>> selection_of(mask)["boxes"]
    [250, 200, 750, 800]
    """
    height, width = mask.shape
    box = _box(mask)
    inner = _spread(mask, near=np.ones_like(mask))
    outer = _spread(~mask, near=_around(mask))
    return {
        "boxes": [round(side) for side in box],
        "positive_points": [[round((x + 0.5) * FULL / width), round((y + 0.5) * FULL / height)] for x, y in inner],
        "negative_points": [[round((x + 0.5) * FULL / width), round((y + 0.5) * FULL / height)] for x, y in outer],
    }


def _box(mask: Mask) -> Box:
    """Return the tight box, at least a thousandth wide and high once it is rounded."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = box_from_px(
        (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1), width_px=mask.shape[1], height_px=mask.shape[0]
    )
    x1, y1 = min(round(box.x1), FULL - 1), min(round(box.y1), FULL - 1)
    return Box(x1, y1, max(round(box.x2), x1 + 1), max(round(box.y2), y1 + 1))


def _spread(region: Mask, *, near: Mask) -> list[tuple[int, int]]:
    """Return places in a region, each as far as it can be from its edge and from those before; (x, y) in pixels.

    Where the object fills the frame, and there is no region, they are the upper left corner.
    """
    import cv2

    depth = np.asarray(cv2.distanceTransform(np.pad(region, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE))[
        1:-1, 1:-1
    ].copy()
    depth[~near] = 0
    points = []
    for _ in range(NUM_POINTS):
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        points.append((int(x), int(y)))
        cv2.circle(depth, points[-1], max(1, round(float(depth[y, x]))), 0, -1)
        if not depth.any():
            depth[y, x] = 1e-6
    return points


def _around(mask: Mask) -> Mask:
    import cv2

    distance = np.asarray(cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE))
    near: Mask = distance <= max(2.0, _BESIDE * float(np.hypot(*mask.shape)))
    return near


def _union(marks: Iterable[RunLengths | Path], objects: Iterable[int] | None) -> Mask:
    masks = [load_mask(mark, objects) if isinstance(mark, Path) else decode_rle(mark) for mark in marks]
    if any(mask.shape != masks[0].shape for mask in masks):
        raise DataError("the masks of a frame must have the same size")
    union: Mask = np.logical_or.reduce(masks)
    return union


def load_mask(path: Path, objects: Iterable[int] | None) -> Mask:
    """Return the mask in a PNG: the pixels whose palette index, or gray, is one of `objects`, or is not 0 for None.

    Source: DAVIS and YouTube-VOS, palette index = number of the object.

    Raises: DataError: there is no such picture, or it has colours in place of indices.
    """
    try:
        with path.open("rb") as file:
            image = open_picture(file)
            if image is None or image.mode not in ("P", "L", "1", "I;16", "I"):
                raise DataError(f"{path}: expected a PNG of object numbers (a palette or gray), got {_kind(image)}")
            indices = np.asarray(image)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    mask: Mask = np.isin(indices, list(objects)) if objects is not None else indices != 0
    return mask


def _kind(image: Image.Image | None) -> str:
    return "no picture" if image is None else f"mode {image.mode}"
