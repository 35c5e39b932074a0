"""What Muon costs beside AdamW: whole training steps of the quickstart's first lesson, on this processor.

Run: python benchmarks/optimizer.py [--rounds 9]

Both optimizers take steps of `tiny_sight` (32 pictures: forward, backward, optimizer) on two equal models in one
process of one thread, in turns; the time is the process's own, and the figures are medians. The optimizer alone stands
beside, and torch's own Muon, which orthogonalizes in bfloat16: where that is emulated, it shows what ours must not
cost. Exit 1 when a whole step with Muon takes more than 1.5 times one with AdamW. Figures:
docs/results/training_speed.md.
"""

import statistics
import sys
import tempfile
from pathlib import Path

import torch
from measuring import parser_of, seconds

from onethinker.commands.doctor import describe_processor
from onethinker.training.config import SftRecipe
from onethinker.training.opening import open_session
from onethinker.training.packing.row import PrefixGroup
from onethinker.training.session import TrainingSession

BAR = 1.5
"""Wanted: a whole step with Muon takes at most so many times as long as one with AdamW."""


def make_groups(run: TrainingSession, count: int) -> list[PrefixGroup]:
    """Return the first samples of the lesson."""
    read = [run.data.read(number) for number in range(count)]
    prompts = run.data.prompts([request for _, request in read])
    return [
        PrefixGroup(prompt, (run.data.answer_ids(sample.response or ""),))
        for prompt, (sample, _) in zip(prompts, read, strict=True)
    ]


def whole_step(run: TrainingSession, prefix_groups: list[PrefixGroup]) -> float:
    """Return the time of forward, backward and optimizer on one batch."""
    tokens = sum(prefix_group.num_scored for prefix_group in prefix_groups)

    def step() -> None:
        optimizer_step = run.optimization.begin(prefix_groups, 100, tokens=tokens)
        for scored in optimizer_step.rows():
            optimizer_step.backward(scored, -scored.logps_S.sum() / tokens)
        optimizer_step.finish()

    return seconds(step)


def optimizer_alone(optimizer: torch.optim.Optimizer) -> float:
    """Return the time of a step with random gradients."""
    for group in optimizer.param_groups:
        group["lr"] = 0.0
        for parameter in group["params"]:
            parameter.grad = torch.randn_like(parameter)
    taken = seconds(optimizer.step)
    optimizer.zero_grad()
    return taken


def main() -> None:
    """Print the table; leave with 1 when Muon costs too much."""
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="measurements of each side")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print(f"{describe_processor()}, torch {torch.__version__}, one thread, medians of {rounds}")
    with tempfile.TemporaryDirectory() as folder:
        runs = {}
        for kind in ("adamw", "muon"):
            recipe = SftRecipe.load("tiny_sight", [f"optimizer.kind={kind}"])
            runs[kind] = open_session(recipe, Path(folder) / kind)
        prefix_groups = make_groups(runs["muon"], recipe.batch_size)
        whole = [{kind: whole_step(run, prefix_groups) for kind, run in runs.items()} for _ in range(rounds + 1)][1:]
        matrices = runs["muon"].backend.optimizer.param_groups[0]["params"]
        of_torch = torch.optim.Muon([torch.nn.Parameter(matrix.detach().clone()) for matrix in matrices])
        optimizers = {**{kind: run.backend.optimizer for kind, run in runs.items()}, "torch's Muon": of_torch}
        alone = [{kind: optimizer_alone(optimizer) for kind, optimizer in optimizers.items()} for _ in range(4)][1:]
    print("optimizer      alone    whole step")
    for kind in optimizers:
        step = f"{statistics.median(row[kind] for row in whole):9.3f} s" if kind in runs else ""
        print(f"{kind:12} {statistics.median(row[kind] for row in alone):7.3f} s {step}")
    ratio = statistics.median(row["muon"] / row["adamw"] for row in whole)
    print(f"a whole step with Muon takes {ratio:.2f} times one with AdamW; wanted: at most {BAR}")
    if ratio > BAR:
        sys.exit(1)


if __name__ == "__main__":
    main()
