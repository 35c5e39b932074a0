"""An SFT batch in packed rows against padded batches: the same model, samples, loss and gradients.

Run: python benchmarks/sft.py [--rounds 3]

32 samples: one picture of 128 to 512 pixels a side (16 to 256 tokens), a question, and a response of 16 to 1,024
tokens, even on a logarithmic scale; the loss is the mean over all response tokens. Padded batches hold 8 samples, on
the right, with transformers' own sdpa, logits of the response tokens alone, and are measured three times: as trainers
do it with an attention mask, without the mask (what follows a token is not seen anyway), and with samples sorted by
length before they are split into batches. All sides take turns in one process with one thread, the time is its
own. A second table: 8 pictures of 512 pixels with four questions of 16 tokens about each and responses of 64, which
share the picture (data.questions_per_clip = 4) or do not; both packed. Figures: docs/results/training_speed.md.
"""

import random
import statistics
from collections.abc import Callable

import torch
from measuring import parser_of, seconds
from small_model import build, encode, pictures
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from onethinker.training.packing.attention import use_packed_attention
from onethinker.training.packing.row import PrefixGroup, Prompt, pack, packed_rows
from onethinker.training.scoring import score

SAMPLES, BATCH, ROW = 32, 8, 4096
CLIPS, QUESTIONS = 8, 4


def make_samples(model, processor) -> list[PrefixGroup]:
    """Return the samples, in the order in which they were drawn."""
    draw, generator = random.Random(0), torch.Generator().manual_seed(0)
    samples = []
    for _ in range(SAMPLES):
        prompt = make_prompt(model, processor, draw.choice([128, 256, 384, 512]))
        length = int(16 * 64 ** draw.random())
        samples.append(PrefixGroup(prompt, (torch.randint(0, 250, (length,), generator=generator),)))
    return samples


def make_prompt(model, processor, side: int) -> Prompt:
    """Return a prompt with one picture."""
    batch = encode(processor, pictures(side, 1))
    positions, _ = model.model.get_rope_index(
        batch["input_ids"],
        batch["mm_token_type_ids"],
        attention_mask=batch["attention_mask"],
        image_grid_thw=batch["image_grid_thw"],
    )
    pixels = {name: batch[name] for name in ("pixel_values", "image_grid_thw")}
    return Prompt(batch["input_ids"][0], batch["mm_token_type_ids"][0], positions[:, 0], pixels)


def make_questions(model, processor) -> tuple[list[PrefixGroup], list[PrefixGroup]]:
    """Return several questions about each of some pictures, as groups that share it and as one group each."""
    generator = torch.Generator().manual_seed(0)
    shared, apart = [], []
    for _ in range(CLIPS):
        picture = make_prompt(model, processor, 512)
        texts = [torch.randint(0, 250, (16 + 64,), generator=generator) for _ in range(QUESTIONS)]
        shared.append(PrefixGroup(picture, tuple(texts), unscored=(16,) * QUESTIONS))
        steps = (picture.positions.max() + 1 + torch.arange(16)).expand(3, -1)
        for text in texts:
            ids = torch.cat([picture.input_ids, text[:16]])
            types = torch.nn.functional.pad(picture.mm_token_type_ids, (0, 16))
            apart.append(
                PrefixGroup(Prompt(ids, types, torch.cat([picture.positions, steps], 1), picture.pixels), (text[16:],))
            )
    return shared, apart


