"""Drawn clips keep their shape and times, show the answer where it is, and leave the original as it was."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import ImageFont

from onethinker.core.frames import Clip
from onethinker.core.geometry import Box, Point, Span, box_at
from onethinker.drawing.draw import (
    HOLD_S,
    draw_around,
    draw_box,
    draw_caption,
    draw_masks,
    draw_points,
    draw_span,
    draw_track,
    wrap_text,
)

RED, GREEN = (0xFF, 0x33, 0x55), (0x22, 0xCC, 0x66)


def clip(*, num_frames: int = 5, width: int = 320, height: int = 240) -> Clip:
    frames = np.full((num_frames, height, width, 3), 90, dtype=np.uint8)
    times_s = tuple(n / 2 for n in range(num_frames))
    return Clip("video", frames, times_s, tuple(range(num_frames)), width, height, num_frames / 2, "test")


DRAWINGS: dict[str, Callable[[Clip], Clip]] = {
    "box": lambda c: draw_box(c, Box(0, 0, 1000, 1000)),
    "track": lambda c: draw_track(c, {0: Box(100, 100, 300, 300), 1: Box(300, 300, 500, 500)}),
    "points": lambda c: draw_points(c, [Point(0, 0), Point(1000, 1000)], "#22cc66"),
    "masks": lambda c: draw_masks(c, np.ones(c.frames.shape[:3], dtype=bool)),
    "span": lambda c: draw_span(c, Span(0.6, 1.2)),
    "span beyond the end": lambda c: draw_span(c, Span(1e6, 1e9)),
    "caption": lambda c: draw_caption(c, "Ein Mädchen öffnet die Tür. " * 20),
    "caption of one long word": lambda c: draw_caption(c, "x" * 100_000),
    "around": lambda c: draw_around(c, 1e9, lambda moment: draw_box(moment, Box(0, 0, 500, 500))),
}


@pytest.mark.parametrize("size", [(320, 240), (16, 8), (1, 1)], ids=str)
@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_changes_pixels_and_nothing_else(name: str, size: tuple[int, int]) -> None:
    original = clip(width=size[0], height=size[1])
    drawn = DRAWINGS[name](original)
    assert drawn.frames.shape == original.frames.shape
    assert drawn.frames.dtype == np.uint8
    assert (drawn.times_s, drawn.indices, drawn.kind) == (original.times_s, original.indices, original.kind)
    assert (original.frames == 90).all()
    if size == (320, 240):
        assert (drawn.frames != 90).any()


def test_a_box_is_drawn_on_its_sides() -> None:
    frame = draw_box(clip(), Box(250, 250, 750, 750)).frames[0]
    assert tuple(frame[60, 160]) == tuple(frame[120, 80]) == RED
    assert tuple(frame[120, 160]) == (90, 90, 90)


def test_a_point_is_drawn_at_its_place() -> None:
    frame = draw_points(clip(), [Point(500, 500)], "#22cc66").frames[0]
    assert tuple(frame[120, 160]) == GREEN


def test_a_track_follows_its_box_and_shows_nothing_where_there_is_none() -> None:
    drawn = draw_track(clip(num_frames=9), {0: Box(0, 0, 200, 200), 1: Box(400, 0, 600, 200)})
    assert tuple(drawn.frames[2][24, 128]) == RED  # second 1: left side at 400 thousandths of 320 pixels
    assert tuple(drawn.frames[1][24, 64]) == RED  # half a second: half way
    assert (drawn.frames[6, 60:] == 90).all()


def test_a_box_glides_between_seconds_and_stays_for_half_a_second_alone() -> None:
    boxes = {2: Box(0, 0, 10, 10)}
    hold = {"hold_before_s": HOLD_S, "hold_after_s": HOLD_S}
    shown = [box_at(boxes, time_s, glide_s=1, **hold) is not None for time_s in (1.4, 1.5, 2.0, 2.5, 2.6)]
    assert shown == [False, True, True, True, False]
    far = {0: Box(0, 0, 10, 10), 4: Box(40, 0, 50, 10)}
    assert [box_at(far, time_s, glide_s=1, **hold) for time_s in (0.5, 2, 3.5)] == [far[0], None, far[4]]
    assert box_at({0: Box(0, 0, 10, 10), 1: Box(10, 10, 20, 20)}, 0.25) == Box(2.5, 2.5, 12.5, 12.5)


def test_the_bar_shows_the_span_and_frames_inside_it_are_framed() -> None:
    drawn = draw_span(clip(num_frames=5), Span(0.5, 1.0))
    framed = [tuple(frame[0, 160]) == RED for frame in drawn.frames]
    assert framed == [False, True, True, False, False]
    assert tuple(drawn.frames[4][-1, 96]) == RED  # 0.75 of 2.5 seconds
    assert tuple(drawn.frames[4][-1, 200]) == (40, 40, 40)


def test_something_that_holds_at_a_moment_is_drawn_on_the_frames_around_it() -> None:
    drawn = draw_around(clip(num_frames=7), 1.5, lambda moment: draw_box(moment, Box(250, 250, 750, 750)))
    assert [bool((frame != 90).any()) for frame in drawn.frames] == [False, False, True, True, True, False, False]


def test_masks_of_another_size_are_our_mistake() -> None:
    with pytest.raises(ValueError, match="one mask a frame"):
        draw_masks(clip(), np.ones((1, 2, 2), dtype=bool))


def test_a_mask_tints_only_its_pixels() -> None:
    masks = np.zeros((5, 240, 320), dtype=bool)
    masks[:, :120] = True
    drawn = draw_masks(clip(), masks)
    assert (drawn.frames[:, 130:] == 90).all()
    assert (drawn.frames[:, :110] != 90).any(axis=-1).all()


def test_text_is_wrapped_by_words_and_cut_with_an_ellipsis() -> None:
    font = ImageFont.load_default(10)
    assert wrap_text("a cat", font, width_px=1000, max_lines=2) == ["a cat"]
    lines = wrap_text("one two three four five six", font, width_px=45, max_lines=2)
    assert len(lines) == 2
    assert lines[1].endswith("…")
    assert wrap_text("", font, width_px=10, max_lines=2) == []
