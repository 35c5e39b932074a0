"""What grading costs: 1,024 mixed answers of all tasks, hostile ones included, as a share of the RL step that they
belong to.

Run: python benchmarks/grading.py [--workers 2]

128 questions of all tasks, 8 answers each: right ones, right ones to another question of the task, cut off, without
tags, in words. The hostile ones are a megabyte of brackets, JSON a thousand deep, NaN, powers and factorials that
mathematics can choke on: none of them, one in 64, one in 4. They are graded by the processes that `onethinker rl`
starts, which have graded before; the time is that of the wall from the first answer to the last grade, and the
processor time of all processes together, those that had to be killed included. The step is that of
benchmarks/rl_step.py, pictures of 512 pixels and answers of 64 tokens, taken 64 times for its 2 prompts: far less than
that of a model that is of use, whose answers take longer to write and not to grade. Figures:
docs/results/training_speed.md.
"""

import os
import statistics
import time
from collections import Counter
from pathlib import Path

import torch
from measuring import parser_of
from rl_step import run_ours

from onethinker.core.sample import Sample
from onethinker.data.synthetic import KINDS, make_sample
from onethinker.rewards.config import GradingSettings
from onethinker.rewards.grader import Grader, Ungraded

HOSTILE = (
    "[" * 1_000_000,
    "<answer>" * 100_000,
    "<think></think><answer>" + "[" * 1000 + "]" * 1000 + "</answer>",
    '<think></think><answer>{"boxes": {"1": [NaN, 1e999, -1, 2]}}</answer>',
    "<think></think><answer>9**9**9**9</answer>",
    "<think></think><answer>10000000!</answer>",
    r"<think></think><answer>\frac{" + r"\frac{" * 300 + "</answer>",
    "<think></think><answer>(x+1)^{99999}</answer>",
)


def make_answers(questions: int, *, every: int) -> list[tuple[Sample, list[str]]]:
    """Return the questions, each with 8 answers; two answers of every so many questions are hostile, of none for 0."""
    asked = []
    for number in range(questions):
        problem_type, data_type = KINDS[number % len(KINDS)]
        sample, other = (make_sample(seed, number, problem_type=problem_type, data_type=data_type) for seed in (0, 1))
        right, wrong = sample.response or "", other.response or ""
        answers = [right, right, wrong, right[: len(right) * 2 // 3], "42", "I see nothing of the kind.", right, wrong]
        if every and number % every == 0:
            answers[-2:] = [HOSTILE[(2 * (number // every) + n) % len(HOSTILE)] for n in range(2)]
        asked.append((sample, answers))
    return asked


def processor_seconds() -> float:
    """Return the processor time of this process and of all below it, also of those that have ended."""
    parents, seconds = {}, {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(status.parent.name)] = int(fields[1])
        seconds[int(status.parent.name)] = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    family = {os.getpid()}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(seconds[process] for process in family)


def grade(grader: Grader, asked: list[tuple[Sample, list[str]]]) -> tuple[float, float, Counter[str]]:
    """Return seconds of the wall and of all processors, and what became of the groups."""
    started, spent = time.perf_counter(), processor_seconds()
    results = [grading.result() for grading in [grader.submit(sample, answers) for sample, answers in asked]]
    outcome = Counter("dropped" if isinstance(result, Ungraded) else "graded" for result in results)
    return time.perf_counter() - started, processor_seconds() - spent, outcome


def main() -> None:
    """Print the seconds and their share of a step."""
    parser = parser_of(__doc__)
    parser.add_argument("--workers", type=int, default=2, help="grading processes; 0 grades in this one")
    workers = parser.parse_args().workers
    torch.set_num_threads(1)
    seconds = run_ours(512, 3)["seconds"]
    assert isinstance(seconds, list)
    step = 64 * statistics.median(seconds[1:])
    print(f"a step of 128 prompts: {step:.0f} s of processor time")
    with Grader(GradingSettings(workers=workers), "paper") as grader:
        grade(grader, make_answers(len(KINDS), every=0))
        for name, every in (("no hostile answer", 0), ("16 hostile answers", 16), ("256 hostile answers", 1)):
            wall, spent, outcome = grade(grader, make_answers(128, every=every))
            print(
                f"{name:20} wall {wall:6.2f} s, processor {spent:6.2f} s = {spent / step:.2%} of the step; groups"
                f" {dict(outcome)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
