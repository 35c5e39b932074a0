import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from onethinker.evaluation.benchmarks.registry import find_benchmark
from onethinker.evaluation.comparison import (
    BOOTSTRAP,
    MCNEMAR,
    bootstrap_p,
    compare_runs,
    compare_values,
    holm,
    mcnemar,
)
from onethinker.evaluation.results import Result
from onethinker.evaluation.runs import Evaluation, Run
from onethinker.tasks.grading import Grade


def run_of(values, *, name="run", benchmark=None, task="numerical", problem="How many?"):
    """A run with one sample for each (id, accuracy or metrics); None is a sample that was not asked."""
    results = []
    for sample_id, value in values:
        metrics = value if isinstance(value, dict) else {}
        accuracy = 0.0 if isinstance(value, dict) else value
        grade = None if value is None else Grade(1.0, accuracy, 1.0, 0.5, metrics)
        results.append(Result(f"{name}-{sample_id}", sample_id, task, problem, "2", "", grade))
    return Run(
        name,
        (Evaluation(name, Path(name), {}, {}, tuple(results), (), find_benchmark(benchmark) if benchmark else None),),
    )


def test_sub_tasks_count_the_same_when_runs_are_compared_and_captions_by_the_judge_where_the_paper_names_no_metric():
    values = [("1", 1.0), ("2", 1.0), ("3", 0.0)]
    before, after = (
        run_of([*values[:2], ("3", last)], name=name, benchmark="MMT-Caption")
        for name, last in (("a", 0.0), ("b", 1.0))
    )
    for run in (before, after):
        results = [
            replace(result, group=group) for result, group in zip(run.evaluations[0].results, "xxy", strict=True)
        ]
        object.__setattr__(run.evaluations[0], "results", tuple(results))
    [row] = compare_runs(before, after).rows
    assert (row.metric, row.before, row.after) == ("accuracy (sub-tasks)", 0.5, 1.0)
    captions = compared([{"judge": 0.5}] * 20, [{"judge": 1.0}] * 20, benchmark="MMSci-Caption")
    assert [(row.metric, row.before, row.after) for row in captions] == [("judge", 0.5, 1.0)]


def numbered(values):
    return [(f"sample{number}", value) for number, value in enumerate(values)]


def compared(before, after, **of):
    return compare_runs(run_of(numbered(before), name="a", **of), run_of(numbered(after), name="b", **of)).rows


@pytest.mark.parametrize(("better", "worse"), [(6, 0), (0, 6), (12, 3), (5, 5), (0, 0), (40, 61)])
def test_mcnemar_is_the_binomial_test_of_the_pairs_that_differ(better, worse):
    expected = binomtest(better, better + worse).pvalue if better + worse else 1.0
    assert mcnemar(better, worse) == pytest.approx(expected, rel=1e-9)


def test_right_and_wrong_are_counted_by_pair():
    [row] = compared([1.0] * 10 + [0.0] * 20, [0.0] * 2 + [1.0] * 26 + [0.0] * 2)
    assert (row.test, row.num_pairs, row.num_better, row.num_worse) == (MCNEMAR, 30, 18, 2)
    assert row.before == pytest.approx(10 / 30)
    assert row.after == pytest.approx(26 / 30)
    assert row.p == pytest.approx(binomtest(18, 20).pvalue)
    assert row.verdict == "better"
    assert row.low > 0


def test_a_fall_is_worse():
    [row] = compared([1.0] * 10, [0.0] * 10)
    assert (row.verdict, row.low, row.high) == ("worse", -1.0, -1.0)


def test_graded_answers_are_compared_by_a_bootstrap_whose_interval_is_that_of_the_mean_difference():
    rng = np.random.default_rng(1)
    before, gains = rng.uniform(0, 0.5, 400), rng.normal(0.02, 0.1, 400)
    [row] = compared(before.tolist(), (before + gains).tolist())
    assert row.test == BOOTSTRAP
    error = gains.std() / np.sqrt(400)
    assert row.difference == pytest.approx(gains.mean())
    assert row.low == pytest.approx(
        gains.mean() - 1.96 * error, abs=0.15 * error
    )  # 5,000 draws: a percentile is that sure
    assert row.high == pytest.approx(gains.mean() + 1.96 * error, abs=0.15 * error)


def test_pairs_find_a_small_difference_that_the_spread_of_the_samples_would_hide():
    before = np.linspace(0, 0.9, 50)
    [row] = compared(before.tolist(), (before + 0.01).tolist())
    assert row.verdict == "better"
    assert row.difference < 0.1 * before.std()


