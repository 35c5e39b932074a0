"""Means, ratios and their uncertainty: every sample that was asked for is in the denominator, or there is no
number.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from onethinker.evaluation.results import Result
from onethinker.tasks import Grade

CONFIDENCE = 0.95
RESAMPLES = 2000
RATIOS: Mapping[str, tuple[str, str]] = {
    "cIoU": ("intersection_px", "union_px"),
    "AO (official)": ("overlaps", "frames"),
    "SR@0.5 (official)": ("frames_above_0.5", "frames"),
    "SR@0.75 (official)": ("frames_above_0.75", "frames"),
    "questions answered": ("questions_right", "questions"),
}
"""Metrics of a whole set that are no means over its samples, but one sum over the samples divided by another."""
OWN_RULES = frozenset({"accuracy (paper)", "accuracy (official)"})
"""Accuracies by a rule that differs for some samples only: the others have it under "accuracy" alone."""
_PARTS = frozenset(name for parts in RATIOS.values() for name in parts)


@dataclass(frozen=True)
class Estimate:
    """A mean, or a ratio of sums, with its bootstrap confidence interval."""

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
    """Return the mean of at least one value with its 95 % percentile bootstrap interval; the same values give the same
    one.

    >>> estimate([1.0, 1.0, 1.0])
    Estimate(mean=1.0, low=1.0, high=1.0)
    """
    if not values:
        raise ValueError("the mean of no values is not a number")
    return Estimate(float(np.mean(np.asarray(values, dtype=np.float64))), *_interval(_resampled_means(values, 0)))


def estimate_by_group(values: Sequence[float], groups: Sequence[str]) -> Estimate:
    """Return the mean over groups of the mean of the values in each.

    >>> estimate_by_group([1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"]).mean
    0.5
    """
    weights = group_weights(groups)
    return estimate_ratio([value * weight for value, weight in zip(values, weights, strict=True)], weights)


def group_weights(groups: Sequence[str]) -> list[float]:
    """Return weights with which the mean over samples is that over groups: one over the size of each sample's group.

    >>> group_weights(["a", "a", "b"])
    [0.5, 0.5, 1.0]
    """
    sizes = Counter(groups)
    return [1 / sizes[group] for group in groups]


def value_of(grade: Grade, metric: str) -> float | None:
    """Return a metric of one grade; None where it lacks it."""
    if metric == "accuracy" or (metric in OWN_RULES and metric not in grade.metrics):
        return grade.accuracy
    return grade.metrics.get(metric)


def estimate_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Estimate:
    """Return one sum divided by the other, with the interval from drawing samples (both their parts) anew.

    Where all denominators are 0 the ratio is 1: there was nothing to find, and nothing was found.

    >>> estimate_ratio([1.0, 0.0], [2.0, 2.0]).mean
    0.25

    Raises: ValueError: there are none, or not as many of one as of the other.
    """
    if not numerators or len(numerators) != len(denominators):
        raise ValueError(
            f"a ratio needs as many numerators as denominators, got {len(numerators)} and {len(denominators)}"
        )
    above, below = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    sums = [(above[drawn].sum(axis=1), below[drawn].sum(axis=1)) for drawn in _resampled(len(above))]
    ratios = np.concatenate([_divide(numerator, denominator) for numerator, denominator in sums])
    return Estimate(float(_divide(above.sum(), below.sum())), *_interval(ratios))


def _divide(numerator: npt.ArrayLike, denominator: npt.ArrayLike) -> npt.NDArray[np.float64]:
    below = np.asarray(denominator, dtype=np.float64)
    return np.divide(numerator, below, out=np.ones_like(below), where=below != 0)


def _resampled(count: int, seed: int = 0) -> Iterator[npt.NDArray[np.int64]]:
    """Yield `RESAMPLES` rows of drawn positions in blocks, always the same ones, bounding the memory of large sets."""
    rng = np.random.default_rng(seed)
    rows = max(1, 1_000_000 // count)
    for row in range(0, RESAMPLES, rows):
        yield rng.integers(count, size=(min(rows, RESAMPLES - row), count))


def _interval(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def score_tasks(results: Iterable[Result]) -> tuple[Score, ...]:
    """Return one score per task, by task key, in order of first appearance."""
    by_task: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        by_task[result.task].append(result)
    return tuple(_score(task, own) for task, own in by_task.items())


def mean_accuracy(scores: Sequence[Score]) -> float | None:
    """Return the mean of the tasks' accuracies, each task counting the same; None while one of them has none."""
    means = [score.accuracy.mean for score in scores if score.accuracy is not None]
    return sum(means) / len(means) if means and len(means) == len(scores) else None


def mean_over_tasks(results: Sequence[Result], name: Literal["accuracy", "reward", "format"]) -> Estimate | None:
    """Return the mean over tasks of their means, each task counting the same, with the interval from drawing the
    samples of each task anew; None while a sample is without a grade.
    """
    values: dict[str, list[float]] = defaultdict(list)
    for result in results:
        if result.grade is None:
            return None
        values[result.task].append(getattr(result.grade, name))
    if not values:
        return None
    means = np.mean([_resampled_means(own, seed) for seed, own in enumerate(values.values())], axis=0)
    return Estimate(float(np.mean([np.mean(own) for own in values.values()])), *_interval(means))


def _resampled_means(values: Sequence[float], seed: int) -> npt.NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    return np.concatenate([array[drawn].mean(axis=1) for drawn in _resampled(len(array), seed)])


def _score(task: str, results: Sequence[Result]) -> Score:
    grades = [result.grade for result in results if result.grade is not None]
    num_failed = len(results) - len(grades)
    if num_failed:
        return Score(task, len(results), num_failed, None, None, None)
    names = dict.fromkeys(name for grade in grades for name in grade.metrics)
    return Score(
        task=task,
        num_samples=len(grades),
        num_failed=0,
        reward=estimate([grade.reward for grade in grades]),
        accuracy=estimate([grade.accuracy for grade in grades]),
        format=estimate([grade.format for grade in grades]),
        metrics=_metrics({name: _values(name, task, results) for name in names}),
    )


def _values(metric: str, task: str, results: Sequence[Result]) -> list[float]:
    """Return a metric of every sample. Raises: ValueError: a sample lacks it."""
    values = [result.grade.metrics.get(metric) if result.grade else None for result in results]
    if None in values:
        sample_id = results[values.index(None)].sample_id
        raise ValueError(f"sample {sample_id!r} of {task!r} has no {[metric]}: a metric needs a value for every sample")
    return [value for value in values if value is not None]


def _metrics(values: Mapping[str, Sequence[float]]) -> dict[str, Estimate]:
    """Return the means, and in place of parts of a ratio the ratio."""
    means = {name: estimate(own) for name, own in values.items() if name not in _PARTS}
    ratios = {
        name: estimate_ratio(values[above], values[below]) for name, (above, below) in RATIOS.items() if above in values
    }
    return {**means, **ratios}
