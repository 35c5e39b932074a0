"""Teach the vision tower of a model of the world of things to read, and to see pictures of twice the area, before SFT.

What `things.py` taught stays: names, colours and boxes are read from visual tokens as the tower wrote them before, and
frames of clips keep their tokens. New are, for each token, whether something written covers most of it, and which
character stands in its left and in its right half: codes along directions that things hardly use. Single characters in
a grid come first: words and lines alone taught nothing in 300 steps. Whole words are left to the language model: no
tower has learned them as names. Stopped at any time, the same command resumes from the last hundred steps.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from onethinker.data.synthetic.world.pages import CHARACTERS
from onethinker.data.synthetic.world.things import COLORS
from onethinker.families.folder import save_model
from onethinker.inference.loading import load_local
from onethinker.training.sight.lesson import Lesson
from onethinker.training.sight.letter_labels import THINGS, WRITTEN, Labels, joined
from onethinker.training.sight.letter_pictures import PICTURE_PX, Batch, draw_batch, draw_things
from onethinker.training.sight.things import TOKEN_PX

# V visual tokens of all pictures, W the language model's width, K classes, 2 halves of a token
STEPS = 2000
LEARNING_RATE = 3e-3
"""Muon's, at its highest; at 1e-3 characters took three times as many steps."""
MIN_LR_RATIO = 0.02
WHAT = "letters"  # are being taught, as progress says it
LOOKS = 16  # batches of 64 pictures of things from which a tower's habits are measured
CODE = 12  # directions for the character in a half
FLAG = 0.8  # of the length of a code, along the direction that says "written"
CODE_LENGTH = 0.35  # of a token of length 1
LEAST_TOKENS = 27
"""Of a picture: smaller ones are enlarged, square ones to 36. At 36 for all, most shapes could not be enlarged."""


@dataclass
class Habits:
    """How a tower writes what it sees: of its tokens of length 1 their mean where something is shown, the directions
    from there of each name (the first of nothing) and colour, the map to a box, and directions that it hardly uses.
    """

    mean_W: Tensor
    names_KW: Tensor
    colors_CW: Tensor
    box_map: Tensor
    quiet_NW: Tensor

    @classmethod
    def of(cls, tokens_VW: Tensor, found: Labels) -> "Habits":
        """Measure them on the tokens of pictures of things."""
        names_V, colors_V = torch.tensor(found.names), torch.tensor(found.colors)
        tokens_VW, is_shown = functional.normalize(tokens_VW, dim=1), names_V > 0
        mean_W = tokens_VW[is_shown].mean(0)
        names = [tokens_VW[names_V == k].mean(0) for k in range(1 + len(THINGS))]
        colors = [tokens_VW[is_shown & (colors_V == k)].mean(0) for k in range(1 + len(COLORS))]
        inputs, boxes = _with_one(tokens_VW[is_shown]), torch.tensor(found.boxes).float()[is_shown]
        ridge = inputs.T @ inputs + 0.1 * torch.eye(inputs.shape[1])
        directions = torch.linalg.svd(tokens_VW - tokens_VW.mean(0), full_matrices=False).Vh
        return cls(
            mean_W,
            torch.stack(names) - mean_W,
            functional.normalize(torch.stack(colors) - mean_W, dim=1),
            torch.linalg.solve(ridge, inputs.T @ boxes),
            directions[-(2 * CODE + 1) :].clone(),
        )


def _with_one(tokens_VW: Tensor) -> Tensor:
    return torch.cat([tokens_VW, torch.ones(len(tokens_VW), 1)], 1)