def padded_loss(model, samples: list[PrefixGroup], *, masked: bool) -> Tensor:
    """Return the summed loss of one padded batch."""
    ids, types, positions, lengths, scored = [], [], [], [], []
    for sample in samples:
        prompt, (answer,) = sample.prompt, sample.answers
        steps = prompt.positions.max() + 1 + torch.arange(len(answer))
        ids.append(torch.cat([prompt.input_ids, answer]))
        types.append(torch.nn.functional.pad(prompt.mm_token_type_ids, (0, len(answer))))
        positions.append(torch.cat([prompt.positions, steps.expand(3, -1)], 1).T)
        lengths.append(len(ids[-1]))
        scored.append(len(prompt.input_ids) - 1)
    longest = max(lengths)
    keep = torch.arange(min(scored), longest)
    logits = model(
        input_ids=pad_sequence(ids, batch_first=True),
        mm_token_type_ids=pad_sequence(types, batch_first=True),
        attention_mask=(torch.arange(longest) < torch.tensor(lengths)[:, None]).long() if masked else None,
        position_ids=pad_sequence(positions, batch_first=True).permute(2, 0, 1),
        logits_to_keep=keep,
        use_cache=False,
        **{name: torch.cat([sample.prompt.pixels[name] for sample in samples]) for name in samples[0].prompt.pixels},
    ).logits
    parts = [
        torch.log_softmax(logits[n, scored[n] - keep[0] : lengths[n] - 1 - keep[0]].float(), -1)
        .gather(-1, sample.answers[0][:, None])
        .sum()
        for n, sample in enumerate(samples)
    ]
    return -torch.stack(parts).sum()


def padded(model, samples: list[PrefixGroup], *, masked: bool, grouped: bool) -> float:
    """Run forward and backward over padded batches and return the loss."""
    model.config.text_config._attn_implementation = "sdpa"
    ordered = sorted(samples, key=lambda sample: sample.num_tokens) if grouped else samples
    tokens, loss = sum(len(sample.answers[0]) for sample in samples), 0.0
    for first in range(0, SAMPLES, BATCH):
        part = padded_loss(model, ordered[first : first + BATCH], masked=masked) / tokens
        part.backward()
        loss += float(part.detach())
    return loss


def packed(model, samples: list[PrefixGroup]) -> float:
    """Run forward and backward over packed rows, as `onethinker sft` does, and return the loss."""
    use_packed_attention(model)
    tokens, loss = sum(sample.num_scored for sample in samples), 0.0
    for members in packed_rows(samples, ROW):
        part = -score(model, pack(members))[0].sum() / tokens
        part.backward()
        loss += float(part.detach())
    return loss


def main() -> None:
    """Print both tables."""
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each way")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    model, processor = build()
    # Every way takes in patches alike, so that what is compared is padding.
    use_packed_attention(model)
    samples = make_samples(model, processor)
    print(f"{sum(sample.num_tokens for sample in samples)} tokens in {SAMPLES} samples")
    compare(
        model,
        rounds,
        SAMPLES,
        {
            "packed rows": lambda: packed(model, samples),
            "padded, mask": lambda: padded(model, samples, masked=True, grouped=False),
            "padded, no mask": lambda: padded(model, samples, masked=False, grouped=False),
            "padded, no mask, sorted": lambda: padded(model, samples, masked=False, grouped=True),
        },
    )
    shared, apart = make_questions(model, processor)
    print(f"{CLIPS} pictures, {QUESTIONS} questions about each")
    ways = {"picture shared": lambda: packed(model, shared), "each by itself": lambda: packed(model, apart)}
    compare(model, rounds, CLIPS * QUESTIONS, ways)


def compare(model, rounds: int, count: int, ways: dict[str, Callable[[], float]]) -> None:
    """Print loss, gradient and samples a second of each way, the first of which the others are compared with."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    losses, gradients = {}, {}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            model.zero_grad()
            times[name].append(seconds(lambda name=name, way=way: losses.update({name: way()})))
            gradients[name] = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    first = next(iter(ways))
    print(f"{'way':24} {'loss':>9} {'gradient off by':>16} {'samples/s':>10} {'first is faster':>17}")
    for name, taken in times.items():
        off = float((gradients[name] - gradients[first]).norm() / gradients[first].norm())
        ratio = statistics.median(other / mine for other, mine in zip(taken[1:], times[first][1:], strict=True))
        print(f"{name:24} {losses[name]:9.6f} {off:16.1e} {count / statistics.median(taken[1:]):10.2f} {ratio:16.2f}x")


if __name__ == "__main__":
    main()
