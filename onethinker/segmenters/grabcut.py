"""GrabCut and optical flow: masks without any download, for trying the road and for drawings, never for a benchmark
number.

The box, a little slack around it and the points say what may be the object; OpenCV's GrabCut finds the cut between the
colours inside and around. In a video the mask is carried from frame to frame by optical flow and cut again in a band
along its outline.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onethinker.core.frames import Clip
from onethinker.core.geometry import Box, Point, box_to_px, point_to_px
from onethinker.core.masks import Mask, resize_mask
from onethinker.media.sampling import choose_frames
from onethinker.tasks.segmentation import Selection

Frame = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.uint8]

WORK_SIDE_PX = 640
"""Frames are cut at most at this size; the mask is enlarged again."""
MARGIN = 0.5
"""Width of the margin around the box that shows the colours of the background, as a fraction of the box's sides."""
BOX_SLACK = 0.05
"""By how much the box may be too small on each side, as a fraction of its sides."""
POINT_RADIUS = 0.03
"""Radius of the disk that a point labels, as a fraction of the box's shorter side."""
CUT_ITERATIONS, FOLLOW_ITERATIONS = 5, 2
"""Rounds of colour models and cut: for a box, and for a mask that is nearly right already."""
MIN_PART, MAX_HOLE = 0.1, 0.2
"""Parts smaller than this fraction of the largest one are dropped, holes smaller than this fraction of the object are
filled.
"""
MIN_FOUND = 0.1
"""A cut that leaves less of what was probable has failed: object and background have the same colours."""
FOLLOW_BAND = 0.1
"""How far the new outline may be from the propagated one, as a fraction of the root of the object's area."""
SAME_LEVELS = 24
"""Pixels deep inside the carried mask that change by no more (of 255, in every colour) are certainly still the
object.
"""
LOST_LEVELS, LOST_CORRELATION = 8.0, 0.6
"""An object is lost, behind something or at a cut, when its pixels change by more (median, of 255) and are less alike
than this.
"""
MIN_PIXELS = 12
"""Smaller regions have no colour model, and a smaller object is taken for lost."""


@dataclass(frozen=True)
class GrabCutSegmenter:
    """Masks by colour and motion alone."""

    name: str = "grabcut"
    for_benchmarks: bool = False

    def segment(self, clip: Clip, selection: Selection) -> Iterator[tuple[int, Mask]]:
        """Yield the index of a frame in the clip and its mask: from the selected time to the end, then back to the
        start.
        """
        [start] = choose_frames(clip.times_s, [selection.time_s])
        first = cut_frame(clip.frames[start], selection)
        yield start, first
        size = clip.width, clip.height
        for indices in (range(start, len(clip.frames)), range(start, -1, -1)):
            mask, before = resize_mask(first, _work_size(*size)), _resized(clip.frames[start], _work_size(*size))
            for index in indices[1:]:
                after = _resized(clip.frames[index], _work_size(*size))
                mask = follow(mask, before, after)
                yield index, resize_mask(mask, size)
                before = after


def cut_frame(frame: Frame, selection: Selection) -> Mask:
    """Return the mask of what a box and points select in one frame, True on the object."""
    height, width, _ = frame.shape
    left, top, right, bottom = _surroundings(selection.box, width, height)
    crop = frame[top:bottom, left:right]
    small = _resized(crop, _work_size(right - left, bottom - top))

    def to_work(x_px: float, y_px: float) -> tuple[float, float]:
        return (x_px - left) * small.shape[1] / crop.shape[1], (y_px - top) * small.shape[0] / crop.shape[0]

    def points(chosen: tuple[Point, ...]) -> list[tuple[float, float]]:
        return [to_work(*point_to_px(point, width_px=width, height_px=height)) for point in chosen]

    x1, y1, x2, y2 = box_to_px(selection.box, width_px=width, height_px=height)
    corners = *to_work(x1, y1), *to_work(x2, y2)
    positive, negative = points(selection.positive_points), points(selection.negative_points)
    labels = _box_labels(small.shape[:2], corners, positive, negative)
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = resize_mask(_cut(small, labels, CUT_ITERATIONS), (right - left, bottom - top))
    return mask


def follow(mask: Mask, before: Frame, after: Frame) -> Mask:
    """Return the mask of an object in the frame after (or before) the one in which `mask` shows it; empty where it is
    lost.

    An empty mask stays empty. All three are of the same size.
    """
    import cv2

    if np.count_nonzero(mask) < MIN_PIXELS:
        return np.zeros_like(mask)
    origin = _flow(after, before)
    carried: Mask = cv2.remap(mask.astype(np.float32), *origin, cv2.INTER_LINEAR) >= 0.5
    if np.count_nonzero(carried) < MIN_PIXELS:
        return np.zeros_like(mask)
    expected = cv2.remap(before, *origin, cv2.INTER_LINEAR)
    if _is_other(expected[carried], after[carried]):
        return np.zeros_like(mask)
    band_px = max(2.0, FOLLOW_BAND * float(np.sqrt(np.count_nonzero(carried))))
    rows, columns = np.nonzero(carried)
    reach = int(4 * band_px)
    window = (
        slice(max(0, int(rows.min()) - reach), int(rows.max()) + reach + 1),
        slice(max(0, int(columns.min()) - reach), int(columns.max()) + reach + 1),
    )
    near = carried[window]
    outside_px = cv2.distanceTransform((~near).astype(np.uint8), cv2.DIST_L2, 3)
    inside_px = cv2.distanceTransform(near.astype(np.uint8), cv2.DIST_L2, 3)
    unchanged = np.abs(expected[window].astype(np.int16) - after[window]).max(axis=2) <= SAME_LEVELS
    labels = np.where(near, cv2.GC_PR_FGD, np.where(outside_px <= band_px, cv2.GC_PR_BGD, cv2.GC_BGD)).astype(np.uint8)
    labels[unchanged & (inside_px > band_px)] = cv2.GC_FGD
    found = np.zeros_like(mask)
    found[window] = _cut(after[window], labels, FOLLOW_ITERATIONS)
    return found