class Reader(nn.Module):
    """Reads from the tokens of one of a tower's outputs what they show, along the habits of the tower as it was."""

    def __init__(self, habits: Habits, codes_SC: Tensor) -> None:
        super().__init__()
        self.mean: Tensor
        self.names: Tensor
        self.colors: Tensor
        self.box_map: Tensor
        self.quiet: Tensor
        self.codes: Tensor
        names_KW = functional.normalize(torch.cat([habits.names_KW, habits.quiet_NW[-1:]]), dim=1)
        for name, value in (
            ("mean", habits.mean_W),
            ("names", names_KW),
            ("colors", habits.colors_CW),
            ("box_map", habits.box_map),
            ("quiet", habits.quiet_NW),
            ("codes", torch.cat([torch.zeros(1, CODE), codes_SC])),
        ):
            self.register_buffer(name, value)
        self.scale, self.color_scale = nn.Parameter(torch.tensor(12.0)), nn.Parameter(torch.tensor(12.0))
        self.characters = nn.Linear(names_KW.shape[1], 2 * (1 + len(CHARACTERS)))

    def forward(self, tokens_VW: Tensor, before_VW: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss, and which fraction of the tokens that show something is named right."""
        tokens_VW, before_VW = (functional.normalize(tokens.float(), dim=1) for tokens in (tokens_VW, before_VW))
        apart_VW = tokens_VW - self.mean
        names_V, is_shown = batch.names_V, batch.names_V != 0
        is_written = names_V == WRITTEN
        logits = 2 * self.scale * apart_VW @ self.names.T
        each = functional.cross_entropy(logits, names_V, reduction="none")
        loss = _mean(each, torch.where(is_shown, 1.0, 0.3))
        has_color = is_shown & (batch.colors_V >= 0)
        color_logits = 2 * self.color_scale * apart_VW[has_color] @ self.colors.T
        loss = loss + 0.5 * functional.cross_entropy(color_logits, batch.colors_V[has_color])
        boxes = _with_one(tokens_VW[is_shown]) @ self.box_map
        loss = loss + 10 * functional.smooth_l1_loss(boxes, batch.boxes_V4[is_shown], beta=0.05)
        loss = loss + self._spelling_loss(tokens_VW, apart_VW, is_written, batch.halves_2V)
        is_kept = batch.is_frame_V & ~is_written & (batch.halves_2V == 0).all(0)
        if is_kept.any():
            loss = loss + 4 * (tokens_VW[is_kept] - before_VW[is_kept]).square().sum(1).mean()
        return loss, (logits[is_shown].argmax(1) == names_V[is_shown]).float().mean()

    def _spelling_loss(self, tokens_VW: Tensor, apart_VW: Tensor, is_written: Tensor, halves_2V: Tensor) -> Tensor:
        """Return the loss of "written" and of the codes, and that of a learned reading of all characters."""
        quiet_VN = apart_VW @ self.quiet.T / CODE_LENGTH
        wanted_VN = torch.cat([*self.codes[halves_2V], torch.where(is_written, FLAG, 0.0)[:, None]], 1)
        loss = _mean((quiet_VN - wanted_VN).square().sum(1), torch.where(is_written, 1.0, 0.2))
        is_character = halves_2V > 0
        if is_character.any():
            coded_2VC = torch.stack([quiet_VN[:, :CODE], quiet_VN[:, CODE : 2 * CODE]])
            logits = 6 * coded_2VC[is_character] @ self.codes[1:].T
            loss = loss + functional.cross_entropy(logits, halves_2V[is_character] - 1)
        read = self.characters(10 * tokens_VW).view(len(tokens_VW), 2, -1).permute(0, 2, 1)
        each = functional.cross_entropy(read, halves_2V.T, reduction="none").mean(1)
        return loss + _mean(each, torch.where(is_written, 1.0, 0.1))


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum()


def _codes() -> Tensor:
    """Return a code for each character, as far apart as they get, (characters, CODE); always the same."""
    codes = torch.randn(len(CHARACTERS), CODE, generator=torch.Generator().manual_seed(5))
    codes = functional.normalize(codes, dim=1).requires_grad_()
    for _ in range(1000):
        likeness = (codes @ codes.T - torch.eye(len(codes))).clamp(min=0).square().sum()
        (gradient,) = torch.autograd.grad(likeness, codes)
        codes = functional.normalize(codes.detach() - 0.01 * gradient, dim=1).requires_grad_()
    return codes.detach()


class Teacher(nn.Module):
    """A model's vision tower with what reads its two outputs, and the tower as it was."""

    def __init__(self, model: Any, processor: Any) -> None:
        super().__init__()
        self.visual = model.model.visual
        self.before = copy.deepcopy(self.visual).requires_grad_(False)
        codes, outputs, found = _codes(), *self._look_at_things(processor)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.readers = nn.ModuleList(Reader(Habits.of(out, found), codes) for out in outputs)

    def _look_at_things(self, processor: Any) -> tuple[tuple[Tensor, Tensor], Labels]:
        """Return what the tower writes about many pictures of things, and their labels."""
        batches = [draw_things(step, processor) for step in range(LOOKS)]
        with torch.no_grad():
            seen = [self.before(pixels, grid_thw=grids, return_dict=True) for pixels, grids, _ in batches]
        outputs = torch.cat([s.deepstack_features[0] for s in seen]), torch.cat([s.pooler_output for s in seen])
        return outputs, joined([found for *_, found in batches])

    def forward(self, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss, and which fraction of the tokens that show something is named right."""
        batch = Batch(*tensors)
        out = self.visual(batch.pixels, grid_thw=batch.grids, return_dict=True)
        with torch.no_grad():
            was = self.before(batch.pixels, grid_thw=batch.grids, return_dict=True)
        early, _ = self.readers[0](out.deepstack_features[0], was.deepstack_features[0], batch)
        late, right = self.readers[1](out.pooler_output, was.pooler_output, batch)
        return 0.3 * early + late, right


@torch.no_grad()
def _restore_lengths(teacher: Teacher, pixels: Tensor, grids: Tensor) -> None:
    """Make visual tokens of things as long as they were: what reads them leaves them at any length."""
    now, before = (tower(pixels, grid_thw=grids, return_dict=True) for tower in (teacher.visual, teacher.before))
    mergers = (*teacher.visual.deepstack_merger_list, teacher.visual.merger)
    outputs, outputs_before = ((*seen.deepstack_features, seen.pooler_output) for seen in (now, before))
    for merger, tokens_VW, before_VW in zip(mergers, outputs, outputs_before, strict=True):
        for part in (merger.linear_fc2.weight, merger.linear_fc2.bias):
            part *= before_VW.norm(dim=1).mean() / tokens_VW.norm(dim=1).mean()


def teach_letters(
    model: str,
    output: Path,
    *,
    steps: int = STEPS,
    batch_size: int = 64,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> Path:
    """Teach the vision tower of a model of the world of things for so many steps of `batch_size` pictures, on the CPU,
    in float32; return the folder of the model that reads, which is left as it is where it is there already.

    The language model stays as it is; SFT tells it what the new tokens are.
    """
    folder = output / "model"
    if folder.exists():
        return folder
    engine = load_local(model, device="cpu", dtype="float32")
    teacher = Teacher(engine.model, engine.processor)
    lesson = Lesson.of(teacher, output / "teacher.pt", learning_rate=LEARNING_RATE, min_lr_ratio=MIN_LR_RATIO)
    lesson.teach(steps, lambda step: draw_batch(step, batch_size, engine.processor), WHAT, on_progress)
    _restore_lengths(teacher, *draw_things(LOOKS, engine.processor)[:2])
    pixels = {"image_min_pixels": LEAST_TOKENS * TOKEN_PX**2} | dict.fromkeys(
        ("image_max_pixels", "frame_max_pixels"), PICTURE_PX**2
    )
    budget = engine.settings.budget.model_copy(update=pixels)
    save_model(folder, engine.model, engine.processor, settings=engine.settings.model_copy(update={"budget": budget}))
    return folder
