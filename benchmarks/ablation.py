"""EMA-GRPO against its rivals: each trains from the same weights on the same questions, with several seeds.

Run: python benchmarks/ablation.py runs/sft/model --output runs/ablation
     python benchmarks/ablation.py runs/erring/sft/model --recipe erring_rl --teacher erring_sft --world things

A method is a way to turn rewards into advantages. All of them get the same prompts in the same order, the same sampling
and the same number of steps; a seed changes the order of the data and the sampling for all alike. Every model answers
the same held-out questions greedily. The table gives each task's change of accuracy against the starting weights with a
95 % interval over questions and seeds, and below it EMA-GRPO less each rival, paired. --scale "spatial grounding=10"
counts a task's reward more, for all methods, which shows what an estimator does when scales differ. --teacher names the
recipe of the SFT before, which then goes on for as many seconds as EMA-GRPO took, as one more method. Stopped at any
time, the same command goes on where it was.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from measuring import parser_of
from numpy.typing import NDArray

from onethinker.evaluation.results import Result
from onethinker.evaluation.runs import load_evaluation
from onethinker.families.built_in import LONGEST_ANSWER
from onethinker.rl.advantages import compute_advantages, dr_grpo, find_estimator, grpo
from onethinker.storage.rollouts import read_rollouts
from onethinker.training.config import RlRecipe
from onethinker.training.rl_settings import AdvantageSettings
from onethinker.training.state.progress import EmaState

METHODS: dict[str, tuple[str, ...]] = {
    "ema_grpo": (),
    "grpo": ("advantage.algorithm=grpo",),
    "dr_grpo": ("advantage.algorithm=dr_grpo", "loss.reduction=constant_length"),
    "rloo": ("advantage.algorithm=rloo",),
    "release": ("advantage.guard=group_std",),
}
"""Settings of each that differ from the recipe's; "release" is EMA-GRPO with the guard of the released code."""
RESAMPLES = 4000

SCALES = (0.1, 1.0, 10.0)
"""What a task's rewards are multiplied by, to see what an estimator makes of it."""
Accuracies = dict[str, NDArray[np.float64]]
"""By task: accuracies of seeds (rows) on questions (columns)."""


def main() -> None:
    """Train and evaluate what is missing, and print the tables."""
    parser = parser_of(__doc__)
    parser.add_argument("model", help="a model folder after SFT")
    parser.add_argument("--output", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--recipe", default="tiny_rl", help="name or file of the RL recipe")
    parser.add_argument("--teacher", help="name or file of the SFT recipe that the weights come from")
    parser.add_argument("--world", default="shapes")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--questions", type=int, default=1100, help="held-out questions, over all tasks")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--set", nargs="*", default=[], help="settings of every RL run: dtype=mixed …")
    parser.add_argument("--scale", help='what a task\'s rewards are multiplied by: "spatial grounding=10"')
    options = parser.parse_args()

    def scores(model: str, folder: Path) -> dict[str, list[float]]:
        limit = ("--max-new-tokens", str(LONGEST_ANSWER))
        asked = ("--synthetic", str(options.questions), "--world", options.world, *limit)
        if not (folder / "report.html").exists():
            onethinker("evaluate", "--model", model, *asked, "--batch-size", "32", "--output", str(folder))
        return by_task(load_evaluation(folder).results)

    start = scores(options.model, options.output / "start")
    found: dict[str, Accuracies] = {}
    seconds: dict[str, float] = {}
    for seed in range(options.seeds):
        for method in options.methods:
            run = options.output / f"{method}-{seed}"
            settings = (f"model={options.model}", f"steps={options.steps}", f"seed={seed}", f"data.seed={100 + seed}")
            settings += (f"data.world={options.world}", *METHODS[method], *scales(options.scale), *options.set)
            onethinker("rl", options.recipe, "--output", str(run), "--set", *settings)
            keep(found.setdefault(method, {}), scores(str(run / "model"), run / "scores"))
            seconds[method] = seconds.get(method, 0.0) + seconds_a_step(run) / options.seeds
        if options.teacher:
            run = options.output / f"sft-{seed}"
            spent = options.steps * seconds_a_step(options.output / f"ema_grpo-{seed}")
            go_on_with_sft(options.teacher, options.model, run, seed, spent)
            keep(found.setdefault("sft", {}), scores(str(run / "model"), run / "scores"))
    trained = tasks_trained(options.output / f"{options.methods[0]}-0")
    picture = options.output / "changes.png"
    print_tables({task: row for task, row in start.items() if task in trained}, found, picture)
    print_mechanisms(options.output, options.methods, options.seeds, seconds)
    groups = options.output / "groups"
    settings = (f"model={options.model}", "steps=8", "log.rollouts_mb=100", f"data.world={options.world}")
    onethinker("rl", options.recipe, "--output", str(groups), "--set", *settings, *options.set)
    print_weights(groups)
    print_scales(groups, options.recipe)


