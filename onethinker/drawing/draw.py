"""Answers made visible: boxes, trails, points, masks, spans and captions on the frames of a clip.

Every function takes a clip and returns a new one of the same size and times; coordinates are thousandths of the frame.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onethinker.core.frames import Clip
from onethinker.core.geometry import Box, Point, Span, box_at, box_to_px, point_to_px

if TYPE_CHECKING:
    from PIL import ImageFont

Frame = npt.NDArray[np.uint8]

BOX_COLOR = "#ff3355"
POSITIVE_COLOR = "#22cc66"
NEGATIVE_COLOR = "#3388ff"
MASK_COLOR = "#ffaa00"
TRAIL_S = 5.0
"""How long a trail remembers where the box has been."""
HOLD_S = 0.5
"""How far from its time something is still shown when nothing says where it went."""


def draw_box(clip: Clip, box: Box) -> Clip:
    """Return the clip with one box on every frame."""
    return _on_frames(clip, lambda frame, time_s: _with_boxes(frame, [box]))


def draw_track(clip: Clip, boxes: Mapping[int, Box]) -> Clip:
    """Return the clip with the box at each time and a trail of its centre; `boxes` are by second.

    Between two neighbouring seconds the box glides; beside a lonely second it stays for half a second.
    """

    def draw(frame: Frame, time_s: float) -> Frame:
        frame = _with_trail(frame, boxes, time_s)
        box = _shown_box(boxes, time_s)
        return _with_boxes(frame, [box] if box else [])

    return _on_frames(clip, draw)


def draw_points(clip: Clip, points: Sequence[Point], color: str) -> Clip:
    """Return the clip with a dot for every point, in a colour like "#22cc66"."""

    def draw(frame: Frame, time_s: float) -> Frame:
        import supervision as sv

        centers = [point_to_px(point, width_px=frame.shape[1], height_px=frame.shape[0]) for point in points]
        corners = np.array([[x, y, x, y] for x, y in centers], dtype=np.float32).reshape(-1, 4)
        dots = sv.Detections(xyxy=corners, class_id=np.zeros(len(corners), dtype=int))
        radius = 2 * _thickness(frame)
        white = sv.DotAnnotator(sv.Color.WHITE, radius + 1, sv.Position.CENTER)
        return _annotated(frame, dots, white, sv.DotAnnotator(sv.Color.from_hex(color), radius, sv.Position.CENTER))

    return _on_frames(clip, draw)


def draw_around(clip: Clip, time_s: float, draw: Callable[[Clip], Clip]) -> Clip:
    """Return the clip with something drawn on the frames within half a second of a time, at least on the nearest
    one.
    """
    nearest = min(abs(shown - time_s) for shown in clip.times_s)
    chosen = [n for n, shown in enumerate(clip.times_s) if abs(shown - time_s) <= max(HOLD_S, nearest)]
    near = replace(
        clip,
        frames=clip.frames[chosen],
        times_s=tuple(clip.times_s[n] for n in chosen),
        indices=tuple(clip.indices[n] for n in chosen),
    )
    frames = clip.frames.copy()
    frames[chosen] = draw(near).frames
    return replace(clip, frames=frames)


def draw_masks(clip: Clip, masks: npt.NDArray[np.bool_]) -> Clip:
    """Return the clip with one mask a frame laid over it; `masks` is shaped (num_frames, height, width)."""
    import supervision as sv

    if masks.shape != clip.frames.shape[:3]:
        raise ValueError(f"expected one mask a frame, shaped {clip.frames.shape[:3]}, got {masks.shape}")
    tint = sv.MaskAnnotator(sv.Color.from_hex(MASK_COLOR), opacity=0.5)

    def draw(frame: Frame, mask: npt.NDArray[np.bool_]) -> Frame:
        full_frame = np.array([[0, 0, frame.shape[1], frame.shape[0]]], dtype=np.float32)
        return _annotated(frame, sv.Detections(xyxy=full_frame, mask=mask[None], class_id=np.zeros(1, dtype=int)), tint)

    frames = [draw(frame, mask) for frame, mask in zip(clip.frames, masks, strict=True)]
    return replace(clip, frames=np.stack(frames))


def draw_span(clip: Clip, span: Span) -> Clip:
    """Return the clip with a time bar along its lower edge: all of its duration, the span, and the time of each frame.

    Frames inside the span are framed in its colour.
    """
    end_s = max(clip.duration_s, clip.times_s[-1], 1e-6)

    def column(time_s: float, width: int) -> int:
        return min(width - 1, max(0, round(time_s / end_s * width)))

    def draw(frame: Frame, time_s: float) -> Frame:
        height, width, _ = frame.shape
        thickness = _thickness(frame)
        color = _rgb(BOX_COLOR)
        if span.start <= time_s <= span.end:
            frame[:thickness], frame[:, :thickness], frame[:, width - thickness :] = color, color, color
        bar = frame[height - 4 * thickness :]
        bar[:] = 40
        bar[:, column(span.start, width) : column(span.end, width) + 1] = color
        now = column(time_s, width)
        bar[:, max(0, now - thickness) : now + thickness] = 255
        return frame

    return _on_frames(clip, draw)


def draw_caption(clip: Clip, text: str) -> Clip:
    """Return the clip with a text on a dark band at its lower edge, wrapped to the width, at most half as high."""
    from PIL import Image, ImageDraw, ImageFont

    size = max(10, clip.height // 20)
    font = ImageFont.load_default(size)
    line_px = round(size * 1.3)
    lines = wrap_text(text, font, width_px=clip.width - size, max_lines=max(1, clip.height // 2 // line_px))

    def draw(frame: Frame, time_s: float) -> Frame:
        top = max(0, frame.shape[0] - line_px * len(lines) - size // 2)
        frame[top:] //= 4
        picture = Image.fromarray(frame)
        for index, line in enumerate(lines):
            ImageDraw.Draw(picture).text((size // 2, top + size // 4 + index * line_px), line, fill="white", font=font)
        return np.array(picture)

    return _on_frames(clip, draw) if lines else clip


def wrap_text(
    text: str, font: "ImageFont.ImageFont | ImageFont.FreeTypeFont", *, width_px: int, max_lines: int
) -> list[str]:
    """Return the lines of a text that fit into a width; text beyond the lines is truncated, with an ellipsis."""
    lines: list[str] = []
    for word in _pieces(text[: max_lines * max(1, width_px)], font, width_px):  # no letter is narrower than a pixel
        if lines and font.getlength(f"{lines[-1]} {word}") <= width_px:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
        if len(lines) > max_lines:
            return [*lines[: max_lines - 1], lines[max_lines - 1] + "…"]
    return lines


def _pieces(text: str, font: "ImageFont.ImageFont | ImageFont.FreeTypeFont", width_px: int) -> Iterator[str]:
    """Yield the words of a text, those that are wider than a line in parts that are not; a part has at least one
    letter.
    """
    for word in text.split():
        start = 0
        while start < len(word):
            end = start + 1
            while end < len(word) and font.getlength(word[start : end + 1]) <= width_px:
                end += 1
            yield word[start:end]
            start = end


def _shown_box(boxes: Mapping[int, Box], time_s: float) -> Box | None:
    return box_at(boxes, time_s, glide_s=1, hold_before_s=HOLD_S, hold_after_s=HOLD_S)


def _on_frames(clip: Clip, draw: Callable[[Frame, float], Frame]) -> Clip:
    frames = [draw(frame.copy(), time_s) for frame, time_s in zip(clip.frames, clip.times_s, strict=True)]
    return replace(clip, frames=np.stack(frames))


def _thickness(frame: Frame) -> int:
    height, width, _ = frame.shape
    return max(1, int(min(height, width)) // 160)


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def _annotated(frame: Frame, detections: object, *annotators: object) -> Frame:
    """Return the RGB frame after supervision's annotators, which think in BGR."""
    scene = np.ascontiguousarray(frame[..., ::-1])
    for annotator in annotators:
        scene = annotator.annotate(scene, detections)  # type: ignore[attr-defined]
    return np.ascontiguousarray(scene[..., ::-1])


