"""Two models on the same samples: by how much they differ, and whether chance alone would do that.

Answers are paired by sample. Right or wrong is compared by the exact McNemar test, everything else by a bootstrap over
the pairs; p-values of single tasks and metrics are corrected for their number (Holm), that of the mean of the tasks
stands alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import comb

import numpy as np
import numpy.typing as npt

from onethinker.evaluation.benchmarks.base import Benchmark
from onethinker.evaluation.benchmarks.registry import groups_of
from onethinker.evaluation.metrics import CONFIDENCE, RATIOS, group_weights, value_of
from onethinker.evaluation.results import Result
from onethinker.evaluation.runs import Run
from onethinker.evaluation.scoring import circular_accuracy
from onethinker.tasks.grading import Grade

MCNEMAR, BOOTSTRAP = "exact McNemar test", "paired bootstrap"
ALL_TASKS = "mean of the tasks"
RESAMPLES = 5000
FEWEST_DIFFERENT = 6
"""With fewer pairs that differ not even a model that wins them all would be told from chance at 0.05: 2 · 0.5⁵ =
0.06.
"""
FEWEST_PAIRS = 20
"""With fewer pairs the percentiles of a bootstrap say little."""
LEVEL = 1 - CONFIDENCE

Question = tuple[str, str, str]
Parts = tuple[float, float]
"""What a sample adds to a number: to the sum above and to the sum below the line; for a mean, its value and 1."""
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """One number of two models over the samples that both have answered.

    `low` and `high` are the 95 % interval of the difference, after less before. `p` is None where there are too few
    samples for a test, and `note` names it; `p_corrected` takes into account how many comparisons stand beside it.
    """

    what: str
    metric: str
    num_pairs: int
    num_unpaired: int
    num_better: int
    num_worse: int
    before: float
    after: float
    low: float
    high: float
    test: str
    p: float | None
    note: str = ""
    p_corrected: float | None = None

    @property
    def difference(self) -> float:
        """After less before."""
        return self.after - self.before

    @property
    def verdict(self) -> str:
        """What may be said: "better", "worse", or why neither."""
        if self.p_corrected is None:
            return self.note
        if self.p_corrected >= LEVEL:
            return "no difference shown"
        return "better" if self.difference > 0 else "worse"


@dataclass(frozen=True)
class RunComparison:
    """All comparisons of two runs."""

    before: str
    after: str
    rows: tuple[Comparison, ...]


def compare_to_first(runs: Sequence[Run]) -> list[RunComparison]:
    """Return how every later run differs from the first one, where they have samples in common."""
    return [compared for run in runs[1:] if (compared := compare_runs(runs[0], run)).rows]


def compare_runs(before: Run, after: Run) -> RunComparison:
    """Return the comparisons of two runs: of every task, and of the published metrics of every benchmark, that both
    have.

    The same runs give the same numbers.
    """
    rng = np.random.default_rng(0)
    rows, task_means = [], []
    for what, metric, first, second in _matching(before, after):
        row, differences = compare_values(first, second, what=what, metric=metric, rng=rng)
        rows.append(row)
        if not before.of_benchmarks:
            task_means.append(differences)
    corrected = iter(holm([row.p for row in rows if row.p is not None]))
    corrected_rows = [replace(row, p_corrected=next(corrected)) if row.p is not None else row for row in rows]
    mean = [_mean_of_tasks(rows, np.mean(task_means, axis=0))] if len(task_means) > 1 else []
    return RunComparison(before.name, after.name, (*mean, *corrected_rows))


def compare_values(
    before: Mapping[str, Parts], after: Mapping[str, Parts], *, what: str, metric: str, rng: np.random.Generator
) -> tuple[Comparison, Array]:
    """Return the comparison of a number over the samples that both have, and its differences under resampling.

    Raises: ValueError: no sample is in both.
    """
    both = [name for name in before if name in after]
    if not both:
        raise ValueError("there is nothing to compare: no sample is in both")
    pairs = np.array([[*before[name], *after[name]] for name in both], dtype=np.float64)
    differences = _resampled_differences(pairs, rng)
    is_binary = bool(np.isin(pairs[:, [0, 2]], (0.0, 1.0)).all() and (pairs[:, [1, 3]] == 1).all())
    gains = _ratio(pairs[:, 2], pairs[:, 3]) - _ratio(pairs[:, 0], pairs[:, 1])
    better, worse = int((gains > 0).sum()), int((gains < 0).sum())
    note = _too_few(better + worse, len(both), fewest=0 if is_binary else FEWEST_PAIRS)
    p = mcnemar(better, worse) if is_binary else bootstrap_p(differences)
    return (
        Comparison(
            what=what,
            metric=metric,
            num_pairs=len(both),
            num_unpaired=len(before.keys() ^ after.keys()),
            num_better=better,
            num_worse=worse,
            before=float(_ratio(pairs[:, 0].sum(), pairs[:, 1].sum())),
            after=float(_ratio(pairs[:, 2].sum(), pairs[:, 3].sum())),
            low=_quantile(differences, (1 - CONFIDENCE) / 2),
            high=_quantile(differences, (1 + CONFIDENCE) / 2),
            test=MCNEMAR if is_binary else BOOTSTRAP,
            p=None if note else p,
            note=note,
        ),
        differences,
    )


def mcnemar(better: int, worse: int) -> float:
    """Return the two-sided p-value that so many pairs turned from wrong to right, and so many back, by the exact test.

    >>> mcnemar(6, 0), mcnemar(3, 3)
    (0.03125, 1.0)
    """
    count = better + worse
    tail: int = sum(comb(count, successes) for successes in range(min(better, worse) + 1))
    return float(min(1.0, 2 * tail / 2**count))


def bootstrap_p(differences: Array) -> float:
    """Return the two-sided p-value of no difference, never 0.

    It is twice the fraction of resampled differences on the other side of 0.
    """
    tail = min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    return min(1.0, 2 * (int(tail) + 1) / (len(differences) + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number, in the same order. Source: Holm 1979.

    >>> holm([0.01, 0.04])
    [0.02, 0.04]
    """
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


