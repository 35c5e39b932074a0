"""A benchmark's numbers out of its results: our estimate of every metric beside what is published."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from onethinker.evaluation.benchmarks.base import UNNAMED, Benchmark, Metric
from onethinker.evaluation.benchmarks.published import published_values
from onethinker.evaluation.benchmarks.registry import groups_of
from onethinker.evaluation.metrics import OWN_RULES, Estimate, estimate, estimate_by_group, score_tasks, value_of
from onethinker.evaluation.results import Result
from onethinker.tasks import Grade


@dataclass(frozen=True)
class BenchmarkRow:
    """One metric of one benchmark: ours, 0 to 1, or why there is none; and the published ones by model, in percent."""

    benchmark: str
    metric: str
    estimate: Estimate | None
    missing: str
    published: dict[str, float]


def score_benchmark(benchmark: Benchmark, results: Sequence[Result]) -> tuple[BenchmarkRow, ...]:
    """Return a row for every metric of a benchmark, in its order, whether or not it could be measured.

    Samples of several tasks (choices and numbers) count together in "accuracy". A sample without a grade withholds all
    numbers; a metric that some grades lack (masks before their stage has run) is withheld alone.
    """
    failed = sum(result.grade is None for result in results)
    problem = "" if results else "no samples"
    problem = f"{failed} of {len(results)} samples without a grade" if failed else problem
    estimates = {} if problem else _estimates(benchmark, results)
    rows = []
    for metric in benchmark.metrics:
        found = estimates.get(metric.name)
        why = problem or ("" if found else _needs(metric))
        rows.append(BenchmarkRow(benchmark.name, metric.name, found, why, published_values(benchmark, metric)))
    return tuple(rows)


def unparsable(results: Sequence[Result]) -> list[str]:
    """Return the ids of the samples whose answer could not be read, and counts as the worst."""
    return [result.sample_id for result in results if result.grade is not None and "answer" in result.grade.problems]


def circular_accuracy(groups: Sequence[str], accuracies: Sequence[float]) -> Estimate:
    """Return the fraction of questions that are right in all their forms. Source: MMBench, CircularEval.

    >>> circular_accuracy(["1", "2", "1"], [1.0, 1.0, 0.0]).mean
    0.5
    """
    worst: dict[str, float] = defaultdict(lambda: 1.0)
    for group, accuracy in zip(groups, accuracies, strict=True):
        worst[group] = min(worst[group], accuracy)
    return estimate(list(worst.values()))


def _estimates(benchmark: Benchmark, results: Sequence[Result]) -> dict[str, Estimate]:
    grades = [result.grade for result in results if result.grade is not None]
    accuracies = [grade.accuracy for grade in grades]
    groups = [result.group for result in results]
    scores = score_tasks(results)
    estimates = dict(scores[0].metrics) if len(scores) == 1 else {}
    estimates["accuracy"] = estimate(accuracies)
    for metric in benchmark.metrics:
        if found := _own_estimate(metric, grades, groups):
            estimates[metric.name] = found
    if benchmark.circular:
        questions = groups_of(benchmark, [result.sample_id for result in results])
        estimates["accuracy (circular)"] = circular_accuracy(questions, accuracies)
    return estimates


def _own_estimate(metric: Metric, grades: Sequence[Grade], groups: Sequence[str]) -> Estimate | None:
    """Return the number of a metric that its task does not have, where everything for it is there."""
    values = [value_of(grade, metric.by_group or metric.name) for grade in grades]
    known = [value for value in values if value is not None]
    if metric.name in OWN_RULES:
        return estimate(known)
    is_complete = metric.by_group and all(groups) and len(known) == len(values)
    return estimate_by_group(known, groups) if is_complete else None


def _needs(metric: Metric) -> str:
    if metric.name == "judge" or metric.name.startswith("questions answered"):
        return "needs --judge"
    if metric.name == UNNAMED:
        return "the paper does not define this number, so nothing comparable is computed"
    if metric.name.split()[0] in ("cIoU", "gIoU", "J", "F", "J&F"):
        return "needs --segmenter"
    if metric.by_group:
        return "needs --stage score: the saved results do not say which samples belong together"
    return "needs GOT-10k/val" if metric.name.endswith("(official)") else "not measured for these tasks"