def keep(found: Accuracies, scores: Mapping[str, Sequence[float]]) -> None:
    """Add a run's accuracies as a row of each task."""
    for task, row in scores.items():
        found[task] = np.vstack([found.get(task, np.empty((0, len(row)))), row])


def go_on_with_sft(recipe: str, model: str, run: Path, seed: int, seconds: float) -> None:
    """Train a model on by SFT for about so many seconds: 5 steps tell how long one takes."""
    probe = run.with_name("sft-seconds")
    onethinker("sft", recipe, "--output", str(probe), "--set", f"model={model}", "steps=5")
    settings = (f"model={model}", f"steps={round(seconds / seconds_a_step(probe))}", f"data.seed={100 + seed}")
    onethinker("sft", recipe, "--output", str(run), "--set", *settings)


def tasks_trained(run: Path) -> set[str]:
    """Return the tasks that a run's prompts were of."""
    return {task for record in journal(run) for task in record["tasks"]}


def onethinker(*words: str) -> None:
    """Run a command, its progress shown; a complete run ends at once. Ends this program where the command fails."""
    status = subprocess.run(
        [sys.executable, "-m", "onethinker", *words], stdout=subprocess.DEVNULL, check=False
    ).returncode
    if status:
        sys.exit(status)


def scales(word: str | None) -> tuple[str, ...]:
    """Return settings that weigh the rewards of a task."""
    if word is None:
        return ()
    task, weight = word.rsplit("=", 1)
    return (f'grading.rewards={{"task" = {{weight = {float(weight)}, problem_types = ["{task}"]}}}}',)


def by_task(results: Sequence[Result]) -> dict[str, list[float]]:
    """Return accuracies by task, in the order of the questions."""
    tasks: dict[str, list[float]] = {}
    for result in sorted(results, key=lambda result: result.sample_id):
        if result.grade is None:
            sys.exit(f"{result.sample_id} has no grade: {result.error}")
        tasks.setdefault(result.task, []).append(result.grade.accuracy)
    return tasks


