"""A scene as pixels with the owner of every pixel, from which true boxes and masks are read."""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from onethinker.core.frames import Clip
from onethinker.core.geometry import Box, Span
from onethinker.data.synthetic.painting import FPS, FRAME_SIDE_PX, IMAGE_SIDE_PX, Painting
from onethinker.data.synthetic.world.atlas import Pixels, Sprite
from onethinker.data.synthetic.world.backgrounds import paint_background
from onethinker.data.synthetic.world.lettering import draw_letters
from onethinker.data.synthetic.world.scene import Bar, Look, Scene, Sector, Thing, Wall, Writing

Poses = npt.NDArray[np.float64]

_HIDES = 255
_SOLID = 128  # of 255: a pixel belongs to a thing that covers at least this much of it


@dataclass(frozen=True, eq=False)
class Shot(Painting):
    """A painted scene: `owners` as in any painting, and `amodal_px`, (num_frames, num_things): the pixels that each
    thing covers, hidden ones too.
    """

    scene: Scene
    amodal_px: npt.NDArray[np.int32] = field(repr=False)

    def box(self, thing: int, frame: int = 0) -> Box | None:
        """Return the extent of the thing's mask in whole thousandths, or None where it cannot be seen."""
        import cv2

        x, y, width, height = cv2.boundingRect(self.mask(thing, frame).view(np.uint8))
        scale = 1000 / self.owners.shape[1]
        return (
            Box(round(x * scale), round(y * scale), round((x + width) * scale), round((y + height) * scale))
            if width
            else None
        )

    def seen_fraction(self, thing: int, frame: int = 0) -> float:
        """Return the fraction of a thing that is visible in a frame: neither hidden nor beyond the edge."""
        amodal_px = int(self.amodal_px[frame, thing])
        return int(np.count_nonzero(self.owners[frame] == thing + 1)) / amodal_px if amodal_px else 0.0


def render(scene: Scene, name: str, side_px: int | None = None) -> Shot:
    """Return the scene as a picture or as a clip of FPS frames a second.

    A thing's mask is what is seen of it: pixels that it covers at least by half and that nothing nearer covers. Its box
    is the extent of that mask. Shadows belong to nothing. Truth is read from what was painted, so it is exact at every
    size.
    """
    is_video = scene.duration_s > 0
    side = side_px or (FRAME_SIDE_PX if is_video else IMAGE_SIDE_PX)
    num_frames = round(scene.duration_s * FPS) if is_video else 1
    times_s = np.arange(num_frames) / FPS
    views = scene.camera.views(times_s, scene.duration_s) if scene.camera else None
    frames = _ground(scene, views, num_frames, side)
    owners = np.zeros((num_frames, side, side), np.uint8)
    amodal_px = np.zeros((num_frames, len(scene.things)), np.int32)
    for bar in scene.bars:
        _paint_bar(frames, bar)
    for sector in scene.sectors:
        _paint_sector(frames, sector)
    for index, thing in enumerate(scene.things):
        poses = thing.track.poses(times_s)
        poses = poses if views is None else _seen_from(views, poses)
        amodal_px[:, index] = _paint_thing(frames, owners, thing, index, poses, times_s, scene.look)
    if scene.wall:
        _paint_wall(frames, owners, scene.wall)
    for writing in scene.writings:
        _paint_writing(frames, owners, writing, times_s)
    _finish(frames, scene.look)
    clip = Clip(
        kind="video" if is_video else "image",
        frames=frames,
        times_s=tuple(times_s.tolist()),
        indices=tuple(range(num_frames)),
        source_width=side,
        source_height=side,
        duration_s=scene.duration_s,
        name=name,
    )
    return Shot(clip, owners, scene, amodal_px)


def _ground(scene: Scene, views: Poses | None, num_frames: int, side: int) -> Pixels:
    if views is None:
        return np.repeat(paint_background(scene.background, side)[None], num_frames, axis=0)
    return np.stack(
        [paint_background(scene.background, side, shift=(x, y), zoom=zoom) for x, y, zoom in views.tolist()]
    )


def _seen_from(views: Poses, poses: Poses) -> Poses:
    """Return poses as the camera sees them."""
    seen = poses.copy()
    seen[:, :2] = (poses[:, :2] - 0.5 - views[:, :2]) * views[:, 2:] + 0.5
    seen[:, 2] *= views[:, 2]
    return seen


