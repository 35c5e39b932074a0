"""Teach the vision tower of an untrained model of the world of things what it looks at, before SFT.

Large vision-language models begin with a vision tower that was trained before (for Qwen3-VL, SigLIP 2). This is ours:
each visual token tells which thing covers most of its 32 x 32 pixels, in which colour, and where that thing's box lies.
All three are read along embeddings of words (its name, its colour, from "left" to "right" and from "top" to "bottom"),
so the language model starts with visual tokens that resemble words. Stopped at any time, the same command resumes from
the last hundred steps. The model is written once, when all steps are done.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from onethinker.core.geometry import Box
from onethinker.data.synthetic.world import picture_scenes as scenes
from onethinker.data.synthetic.world.rendering import Shot, render
from onethinker.data.synthetic.world.scene import World
from onethinker.data.synthetic.world.things import COLORS, SEEN
from onethinker.families.folder import save_model
from onethinker.inference.loading import load_local
from onethinker.training.sight.lesson import Lesson

# B pictures, V visual tokens of a picture, K names (0: nothing), W the language model's width
DRAW = (
    scenes.draw_few,
    scenes.draw_few,
    scenes.draw_several,
    scenes.draw_mixed,
    scenes.draw_colored,
    scenes.draw_alike,
    scenes.draw_crowd,
)
STEPS = 2400
"""After so many steps about 95 of 100 tokens name the right one of 151 things."""
LEARNING_RATE = 2e-3
"""Muon's, at its highest."""
WHAT = "vision tower"  # is being taught, as progress says it
TOKEN_PX = 32
STRENGTH = 1.5  # length that a token of length 1 has along a direction, for a side of the picture
TOKEN_LENGTH = 2.0  # of a visual token, beside the embeddings of names
LEAST_COVER = 0.1  # of a token's pixels a thing must cover to be what the token says
NAMES = {kind.name: n + 1 for n, kind in enumerate(SEEN)}
COLOR_NAMES: dict[str | None, int] = {None: 0, **{name: n + 1 for n, name in enumerate(COLORS)}}


def _orthonormal(rows_NW: Tensor) -> Tensor:
    """Return columns of length 1, at right angles, of which the first N span the first N rows and point their way."""
    columns_WN, upper_NN = torch.linalg.qr(rows_NW.T)
    turned: Tensor = columns_WN * upper_NN.diagonal().sign()
    return turned