def _matching(before: Run, after: Run) -> Iterable[tuple[str, str, dict[str, Parts], dict[str, Parts]]]:
    """Yield what both runs have: a name, a metric, and the parts of each sample in both."""
    firsts, seconds = _sets(before), _sets(after)
    for what, (benchmark, first) in firsts.items():
        if what not in seconds:
            continue
        same = {_question(result) for result in first} & {_question(result) for result in seconds[what][1]}
        for metric in benchmark.compared_by if benchmark else ["accuracy"]:
            one, other = (_parts(own, metric, benchmark, same) for own in (first, seconds[what][1]))
            if one.keys() & other.keys():
                yield what, metric, one, other


def _sets(run: Run) -> dict[str, tuple[Benchmark | None, list[Result]]]:
    sets: dict[str, tuple[Benchmark | None, list[Result]]] = {}
    for evaluation in run.evaluations:
        for result in evaluation.results:
            name = evaluation.benchmark.name if evaluation.benchmark else result.task
            sets.setdefault(name, (evaluation.benchmark, []))[1].append(result)
    return sets


def _question(result: Result) -> Question:
    return result.sample_id, result.problem, result.truth


def _parts(
    results: Sequence[Result], metric: str, benchmark: Benchmark | None, same: set[Question]
) -> dict[str, Parts]:
    """Return what each graded sample adds to a metric, by its question; samples without the metric are left out.

    Forms of one question with its options turned ("circular") add up under their group, those in `same` only.
    """
    # By the question, and not only the id: another question under the same id is no pair.
    graded = {_question(result): result.grade for result in results if result.grade is not None}
    if metric == "accuracy (circular)" and benchmark:
        return _circular_parts({key: grade for key, grade in graded.items() if key in same}, benchmark)
    found = next((each for each in benchmark.metrics if each.name == metric), None) if benchmark else None
    by_group = found.by_group if found else None
    parts = {repr(key): _part(grade, by_group or metric) for key, grade in graded.items()}
    known = {name: part for name, part in parts.items() if part is not None}
    return _weighted(known, results, same) if by_group else known


