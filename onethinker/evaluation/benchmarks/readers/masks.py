"""The masks that are a segmentation sample's truth: run lengths in the record, as released, or files that are opened
when needed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from onethinker.core.errors import DataError
from onethinker.core.geometry import FULL, Box, box_from_px
from onethinker.core.grammar import show
from onethinker.core.masks import Mask, decode_rle
from onethinker.core.sample import Sample
from onethinker.media.pictures import open_picture
from onethinker.storage.strict_json import to_json
from onethinker.tasks.segmentation import NUM_POINTS

PICTURE = "image"
"""The key of a picture's one mask."""
LOOKED_AT = 5
"""Moments of a video among which the largest mask gives the box and the points."""
_BESIDE = 0.08
"""Share of the frame's diagonal within which points beside an object lie."""


def truth_masks(sample: Sample) -> dict[str, Mask]:
    """Return a segmentation sample's masks by frame key, in order of time; a picture's only one under "image".

    A frame of the record without a mask has an empty one: the object is not in it.

    Raises: DataError: the sample has no masks, or they cannot be read.
    """
    try:
        output = sample.extra.get("segmentation_output")
        if not isinstance(output, dict):
            raise DataError(f"'segmentation_output' must hold the masks, got {show(output)}")
        if sample.data_type == "image":
            return {PICTURE: _union(_rles(output.get("segmentation_rle")))}
        keys = frame_keys(sample)
        return (
            _from_files(output, keys)
            if "mask_files" in output
            else _from_rles(output.get("segmentation_rle"), keys, sample)
        )
    except DataError as error:
        raise DataError(f"sample {sample.id!r}: {error}") from error


def unmarked_frames(sample: Sample) -> frozenset[str]:
    """Return the keys of a video's frames for which its record has no mask, not even an empty one. Raises:
    DataError.
    """
    keys = frame_keys(sample)
    output = sample.extra["segmentation_output"]
    marks = (
        output["mask_files"]
        if "mask_files" in output
        else {str(key): _rles(value) for key, value in output["segmentation_rle"].items()}
    )
    return frozenset(key for key in keys if not marks.get(key))


def frame_keys(sample: Sample) -> list[str]:
    """Return the keys of a video's frames, in order of time. Raises: DataError."""
    output = sample.extra.get("segmentation_output")
    keys = output.get("frames") if isinstance(output, dict) else None
    if not isinstance(keys, list) or not keys:
        raise DataError(f"'segmentation_output' must name its 'frames', got {show(keys)}")
    return [str(key) for key in keys]


def frame_times(sample: Sample) -> dict[str, float]:
    """Return the second of every frame with a truth mask: its place among them, by the record's own "fps". Raises:
    DataError.
    """
    fps = sample.extra.get("fps")
    if isinstance(fps, bool) or not isinstance(fps, int | float) or fps <= 0:
        raise DataError(f"sample {sample.id!r}: 'fps' must be a number above 0, got {show(fps)}")
    return {key: number / fps for number, key in enumerate(frame_keys(sample))}


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
    looked_at = [keys[round(place * (len(keys) - 1) / (LOOKED_AT - 1))] for place in range(LOOKED_AT)]
    key = max(looked_at, key=lambda key: np.count_nonzero(masks[key]))
    if not masks[key].any():
        key = max(keys, key=lambda key: np.count_nonzero(masks[key]))
    if not masks[key].any():
        raise DataError(f"sample {sample.id!r}: its masks are empty in every frame, so that there is nothing to find")
    answer = selection_of(masks[key])
    if sample.data_type == "video":
        answer = {"time": round(frame_times(sample)[key], 3), **answer}
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


def _from_rles(rles: object, keys: list[str], sample: Sample) -> dict[str, Mask]:
    if not isinstance(rles, Mapping):
        raise DataError(f"'segmentation_rle' must hold the masks by frame, got {show(rles)}")
    by_key = {str(key): _rles(value) for key, value in rles.items()}
    if unknown := [key for key in by_key if key not in keys]:
        raise DataError(f"'segmentation_rle' has a mask for {unknown[0]!r}, which is not among the 'frames'")
    found = {key: _union(by_key[key]) for key in keys if by_key.get(key)}
    shape = next(iter(found.values())).shape if found else _resolution(sample)
    if other := [key for key, mask in found.items() if mask.shape != shape]:
        raise DataError(f"all masks must have one size, that of frame {other[0]!r} differs")
    return {key: found[key] if key in found else np.zeros(shape, bool) for key in keys}


def _resolution(sample: Sample) -> tuple[int, int]:
    size = sample.extra.get("resolution")
    if not isinstance(size, dict) or not all(
        type(size.get(side)) is int and size[side] > 0 for side in ("width", "height")
    ):
        raise DataError(f"'resolution' must be a width and a height, got {show(size)}")
    return size["height"], size["width"]


def _rles(value: object) -> list[object]:
    """Return the run lengths of a field: one or a list of them, nulls left out."""
    return [rle for rle in (value if isinstance(value, list) else [value]) if rle is not None]


def _union(rles: Iterable[object]) -> Mask:
    masks = [decode_rle(rle) for rle in rles]
    if not masks or any(mask.shape != masks[0].shape for mask in masks):
        raise DataError("the masks of one frame must be there and have one size")
    union: Mask = np.logical_or.reduce(masks)
    return union


def _from_files(output: Mapping[str, Any], keys: list[str]) -> dict[str, Mask]:
    """Return masks out of PNG files: where the palette has one of the objects, or anything where none is named."""
    objects = output.get("objects")
    groups = {key: [load_mask(Path(path), objects) for path in output["mask_files"][key]] for key in keys}
    shape = next((masks[0].shape for masks in groups.values() if masks), None)
    if shape is None:
        raise DataError(f"there are no mask files for frames {show(keys)}")
    return {key: np.logical_or.reduce(masks) if masks else np.zeros(shape, bool) for key, masks in groups.items()}


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