def _is_other(before: Frame, after: Frame) -> bool:
    """Return whether two lists of pixels cannot be the same thing seen twice."""
    a, b = before.astype(np.float64).ravel(), after.astype(np.float64).ravel()
    if float(np.median(np.abs(a - b))) <= LOST_LEVELS:
        return False
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b) < LOST_CORRELATION * float(np.sqrt((a @ a) * (b @ b)))


def _surroundings(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom in whole pixels of the box with its margin, inside the frame and at least a
    pixel.
    """
    x1, y1, x2, y2 = box_to_px(box, width_px=width, height_px=height)
    across, down = MARGIN * (x2 - x1), MARGIN * (y2 - y1)
    left, top = min(width - 1, max(0, int(x1 - across))), min(height - 1, max(0, int(y1 - down)))
    return (
        left,
        top,
        max(left + 1, min(width, int(np.ceil(x2 + across)))),
        max(top + 1, min(height, int(np.ceil(y2 + down)))),
    )


def _box_labels(
    shape: tuple[int, ...],
    corners: tuple[float, float, float, float],
    positive: list[tuple[float, float]],
    negative: list[tuple[float, float]],
) -> Labels:
    """Return GrabCut's labels: probably object in the box, probably not in its slack, not beyond.

    Points are certain, and what is nearer to a negative than to a positive one is probably not the object.
    """
    import cv2

    x1, y1, x2, y2 = corners
    labels = np.full(shape, cv2.GC_BGD, np.uint8)
    for fraction, label in ((BOX_SLACK, cv2.GC_PR_BGD), (0.0, cv2.GC_PR_FGD)):
        across, down = fraction * (x2 - x1), fraction * (y2 - y1)
        rows = slice(max(0, int(y1 - down)), int(np.ceil(y2 + down)))
        labels[rows, max(0, int(x1 - across)) : int(np.ceil(x2 + across))] = label
    if positive and negative:
        labels[(labels == cv2.GC_PR_FGD) & (_distance(shape, negative) < _distance(shape, positive))] = cv2.GC_PR_BGD
    radius_px = max(2, int(POINT_RADIUS * min(x2 - x1, y2 - y1)))
    for points, label in ((negative, cv2.GC_BGD), (positive, cv2.GC_FGD)):
        for x, y in points:
            cv2.circle(labels, (int(x), int(y)), radius_px, int(label), cv2.FILLED)
    return labels


def _distance(shape: tuple[int, ...], points: list[tuple[float, float]]) -> npt.NDArray[np.float64]:
    """Return each pixel's squared distance to the nearest point."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    distances: npt.NDArray[np.float64] = np.min([(columns - x) ** 2 + (rows - y) ** 2 for x, y in points], axis=0)
    return distances


def _cut(frame: Frame, labels: Labels, iterations: int) -> Mask:
    """Return the object after GrabCut, without crumbs and small holes; what was probable before where that finds
    nothing.
    """
    import cv2

    object_labels = (cv2.GC_FGD, cv2.GC_PR_FGD)
    certain: Mask = labels == cv2.GC_FGD
    excluded: Mask = labels == cv2.GC_BGD
    found: Mask = np.isin(labels, object_labels)
    if min(np.count_nonzero(found), np.count_nonzero(~found)) < MIN_PIXELS:
        return found
    cut = labels.copy()
    cv2.setRNGSeed(0)  # the colour models start from random clusters; the same frame has to give the same mask
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(np.ascontiguousarray(frame), cut, None, *models, iterations, cv2.GC_INIT_WITH_MASK)
    tidied = _tidied(np.isin(cut, object_labels), certain, excluded)
    return tidied if np.count_nonzero(tidied) >= MIN_FOUND * np.count_nonzero(found) else found


def _tidied(mask: Mask, certain: Mask, excluded: Mask) -> Mask:
    """Return the mask without small parts that hold no certain pixel, and with small holes filled that hold no excluded
    one.
    """
    import cv2

    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if count == 1:
        return mask
    areas = stats[:, cv2.CC_STAT_AREA]
    kept = areas >= MIN_PART * areas[1:].max()
    kept[np.unique(parts[certain])] = True
    kept[0] = False
    tidied: Mask = kept[parts]
    count, parts, stats, _ = cv2.connectedComponentsWithStats((~tidied).astype(np.uint8), connectivity=4)
    filled = stats[:, cv2.CC_STAT_AREA] <= MAX_HOLE * np.count_nonzero(tidied)
    border = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    filled[np.unique(np.concatenate([border, parts[excluded]]))] = False
    filled[0] = True
    result: Mask = filled[parts]
    return result


def _flow(frame: Frame, other: Frame) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return, for each pixel of a frame, the column and row at which the other frame shows the same thing."""
    import cv2

    gray, other_gray = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (frame, other))
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(gray, other_gray, None)
    rows, columns = np.indices(gray.shape, dtype=np.float32)
    return columns + flow[..., 0], rows + flow[..., 1]


def _work_size(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, WORK_SIDE_PX / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _resized(frame: Frame, size: tuple[int, int]) -> Frame:
    import cv2

    resized: Frame = (
        frame if size == (frame.shape[1], frame.shape[0]) else cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    )
    return resized
