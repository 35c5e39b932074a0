"""Supervised training in mixed precision against float32, on this machine's processor.

    python benchmarks/mixed.py [--recipe things_sft] [--steps 12] [--rounds 3]

Each is `onethinker sft` from the model in the box with one process and one thread, in turns; the figure is the median
of the seconds of all steps but the first two of each run. The loss of each step is of the same samples: the largest
difference is shown. Figures: docs/results/training_speed.md.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from measuring import parser_of

from onethinker.processes.machine import about_this_machine

DTYPES = ("float32", "mixed")
WARMING = 2


def train(recipe: str, dtype: str, steps: int, output: Path) -> list[dict[str, float]]:
    """Return the journal of a run."""
    settings = ["model=tiny", f"dtype={dtype}", f"steps={steps}"]
    command = [sys.executable, "-m", "onethinker", "sft", recipe, "--output", str(output), "--set", *settings]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=environment, stdout=sys.stderr)
    return [json.loads(line) for line in (output / "journal.jsonl").read_text().splitlines()]


def main() -> None:
    """Train in turns, and print the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--recipe", default="things_sft", help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=12, help="of each run (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    asked = parser.parse_args()
    if asked.steps <= WARMING or asked.rounds < 1:
        parser.error(f"--steps must be more than {WARMING} and --rounds 1 or more")
    seconds: dict[str, list[float]] = {dtype: [] for dtype in DTYPES}
    losses: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for k in range(asked.rounds):
            for dtype in DTYPES:
                journal = train(asked.recipe, dtype, asked.steps, Path(folder) / f"{dtype}-{k}")
                seconds[dtype] += [step["seconds"] for step in journal[WARMING:]]
                losses[dtype] = [step["loss"] for step in journal]
    medians = {dtype: statistics.median(values) for dtype, values in seconds.items()}
    apart = max(abs(a - b) for a, b in zip(*losses.values(), strict=True))
    about = about_this_machine()
    print(f"{asked.recipe}, {asked.rounds} x {asked.steps} steps, {about['date']}, {about['machine']}")
    print("| dtype | seconds a step | times faster |\n| --- | --- | --- |")
    for dtype, median in medians.items():
        print(f"| {dtype} | {median:.2f} | {medians['float32'] / median:.2f} |")
    print(f"Losses are at most {apart:.4f} apart, of {statistics.mean(losses['float32']):.3f}.")


if __name__ == "__main__":
    main()
