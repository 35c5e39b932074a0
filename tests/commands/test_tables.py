"""Tables of numbers in a terminal of 80 columns: every name is there whole, every line fits."""

import pytest

from onethinker.commands.tables import print_comparison, print_scores
from onethinker.evaluation.comparison import Comparison, RunComparison
from onethinker.evaluation.metrics import Estimate, Score

TASKS = ("multiple choice", "spatial-temporal grounding", "segmentation/image", "segmentation/video")


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def test_scores_name_each_task_and_each_measure_with_its_interval(capsys):
    value = Estimate(0.25, 0.125, 0.5)
    measures = {"tIoU": value, "negative_points": value, "vIoU@0.5": Estimate(0.5, 0.0, 1.0)}
    print_scores([Score(task, 500, 0, value, value, value, measures) for task in TASKS])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split("  ")[1] for line in lines if line.startswith("  ") and line[2:3].isalpha()] == ["task", *TASKS]
    assert sum("negative_points   0.250 (0.12–0.50)" in line for line in lines) == len(TASKS)
    assert sum("vIoU@0.5" in line and "0.500 (0.00–1.00)" in line for line in lines) == len(TASKS)
    assert lines[-1] == "mean accuracy over tasks 0.250"


def test_a_task_that_was_not_asked_whole_says_how_many_are_missing(capsys):
    print_scores([Score("math", 8, 3, None, None, None)])
    out = capsys.readouterr().out
    assert "3 not asked" in out
    assert "no mean accuracy" in out


def test_a_comparison_names_each_task_and_says_only_what_is_shown(capsys):
    def row(task: str, metric: str, p: float | None) -> Comparison:
        return Comparison(task, metric, 500, 0, 9, 4, 0.338, 0.504, 0.1, 0.25, "", p, "too few: 19 samples", p)

    rows = (row(TASKS[0], "accuracy", 0.001), row(TASKS[1], "accuracy", 0.5), row("MMMU", "accuracy (paper)", None))
    print_comparison(RunComparison("before", "a-run-of-a-long-name", rows))
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out
    better, *others = [line.split() for line in out.splitlines() if "+0.166 (+0.10 to +0.25)" in line]
    assert better[:5] == ["multiple", "choice", "500", "0.338", "0.504"]
    assert better[-1] == "better"
    assert [line[-1] for line in others] == ["–", "–"]
    assert "MMMU, accuracy" in out
