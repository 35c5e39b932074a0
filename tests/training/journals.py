"""Journals of runs that never were: made of real grades of policies that are made up, and of steps of SFT."""

import json
import random
from collections.abc import Callable
from dataclasses import asdict

import torch

from onethinker.core.sample import Sample
from onethinker.data.synthetic import make_sample
from onethinker.rl.advantages import ema_grpo
from onethinker.tasks import find_task, grade_response
from onethinker.training.config import RlRecipe, SftRecipe
from onethinker.training.metrics.alarms import find_alarms
from onethinker.training.metrics.records import SftRow, as_record
from onethinker.training.metrics.task_rows import Summary, covers_whole_frame, note_answer, task_rows

RL = RlRecipe(log={"alarms": {"window": 5}})
SFT = SftRecipe(steps=1000, log={"alarms": {"window": 5}})
RL_STEP = {
    "stage": "rl",
    "loss": 0.02,
    "kl": 0.01,
    "entropy": 0.6,
    "clip_fraction": 0.02,
    "grad_norm": 0.4,
    "updates": 1,
    "groups": 2,
}
RL_STEP |= {
    "seconds": 2.0,
    "seconds_by_phase": {"rollout": 1.2, "update": 0.7},
    "tokens_by_phase": {"rollout": 900, "update": 800},
}
RL_STEP |= {"dropped_groups": 0, "surplus_groups": 0, "ungraded": [], "skipped_samples": [], "bad_steps": []}
"""A step of RL that learns, without its tasks."""
Policy = Callable[[Sample, random.Random], str]
"""Gives a whole response to a sample."""


def respond(answer: str, thinking: str = "I look.") -> str:
    return f"<think>{thinking}</think><answer>{answer}</answer>"


def boxes(*sides: float) -> str:
    return respond(json.dumps({"boxes": sides}))


def journal(
    problem: str,
    policy: Policy,
    *,
    steps: int = 10,
    data_type: str = "image",
    limit: int | None = None,
    drop: bool = False,
):
    """Return rows of a run with two prompts a step and four answers a prompt, graded as in training; tokens are words.

    Groups that are all right or all wrong are dropped if `drop` says so.
    """
    task, chance, rows, ema = find_task(problem, data_type), random.Random(3), [], {}
    for step in range(steps):
        summaries = []
        for index in range(2):
            sample = make_sample(9, 2 * step + index, problem_type=problem, data_type=data_type)
            texts = [policy(sample, chance) for _ in range(4)]
            texts = [" ".join(text.split()[:limit]) for text in texts]
            grades = [grade_response(text, sample.truth, task=task, options=sample.options) for text in texts]
            accuracy = sum(grade.accuracy for grade in grades) / 4
            summaries.append(
                Summary(
                    index=index,
                    task=task.key,
                    rewards=tuple(grade.reward for grade in grades),
                    accuracy=accuracy,
                    format=sum(grade.format for grade in grades) / 4,
                    dropped=(
                        ("all_wrong" if accuracy <= 0.01 else "all_right" if accuracy >= 0.99 else None)
                        if drop
                        else None
                    ),
                    prompt_tokens=40,
                    lengths=tuple(len(text.split()) for text in texts),
                    truncated=sum(limit is not None and len(text.split()) == limit for text in texts),
                    answers=tuple(map(note_answer, texts)),
                    whole_frames=tuple(covers_whole_frame(text, task, sample.options) for text in texts),
                )
            )
        kept = [summary for summary in summaries if summary.kept]
        rewards = torch.tensor([summary.rewards for summary in kept], dtype=torch.float64).reshape(-1, 4)
        advantages, ema = ema_grpo(
            rewards, [task.key] * len(kept), ema, ema_decay=0.9, min_sigma=1e-3, clip=10.0, guard="clip"
        )
        sizes = {summary.index: float(row.abs().mean()) for summary, row in zip(kept, advantages, strict=True)}
        found = task_rows(summaries, sizes, {name: moments.sigma for name, moments in ema.items()}, {})
        counts = {"groups": len(kept), "dropped_groups": 2 - len(kept), "updates": min(1, len(kept))}
        # As the journal's reader gets it.
        tasks = {name: asdict(row) for name, row in found.items()}
        rows.append(json.loads(json.dumps({**RL_STEP, **counts, "step": step + 1, "tasks": tasks})))
    return rows


def all_names(rows: list[dict], recipe: RlRecipe | SftRecipe = RL) -> list[str]:
    return [alarm.name for alarm in find_alarms(rows, recipe, rows[:10])]


def sometimes_right(sample: Sample, chance: random.Random) -> str:
    """Right in six of ten answers, else one of many wrong ones."""
    if chance.random() < 0.6:
        return respond(sample.truth)
    if sample.problem_type == "spatial grounding":
        left, top = chance.randrange(0, 500), chance.randrange(0, 500)
        return boxes(left, top, left + chance.randrange(50, 500), top + chance.randrange(50, 500))
    return respond(chance.choice(["A", "B", "C", "D", "7", "12"]))


def learning(**changes: object) -> list[dict]:
    """Return rows of a run of RL that learns, changed in its last five steps."""
    rows = journal("numerical", sometimes_right)
    return [*rows[:5], *({**row, **changes} for row in rows[5:])]


def sft(count: int = 30, **changes: object) -> list[dict]:
    """Return rows of a run of SFT that learns, changed after its tenth step."""
    rows = []
    for step in range(1, count + 1):
        row = SftRow(
            step, "sft", 3.0 * 0.97**step, 0.5, 0.8, 1e-4, 4000, 2.0, {"update": 1.9}, {"update": 9000}, {}, []
        )
        rows.append({**as_record(row), **(changes if step > 10 else {})})
    return rows
