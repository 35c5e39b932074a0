"""How soon a small language model learns to look something up: which shape of Qwen3-VL's text model finds a thing among
visual tokens, and says in which corner it is.

Run: python benchmarks/lookup.py [--steps 200] [--seed 0]

No picture is painted: a visual token is the embedding of a name plus the directions from "left" to "right" and from
"top" to "bottom", as training/sight.py teaches the vision tower to write them, with a little noise. Each step asks
64 times where one of one to six things is. Printed are nats a word of the corner where there are at least two things
(0.69 is chance), means over the last 25 steps. Figures: docs/results/things.md.
"""

from dataclasses import dataclass

import torch
from measuring import parser_of
from torch import Tensor
from torch.nn import functional
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLTextConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextModel

# B questions, V visual tokens, W width, T tokens of text
NAMES, SIDE, QUESTIONS, WIDTH = 150, 4, 64, 192
WHERE, STOP, END, NOTHING, BEGIN, SEEN, TOP, BOTTOM, LEFT, RIGHT = range(NAMES, NAMES + 10)
SHOWN_AFTER = (100, 150, 200)
WINDOW = 25


@dataclass(frozen=True)
class Shape:
    """A text model: layers, heads of queries and of keys, and theta of its rotary positions."""

    layers: int
    heads: int
    key_heads: int
    theta: float

    def build(self) -> Qwen3VLTextModel:
        """Return it with random weights."""
        config = Qwen3VLTextConfig(
            vocab_size=NAMES + 10,
            hidden_size=WIDTH,
            intermediate_size=3 * WIDTH,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.key_heads,
            head_dim=64,
            initializer_range=0.05,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": self.theta,
                "mrope_section": [12, 10, 10],
                "mrope_interleaved": True,
            },
        )
        config._attn_implementation = "sdpa"
        return Qwen3VLTextModel(config)


SHAPES = (
    Shape(5, 3, 1, 1e4),
    Shape(5, 3, 1, 1e6),
    Shape(5, 3, 3, 1e4),
    Shape(5, 3, 3, 1e6),
    Shape(4, 3, 3, 1e6),
    Shape(3, 3, 3, 1e6),
    Shape(3, 3, 1, 1e6),
    Shape(2, 3, 3, 1e6),
)


def draw(words: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return visual tokens (B, V, W), question with answer (B, T), and whether there are at least two things (B,)."""
    length = words.norm(dim=1).mean()
    unit = functional.normalize(words, dim=1) * length
    right = functional.normalize(words[RIGHT] - words[LEFT], dim=0) * length
    down = functional.normalize(words[BOTTOM] - words[TOP], dim=0) * length
    visual = unit[NOTHING].repeat(QUESTIONS, SIDE * SIDE, 1)
    text = torch.empty(QUESTIONS, 7, dtype=torch.long)
    several = torch.zeros(QUESTIONS, dtype=torch.bool)
    for n in range(QUESTIONS):
        count = int(torch.randint(1, 7, (1,), generator=generator))
        names = torch.randperm(NAMES, generator=generator)[:count]
        cells = torch.randperm(SIDE * SIDE, generator=generator)[:count]
        rows, columns = cells // SIDE, cells % SIDE
        x, y = (2 * columns / (SIDE - 1) - 1)[:, None], (2 * rows / (SIDE - 1) - 1)[:, None]
        visual[n, cells] = 1.5 * (unit[names] + x * right + y * down)
        asked = int(torch.randint(count, (1,), generator=generator))
        corner = TOP if rows[asked] < SIDE / 2 else BOTTOM, LEFT if columns[asked] < SIDE / 2 else RIGHT
        text[n] = torch.tensor([WHERE, int(names[asked]), int(names[asked]), *corner, STOP, END])
        several[n] = count > 1
    noise = torch.randn(visual.shape, generator=generator) * 0.1 * length / WIDTH**0.5
    return visual + noise, text, several


def positions_of(text_length: int) -> Tensor:
    """Return positions (3, 1, 1 + V + 1 + T) of a picture between two marks, and of the text behind it."""
    cells = torch.arange(SIDE * SIDE)
    later = torch.arange(1 + SIDE, 2 + SIDE + text_length)
    axes = (torch.ones(SIDE * SIDE, dtype=torch.long), 1 + cells // SIDE, 1 + cells % SIDE)
    return torch.stack([torch.cat([torch.zeros(1, dtype=torch.long), axis, later]) for axis in axes])[:, None]


def learn(shape: Shape, *, steps: int, seed: int) -> list[float]:
    """Return for every step how many nats a word of the corner costs."""
    torch.manual_seed(seed)
    model, generator = shape.build(), torch.Generator().manual_seed(seed)
    table = model.embed_tokens.weight
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01)
    costs = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1.0, (step + 1) / 20)
        visual, text, several = draw(table.detach(), generator)
        begin, seen = (model.embed_tokens(torch.full((QUESTIONS, 1), mark)) for mark in (BEGIN, SEEN))
        inputs = torch.cat([begin, visual, seen, model.embed_tokens(text)], 1)
        positions = positions_of(text.shape[1]).expand(3, QUESTIONS, -1)
        states = model(inputs_embeds=inputs, position_ids=positions, use_cache=False).last_hidden_state
        answer = text[:, 2:]
        logits = states[:, -1 - answer.shape[1] : -1] @ table.T
        losses = functional.cross_entropy(logits.transpose(1, 2), answer, reduction="none")
        optimizer.zero_grad()
        losses.mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        costs.append(losses[several, 1:3].mean().item())
    return costs


def main() -> None:
    """Print the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--steps", type=int, default=max(SHOWN_AFTER), help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of weights and questions; default: %(default)s")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    shown = [step for step in SHOWN_AFTER if step <= settings.steps] or [settings.steps]
    print("keys of queries   theta      layers  " + "".join(f"{step:>6} steps" for step in shown))
    for shape in SHAPES:
        costs = learn(shape, steps=settings.steps, seed=settings.seed)
        means = "".join(f"{sum(costs[:step][-WINDOW:]) / len(costs[:step][-WINDOW:]):12.2f}" for step in shown)
        print(
            f"{shape.key_heads} of {shape.heads}            {shape.theta:>9,.0f}  {shape.layers:>6}  {means}",
            flush=True,
        )


if __name__ == "__main__":
    main()
