"""Teach the vision tower of an untrained model of the world of things what it looks at, before SFT.

    python scripts/teach_sight.py --output runs/sighted

Large vision-language models begin with a vision tower that was trained before (for Qwen3-VL, SigLIP 2). This is ours:
each visual token tells which thing covers most of its 32 x 32 pixels, in which colour, and where that thing's box lies.
Tokens are compared with the embeddings of the things' names, so the language model starts with visual tokens that
resemble words. The heads for boxes and colours are thrown away. Stopped at any time, the same command resumes from the
last hundred steps.
"""

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from onethinker.core.durations import in_words
from onethinker.data.synthetic.world import picture_scenes as scenes
from onethinker.data.synthetic.world.rendering import Shot, render
from onethinker.data.synthetic.world.scene import World
from onethinker.data.synthetic.world.things import COLORS, SEEN
from onethinker.families.folder import ModelSettings, save_model
from onethinker.inference.loading import load_local
from onethinker.storage.atomic import writing
from onethinker.training.optimizer import learning_rate, make_optimizer
from onethinker.training.settings import OptimizerSettings

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
TOKEN_PX = 32
LEAST_COVER = 0.1  # of a token's pixels a thing must cover to be what the token says
NAMES = {kind.name: n + 1 for n, kind in enumerate(SEEN)}
COLOR_NAMES = {None: 0, **{name: n + 1 for n, name in enumerate(COLORS)}}


class Teacher(nn.Module):
    """A model's vision tower with what reads names, colours and boxes from its visual tokens."""

    def __init__(self, model: nn.Module, names_KW: Tensor) -> None:
        super().__init__()
        self.visual = model.model.visual
        width = names_KW.shape[1]
        self.nothing = nn.Parameter(torch.randn(1, width) * names_KW.std())
        self.scale = nn.Parameter(torch.tensor(10.0))
        self.color, self.box = nn.Linear(width, len(COLOR_NAMES)), nn.Linear(width, 4)
        self.register_buffer("names", names_KW)

    def forward(
        self, pixels: Tensor, grids: Tensor, name_V: Tensor, color_V: Tensor, box_V4: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the loss, and which share of the tokens that show something is named right."""
        out = self.visual(pixels, grid_thw=grids, return_dict=True)
        names = functional.normalize(torch.cat([self.nothing, self.names]), dim=1)
        shown = name_V > 0
        loss, logits = torch.zeros(()), torch.zeros(())
        for tokens_VW, weight in ((out.deepstack_features[0], 0.3), (out.pooler_output, 1.0)):
            logits = self.scale * functional.normalize(tokens_VW, dim=1) @ names.T
            loss = loss + weight * functional.cross_entropy(logits, name_V)
            loss = loss + weight * 0.5 * functional.cross_entropy(self.color(tokens_VW)[shown], color_V[shown])
            loss = loss + weight * 2 * functional.smooth_l1_loss(self.box(tokens_VW)[shown], box_V4[shown], beta=0.1)
        return loss, (logits[shown].argmax(1) == name_V[shown]).float().mean()


def labels(shot: Shot) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each visual token the index of its thing's name and colour, and the box of the thing, 0 to 1."""
    side = shot.owners.shape[1] // TOKEN_PX
    cells = shot.owners[0].reshape(side, TOKEN_PX, side, TOKEN_PX).transpose(0, 2, 1, 3).reshape(side * side, -1)
    things = shot.scene.things
    cover = np.stack([(cells == n + 1).mean(1) for n in range(len(things))], 1)
    best = cover.argmax(1)
    shown = cover.max(1) >= LEAST_COVER
    boxes = [shot.box(n) for n in range(len(things))]
    return (
        np.array([NAMES[things[n].kind.name] if s else 0 for n, s in zip(best, shown, strict=True)]),
        np.array([COLOR_NAMES[things[n].color] if s else 0 for n, s in zip(best, shown, strict=True)]),
        np.array(
            [[v / 1000 for v in boxes[n]] if s and boxes[n] else [0.0] * 4 for n, s in zip(best, shown, strict=True)]
        ),
    )


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


@dataclass
class Lesson:
    """A teacher with its optimizer and how far it is; `file` keeps all three."""

    teacher: Teacher
    optimizer: torch.optim.Optimizer
    settings: OptimizerSettings
    file: Path
    step: int = 0

    @classmethod
    def open(cls, model: nn.Module, processor: Any, learning_rate: float, file: Path) -> "Lesson":
        """Begin, or go on from `file` where there is one."""
        table = model.model.language_model.embed_tokens.weight.detach()
        words = [processor.tokenizer(f" {kind.name}")["input_ids"] for kind in SEEN]
        torch.manual_seed(0)
        teacher = Teacher(model, torch.stack([table[ids].mean(0) for ids in words])).train()
        model.model.visual.patch_embed.requires_grad_(False)
        settings = OptimizerSettings(
            kind="muon",
            learning_rate=learning_rate,
            warmup_steps=50,
            beta2=0.98,
            weight_decay=0.01,
            min_lr_ratio=0.1,
        )
        lesson = cls(teacher, make_optimizer(teacher, settings), settings, file)
        if file.exists():
            state = torch.load(file)
            teacher.load_state_dict(state["teacher"])
            lesson.optimizer.load_state_dict(state["optimizer"])
            lesson.step = state["step"]
        return lesson

    def update(self, batch: tuple[Tensor, ...], steps: int) -> tuple[float, float]:
        """Take one step of `steps`; return the loss and the fraction of tokens named right."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.settings, self.step, steps)
        loss, accuracy = self.teacher(*batch)
        loss.backward()
        nn.utils.clip_grad_norm_(self.teacher.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        return float(loss.detach()), float(accuracy)

    def save(self) -> None:
        """Write the state completely or not at all."""
        state = {"teacher": self.teacher.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step}
        with writing(self.file):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            part = self.file.with_suffix(".part")
            torch.save(state, part)
            part.replace(self.file)


def teach(output: Path, *, model: str, steps: int, batch_size: int, learning_rate: float) -> None:
    """Teach the tower of `model` for so many steps and write state and model folder to `output`."""
    engine = load_local(model)
    lesson = Lesson.open(engine.model, engine.processor, learning_rate, output / "teacher.pt")
    began, first, shown = time.perf_counter(), lesson.step, []
    while lesson.step < steps:
        shown.append(lesson.update(draw_batch(lesson.step, batch_size, engine.processor), steps))
        if lesson.step % 20 == 0:
            loss, right = np.mean(shown, axis=0)
            left_s = (time.perf_counter() - began) / (lesson.step - first) * (steps - lesson.step)
            reached = f"step {lesson.step}/{steps}  loss {loss:.3f}  named right {right:.3f}"
            print(f"{reached}  {in_words(left_s)} left", file=sys.stderr)
            shown = []
        if lesson.step % 100 == 0 or lesson.step == steps:
            lesson.save()
            settings = ModelSettings(prompt_template=engine.prompt_template, budget=engine.budget)
            save_model(output / "model", engine.model, engine.processor, settings=settings)


def main() -> None:
    """Read the command line and teach."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder for the state and the model")
    parser.add_argument("--model", default="untrained-things", help="model to start from (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=2400, help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=64, help="pictures a step (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="of Muon (default: %(default)s)")
    teach(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
