"""The update of RL alone: a packed row in which G answers share their prompt, against the naive batch of G whole
sequences.

Run: python benchmarks/update.py [--rounds 5] [--hybrid] [--answer 64]

Both do forward and backward of the same loss on the same model, one after the other in one process with one thread, and
the time is the process's own. "ideal" is how many times fewer tokens the packed row has, prompt and answers; the vision
tower is shared as well, so the table stands once with pictures and once with prompts of text alone. Memory is the peak
of a fresh process for each prompt length, less what it held before. With --hybrid the model is a Qwen3.5, whose gated
delta layers hand the state of a prompt to its answers; memory is then left out. Figures:
docs/results/training_speed.md.
"""

import statistics
import subprocess
import sys

import torch
from measuring import parser_of, peak_mb, seconds
from small_model import QUESTION, build, encode, pictures
from torch import Tensor

from onethinker.training.packing.attention import use_packed_attention
from onethinker.training.packing.row import PrefixGroup, Prompt, pack
from onethinker.training.scoring import score

PICTURES = {300: (512, 1), 1000: (1024, 1)}
"""Side and count of the pictures that make prompts of about so many tokens."""


def make_prompt(model, processor, length: int, *, seen: bool) -> Prompt:
    """Return a prompt of about `length` tokens, of pictures or of text."""
    if seen:
        side, count = PICTURES[length]
        batch = encode(processor, pictures(side, count))
    else:
        batch = encode(processor, [], QUESTION * (length // len(QUESTION)))
    pixels = {name: batch[name] for name in ("pixel_values", "image_grid_thw") if name in batch}
    positions, _ = model.model.get_rope_index(
        batch["input_ids"],
        batch["mm_token_type_ids"],
        attention_mask=batch["attention_mask"],
        image_grid_thw=pixels.get("image_grid_thw"),
    )
    return Prompt(batch["input_ids"][0], batch["mm_token_type_ids"][0], positions[:, 0], pixels)


def make_group(prompt: Prompt, lengths: list[int]) -> PrefixGroup:
    """Return the prompt with answers of random letters."""
    generator = torch.Generator().manual_seed(1)
    return PrefixGroup(prompt, tuple(torch.randint(0, 250, (length,), generator=generator) for length in lengths))


def naive_logps(model, group: PrefixGroup) -> Tensor:
    """Return the answers' log-probabilities from one padded batch in which every answer has its own copy of prompt and
    pictures.
    """
    prompt, longest = group.prompt, max(map(len, group.answers))
    pad = model.config.text_config.pad_token_id
    rows = [
        torch.cat([prompt.input_ids, answer, answer.new_full((longest - len(answer),), pad)])
        for answer in group.answers
    ]
    ids = torch.stack(rows)
    copies, first = len(rows), len(prompt.input_ids)
    seen = torch.stack([torch.arange(ids.shape[1]) < first + len(answer) for answer in group.answers]).long()
    types = torch.nn.functional.pad(prompt.mm_token_type_ids, (0, longest)).expand(copies, -1)
    pixels = {name: value.repeat(copies, 1) for name, value in prompt.pixels.items()}
    # Without padding a mask would be of ones alone, and cost the naive side its fast attention.
    mask = None if bool(seen.all()) else seen
    steps = prompt.positions.max() + 1 + torch.arange(longest)
    positions = torch.cat([prompt.positions, steps.expand(3, -1)], 1)[:, None].expand(-1, copies, -1)
    logits = model(
        input_ids=ids,
        mm_token_type_ids=types,
        attention_mask=mask,
        position_ids=positions,
        logits_to_keep=longest + 1,
        use_cache=False,
        **pixels,
    ).logits
    logps = torch.log_softmax(logits.float(), -1)
    return torch.cat([logps[n, range(len(answer)), answer] for n, answer in enumerate(group.answers)])


def compare(model, processor, prefix_group: PrefixGroup, rounds: int) -> tuple[float, float, float]:
    """Return seconds of the naive batch, the ratio of times and the ideal ratio; medians over rounds of one after the
    other.
    """
    row = pack([prefix_group])

    def naive() -> float:
        model.zero_grad()
        model.config.text_config._attn_implementation = "sdpa"
        for module in model.modules():
            module.__dict__.pop("forward", None)
        return seconds(lambda: naive_logps(model, prefix_group).mean().backward())

    def packed() -> float:
        model.zero_grad()
        use_packed_attention(model)
        return seconds(lambda: score(model, row)[0].mean().backward())

    times = [(naive(), packed()) for _ in range(rounds + 1)][1:]
    longest, group = max(map(len, prefix_group.answers)), len(prefix_group.answers)
    ideal = group * (len(prefix_group.prompt.input_ids) + longest) / prefix_group.num_tokens
    return statistics.median(n for n, _ in times), statistics.median(n / p for n, p in times), ideal


def peak_megabytes(kind: str, length: int) -> float:
    """Return what an update takes at most, in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--peak", kind, str(length)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def measure_peak(kind: str, length: int) -> float:
    """Return the growth of this process's peak memory by one update."""
    model, processor = build()
    prefix_group = make_group(make_prompt(model, processor, length, seen=False), [64] * 8)
    before = peak_mb()
    if kind == "packed":
        use_packed_attention(model)
        score(model, pack([prefix_group]))[0].mean().backward()
    else:
        naive_logps(model, prefix_group).mean().backward()
    return peak_mb() - before


def main() -> None:
    """Print the two tables."""
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each side")
    parser.add_argument("--hybrid", action="store_true", help="a Qwen3.5 in place of a Qwen3-VL")
    parser.add_argument("--answer", type=int, default=64, help="tokens of an answer")
    parser.add_argument(
        "--peak", nargs=2, metavar=("KIND", "LENGTH"), help="used by the command itself for the processes it starts"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.peak:
        print(measure_peak(arguments.peak[0], int(arguments.peak[1])))
        return
    if not arguments.hybrid:
        print("peak memory of an update in MB, text\nprompt  packed  naive")
        for length in (1000, 2000, 4000, 8000):
            packed, naive = peak_megabytes("packed", length), peak_megabytes("naive", length)
            print(f"{length:6} {packed:7.0f} {naive:6.0f}", flush=True)
    model, processor = build(hybrid=arguments.hybrid)
    equal = [arguments.answer] * 8
    unequal = [*equal[1:], 1024]
    for title, seen, prompts, lengths in (
        ("text", False, (300, 1000) if arguments.hybrid else (300, 1000, 2000, 4000), equal),
        ("text, one answer of 1,024 tokens", False, (300, 1000), unequal),
        ("pictures", True, (300, 1000), equal),
    ):
        print(f"{title}\nprompt  naive s  times faster  ideal  fraction of ideal")
        for length in prompts:
            prefix_group = make_group(make_prompt(model, processor, length, seen=seen), lengths)
            naive, ratio, ideal = compare(model, processor, prefix_group, arguments.rounds)
            print(
                f"{len(prefix_group.prompt.input_ids):6} {naive:8.2f} {ratio:13.2f} {ideal:6.2f} {ratio / ideal:17.0%}",
                flush=True,
            )


if __name__ == "__main__":
    main()