def _weighted(known: Mapping[str, Parts], results: Sequence[Result], same: set[Question]) -> dict[str, Parts]:
    """Return parts weighted so that each group of samples counts as much as another, of samples in `same` only."""
    group_of = {repr(_question(result)): result.group for result in results if _question(result) in same}
    shared = [name for name in known if name in group_of]
    weights = group_weights([group_of[name] for name in shared])
    return {name: (known[name][0] * weight, weight) for name, weight in zip(shared, weights, strict=True)}


def _circular_parts(graded: Mapping[Question, Grade], benchmark: Benchmark) -> dict[str, Parts]:
    groups = groups_of(benchmark, [sample_id for sample_id, _, _ in graded])
    turns: dict[str, list[float]] = {}
    for group, grade in zip(groups, graded.values(), strict=True):
        turns.setdefault(group, []).append(grade.accuracy)
    return {group: (circular_accuracy([group] * len(own), own).mean, 1.0) for group, own in turns.items()}


def _part(grade: Grade, metric: str) -> Parts | None:
    """Return what a sample adds to a metric; None where its grade lacks the metric."""
    above, below = RATIOS.get(metric, (metric, None))
    value = value_of(grade, above)
    return None if value is None else (value, grade.metrics[below] if below else 1.0)


def _mean_of_tasks(rows: Sequence[Comparison], differences: Array) -> Comparison:
    """Return the comparison of the means of all tasks, each counting the same, from resampling within the tasks."""
    num_pairs = sum(row.num_pairs for row in rows)
    better, worse = sum(row.num_better for row in rows), sum(row.num_worse for row in rows)
    note = _too_few(better + worse, num_pairs, fewest=FEWEST_PAIRS)
    p = None if note else bootstrap_p(differences)
    return Comparison(
        what=ALL_TASKS,
        metric="accuracy",
        num_pairs=num_pairs,
        num_unpaired=sum(row.num_unpaired for row in rows),
        num_better=better,
        num_worse=worse,
        before=float(np.mean([row.before for row in rows])),
        after=float(np.mean([row.after for row in rows])),
        low=_quantile(differences, (1 - CONFIDENCE) / 2),
        high=_quantile(differences, (1 + CONFIDENCE) / 2),
        test=BOOTSTRAP,
        p=p,
        note=note,
        p_corrected=p,
    )


def _too_few(different: int, pairs: int, *, fewest: int) -> str:
    """Return why these pairs are too few for a test that needs at least `fewest`, "" where they are not."""
    if different < FEWEST_DIFFERENT:
        return f"too few: only {different} of {pairs} answers differ"
    return f"too few: {pairs} samples" if pairs < fewest else ""


def _resampled_differences(pairs: Array, rng: np.random.Generator) -> Array:
    """Return the difference, after less before, under drawing the pairs anew; equal pairs are drawn together, which is
    as good.
    """
    different, counts = np.unique(pairs, axis=0, return_counts=True)
    rows = max(1, 1_000_000 // len(different))
    blocks = []
    for start in range(0, RESAMPLES, rows):
        drawn = rng.multinomial(len(pairs), counts / len(pairs), size=min(rows, RESAMPLES - start))
        above_before, below_before, above_after, below_after = (drawn @ different).T
        blocks.append(_ratio(above_after, below_after) - _ratio(above_before, below_before))
    return np.concatenate(blocks)


def _ratio(above: npt.ArrayLike, below: npt.ArrayLike) -> Array:
    """Return one sum divided by the other, 1 where the lower one is 0, as `metrics.estimate_ratio` does."""
    lower = np.asarray(below, dtype=np.float64)
    return np.divide(above, lower, out=np.ones_like(lower), where=lower != 0)


def _quantile(values: Array, fraction: float) -> float:
    return float(np.quantile(values, fraction))