class Teacher(nn.Module):
    """A model's vision tower with what reads names, colours and boxes from its visual tokens.

    Names and colours are compared with the embeddings of their words. Where a thing is, is read along fixed directions,
    from the words for left to right and from top to bottom, so the tower has to write it as strongly as a name. (A
    learned head lets it hide in half a percent of the variance, where no language model finds it.)
    """

    def __init__(self, model: Any, names_KW: Tensor, colors_CW: Tensor, directions_2W: Tensor) -> None:
        super().__init__()
        self.visual = model.model.visual
        width = names_KW.shape[1]
        self.names: Tensor
        self.colors: Tensor
        self.box: Tensor
        self.no_name = nn.Parameter(torch.randn(1, width) * names_KW.std())
        self.no_color = nn.Parameter(torch.randn(1, width) * names_KW.std())
        self.scale, self.color_scale = nn.Parameter(torch.tensor(10.0)), nn.Parameter(torch.tensor(10.0))
        self.register_buffer("names", names_KW)
        self.register_buffer("colors", colors_CW)
        self.register_buffer("box", _orthonormal(torch.cat([directions_2W, torch.randn(2, width)])))

    def forward(
        self, pixels: Tensor, grids: Tensor, name_V: Tensor, color_V: Tensor, box_V4: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the loss, and which share of the tokens that show something is named right."""
        out = self.visual(pixels, grid_thw=grids, return_dict=True)
        names = functional.normalize(torch.cat([self.no_name, self.names]), dim=1)
        colors = functional.normalize(torch.cat([self.no_color, self.colors]), dim=1)
        shown = name_V > 0
        loss, logits = torch.zeros(()), torch.zeros(())
        for tokens_VW, weight in ((out.deepstack_features[0], 0.3), (out.pooler_output, 1.0)):
            tokens_VW = functional.normalize(tokens_VW, dim=1)
            logits = self.scale * tokens_VW @ names.T
            color_logits = self.color_scale * tokens_VW[shown] @ colors.T
            loss = loss + weight * functional.cross_entropy(logits, name_V)
            loss = loss + weight * 0.5 * functional.cross_entropy(color_logits, color_V[shown])
            loss = loss + weight * 4 * functional.smooth_l1_loss(tokens_VW @ self.box, STRENGTH * box_V4, beta=0.1)
        return loss, (logits[shown].argmax(1) == name_V[shown]).float().mean()


def labels(shot: Shot) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each visual token the index of its thing's name and colour, and where the thing is: how far right of
    the middle, how far below it, how much wider and higher than a quarter, in sides of the picture; zeros for nothing.
    """
    side = shot.owners.shape[1] // TOKEN_PX
    cells = shot.owners[0].reshape(side, TOKEN_PX, side, TOKEN_PX).transpose(0, 2, 1, 3).reshape(side * side, -1)
    things = shot.scene.things
    cover = np.stack([(cells == n + 1).mean(1) for n in range(len(things))], 1)
    best = cover.argmax(1)
    shown = cover.max(1) >= LEAST_COVER
    places = [place_of(shot.box(n)) for n in range(len(things))]
    return (
        np.array([NAMES[things[n].kind.name] if s else 0 for n, s in zip(best, shown, strict=True)]),
        np.array([COLOR_NAMES[things[n].color] if s else 0 for n, s in zip(best, shown, strict=True)]),
        np.array([places[n] if s else place_of(None) for n, s in zip(best, shown, strict=True)]),
    )


def place_of(box: Box | None) -> tuple[float, float, float, float]:
    """Return how far right of the middle and below it a box is, and how much wider and higher than a quarter, in sides
    of the picture; zeros for none.
    """
    if box is None:
        return 0.0, 0.0, 0.0, 0.0
    x1, y1, x2, y2 = (value / 1000 for value in box)
    return (x1 + x2) / 2 - 0.5, (y1 + y2) / 2 - 0.5, x2 - x1 - 0.25, y2 - y1 - 0.25


def draw_batch(step: int, size: int, processor: Any) -> tuple[Tensor, ...]:
    """Return pixels, grids and labels of `size` scenes; those of a step are always the same."""
    shots = []
    for n in range(size):
        rng = np.random.default_rng([71, step, n])
        shots.append(render(DRAW[int(rng.integers(len(DRAW)))](rng, World()), "sight"))
    pictures = processor.image_processor(
        images=[shot.clip.frames[0] for shot in shots], return_tensors="pt", do_resize=False
    )
    name, color, box = (np.concatenate(part) for part in zip(*map(labels, shots), strict=True))
    return (
        pictures["pixel_values"],
        pictures["image_grid_thw"],
        torch.tensor(name),
        torch.tensor(color),
        torch.tensor(box).float(),
    )


def _embed_words(model: Any, processor: Any, words: Sequence[str]) -> Tensor:
    """Return the embedding of each word, the mean of its tokens, (words, W)."""
    table = model.model.language_model.embed_tokens.weight.detach().float()
    return torch.stack([table[processor.tokenizer(f" {word}")["input_ids"]].mean(0) for word in words])


def open_lesson(model: Any, processor: Any, file: Path) -> Lesson:
    """Begin to teach a model's vision tower, or go on from `file` where there is one."""
    torch.manual_seed(0)
    directions = _embed_words(model, processor, ["right", "bottom"]) - _embed_words(model, processor, ["left", "top"])
    names = _embed_words(model, processor, [kind.name for kind in SEEN])
    teacher = Teacher(model, names, _embed_words(model, processor, list(COLORS)), directions)
    return Lesson.of(teacher, file, learning_rate=LEARNING_RATE, min_lr_ratio=0.1)


@torch.no_grad()
def _shorten_tokens(teacher: Teacher, batch: tuple[Tensor, ...]) -> None:
    """Make visual tokens about as long as the embeddings of words: the comparisons above leave them at any length."""
    pixels, grids = batch[:2]
    out = teacher.visual(pixels, grid_thw=grids, return_dict=True)
    mergers = (teacher.visual.merger, *teacher.visual.deepstack_merger_list)
    for merger, tokens_VW in zip(mergers, (out.pooler_output, *out.deepstack_features), strict=True):
        for part in (merger.linear_fc2.weight, merger.linear_fc2.bias):
            part *= TOKEN_LENGTH * teacher.names.norm(dim=1).mean() / tokens_VW.norm(dim=1).mean()


def teach_sight(
    output: Path,
    *,
    steps: int = STEPS,
    batch_size: int = 64,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> Path:
    """Teach the vision tower of an untrained model for so many steps of `batch_size` pictures, on the CPU, in float32;
    return the folder of the model, which is left as it is where it is there already.

    `on_progress` hears how many steps are done, of how many, and what is done, with what result.
    """
    folder = output / "model"
    if folder.exists():
        return folder
    engine = load_local("untrained-things", device="cpu", dtype="float32")
    lesson = open_lesson(engine.model, engine.processor, output / "teacher.pt")
    lesson.teach(steps, lambda step: draw_batch(step, batch_size, engine.processor), WHAT, on_progress)
    _shorten_tokens(lesson.teacher, draw_batch(steps, batch_size, engine.processor))
    settings = engine.settings
    save_model(folder, engine.model, engine.processor, settings=settings)
    return folder
