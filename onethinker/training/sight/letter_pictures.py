"""Pictures and frames of things, words, numbers and signs for `letters.py`, with what their visual tokens show."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from onethinker.data.synthetic.painting import FRAME_SIDE_PX, IMAGE_SIDE_PX
from onethinker.data.synthetic.world import charts, pages, picture_scenes, writing
from onethinker.data.synthetic.world.rendering import render
from onethinker.data.synthetic.world.scene import Scene, World
from onethinker.media.pictures import resized
from onethinker.training.sight.letter_labels import Labels, joined, labels
from onethinker.training.sight.things import TOKEN_PX

# V visual tokens of all pictures, 2 halves of a token
PICTURE_PX = 192
EASIER_STEPS = 500
"""In so many steps characters in a grid fall from nearly half of all pictures to a tenth."""
SMALLER_FROM = 300
"""From this step on characters in a grid may be half as high as their cell."""
THING_DRAWS = (
    picture_scenes.draw_few,
    picture_scenes.draw_several,
    picture_scenes.draw_mixed,
    picture_scenes.draw_colored,
    picture_scenes.draw_alike,
    picture_scenes.draw_crowd,
    picture_scenes.draw_row,
)
WRITTEN_DRAWS = (
    (pages.draw_page, 0.36),
    (writing.draw_text, 0.24),
    (writing.draw_two_texts, 0.12),
    (charts.draw_sum, 0.14),
    (charts.draw_chart, 0.07),
    (charts.draw_table, 0.07),
)
"""What pictures with something written are, and how often."""


@dataclass(frozen=True)
class Batch:
    """Pixels and grids of pictures with the labels of all their visual tokens, and which of these are of frames."""

    pixels: Tensor
    grids: Tensor
    names_V: Tensor
    colors_V: Tensor
    boxes_V4: Tensor
    halves_2V: Tensor
    is_frame_V: Tensor


def draw_things(step: int, processor: Any, size: int = 64) -> tuple[Tensor, Tensor, Labels]:
    """Return pixels, grids and labels of pictures and frames of things, at the sizes that the tower knows."""
    frames, found = [], []
    for n in range(size):
        rng = np.random.default_rng([99, step, n])
        side = (3, 4)[n % 2]
        shot = render(_draw_things(rng), "letters", side * TOKEN_PX)
        frames.append(shot.clip.frames[0])
        found.append(labels(shot, side))
    return *_pixels(frames, processor), joined(found)


def draw_batch(step: int, size: int, processor: Any) -> tuple[Tensor, ...]:
    """Return what `Batch` holds, of `size` pictures and frames; those of a step are always the same."""
    frames, found, is_frame = [], [], []
    for n in range(size):
        rng = np.random.default_rng([72, step, n])
        kind = rng.random()
        painted_px = FRAME_SIDE_PX if kind < 0.3 else IMAGE_SIDE_PX if kind < 0.8 else PICTURE_PX
        seen_px = FRAME_SIDE_PX if painted_px == FRAME_SIDE_PX else PICTURE_PX
        side = seen_px // TOKEN_PX
        shot = render(_draw(rng, side, step), "letters", painted_px)
        frames.append(resized(Image.fromarray(shot.clip.frames[0]), (seen_px, seen_px)))
        found.append(labels(shot, side))
        is_frame.append(torch.full((side**2,), painted_px == FRAME_SIDE_PX))
    all_found = joined(found)
    return (
        *_pixels(frames, processor),
        torch.tensor(all_found.names),
        torch.tensor(all_found.colors),
        torch.tensor(all_found.boxes).float(),
        torch.tensor(all_found.halves),
        torch.cat(is_frame),
    )


def _draw(rng: np.random.Generator, side: int, step: int) -> Scene:
    """Return characters in a grid, fewer and smaller ones the more steps were taken, things, or something written."""
    if rng.random() < max(0.1, 0.45 - 0.35 * step / EASIER_STEPS):
        return pages.draw_grid(rng, side, smallest=0.75 if step < SMALLER_FROM else 0.5)
    if rng.random() < 0.4:
        return _draw_things(rng)
    draw, _ = WRITTEN_DRAWS[int(rng.choice(len(WRITTEN_DRAWS), p=[chance for _, chance in WRITTEN_DRAWS]))]
    return draw(rng, World())


def _draw_things(rng: np.random.Generator) -> Scene:
    return THING_DRAWS[int(rng.integers(len(THING_DRAWS)))](rng, World())


def _pixels(frames: list[Any], processor: Any) -> tuple[Tensor, Tensor]:
    inputs = processor.image_processor(images=frames, return_tensors="pt", do_resize=False)
    return inputs["pixel_values"], inputs["image_grid_thw"]
