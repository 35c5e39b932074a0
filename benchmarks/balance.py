"""How unequal the tokens of a step are between processes, before and after balancing: of a corpus of stated lengths.

    python benchmarks/balance.py

Half of the samples are pictures of 200 to 1,024 tokens, half are clips: 2 frames a second, at most 128, their lengths
log-normal with a median of 30 s, 60 tokens a pair of frames and 8 for its time. Questions have 60 to 400 tokens,
responses are log-normal with a median of 250 tokens, at most 4,096. "before" deals samples in turns; a step waits for
the process that has most, so an imbalance of 20 % is a sixth of the machine idle.
"""

import time
from collections.abc import Callable, Sequence

import numpy as np
from measuring import parser_of

from onethinker.training.balance import balance, imbalance

Share = Callable[[Sequence[float], int], list[int]]
ANSWERS = 8


def main() -> None:
    """Print the imbalance of SFT and of each update of RL, for several numbers of processes."""
    parser = parser_of(__doc__)
    parser.add_argument("--steps", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    random = np.random.default_rng(arguments.seed)
    print("step                                  processes    before, mean / worst    after, mean / worst")
    for batch, processes in ((32, 8), (128, 8), (128, 32), (1024, 256)):
        steps = [totals(random, batch) for _ in range(arguments.steps)]
        row(f"SFT, {batch} samples", processes, [(one, one) for one in steps], updates=1)
    for prompts, updates, processes in ((128, 1, 8), (128, 4, 8), (128, 1, 32), (128, 4, 32)):
        steps_of_rl = [groups(random, prompts) for _ in range(arguments.steps)]
        row(f"RL, {prompts} prompts, {updates} update(s)", processes, steps_of_rl, updates=updates)
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


def groups(random: np.random.Generator, count: int) -> tuple[list[float], list[float]]:
    """Return what is known before the answers are sampled, the prompts, and what is learned from then."""
    prompts, responses = lengths(random, count)
    answers = responses[:, None] * random.lognormal(0, 0.4, (count, ANSWERS))
    return list(map(float, prompts)), list(map(float, prompts + np.clip(answers, 16, 4096).sum(1)))


def row(name: str, processes: int, steps: Sequence[tuple[list[float], list[float]]], *, updates: int) -> None:
    """Print mean and worst imbalance of the slowest updates, each against its own mean."""
    found = []
    for known, costs in steps:
        in_turns = [index % processes for index in range(len(costs))]
        balanced = balance(known, processes, updates=updates, same_number=name.startswith("RL"))
        found.append([excess(costs, chosen, processes, updates) for chosen in (in_turns, balanced)])
    means, worst = np.mean(found, 0), np.max(found, 0)
    cells = [f"{mean:8.1%} / {most:6.1%}" for mean, most in zip(means, worst, strict=True)]
    print(f"{name:37} {processes:9}    {cells[0]:>20}    {cells[1]:>20}")


def excess(costs: Sequence[float], chosen: Sequence[int], processes: int, updates: int) -> float:
    """Return how much longer the updates of a step take than if all processes had as much of each."""
    parts = [range(update, len(costs), updates) for update in range(updates)]
    sizes = [sum(costs[item] for item in part) for part in parts]
    worst = [
        size * (1 + imbalance([costs[item] for item in part], [chosen[item] for item in part], processes))
        for part, size in zip(parts, sizes, strict=True)
    ]
    return sum(worst) / sum(sizes) - 1


if __name__ == "__main__":
    main()