def _shown(visible: Span | None, times_s: npt.NDArray[np.float64]) -> list[int]:
    if visible is None:
        return list(range(len(times_s)))
    return [int(k) for k in np.flatnonzero((times_s >= visible.start) & (times_s <= visible.end))]


def _paint_thing(
    frames: Pixels,
    owners: Pixels,
    thing: Thing,
    index: int,
    poses: Poses,
    times_s: npt.NDArray[np.float64],
    look: Look,
) -> npt.NDArray[np.int32]:
    """Paint a thing and return, for every frame, how many pixels it would show alone."""
    side = frames.shape[1]
    sprite, areas = thing.sprite, np.zeros(len(frames), np.int32)
    last_pose, patch, x, y, area = None, np.zeros((0, 0, 4), np.uint8), 0, 0, 0
    for frame in _shown(thing.visible, times_s):
        pose = poses[frame].tolist()
        if pose != last_pose:
            patch, x, y = _turned(sprite, pose, side, thing.is_mirrored)
            area = int(np.count_nonzero(patch[..., 3] >= _SOLID))
            last_pose = pose
        areas[frame] = area
        if look.shadow[2]:
            _shade(frames[frame], patch[..., 3], x, y, look.shadow)
        part, rows, columns = _cut(patch, x, y, side)
        _blend(frames[frame, rows, columns], part)
        owners[frame, rows, columns][part[..., 3] >= _SOLID] = index + 1
    return areas


def _turned(sprite: Sprite, pose: list[float], side: int, is_mirrored: bool) -> tuple[Pixels, int, int]:
    """Return a sprite as it stands in the frame, and the pixel of the frame at its upper left corner."""
    import cv2

    center_x, center_y, size, angle = pose
    size_px = max(3.0, size * side)
    level = sprite.level(size_px)
    height, width = level.shape[:2]
    scale = size_px / max(height, width)
    cos, sin = scale * np.cos(np.deg2rad(angle)), scale * np.sin(np.deg2rad(angle))
    mirror = -1 if is_mirrored else 1
    reach_x = (abs(width * cos) + abs(height * sin)) / 2
    reach_y = (abs(width * sin) + abs(height * cos)) / 2
    x, y = int(np.floor(center_x * side - reach_x)) - 1, int(np.floor(center_y * side - reach_y)) - 1
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    to_x, to_y = center_x * side - x - 0.5, center_y * side - y - 0.5
    matrix = np.array(
        [
            [mirror * cos, -sin, to_x - mirror * cos * middle_x + sin * middle_y],
            [mirror * sin, cos, to_y - mirror * sin * middle_x - cos * middle_y],
        ]
    )
    shape = (int(np.ceil(2 * reach_x)) + 3, int(np.ceil(2 * reach_y)) + 3)
    flags = cv2.INTER_LINEAR if scale < 1 else cv2.INTER_CUBIC
    return cv2.warpAffine(level, matrix, shape, flags=flags), x, y


def _cut(patch: Pixels, x: int, y: int, side: int) -> tuple[Pixels, slice, slice]:
    """Return the part of a patch inside the frame, and its rows and columns there."""
    height, width = patch.shape[:2]
    top, left, bottom, right = max(0, y), max(0, x), max(0, min(side, y + height)), max(0, min(side, x + width))
    bottom, right = max(top, bottom), max(left, right)
    return patch[top - y : bottom - y, left - x : right - x], slice(top, bottom), slice(left, right)


def _blend(under: Pixels, patch: Pixels) -> None:
    """Paint a patch whose colours are multiplied by its alpha."""
    import cv2

    if not under.size:
        return
    shown_through = cv2.cvtColor(255 - patch[..., 3], cv2.COLOR_GRAY2RGB)
    under[...] = cv2.add(cv2.multiply(under, shown_through, scale=1 / 255), cv2.cvtColor(patch, cv2.COLOR_RGBA2RGB))