@pytest.mark.parametrize(
    ("before", "after", "note"),
    [
        ([0.0] * 50, [1.0] * 5 + [0.0] * 45, "too few: only 5 of 50 answers differ"),
        ([0.5] * 19, [0.6] * 19, "too few: 19 samples"),
        ([1.0] * 30, [1.0] * 30, "too few: only 0 of 30 answers differ"),
    ],
    ids=["right or wrong", "graded", "equal"],
)
def test_too_few_samples_get_no_p_value_and_it_is_said(before, after, note):
    [row] = compared(before, after)
    assert (row.p, row.p_corrected, row.verdict) == (None, None, note)


def test_chance_is_called_a_difference_as_rarely_as_it_says():
    rng = np.random.default_rng(5)
    found = 0
    for _ in range(200):
        before, after = rng.uniform(0, 1, 60), rng.uniform(0, 1, 60)
        pairs = [dict(enumerate((value, 1.0) for value in values)) for values in (before, after)]
        row, _ = compare_values(*pairs, what="", metric="", rng=rng)
        found += row.p < 0.05
    assert 2 <= found <= 22  # of 200 at 0.05: 10, and a percentile bootstrap of 60 pairs is a little too sure


def test_p_values_are_corrected_for_their_number():
    assert holm([0.02, 0.001, 0.5]) == pytest.approx([0.04, 0.003, 0.5])
    assert holm([0.4, 0.4, 0.4]) == [1.0, 1.0, 1.0]
    assert holm([]) == []


def test_no_resampled_difference_on_the_other_side_is_not_a_p_value_of_zero():
    assert bootstrap_p(np.ones(99)) == pytest.approx(2 / 100)
    assert bootstrap_p(np.zeros(99)) == 1.0


def test_only_samples_that_both_have_answered_in_the_same_words_are_pairs():
    before = run_of([("one", 1.0), ("two", 0.0), ("three", None), ("four", 1.0)], name="a")
    after = run_of([("one", 1.0), ("two", 1.0), ("three", 1.0), ("five", 1.0)], name="b")
    [row] = compare_runs(before, after).rows
    assert (row.num_pairs, row.num_unpaired, row.num_better) == (2, 3, 1)
    assert compare_runs(before, run_of([("one", 1.0)], problem="Another?")).rows == ()


def test_the_mean_of_the_tasks_counts_each_task_the_same():
    few, many = run_of(numbered([1.0] * 10), task="few"), run_of(numbered([0.0] * 90), task="many")
    better = run_of(numbered([0.0] * 10), task="few"), run_of(numbered([0.0] * 80 + [1.0] * 10), task="many")
    runs = [Run(name, own[0].evaluations + own[1].evaluations) for name, own in (("a", (few, many)), ("b", better))]
    mean, *tasks = compare_runs(*runs).rows
    assert (mean.before, mean.after) == (0.5, pytest.approx(1 / 18))
    assert [row.what for row in tasks] == ["few", "many"]
    assert mean.verdict == "worse"


def test_metrics_that_are_ratios_of_sums_are_compared_as_such():
    before = [{"intersection_px": 50.0, "union_px": 100.0}] * 20 + [{"intersection_px": 0.0, "union_px": 10.0}] * 10
    after = [{"intersection_px": 60.0, "union_px": 100.0}] * 20 + [{"intersection_px": 0.0, "union_px": 10.0}] * 10
    [row] = compared(before, after, benchmark="RefCOCO-seg val", task="segmentation/image")
    assert (row.what, row.metric) == ("RefCOCO-seg val", "cIoU")
    assert (row.before, row.after) == (pytest.approx(1000 / 2100), pytest.approx(1200 / 2100))
    assert row.verdict == "better"


def test_turned_options_are_one_question():
    before = run_of([("7", 1.0), ("1000007", 0.0)], name="a", benchmark="MMBench", task="multiple choice")
    after = run_of([("7", 1.0), ("1000007", 1.0)], name="b", benchmark="MMBench", task="multiple choice")
    [row] = compare_runs(before, after).rows
    assert (row.metric, row.num_pairs, row.before, row.after) == ("accuracy (circular)", 1, 0.0, 1.0)


def test_the_same_runs_give_the_same_numbers():
    values = np.random.default_rng(3).uniform(0, 1, (2, 40)).tolist()
    assert compared(*values) == compared(*values)
    assert json.dumps(compared(*values)[0].p)


def test_samples_that_are_not_shared_cannot_be_compared():
    with pytest.raises(ValueError, match="no sample is in both"):
        compare_values({"a": (1.0, 1.0)}, {"b": (1.0, 1.0)}, what="", metric="", rng=np.random.default_rng(0))
