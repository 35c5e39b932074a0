"""What the visual tokens of a small model tell by themselves, before any language model reads them.

    python benchmarks/sight.py tiny

Reads things and characters off the tokens of pictures of the world of things by linear maps, which are fitted on other
pictures: the thing that covers a token, the sides of its box, and the character in each half of a token, by what is
written there. A character that no linear map finds is one that a language model hardly learns to read. Minutes on one
core.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from measuring import parser_of
from PIL import Image
from torch import Tensor
from torch.nn import functional

from onethinker.data.synthetic.painting import IMAGE_SIDE_PX
from onethinker.data.synthetic.world import charts, pages, writing
from onethinker.data.synthetic.world.rendering import render
from onethinker.data.synthetic.world.scene import Scene, World
from onethinker.inference.loading import load_local
from onethinker.media.pictures import resized
from onethinker.training.sight.letter_labels import THINGS, joined, labels
from onethinker.training.sight.letter_pictures import THING_DRAWS
from onethinker.training.sight.things import TOKEN_PX

# V visual tokens of all pictures, W their width, C classes
WRITTEN: dict[str, Callable[[np.random.Generator, World], Scene]] = {
    "texts": writing.draw_text,
    "texts in colours": writing.draw_two_texts,
    "sums": charts.draw_sum,
    "charts": charts.draw_chart,
    "tables": charts.draw_table,
}
FIT, TEST = 0, 1


def look(engine: Any, draws: list[Callable[..., Scene]], count: int, seed: int) -> tuple[Tensor, Any]:
    """Return the visual tokens of `count` pictures, (V, W), and their labels."""
    side = int(engine.budget.image_max_pixels**0.5) // TOKEN_PX
    tokens, found = [], []
    for start in range(0, count, 64):
        frames = []
        for n in range(start, min(start + 64, count)):
            rng = np.random.default_rng([seed, n])
            shot = render(draws[n % len(draws)](rng, World()), "sight", IMAGE_SIDE_PX)
            frames.append(resized(Image.fromarray(shot.clip.frames[0]), (side * TOKEN_PX, side * TOKEN_PX)))
            found.append(labels(shot, side))
        pictures = engine.processor.image_processor(images=frames, return_tensors="pt", do_resize=False)
        with torch.no_grad():
            seen = engine.model.model.visual(
                pictures["pixel_values"], grid_thw=pictures["image_grid_thw"], return_dict=True
            )
        tokens.append(functional.normalize(torch.cat([seen.pooler_output, *seen.deepstack_features], 1), dim=1))
    return torch.cat(tokens), joined(found)


def fit_classes(tokens_VW: Tensor, classes_V: Tensor, count: int) -> Callable[[Tensor], Tensor]:
    """Return a logistic regression from tokens to one of `count` classes."""
    scale = 1 / tokens_VW.std()
    reader = torch.nn.Linear(tokens_VW.shape[1], count)
    optimizer = torch.optim.LBFGS(reader.parameters(), max_iter=150, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimizer.zero_grad()
        value = functional.cross_entropy(reader(tokens_VW * scale), classes_V) + 1e-4 * reader.weight.square().sum()
        value.backward()
        return float(value.detach())

    optimizer.step(loss)
    return lambda tokens: reader(tokens * scale).argmax(1)


def fit_sides(tokens_VW: Tensor, boxes_V4: Tensor) -> Callable[[Tensor], Tensor]:
    """Return a linear regression from tokens to boxes."""
    inputs = with_one(tokens_VW)
    ridge = inputs.T @ inputs + 1e-3 * torch.eye(inputs.shape[1])
    weights = torch.linalg.solve(ridge, inputs.T @ boxes_V4)
    return lambda tokens: with_one(tokens) @ weights


def with_one(tokens_VW: Tensor) -> Tensor:
    """Return tokens with a one behind each."""
    return torch.cat([tokens_VW, torch.ones(len(tokens_VW), 1)], 1)


def tell_things(engine: Any, count: int) -> None:
    """Print how often the thing on a token is told, and how far off the sides of its box are."""
    parts = []
    for seed, pictures in ((FIT, count), (TEST, count // 4)):
        tokens, found = look(engine, list(THING_DRAWS), pictures, seed)
        names = torch.tensor(found.names)
        is_thing = (names > 0) & (names <= len(THINGS))
        parts.append((tokens[is_thing], names[is_thing], torch.tensor(found.boxes).float()[is_thing]))
    (tokens, names, boxes), (others, true_names, true_boxes) = parts
    told = fit_classes(tokens, names, 1 + len(THINGS))(others)
    off = (fit_sides(tokens, boxes)(others) - true_boxes).square().mean().sqrt()
    print(f"| things named | {float((told == true_names).float().mean()):.3f} |")
    print(f"| box, root mean square error in sides of the picture | {float(off):.3f} |", flush=True)


def tell_characters(engine: Any, count: int) -> None:
    """Print how often the character in a half of a token is told, by what is written."""
    tokens, found = look(engine, [*WRITTEN.values(), pages.draw_page], count, FIT)
    readers = [fit_characters(tokens, torch.tensor(half)) for half in found.halves]
    for name, draw in WRITTEN.items():
        others, truth = look(engine, [draw], count // 8, TEST)
        right = []
        for reader, half in zip(readers, torch.tensor(truth.halves), strict=True):
            right.append((reader(others) == half)[half > 0])
        print(f"| characters of {name} | {float(torch.cat(right).float().mean()):.3f} |", flush=True)


def fit_characters(tokens_VW: Tensor, half_V: Tensor) -> Callable[[Tensor], Tensor]:
    """Return what tells the character in a half, fitted on the tokens that have one."""
    return fit_classes(tokens_VW[half_V > 0], half_V[half_V > 0], 1 + len(pages.CHARACTERS))


def main() -> None:
    """Print a table."""
    parser = parser_of(__doc__)
    parser.add_argument(
        "model", nargs="?", default="tiny", help="name or folder of a small model of the world of things"
    )
    parser.add_argument(
        "--pictures", type=int, default=2400, help="of things, and of texts, that the maps are fitted on"
    )
    asked = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    engine = load_local(asked.model, device="cpu", dtype="float32")
    print("| told from a visual token | |")
    print("| --- | --- |")
    tell_things(engine, asked.pictures)
    tell_characters(engine, asked.pictures)


if __name__ == "__main__":
    main()
