"""Means and their uncertainty: every sample that was asked for stands in the denominator, or there is no mean."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from onethinker.evaluation.results import Result

CONFIDENCE = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A mean with its bootstrap confidence interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Score:
    """How a model did on one task; without a single mean while a sample of it is still without an answer."""

    task: str
    num_samples: int
    num_failed: int
    reward: Estimate | None
    accuracy: Estimate | None
    format: Estimate | None
    metrics: dict[str, Estimate] = field(default_factory=dict)


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of at least one value with its 95 % percentile bootstrap interval; the same values give the same one.

    >>> estimate([1.0, 1.0, 1.0])
    Estimate(mean=1.0, low=1.0, high=1.0)
    """
    if not values:
        raise ValueError("the mean of no values is not a number")
    array = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(0)
    rows = max(1, 1_000_000 // len(array))  # bounds the memory of large sets
    sizes = [min(rows, RESAMPLES - row) for row in range(0, RESAMPLES, rows)]
    means = np.concatenate([array[rng.integers(len(array), size=(size, len(array)))].mean(axis=1) for size in sizes])
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(float(array.mean()), float(low), float(high))


def score_tasks(results: Iterable[Result]) -> tuple[Score, ...]:
    """Return one score per task, by statistics name, in order of first appearance."""
    by_task: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        by_task[result.task].append(result)
    return tuple(_score(task, own) for task, own in by_task.items())


def mean_accuracy(scores: Sequence[Score]) -> float | None:
    """Return the mean of the tasks' accuracies, each task counting the same; None while one of them has none."""
    means = [score.accuracy.mean for score in scores if score.accuracy is not None]
    return sum(means) / len(means) if means and len(means) == len(scores) else None


def _score(task: str, results: Sequence[Result]) -> Score:
    grades = [result.grade for result in results if result.grade is not None]
    num_failed = len(results) - len(grades)
    if num_failed:
        return Score(task, len(results), num_failed, None, None, None)
    names = list(dict.fromkeys(name for grade in grades for name in grade.metrics))
    for grade, result in zip(grades, results, strict=True):
        if missing := [name for name in names if name not in grade.metrics]:
            raise ValueError(f"sample {result.sample_id!r} of {task!r} has no {missing}: a metric needs a value for every sample")
    return Score(
        task=task,
        num_samples=len(grades),
        num_failed=0,
        reward=estimate([grade.reward for grade in grades]),
        accuracy=estimate([grade.accuracy for grade in grades]),
        format=estimate([grade.format for grade in grades]),
        metrics={name: estimate([grade.metrics[name] for grade in grades]) for name in names},
    )
