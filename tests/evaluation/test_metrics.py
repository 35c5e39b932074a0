import numpy as np
import pytest
from scipy.stats import bootstrap

from onethinker.evaluation.metrics import Estimate, estimate, estimate_ratio, mean_accuracy, score_tasks
from onethinker.evaluation.results import Result
from onethinker.tasks.grading import Grade


def result(
    name: str, accuracy: float | None, *, task: str = "numerical", metrics: dict[str, float] | None = None
) -> Result:
    grade = None if accuracy is None else Grade(accuracy + 1, accuracy, 1.0, 0.5, metrics or {})
    return Result(key=name, sample_id=name, task=task, problem="How many?", truth="2", response="", grade=grade)


def test_mean_counts_every_sample_wrong_ones_too():
    [score] = score_tasks([result("a", 1.0), result("b", 0.0), result("c", 0.0), result("d", 0.0)])
    assert (score.accuracy.mean, score.reward.mean, score.num_samples) == (0.25, 1.25, 4)


def test_a_task_with_an_unasked_sample_has_no_mean_and_no_total_either():
    broken, whole = score_tasks([result("a", 1.0), result("b", None), result("c", 1.0, task="math")])
    assert (broken.accuracy, broken.num_failed, broken.num_samples) == (None, 1, 2)
    assert whole.accuracy.mean == 1.0
    assert mean_accuracy([broken, whole]) is None


def test_total_counts_tasks_alike_however_many_samples_they_have():
    scores = score_tasks([result("a", 1.0), result("b", 1.0), result("c", 1.0), result("d", 0.0, task="math")])
    assert mean_accuracy(scores) == 0.5


def test_metrics_are_averaged_by_name():
    [score] = score_tasks(
        [result("a", 1, metrics={"iou": 0.5, "r@0.5": 1}), result("b", 0, metrics={"iou": 0.0, "r@0.5": 0})]
    )
    assert {name: value.mean for name, value in score.metrics.items()} == {"iou": 0.25, "r@0.5": 0.5}


def test_a_metric_that_some_samples_lack_is_refused():
    with pytest.raises(ValueError, match=r"sample 'b' .*\['iou'\]"):
        score_tasks([result("a", 1, metrics={"iou": 0.5}), result("b", 0)])


def test_interval_agrees_with_scipy():
    values = np.random.default_rng(3).random(80)
    ours = estimate(values.tolist())
    scipys = bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(1)).confidence_interval
    # Two bootstraps with other draws: their ends differ by the noise of 2,000 and 9,999 resamples.
    assert (ours.low, ours.high) == pytest.approx((scipys.low, scipys.high), abs=0.006)
    assert ours.low < ours.mean < ours.high


def test_interval_is_the_same_every_time_and_covers_large_sets():
    values = [0.0, 1.0] * 10_000
    assert estimate(values) == estimate(values)
    # A proportion of one half in 20,000: 1.96 * sqrt(0.25 / 20000) = 0.0069 to both sides.
    assert estimate(values).high - 0.5 == pytest.approx(0.0069, abs=0.0007)


def test_no_values_have_no_mean():
    with pytest.raises(ValueError, match="no values"):
        estimate([])


def test_a_ratio_is_of_sums_and_not_a_mean_of_ratios():
    # One picture of 10 of 10 pixels right, one of 0 of 90: cIoU 10 / 100, gIoU (1 + 0) / 2.
    results = [
        result("a", 1, metrics={"gIoU": 1.0, "intersection_px": 10, "union_px": 10}),
        result("b", 0, metrics={"gIoU": 0.0, "intersection_px": 0, "union_px": 90}),
    ]
    [score] = score_tasks(results)
    assert {name: value.mean for name, value in score.metrics.items()} == {"gIoU": 0.5, "cIoU": 0.1}


def test_the_interval_of_a_ratio_draws_samples_with_both_their_parts():
    rng = np.random.default_rng(5)
    below = rng.integers(1, 100, 60).astype(float)
    above = below * rng.random(60)
    ours = estimate_ratio(above.tolist(), below.tolist())
    scipys = bootstrap(
        (above, below),
        lambda a, b, axis: a.sum(axis) / b.sum(axis),
        method="percentile",
        paired=True,
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert ours.mean == above.sum() / below.sum()
    # Two bootstraps with other draws, as for means.
    assert (ours.low, ours.high) == pytest.approx((scipys.low, scipys.high), abs=0.008)


def test_frames_of_long_videos_count_more_in_got_10ks_own_numbers():
    track = {"AO": 0.0, "frames_above_0.5": 0.0, "frames_above_0.75": 0.0, "frames": 1.0, "overlaps": 0.0}
    long = {"AO": 0.8, "frames_above_0.5": 9.0, "frames_above_0.75": 6.0, "frames": 9.0, "overlaps": 7.2}
    [score] = score_tasks([result("a", 0, metrics=track), result("b", 0.8, metrics=long)])
    means = {name: value.mean for name, value in score.metrics.items()}
    assert means == {
        "AO": 0.4,
        "AO (official)": pytest.approx(0.72),
        "SR@0.5 (official)": 0.9,
        "SR@0.75 (official)": pytest.approx(0.6),
    }


def test_nothing_to_find_and_nothing_found_is_a_ratio_of_one():
    assert estimate_ratio([0.0], [0.0]) == Estimate(1.0, 1.0, 1.0)


@pytest.mark.parametrize("parts", [([], []), ([1.0], [1.0, 2.0])], ids=["none", "uneven"])
def test_a_ratio_needs_its_parts(parts):
    with pytest.raises(ValueError, match="as many numerators"):
        estimate_ratio(*parts)
