"""Teach the vision tower of the untrained model for the world of things what it looks at, before SFT.

    python scripts/teach_sight.py --output runs/sighted --steps 6000

Large vision-language models begin with a vision tower that another lesson has taught (for Qwen3-VL, SigLIP 2). This is ours: each visual
token says which thing covers most of its 32 x 32 pixels, in which colour, and where that thing's box lies. What a token says is compared with
the embeddings of the things' names, so the language model starts with visual tokens that resemble words. Boxes and colours are read by heads
that are thrown away. Stopped at any time, the same command resumes from the last hundred steps.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onethinker.data.synthetic.world import picture_scenes as scenes
from onethinker.data.synthetic.world.rendering import Shot, render
from onethinker.data.synthetic.world.scene import World
from onethinker.data.synthetic.world.things import COLORS, SEEN
from onethinker.families.folder import ModelSettings, save_model
from onethinker.families.tiny import THINGS_WORLD, TINY_TEMPLATE, build_tiny
from onethinker.inference.loading import load_local
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
        names = F.normalize(torch.cat([self.nothing, self.names]), dim=1)
        shown = name_V > 0
        loss, logits = torch.zeros(()), torch.zeros(())
        for tokens_VW, weight in ((out.deepstack_features[0], 0.3), (out.pooler_output, 1.0)):
            logits = self.scale * F.normalize(tokens_VW, dim=1) @ names.T
            loss = loss + weight * F.cross_entropy(logits, name_V)
            loss = loss + weight * 0.5 * F.cross_entropy(self.color(tokens_VW)[shown], color_V[shown])
            loss = loss + weight * 2 * F.smooth_l1_loss(self.box(tokens_VW)[shown], box_V4[shown], beta=0.1)
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


def draw_batch(step: int, size: int, processor: object) -> tuple[Tensor, ...]:
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


def main() -> None:
    """Teach, and write a model folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a model folder to start from; by default untrained")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    asked = parser.parse_args()
    if asked.model:
        engine = load_local(asked.model)
        model, processor = engine.model, engine.processor
    else:
        model, processor = build_tiny(0, THINGS_WORLD)
    table = model.model.language_model.embed_tokens.weight.detach()
    words = [processor.tokenizer(f" {kind.name}")["input_ids"] for kind in SEEN]
    teacher = Teacher(model, torch.stack([table[ids].mean(0) for ids in words])).train()
    model.model.visual.patch_embed.requires_grad_(False)
    settings = OptimizerSettings(
        kind="muon",
        learning_rate=asked.learning_rate,
        warmup_steps=50,
        beta2=0.98,
        weight_decay=0.01,
        final_learning_rate_share=0.1,
    )
    optimizer = make_optimizer(teacher, settings)
    state_file, first = asked.output / "teacher.pt", 0
    if state_file.exists():
        state = torch.load(state_file)
        teacher.load_state_dict(state["teacher"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    began, shown, right = time.perf_counter(), [], []
    for step in range(first, asked.steps):
        rate = learning_rate(settings, step, asked.steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss, accuracy = teacher(*draw_batch(step, asked.batch_size, processor))
        loss.backward()
        nn.utils.clip_grad_norm_(teacher.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        shown.append(float(loss.detach()))
        right.append(float(accuracy))
        if (step + 1) % 20 == 0:
            left_s = (time.perf_counter() - began) / (step + 1 - first) * (asked.steps - step - 1)
            print(
                f"step {step + 1}/{asked.steps}  loss {np.mean(shown):.3f}  named right {np.mean(right):.3f}  {left_s / 60:.0f} min left",
                file=sys.stderr,
            )
            shown, right = [], []
        if (step + 1) % 100 == 0 or step + 1 == asked.steps:
            asked.output.mkdir(parents=True, exist_ok=True)
            torch.save(
                {"teacher": teacher.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}, state_file
            )
            save_model(
                asked.output / "model",
                model,
                processor,
                settings=ModelSettings(prompt_template=TINY_TEMPLATE, budget=THINGS_WORLD.budget),
            )


if __name__ == "__main__":
    main()
