"""Pixels and boxes of scenes small enough to work out by hand."""

import numpy as np
import pytest
from pycocotools import mask as coco

from onethinker.core.geometry import Box, Span
from onethinker.core.masks import encode_rle
from onethinker.data.synthetic.motion import at_rest
from onethinker.data.synthetic.painting import paint
from onethinker.data.synthetic.scene import SHAPES, Background, Scene, Thing, Wall, Writing

BLACK = Background((0, 0, 0), (0, 0, 0))


def square(x: float, y: float, *, size: float = 0.5, color: str = "red", **more: object) -> Thing:
    return Thing(color, "square", size, at_rest(x, y), **more)


def test_a_square_has_the_box_that_its_corners_say():
    # 64 px wide around the middle of 128 px: pixels 32 to 95.
    painting = paint(Scene(BLACK, (square(0.5, 0.5),)), "square")
    assert painting.box(0) == Box(250, 250, 750, 750)
    assert painting.mask(0).sum() == 64 * 64


@pytest.mark.parametrize(
    ("shape", "share"), [("circle", np.pi / 4), ("square", 1.0), ("triangle", 0.5), ("star", 0.3674)]
)
def test_a_shape_covers_its_share_of_its_square(shape, share):
    # Star: five kites between radii 0.5 and 0.25: 10 * 0.5 * 0.5 * 0.25 * sin(36°) = 0.3674.
    painting = paint(Scene(BLACK, (Thing("red", shape, 0.5, at_rest(0.5, 0.5)),)), shape, side_px=512)
    assert painting.mask(0).mean() / 0.25 == pytest.approx(share, rel=0.015)  # outline pixels count whole or not at all


def test_there_are_numbers_for_every_shape():
    assert set(SHAPES) == {"circle", "square", "triangle", "star"}


def test_a_covered_part_leaves_the_mask_and_the_box():
    painting = paint(Scene(BLACK, (square(0.5, 0.5), square(0.75, 0.5, color="blue"))), "two")
    # The second square begins 32 px to the right of the first: only the left half of the first is to be seen.
    assert painting.box(0) == Box(250, 250, 500, 750)
    assert not (painting.mask(0) & painting.mask(1)).any()


def test_a_thing_behind_the_wall_has_no_box():
    painting = paint(Scene(BLACK, (square(0.5, 0.5, size=0.2),), wall=Wall(0.3, 0.7)), "hidden")
    assert painting.box(0) is None


def test_a_thing_is_painted_in_the_frames_of_its_span_and_in_no_other():
    painting = paint(Scene(BLACK, (square(0.5, 0.5, visible=Span(1.0, 2.0)),), duration_s=4.0), "visit")
    lit = [k for k, frame in enumerate(painting.clip.frames) if frame.any()]
    assert [painting.clip.times_s[k] for k in lit] == [1.0, 1.25, 1.5, 1.75, 2.0]
    assert [k for k in range(16) if painting.box(0, k)] == lit


def test_a_moving_thing_is_where_its_motion_says():
    thing = Thing("red", "square", 0.25, at_rest(0.25, 0.5).moved(0.0, 2.0, dx=0.5, dy=0.0))
    painting = paint(Scene(BLACK, (thing,), duration_s=4.0), "move")
    centers = [(box.x1 + box.x2) / 2 for box in (painting.box(0, k) for k in (0, 4, 8, 15)) if box]
    assert centers == pytest.approx([250, 500, 750, 750], abs=6)  # half a pixel of 96


def test_a_thing_at_the_edge_is_cut_off():
    painting = paint(Scene(BLACK, (square(0.0, 0.5), square(1.4, 1.4, color="blue"))), "edge")
    assert painting.box(0) == Box(0, 250, 250, 750)
    assert painting.box(1) is None


def test_a_long_text_is_written_smaller_so_that_all_of_it_is_to_be_seen():
    painting = paint(Scene(BLACK, writings=(Writing("moonmoon", (255, 255, 255), (0.9, 0.9), 0.4),)), "text")
    columns = np.flatnonzero(painting.clip.frames[0].any((0, 2)))
    assert 110 < columns[-1] - columns[0] <= 128
    assert painting.clip.frames[0][:, [0, -1]].max() < 255


def test_pictures_and_clips_say_what_they_are():
    image, video = (paint(Scene(BLACK, duration_s=length), "clip").clip for length in (0.0, 4.0))
    assert (image.kind, image.frames.shape, image.times_s, image.duration_s) == ("image", (1, 128, 128, 3), (0.0,), 0.0)
    assert (video.kind, video.frames.shape, video.times_s[-1], video.duration_s) == (
        "video",
        (16, 96, 96, 3),
        3.75,
        4.0,
    )


def test_an_encoded_mask_decodes_to_itself():
    mask = np.zeros((5, 7), bool)
    mask[1:3, 2:6] = True
    assert (coco.decode(encode_rle(mask)) == mask).all()
