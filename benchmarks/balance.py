"""How unequal the tokens of an update are between processes, before and after balancing: of a corpus of stated lengths.

    python benchmarks/balance.py

Half of the samples are pictures of 200 to 1,024 tokens, half are clips: 2 frames a second, at most 128, their lengths
log-normal with a median of 30 s, 60 tokens a pair of frames and 8 for its time. Questions have 60 to 400 tokens,
responses are log-normal with a median of 250 tokens, at most 4,096. "before" deals samples in turns; an update waits
for the process that has most, so an imbalance of 20 % is a sixth of the machine idle. In RL prompts are shared before
they are answered ("as sampled") and groups again afterwards ("after", `rl/rebalance.py`). What is compared is
the most that a process reads with the mean of what there is: prompts that parts of a group read again count against it.
"""

import time
from collections.abc import Sequence

import numpy as np
from measuring import parser_of

from onethinker.training.balance import balance
from onethinker.training.packing.row import split_group

ANSWERS, MAX_ROW_TOKENS = 8, 65536
Group = tuple[int, list[int]]
"""Tokens of a prompt and of each of its answers."""


def main() -> None:
    """Print the imbalance of SFT and of the updates of RL, for several numbers of processes."""
    parser = parser_of(__doc__)
    parser.add_argument("--steps", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    random = np.random.default_rng(arguments.seed)
    print(
        f"{'mean / worst step':32} {'processes':>9} {'before':>18} {'as sampled':>18} {'after':>18} {'read again':>10}"
    )
    for batch, processes in ((32, 8), (128, 8), (128, 32), (1024, 256)):
        steps = [sft(totals(random, batch), processes) for _ in range(arguments.steps)]
        row(f"SFT, {batch} samples", processes, steps)
    for prompts, updates, processes in ((128, 1, 8), (128, 4, 8), (128, 1, 32), (128, 4, 32), (1024, 4, 256)):
        steps = [rl(groups(random, prompts), updates, processes) for _ in range(arguments.steps)]
        row(f"RL, {prompts} prompts, {updates} update(s)", processes, steps)
    start = time.process_time()
    balance(totals(random, 1024), 256)
    print(f"balancing 1,024 samples over 256 processes takes {1000 * (time.process_time() - start):.0f} ms")


def lengths(random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens of prompts and of responses."""
    seconds = random.lognormal(np.log(30), 1, count)
    clips = 68 * np.ceil(np.clip(2 * seconds, 2, 128) / 2)
    visual = np.where(random.random(count) < 0.5, clips, random.integers(200, 1025, count))
    responses = np.clip(random.lognormal(np.log(250), 0.8, count), 16, 4096).astype(int)
    return visual + random.integers(60, 401, count), responses


def totals(random: np.random.Generator, count: int) -> list[float]:
    """Return the tokens of samples of SFT."""
    prompts, responses = lengths(random, count)
    return list(map(float, prompts + responses))


def groups(random: np.random.Generator, count: int) -> list[Group]:
    """Return prompts, which are known before they are answered, with their answers."""
    prompts, responses = lengths(random, count)
    answers = np.clip(responses[:, None] * random.lognormal(0, 0.4, (count, ANSWERS)), 16, 4096).astype(int)
    return [(int(prompt), group.tolist()) for prompt, group in zip(prompts, answers, strict=True)]


def sft(costs: Sequence[float], processes: int) -> list[float]:
    """Return the excess of a step before and after, and what is read again: nothing."""
    mean = sum(costs) / processes
    before = most(costs, [index % processes for index in range(len(costs))], processes)
    return [before / mean - 1, np.nan, most(costs, balance(costs, processes), processes) / mean - 1, 0.0]


def rl(step: Sequence[Group], updates: int, processes: int) -> list[float]:
    """Return the excess of a step's updates, one after the other: before, as sampled and after; and the share of tokens
    that is read again.
    """
    in_turns = [index % processes for index in range(len(step))]
    sampled = balance([prompt for prompt, _ in step], processes, same_number=True)
    slowest, read = np.zeros(3), 0.0
    everything = [float(prompt + sum(answers)) for prompt, answers in step]
    for update in range(updates):
        costs = everything[update::updates]
        parts = [part for group in step[update::updates] for part in split(group, sum(costs) / processes)]
        read += sum(parts)
        slowest += [
            most(costs, in_turns[update::updates], processes),
            most(costs, sampled[update::updates], processes),
            most(parts, balance(parts, processes), processes),
        ]
    return [*(slowest / sum(everything) * processes - 1), read / sum(everything) - 1]


def split(group: Group, share: float) -> list[float]:
    """Return the tokens of the parts that a group is learned from in."""
    prompt, answers = group
    parts = split_group(prompt, answers, max_tokens=MAX_ROW_TOKENS, share=share)
    return [float(prompt + sum(answers[index] for index in part)) for part in parts]


def most(costs: Sequence[float], chosen: Sequence[int], processes: int) -> float:
    """Return what the process with most has."""
    return float(np.bincount(chosen, costs, processes).max())


def row(name: str, processes: int, steps: Sequence[Sequence[float]]) -> None:
    """Print mean and worst of the steps."""
    *excess, again = zip(np.mean(steps, 0), np.max(steps, 0), strict=True)
    cells = ["" if np.isnan(mean) else f"{mean:8.1%} / {worst:7.1%}" for mean, worst in excess]
    print(f"{name:32} {processes:9}{''.join(f'{cell:>19}' for cell in cells)} {again[0]:10.1%}")


if __name__ == "__main__":
    main()