def change(a: NDArray[np.float64], b: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return resampled means of a - b, over seeds and questions at once; `b` has a row a seed, or one for all."""
    difference = a - b
    seeds = rng.integers(len(difference), size=(RESAMPLES, len(difference)))
    questions = rng.integers(difference.shape[1], size=(RESAMPLES, difference.shape[1]))
    return np.array([difference[rows][:, columns].mean() for rows, columns in zip(seeds, questions, strict=True)])


def print_tables(start: Mapping[str, Sequence[float]], found: Mapping[str, Accuracies], picture: Path) -> None:
    """Print accuracy at the start and each method's change, which `picture` shows; then EMA-GRPO less its rivals."""
    mean, rows = {task: float(np.mean(before)) for task, before in start.items()}, [*start, "mean of tasks"]
    changes: dict[str, list[NDArray[np.float64]]] = {}
    for method, accuracies in found.items():
        parts = [change(accuracies[task], np.array([start[task]]), np.random.default_rng(0)) for task in start]
        changes[method] = [*parts, np.mean(parts, axis=0)]
    mean["mean of tasks"] = float(np.mean(list(mean.values())))
    print("\n| task | start | " + " | ".join(found) + " |\n" + "| --- " * (len(found) + 2) + "|")
    for index, task in enumerate(rows):
        cells = [interval(resampled[index]) for resampled in changes.values()]
        print(f"| {task} | {mean[task]:.3f} | " + " | ".join(cells) + " |")
    print()
    ours = found.get("ema_grpo")
    for method, accuracies in found.items():
        if ours is not None and method != "ema_grpo":
            parts = [change(ours[task], accuracies[task], np.random.default_rng(0)) for task in start]
            print(f"ema_grpo less {method}, mean of tasks: {interval(np.mean(parts, axis=0))}")
    draw(rows, changes, picture)


def draw(rows: Sequence[str], changes: Mapping[str, Sequence[NDArray[np.float64]]], picture: Path) -> None:
    """Write a picture of the changes with their intervals, a row a task."""
    figure, axes = plt.subplots(figsize=(8, 0.5 * len(rows) + 1), layout="constrained")
    places = np.arange(len(rows))[::-1]
    for index, (method, parts) in enumerate(changes.items()):
        means = np.array([part.mean() for part in parts])
        ends = np.array([np.quantile(part, [0.025, 0.975]) for part in parts])
        heights = places + 0.3 * (0.5 - (index + 0.5) / len(changes)) * 2
        axes.errorbar(means, heights, xerr=np.abs(ends - means[:, None]).T, fmt="o", label=method, capsize=2)
    axes.axvline(0, color="gray", linewidth=1)
    axes.set_yticks(places, rows)
    axes.set_xlabel("change of accuracy against the starting weights, 95 % interval")
    axes.legend()
    figure.savefig(picture, dpi=110)
    plt.close(figure)


def interval(resampled: NDArray[np.float64]) -> str:
    """Return the mean of resampled values with the middle 95 % of them."""
    low, high = np.quantile(resampled, [0.025, 0.975])
    return f"{resampled.mean():+.3f} ({low:+.3f} to {high:+.3f})"


def seconds_a_step(run: Path) -> float:
    """Return the median seconds of a step of a run."""
    return float(np.median([record["seconds"] for record in journal(run)]))


def journal(run: Path) -> list[dict]:
    """Return the step records of a run."""
    records = map(json.loads, (run / "journal.jsonl").read_text().splitlines())
    return [record for record in records if "step" in record and "seconds" in record]


def print_mechanisms(output: Path, methods: Sequence[str], seeds: int, seconds: Mapping[str, float]) -> None:
    """Print how much each task pulls, early and late, and what a step costs."""
    print(
        "\n| method | seconds a step | task: share of the gradient in the first and last third |\n| --- | --- | --- |"
    )
    for method in methods:
        shares: dict[str, list[list[float]]] = {}
        for seed in range(seeds):
            records = journal(output / f"{method}-{seed}")
            for part, some in enumerate((records[: len(records) // 3], records[-(len(records) // 3) :])):
                for record in some:
                    for task, row in record["tasks"].items():
                        if row["logp_gradient_fraction"] is not None:
                            shares.setdefault(task, [[], []])[part].append(row["logp_gradient_fraction"])
        told = (f"{task} {np.mean(a):.2f} → {np.mean(b):.2f}" for task, (a, b) in shares.items() if a and b)
        print(f"| {method} | {seconds[method]:.2f} | {', '.join(told)} |")


def print_weights(run: Path) -> None:
    """Print what part of all |advantages| of a task goes to the third of its groups whose rewards differ least."""
    rewards: dict[str, list[list[float]]] = {}
    for group in read_rollouts(run):
        values = [answer["reward"] for answer in group["answers"]]
        if None not in values:
            rewards.setdefault(group["task"], []).append(values)
    estimators = {"ema_grpo, dr_grpo, rloo": dr_grpo, "grpo": grpo}
    print("\n| task | groups | " + " | ".join(estimators) + " |\n" + "| --- " * (len(estimators) + 2) + "|")
    for task, groups in rewards.items():
        rewards_PG = torch.tensor(groups, dtype=torch.float64)
        rewards_PG = rewards_PG[rewards_PG.std(1).argsort()]
        least = len(groups) // 3
        weights = [estimator(rewards_PG).abs().sum(1) for estimator in estimators.values()]
        shares = " | ".join(f"{float(weight[:least].sum() / weight.sum()):.3f}" for weight in weights)
        print(f"| {task} | {least} of {len(groups)} | {shares} |")


def print_scales(run: Path, recipe: str) -> None:
    """Print what part of all |advantages| a task gets when its rewards count a tenth, once, and ten times as much."""
    steps: dict[int, list[tuple[str, list[float]]]] = {}
    for group in read_rollouts(run):
        if group["dropped"] is None:
            rewards = [answer["reward"] for answer in group["answers"]]
            steps.setdefault(group["step"], []).append((group["task"], rewards))
    tasks = sorted({task for groups in steps.values() for task, _ in groups})
    scaled = " | ".join(f"rewards of a task x {scale:g}" for scale in SCALES)
    print(f"\n| method | {scaled} | ms to compute a step's |\n{'| --- ' * (len(SCALES) + 2)}|")
    for method, words in METHODS.items():
        settings = RlRecipe.load(recipe, words).advantage
        means = [np.mean([share_of(task, scale, steps.values(), settings) for task in tasks]) for scale in SCALES]
        began = time.process_time()
        for task in tasks:
            share_of(task, 1.0, steps.values(), settings)
        ms = 1000 * (time.process_time() - began) / len(tasks) / len(steps)
        print(f"| {method} | {' | '.join(f'{mean:.3f}' for mean in means)} | {ms:.2f} |")


def share_of(
    task: str, scale: float, steps: Iterable[Sequence[tuple[str, list[float]]]], settings: AdvantageSettings
) -> float:
    """Return a task's part of all |advantages| over some steps, with its rewards scaled and the other tasks' not."""
    ema: EmaState = {}
    own = whole = 0.0
    for groups in steps:
        tasks = [each for each, _ in groups]
        is_own = torch.tensor([each == task for each in tasks])
        rewards_PG = torch.tensor([rewards for _, rewards in groups], dtype=torch.float64)
        rewards_PG[is_own] *= scale
        advantages_PG, ema = compute_advantages(find_estimator(settings.algorithm), rewards_PG, tasks, ema, settings)
        own += float(advantages_PG[is_own].abs().sum())
        whole += float(advantages_PG.abs().sum())
    return own / whole


if __name__ == "__main__":
    main()
