"""Photographs with something pasted in whose mask is known exactly: for the tests and the benchmark of the segmenters.

The pasted thing is a piece of another photograph, cut by a smooth random outline (Fourier terms 2 to 6 of its radius,
so it has bays and lobes), 25 to 60 % of the shorter side of the frame in length, at a random place. Its edge is blended
over the pixel that it crosses, nothing else is done to make it stand out, and the whole goes through JPEG at quality 90
as from a camera. The mask is true where the piece covers at least half of a pixel.
"""

from dataclasses import replace

import cv2
import numpy as np

from onethinker.core.frames import Clip
from onethinker.core.geometry import Box, Point, box_from_px
from onethinker.tasks.segmentation import NUM_POINTS, Selection

SIDE_PX = 640
"""Photographs are reduced to this side."""
SMOOTHING = 4
"""Outlines are drawn so many times larger and then reduced."""


def reduced(photo: np.ndarray) -> np.ndarray:
    scale = min(1.0, SIDE_PX / max(photo.shape[:2]))
    return cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else photo


def blob(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """How much of each pixel a random outline covers, 0 to 1; the outline lies wholly inside the frame."""
    angle = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    radius = 1 + sum(rng.normal(0, 0.25 / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in range(2, 7))
    radius = np.maximum(radius, 0.35)
    turn, aspect = rng.uniform(0, 2 * np.pi), rng.uniform(0.55, 1.0)
    x, y = radius * np.cos(angle), aspect * radius * np.sin(angle)
    x, y = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    scale = rng.uniform(0.25, 0.6) * min(height, width) / max(np.ptp(x), np.ptp(y))
    x, y = x * scale, y * scale
    x += rng.uniform(2 - x.min(), width - 2 - x.max())
    y += rng.uniform(2 - y.min(), height - 2 - y.max())
    large = np.zeros((height * SMOOTHING, width * SMOOTHING), np.uint8)
    cv2.fillPoly(large, [np.round(np.stack([x, y], 1) * SMOOTHING).astype(np.int32)], 255)
    return cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def composite(background: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A photograph with a piece of another one pasted in, as from a camera, and the mask of the piece."""
    frame = reduced(background)
    height, width, _ = frame.shape
    share = blob(height, width, rng)
    rows, columns = (slice(places.min(), places.max() + 1) for places in np.nonzero(share))
    down, across = rows.stop - rows.start, columns.stop - columns.start
    scale = max(down / other.shape[0], across / other.shape[1]) * rng.uniform(1.05, 1.8)
    size = max(across, round(other.shape[1] * scale)), max(down, round(other.shape[0] * scale))
    piece = cv2.resize(other, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    top, left = rng.integers(piece.shape[0] - down + 1), rng.integers(piece.shape[1] - across + 1)
    layer = frame.copy()
    layer[rows, columns] = piece[top : top + down, left : left + across]
    return through_camera(pasted(frame, layer, share)), share >= 0.5


def pasted(frame: np.ndarray, layer: np.ndarray, share: np.ndarray) -> np.ndarray:
    weights = share[..., None]
    return np.round(layer * weights + frame * (1 - weights)).astype(np.uint8)


def through_camera(frame: np.ndarray) -> np.ndarray:
    _, packed = cv2.imencode(".jpg", np.ascontiguousarray(frame[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 90])
    return np.ascontiguousarray(cv2.imdecode(packed, cv2.IMREAD_COLOR)[..., ::-1])


def true_selection(mask: np.ndarray, rng: np.random.Generator, *, time_s: float = 0.0) -> Selection:
    """The answer of the segmentation task, as whole thousandths: the tight box, three points on the object, three close
    to it.
    """
    height, width = mask.shape
    ys, xs = np.nonzero(mask)
    box_px = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
    inside_px = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    outside_px = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    reach_px = 0.25 * max(box_px[2] - box_px[0], box_px[3] - box_px[1])
    positive = spread(np.argwhere(inside_px >= 0.3 * inside_px.max()), rng)
    negative = spread(np.argwhere((outside_px >= max(2, 0.1 * reach_px)) & (outside_px <= reach_px)), rng)
    points = [
        tuple(Point(round((x + 0.5) * 1000 / width), round((y + 0.5) * 1000 / height)) for y, x in some)
        for some in (positive, negative)
    ]
    box = Box(*(round(side) for side in box_from_px(box_px, width_px=width, height_px=height)))
    return Selection(box, points[0], points[1], time_s)


def spread(places: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Three of the places, each far from those before among fifty drawn."""
    chosen = [places[rng.integers(len(places))]]
    while len(chosen) < NUM_POINTS:
        drawn = places[rng.integers(len(places), size=50)]
        chosen.append(drawn[np.argmax(np.min([np.hypot(*(drawn - place).T) for place in chosen], axis=0))])
    return chosen


def jittered(selection: Selection, share: float, rng: np.random.Generator) -> Selection:
    """The selection of a careless model: sides moved by up to a share of the box, points by half of it (standard
    deviation).
    """
    box = selection.box
    across, down = box.x2 - box.x1, box.y2 - box.y1
    moved = np.clip(np.array(box) + rng.uniform(-share, share, 4) * (across, down, across, down), 0, 1000)

    def points(some):
        places = [np.clip(np.array(point) + rng.normal(0, share / 2, 2) * (across, down), 0, 1000) for point in some]
        return tuple(Point(*map(float, place)) for place in places)

    return replace(
        selection,
        box=Box(*map(float, moved)),
        positive_points=points(selection.positive_points),
        negative_points=points(selection.negative_points),
    )


def moving_composite(
    frames: np.ndarray, other: np.ndarray, rng: np.random.Generator, *, steps: int = 1
) -> tuple[Clip, list[np.ndarray]]:
    """A real shot with a piece of a photograph pasted in that moves, turns and grows, and its masks.

    A frame moves it by up to 0.4 % of the frame, half a degree and 0.3 % in size, times `steps` of the original clip.
    """
    height, width = frames.shape[1:3]
    share, layer = blob(height, width, rng), cv2.resize(other, (width, height), interpolation=cv2.INTER_AREA)
    centre = tuple(map(float, np.argwhere(share > 0).mean(axis=0)[::-1]))
    velocity = rng.uniform(-1, 1, 2) * (width, height) * 0.004 * steps
    turn, growth = rng.uniform(-0.5, 0.5) * steps, 1 + rng.uniform(-0.003, 0.003) * steps
    shown, masks = [], []
    for number, frame in enumerate(frames):
        motion = cv2.getRotationMatrix2D(centre, turn * number, growth**number)
        motion[:, 2] += velocity * number
        covered = cv2.warpAffine(share, motion, (width, height))
        shown.append(
            through_camera(
                pasted(frame, cv2.warpAffine(layer, motion, (width, height), borderMode=cv2.BORDER_REFLECT), covered)
            )
        )
        masks.append(covered >= 0.5)
    times_s = tuple(steps * number / 25 for number in range(len(frames)))
    return (
        Clip(
            "video",
            np.stack(shown),
            times_s,
            tuple(range(len(frames))),
            width,
            height,
            times_s[-1] + steps / 25,
            "moving",
        ),
        masks,
    )


def picture(frame: np.ndarray) -> Clip:
    return Clip("image", frame[None], (0.0,), (0,), frame.shape[1], frame.shape[0], 0.0, "picture")
