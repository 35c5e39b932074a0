"""Scenes for clips in which numbers or words are shown."""

from dataclasses import replace

import numpy as np

from onethinker.data.synthetic.world.backgrounds import draw_background
from onethinker.data.synthetic.world.clip_parts import draw_duration, draw_span
from onethinker.data.synthetic.world.scene import (
    Scene,
    World,
    draw_look,
)
from onethinker.data.synthetic.world.writing import draw_words, in_turn


def draw_numbers(rng: np.random.Generator, _: World) -> Scene:
    """Return two or three numbers shown one after the other."""
    count = int(rng.integers(2, 4))
    return _text_scene(rng, tuple(str(number) for number in rng.integers(1, 10, count)), float(2 * count))


def draw_signs(rng: np.random.Generator, _: World) -> Scene:
    """Return two or three words shown one after the other."""
    count = int(rng.integers(2, 4))
    return _text_scene(rng, draw_words(rng, count), float(2 * count))


def draw_sign_visit(rng: np.random.Generator, world: World) -> Scene:
    """Return a word that appears and goes."""
    duration_s = draw_duration(rng, world)
    scene = _text_scene(rng, draw_words(rng, 1), duration_s)
    return replace(scene, writings=(replace(scene.writings[0], visible=draw_span(rng, duration_s)),))


def _text_scene(rng: np.random.Generator, texts: tuple[str, ...], duration_s: float) -> Scene:
    background = draw_background(rng, calm=True)
    look = replace(draw_look(rng), jpeg_quality=0)
    writings = in_turn(rng, background, texts, duration_s)
    return Scene(background, writings=writings, look=look, duration_s=duration_s)
