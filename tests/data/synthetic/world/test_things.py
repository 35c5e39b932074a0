"""The table of things and the atlas: enough of them, drawn in every style, in colours that are true."""

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

import onethinker.data.synthetic.world as world
from onethinker.data.synthetic.world.atlas import load_sprite
from onethinker.data.synthetic.world.things import (
    COLORS,
    KINDS_OF_THINGS,
    SEEN,
    STYLES,
    TRAINING_STYLES,
    UNSEEN,
    UNSEEN_STYLES,
    with_article,
)

ATLAS = Path(world.__file__).parent / "atlas"
NAMED_IN_THE_ISSUE = {
    *("cat", "dog", "horse", "cow", "fish", "bird", "car", "bus", "train", "bicycle", "airplane"),
    *("apple", "banana", "pizza", "cup", "tree", "flower", "house", "umbrella", "book"),
}


def test_about_150_things_are_trained_on_and_30_others_are_kept_out():
    assert 145 <= len(SEEN) <= 160
    assert len(UNSEEN) == 30
    assert not {kind.name for kind in SEEN} & {kind.name for kind in UNSEEN}
    assert {kind.name for kind in SEEN} >= NAMED_IN_THE_ISSUE


def test_no_name_or_plural_means_two_kinds():
    names = Counter(name for kind in KINDS_OF_THINGS.values() for name in {kind.name, kind.plural})
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize(
    ("name", "plural"),
    [("bus", "buses"), ("cherry", None), ("knife", "knives"), ("sheep", "sheep"), ("torch", None), ("box", "boxes")],
)
def test_plurals_are_english(name, plural):
    if plural is None:
        assert name not in KINDS_OF_THINGS
    else:
        assert KINDS_OF_THINGS[name].plural == plural


def test_names_take_the_article_that_is_spoken():
    spoken = [with_article(name) for name in ("ufo", "umbrella", "hourglass", "house", "orange car", "bread")]
    assert spoken == ["a ufo", "an umbrella", "an hourglass", "a house", "an orange car", "some bread"]


def test_styles_of_training_and_of_tests_are_different():
    assert set(TRAINING_STYLES) | set(UNSEEN_STYLES) == set(STYLES)
    assert not set(TRAINING_STYLES) & set(UNSEEN_STYLES)


def test_the_atlas_takes_at_most_3_mb():
    assert sum(path.stat().st_size for path in ATLAS.iterdir()) <= 3_000_000


@pytest.mark.parametrize("style", STYLES)
def test_every_thing_is_drawn_in_every_style_and_fills_its_sprite(style):
    for name in KINDS_OF_THINGS:
        sprite = load_sprite(style, name)
        largest = sprite.levels[0]
        solid = largest[..., 3] >= 64
        assert solid.any(0)[[0, -1]].all(), name
        assert solid.any(1)[[0, -1]].all(), name
        assert max(sprite.width, sprite.height) == 1.0
        assert (largest[..., :3].max(-1) <= largest[..., 3]).all(), f"{name}: colours are multiplied by alpha"


def test_no_two_things_of_a_style_are_the_same_picture():
    for style in STYLES:
        pictures = [cv2.resize(load_sprite(style, name).levels[0], (16, 16)).astype(int) for name in KINDS_OF_THINGS]
        for n, one in enumerate(pictures):
            assert all(np.abs(one - other).mean() > 4 for other in pictures[:n]), list(KINDS_OF_THINGS)[n]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("color", COLORS)
def test_a_thing_that_was_given_a_colour_has_it_where_it_is_coloured(style, color):
    for kind in KINDS_OF_THINGS.values():
        if not kind.is_tintable:
            continue
        pixels = load_sprite(style, kind.name, color).levels[0]
        solid = pixels[pixels[..., 3] == 255][:, :3]
        hsv = cv2.cvtColor(solid[None], cv2.COLOR_RGB2HSV)[0].astype(int)
        colored = hsv[(hsv[:, 1] > 90) & (hsv[:, 2] > 90)]
        turn = np.abs(colored[:, 0] * 2 - COLORS[color][0])
        assert len(colored) > 0.08 * len(solid), kind.name
        assert (np.minimum(turn, 360 - turn) <= 10).mean() > 0.97, kind.name
