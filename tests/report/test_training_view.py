"""What the page of a run shows, worked out of a journal by hand."""

import json
from dataclasses import fields
from pathlib import Path

import pytest

from onethinker.cli import main
from onethinker.evaluation.runs import Training
from onethinker.report.charts import band_chart
from onethinker.report.training_view import (
    RUN_CURVES,
    TASK_CURVES,
    alarm_spans,
    chart_groups,
    sampled_answers,
    speeds,
    validation_table,
)
from onethinker.training.metrics.records import DpoRow, RlRow, SftRow, TaskRow

ALARM = {"name": "length", "task": "tracking", "text": "answers are cut"}
TASK = {"reward": 1.0, "accuracy": 0.5, "sigma": 0.1, "groups": 4, "dropped_groups": 1, "answer_tokens": 20.0}


def estimate(mean: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - 0.1, "high": mean + 0.1}


def step(number: int, **fields) -> dict:
    speed = {"seconds_by_phase": {"update": 2.0}, "tokens_by_phase": {"update": 100}}
    return {"step": number, "stage": "rl", "loss": 0.1, "seconds": 3.0, "tasks": {"tracking": TASK}, **speed, **fields}


def validation(number: int, mean: float) -> dict:
    return {
        "step": number,
        "stage": "validation",
        "accuracy": estimate(mean),
        "tasks": {"tracking": {"asked": 3, "failed": 0, "accuracy": estimate(mean)}},
        "score": {"name": "accuracy", **estimate(mean)},
        "best_step": number,
        "ends_run": False,
    }


def write_run(folder: Path, rows: list[dict]) -> Path:
    folder.mkdir()
    (folder / "journal.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "recipe.json").write_text(json.dumps({"steps": 2, "seed": 0, "validation": {"score": "accuracy"}}))
    return folder


@pytest.fixture
def run(tmp_path) -> Path:
    return write_run(tmp_path / "run", [validation(0, 0.2), step(1, alarms=[ALARM]), step(2), validation(2, 0.4)])


def charts(training: Training) -> dict[str, list[str]]:
    return {group.title: [label for label, _ in group.charts] for group in chart_groups(training)}


def test_each_curve_that_a_journal_has_is_drawn_and_no_other() -> None:
    shown = charts(Training("run", (step(1), step(2)), None))
    assert shown["The run"] == ["Loss", "Reward, mean over tasks", "Accuracy, mean over tasks"]
    assert shown["Dropped groups by task"] == ["tracking"]
    assert shown["Speed, memory and data"] == ["Seconds per step", "Tokens per second, update", "Seconds of update"]
    assert "Validation" not in shown
    assert "KL by task" not in shown


def test_fields_of_a_row_that_a_page_draws_are_those_that_a_journal_can_have() -> None:
    known = {field.name for row in (RlRow, SftRow, DpoRow, TaskRow) for field in fields(row)}
    drawn = [*(name for name, _ in RUN_CURVES), *(name for name, _, _ in TASK_CURVES), "memory_gib", "passes"]
    assert [name for name in drawn if name not in known] == []


def test_memory_and_passes_are_drawn_where_a_journal_has_them() -> None:
    rows = tuple(step(n, memory_gib=n + 0.5, passes={"tracking/video": n / 4, "OCR/image": 0.0}) for n in (1, 2))
    shown = charts(Training("run", rows, None))["Speed, memory and data"]
    assert shown[-3:] == ["Peak GPU memory, GiB", "Passes over tracking/video", "Passes over OCR/image"]


def test_validations_are_drawn_with_their_intervals() -> None:
    training = Training("run", (step(1),), None, (validation(0, 0.2), validation(2, 0.4)))
    assert charts(training)["Validation"] == ["accuracy", "tracking"]
    [group] = [group for group in chart_groups(training) if group.title == "Validation"]
    assert group.charts[0][1].band.count(",") == 4  # two ends of two intervals
    assert validation_table(training)[0] == ("all tasks", "accuracy", estimate(0.4), estimate(0.2))


def test_the_band_of_a_chart_encloses_its_curve() -> None:
    chart = band_chart([(0, 0.2, 0.1, 0.3), (10, 0.4, 0.3, 0.5)], label="accuracy")
    heights = [float(point.split(",")[1]) for point in chart.band.split()]
    first, last = (float(point.split(",")[1]) for point in chart.smooth.split())
    assert heights[0] < first < heights[3]
    assert heights[1] < last < heights[2]


def test_an_alarm_is_shown_once_with_its_steps() -> None:
    [span] = alarm_spans([step(1, alarms=[ALARM]), step(2), step(3, alarms=[{**ALARM, "text": "still"}])])
    assert (span.name, span.first, span.last, span.steps, span.text) == ("length", 1, 3, 2, "still")


def test_a_phase_without_tokens_has_no_speed() -> None:
    assert speeds({"seconds_by_phase": {"checkpoint": 1.0, "data": 0.0}, "tokens_by_phase": {"data": 5}}) == {}


def test_sampled_answers_are_those_of_the_last_page_and_only_if_they_fit(tmp_path) -> None:
    (tmp_path / "answers").mkdir()
    for number in (5, 10):
        page = f"<html><main>\n<h1>Answers of step {number}</h1>\n<p>said</p></main></html>"
        (tmp_path / f"answers/step-{number:08d}.html").write_text(page)
    assert sampled_answers(tmp_path, 1000) == ("Answers of step 10", "\n<p>said</p>")
    assert sampled_answers(tmp_path, 10) is None
    assert sampled_answers(tmp_path / "none", 1000) is None


def test_watch_writes_the_page_of_a_run(run, capsys) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["watch", str(run), "--html"])
    assert str(run / "report.html") in capsys.readouterr().out.splitlines()
    page = (run / "report.html").read_text()
    for words in ("2 steps of 2", "answers are cut", "accuracy by task", "The validation after step 2", "0.400"):
        assert words.lower() in page.lower(), words
    assert 'http-equiv="refresh"' not in page  # it is done


def test_report_of_a_run_is_the_same_page(run, tmp_path, capsys) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["report", str(run), "--output", str(tmp_path / "page.html")])
    assert "The validation after step 2" in (tmp_path / "page.html").read_text()