def _with_boxes(frame: Frame, boxes: Sequence[Box]) -> Frame:
    import supervision as sv

    if not boxes:
        return frame
    corners = [box_to_px(box, width_px=frame.shape[1], height_px=frame.shape[0]) for box in boxes]
    detections = sv.Detections(xyxy=np.array(corners, dtype=np.float32), class_id=np.zeros(len(boxes), dtype=int))
    return _annotated(frame, detections, sv.BoxAnnotator(sv.Color.from_hex(BOX_COLOR), thickness=2 * _thickness(frame)))


def _with_trail(frame: Frame, boxes: Mapping[int, Box], time_s: float) -> Frame:
    import supervision as sv

    times_s = [time_s - back for back in np.linspace(TRAIL_S, 0, 20) if time_s >= back]
    shown = [box for box in (_shown_box(boxes, earlier_s) for earlier_s in times_s) if box]
    centers = [Point((box.x1 + box.x2) / 2, (box.y1 + box.y2) / 2) for box in shown]
    corners = [point_to_px(center, width_px=frame.shape[1], height_px=frame.shape[0]) for center in centers]
    scene = np.ascontiguousarray(frame[..., ::-1])
    color = sv.Color.from_hex(BOX_COLOR)
    for start, end in pairwise(corners):
        scene = sv.draw_line(scene, sv.Point(*map(int, start)), sv.Point(*map(int, end)), color, _thickness(frame))
    return np.ascontiguousarray(scene[..., ::-1])