def _shade(frame: Pixels, alpha: Pixels, x: int, y: int, shadow: tuple[float, float, float]) -> None:
    import cv2

    dx, dy, strength = shadow
    longer = max(alpha.shape)
    padding = max(1, longer // 10)
    soft = cv2.blur(
        cv2.copyMakeBorder(alpha, padding, padding, padding, padding, cv2.BORDER_CONSTANT), (padding, padding)
    )
    part, rows, columns = _cut(soft, x - padding + round(dx * longer), y - padding + round(dy * longer), frame.shape[0])
    under = frame[rows, columns]
    if under.size:
        light = cv2.convertScaleAbs(part, alpha=-strength, beta=255)
        under[...] = cv2.multiply(under, cv2.cvtColor(light, cv2.COLOR_GRAY2RGB), scale=1 / 255)


def _paint_writing(frames: Pixels, owners: Pixels, writing: Writing, times_s: npt.NDArray[np.float64]) -> None:
    side = frames.shape[1]
    letters = draw_letters(writing.lines, writing.font, writing.height * side, writing.ink, writing.board)
    sprite = Sprite((letters,), 1.0, 1.0, (0.0, 0.0, 0.0))
    x, y = (round(fraction * side * 2) / 2 for fraction in writing.center)
    if writing.angle:
        patch, left, top = _turned(
            sprite, [x / side, y / side, max(letters.shape[:2]) / side, writing.angle], side, is_mirrored=False
        )
    else:  # to the pixel, so that thin strokes stay sharp
        patch, left, top = letters, round(x - letters.shape[1] / 2), round(y - letters.shape[0] / 2)
    for frame in _shown(writing.visible, times_s):
        part, rows, columns = _cut(patch, left, top, side)
        _blend(frames[frame, rows, columns], part)
        owners[frame, rows, columns][part[..., 3] >= _SOLID] = _HIDES


def _paint_bar(frames: Pixels, bar: Bar) -> None:
    left, top, right, bottom = (round(fraction * frames.shape[1]) for fraction in bar.corners)
    frames[:, top:bottom, left:right] = bar.color


def _paint_sector(frames: Pixels, sector: Sector) -> None:
    import cv2

    side, fine = frames.shape[1], 16
    x, y = (round(fraction * side * fine) for fraction in sector.center)
    turns = np.deg2rad(np.linspace(sector.start, sector.end, 120))
    radius = sector.radius * side * fine
    edge = np.stack([x + radius * np.sin(turns), y - radius * np.cos(turns)], axis=1)
    corners = np.rint(np.concatenate([[[x, y]], edge]) - fine / 2).astype(np.int32)
    for frame in frames:
        cv2.fillPoly(frame, [corners], sector.color, cv2.LINE_AA, 4)


def _paint_wall(frames: Pixels, owners: Pixels, wall: Wall) -> None:
    side = frames.shape[1]
    columns = slice(max(0, round(wall.left * side)), min(side, round(wall.right * side)))
    frames[:, :, columns] = _planks(side, wall.color)[:, : columns.stop - columns.start]
    owners[:, :, columns] = _HIDES


@lru_cache(maxsize=32)
def _planks(side: int, color: tuple[int, int, int]) -> Pixels:
    """Return a board of planks one above the other."""
    rows = np.arange(side)
    tone = 0.92 + 0.12 * np.random.default_rng(5).random(8)[rows * 8 // side]
    tone[(rows % max(2, side // 8)) < max(1, side // 64)] = 0.7
    planks = np.clip(np.array(color) * tone[:, None], 0, 255).astype(np.uint8)
    return np.repeat(planks[:, None], side, axis=1)


def _finish(frames: Pixels, look: Look) -> None:
    """Light the frames from a side and keep them as JPEG does."""
    import cv2

    if any(look.light):
        light = _side_light(frames.shape[1], *(round(20 * fraction) for fraction in look.light))
        for frame in frames:
            cv2.multiply(frame, light, dst=frame, dtype=cv2.CV_8U)
    if look.jpeg_quality:
        for frame in frames:
            _, kept = cv2.imencode(
                ".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, look.jpeg_quality]
            )
            frame[...] = cv2.imdecode(kept, cv2.IMREAD_COLOR_RGB)


@lru_cache(maxsize=512)
def _side_light(side: int, x_steps: int, y_steps: int) -> npt.NDArray[np.float32]:
    along = np.linspace(-0.5, 0.5, side, dtype=np.float32)
    light = 1 + (x_steps * along[None] + y_steps * along[:, None]) / 20
    return np.repeat(light[..., None], 3, axis=2)
