"""A run watched: on a terminal, in a pipe, while it goes on, and what stops the watching."""

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from onethinker.commands.console import Lines, watching, watching_training
from onethinker.commands.watch import Watched, watch
from onethinker.core.errors import CheckpointError
from onethinker.evaluation.runs import Training
from onethinker.report.progress import Progress
from onethinker.report.sparkline import sparkline
from onethinker.report.terminal import draw
from onethinker.training.metrics.alarms import Alarm
from onethinker.training.metrics.records import RlRow, SftRow, TaskRow, scalars
from onethinker.training.state.run_folder import RunFolder

TASKS = ("multiple choice", "segmentation/video", "spatial-temporal grounding", "tracking")
ALARM = asdict(
    Alarm(
        "whole_frame", "tracking", "90% of the answers are boxes around [the] whole frame. " + "Look at answers/. " * 6
    )
)


def a_task(step: int, **changes) -> TaskRow:
    values = {
        "reward": 1.0 + step / 100,
        "accuracy": 0.25,
        "format": 1.0,
        "sigma": 0.5,
        "mean_abs_advantage": 0.7,
        "logp_gradient_fraction": 0.25,
        "kl": 0.002,
        "entropy": 0.4,
        "clip_fraction": 0.0,
        "ratio": 1.0,
        "answer_tokens": 1234.5,
        "longest_answer_tokens": 2000,
        "prompt_tokens": 900.0,
        "answers": 16,
        "truncated_answers": 3,
        "groups": 2,
        "dropped_groups": 1,
        "commonest_answer": "a",
        "same_answer_fraction": 0.3,
        "whole_frame_fraction": 0.0,
    }
    return TaskRow(**{**values, **changes})


def a_row(step: int, *, alarms: tuple[dict, ...] = (), tasks: tuple[str, ...] = TASKS) -> dict:
    row = RlRow(
        step=step,
        stage="rl",
        loss=-0.01,
        kl=0.002,
        entropy=0.4,
        clip_fraction=0.0125,
        ratio=1.01,
        grad_norm=0.3,
        updates=1,
        learning_rate=2e-6,
        groups=7,
        dropped_groups=1,
        dropped={"all_wrong": 1},
        surplus_groups=0,
        ungraded=[],
        skipped_samples=[],
        seconds=30.0,
        seconds_by_phase={"data": 1.0, "rollout": 18.0, "grading": 0.5, "update": 8.0, "reference": 2.0},
        tokens_by_phase={
            "data": 115_000,
            "rollout": 1_300_000,
            "grading": 1_200_000,
            "update": 1_300_000,
            "reference": 1_300_000,
        },
        shared_prompt_tokens={"rollout": 800_000, "update": 800_000, "reference": 800_000},
        tasks={task: a_task(step) for task in tasks},
        alarms=list(alarms),
    )
    return json.loads(json.dumps(asdict(row)))


def an_sft_row(step: int) -> dict:
    row = SftRow(
        step=step,
        stage="sft",
        loss=2.0 / step,
        entropy=0.5,
        grad_norm=1.0,
        learning_rate=1e-4,
        answer_tokens=400,
        seconds=2.0,
        seconds_by_phase={"data": 0.5, "update": 1.5},
        tokens_by_phase={"data": 700, "update": 1100},
        shared_prompt_tokens={"update": 0},
        skipped_samples=[],
    )
    return json.loads(json.dumps(asdict(row)))


def make_run(folder: Path, rows: list[dict], steps: int) -> Path:
    folder.mkdir()
    (folder / "recipe.json").write_text(json.dumps({"steps": steps}))
    append(folder, rows)
    return folder


def append(folder: Path, rows: list[dict]) -> None:
    with (folder / "journal.jsonl").open("a") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))


def shown(progress: Progress, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(draw(progress, width))
    return console.file.getvalue()


def test_how_long_everything_will_take_is_said_once_after_the_first_steps_and_kept_up():
    # The first step is slow, another is disturbed. Two hundred steps of this run, and half as much again after it.
    seconds = {1: 30.0, 4: 9.0}
    progress = Progress("SFT", 200, steps_after=100)
    said = [
        line for step in range(1, 13) for line in progress.add({**an_sft_row(step), "seconds": seconds.get(step, 2.0)})
    ]
    assert said == [
        "all stages together will take about 10 min 0 s on this machine, estimated from 9 steps; they can be stopped"
        " and resumed"
    ]
    later = Progress("SFT", 200, [{**an_sft_row(150), "seconds": 2.0, "seconds_by_phase": {}}], steps_after=100)
    assert later.left == "1 min 40 s left, 5 min 0 s for all stages"


def test_a_run_by_itself_says_nothing_of_other_stages():
    progress = Progress("SFT", 200)
    assert [line for step in range(1, 13) for line in progress.add(an_sft_row(step))] == []
    assert "stages" not in progress.left


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_view_fits_its_terminal_and_says_everything(width):
    text = shown(Progress("RL run", 100, [a_row(1), a_row(2, alarms=(ALARM,))]), width)
    assert max(map(len, text.splitlines())) <= width
    assert "whole_frame (tracking): 90% of the answers" in " ".join(text.split())
    if width >= 80:
        assert all(task in text for task in ("multiple choice", "segmentation/video", "tracking"))
        assert "step 2 of 100" in text
        # 98 steps of half a minute.
        assert "49 min 0 s left" in text
        assert all(
            said in text for said in ("1.020", "0.0020", "1234", "rollout 18.00 s 1,300,000 tokens", "shared 2,400,000")
        )
    assert ("pull" in text) is (width == 120)


def test_a_task_that_the_last_step_did_not_have_stays_in_the_view():
    assert "tracking" in shown(Progress("RL", 9, [a_row(1), a_row(2, tasks=("multiple choice",))]), 80)


def test_a_view_of_sft_shows_its_loss():
    text = shown(Progress("SFT", 4, [an_sft_row(step) for step in (1, 2, 3, 4)]), 80)
    assert "loss 0.5000 █▃▂▁" in text
    assert "done" in text


def test_rows_of_an_older_journal_are_shown_with_dashes():
    old = {
        "step": 1,
        "stage": "rl",
        "loss": 0.1,
        "seconds": 2.0,
        "tasks": {"math": {"reward": 1.0, "accuracy": 0.5, "format": 1.0}},
    }
    assert "–" in shown(Progress("RL", 9, [old]), 80)


def test_sparklines_span_from_the_lowest_to_the_highest():
    assert sparkline([1.0] * 300, 20) == "▁" * 20
    assert sparkline([], 20) == ""
    assert len(sparkline([float(n) for n in range(7)], 20)) == 7


def test_an_alarm_is_said_once_when_it_starts_and_again_when_it_comes_back():
    progress = Progress("RL", 9)
    said = [progress.add(a_row(step, alarms=(ALARM,) if step in (2, 3, 5) else ())) for step in range(1, 6)]
    assert [len(texts) for texts in said] == [0, 1, 0, 0, 1]
    assert said[1][0].startswith(
        "alarm from step 2 on: whole_frame (tracking): 90% of the answers are boxes around [the] whole frame"
    )


def test_a_step_that_is_done_again_counts_once():
    progress = Progress("RL", 9, [a_row(1), a_row(2), a_row(3)])
    progress.add(a_row(2))
    assert [row["step"] for row in progress.rows] == [1, 2]


def test_plain_lines_have_no_control_codes_and_do_not_come_for_every_quick_step():
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    lines = Lines(console, Progress("RL", 50))
    for step in range(1, 51):
        lines.show(a_row(step, alarms=(ALARM,) if step == 30 else ()))
    text = console.file.getvalue()
    assert "\x1b" not in text
    starts = [re.match(r"RL step \d+/50|alarm from step 30 on", line) for line in text.splitlines()]
    assert [found[0] if found else None for found in starts] == [
        "RL step 1/50",
        "alarm from step 30 on",
        "RL step 30/50",
        "RL step 50/50",
    ]
    assert "reward 1.500  accuracy 0.250  30.0 s a step  done" in text.splitlines()[-1]


def test_the_last_step_of_a_validated_run_is_shown_once_with_its_validation(tmp_path, capsys):
    run = make_run(tmp_path / "run", [], 2)
    accuracy = {"mean": 0.5, "low": 0.4, "high": 0.6}
    last = {"step": 2, "stage": "validation", "accuracy": accuracy, "reward": accuracy, "format": accuracy, "tasks": {}}
    last |= {"samples": "a", "score": {"name": "accuracy", **accuracy}, "best_step": 2, "ends_run": False}
    with watching_training("RL", 2, run, is_validated=True) as on_step:
        for row in (a_row(1), a_row(2), last):
            on_step(row)
    said = [line for line in capsys.readouterr().err.splitlines() if "step 2/2" in line]
    assert len(said) == 1
    assert "validation accuracy 0.500" in said[0]
    assert said[0].endswith("done")


def test_a_run_is_shown_with_the_score_that_its_recipe_has_chosen():
    accuracy, chosen = {"mean": 0.5, "low": 0.4, "high": 0.6}, {"mean": 0.25, "low": 0.1, "high": 0.3}
    row = {"step": 1, "stage": "validation", "accuracy": accuracy, "samples": "a", "best_step": 1, "ends_run": False}
    row |= {"tasks": {"tracking": {"accuracy": accuracy, "R@0.5": chosen}}}
    progress = Progress("RL", 2, [a_row(1), {**row, "score": {"name": "tracking: R@0.5", **chosen}}])
    assert "validation tracking: R@0.5 0.250" in progress.line()
    console = Console(file=io.StringIO(), width=80)
    console.print(draw(progress, 80))
    [line] = [line for line in console.file.getvalue().splitlines() if "tracking: R@0.5" in line]
    assert "0.250 0.10–0.30" in line
    progress.add({**row, "score": {"name": "tracking: R@0.5"}})
    assert "validation" not in progress.line(), "a sample has no answer: there is no such score"


def test_a_run_that_is_taken_up_again_shows_what_came_before(tmp_path, capsys):
    run = make_run(tmp_path / "run", [a_row(1, alarms=(ALARM,)), a_row(2, alarms=(ALARM,))], 3)
    with watching_training("RL", 3, run) as on_step:
        append(run, [a_row(3, alarms=(ALARM,))])
        on_step(a_row(3, alarms=(ALARM,)))
    error = capsys.readouterr().err
    assert "RL step 3/3" in error
    assert "alarm from" not in error, "it began before the run was stopped"


def test_the_last_row_as_json(tmp_path, capsys):
    watch(make_run(tmp_path / "run", [a_row(1), a_row(2)], 5), json=True)
    assert json.loads(capsys.readouterr().out) == a_row(2)


def test_a_finished_run_is_shown_once(tmp_path, capsys):
    watch(make_run(tmp_path / "run", [an_sft_row(1), an_sft_row(2)], 2))
    out = capsys.readouterr().out
    assert "SFT run" in out
    assert "step 2 of 2" in out
    assert "\x1b" not in out


@pytest.mark.parametrize("content", [None, "{", '{"steps": "many"}', "[]"], ids=["none", "cut", "text", "list"])
def test_a_folder_without_a_run_is_an_error_that_names_it(tmp_path, content):
    (tmp_path / "run").mkdir()
    if content is not None:
        (tmp_path / "run/recipe.json").write_text(content)
    with pytest.raises(CheckpointError, match="run"):
        watch(tmp_path / "run")


def test_the_json_of_a_run_without_a_step_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="not finished a step yet"):
        watch(make_run(tmp_path / "run", [], 2), json=True)


def test_a_growing_journal_is_read_from_where_it_was_left_and_anew_when_it_is_cut(tmp_path):
    run = make_run(tmp_path / "run", [a_row(1), a_row(2)], 9)
    journal = Watched.open(run).journal
    assert [row["step"] for row in journal.read_new()] == [1, 2]
    assert journal.read_new() == []
    with (run / "journal.jsonl").open("a") as file:
        file.write('{"step": 3')
    assert journal.read_new() == []
    with (run / "journal.jsonl").open("a") as file:
        file.write(', "stage": "rl"}\n')
    assert journal.read_new() == [{"step": 3, "stage": "rl"}]
    # A resumed run replaces the file by one that ends at its checkpoint.
    (run / "new").write_text(json.dumps(a_row(1)) + "\n")
    (run / "new").replace(run / "journal.jsonl")
    assert [row["step"] for row in journal.read_new()] == [1]
    with (run / "journal.jsonl").open("a") as file:
        file.write("nonsense\n")
    with pytest.raises(CheckpointError, match=r"journal\.jsonl"):
        journal.read_new()


def test_a_table_on_a_terminal_is_drawn_in_place():
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    with watching(console, Progress("RL", 2)) as show:
        show(a_row(1))
        show(a_row(2, alarms=(ALARM,)))
    text = console.file.getvalue()
    assert "\x1b[?25l" in text
    assert text.count("\x1b[?25h") == 1, "the cursor is there again"
    assert "alarm from step 2 on" in text


def test_a_run_elsewhere_is_followed_to_its_end_in_a_pipe(tmp_path):
    run = make_run(tmp_path / "run", [a_row(1)], 3)
    command = [sys.executable, "-m", "onethinker", "watch", str(run)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        first = process.stdout.readline()
        append(run, [a_row(2), a_row(3)])
        rest, error = process.communicate(timeout=120)
    assert first.startswith("RL run step 1/3")
    assert rest.splitlines()[-1].startswith("RL run step 3/3")
    assert "\x1b" not in first + rest
    assert (process.returncode, error) == (0, "")


def test_control_c_leaves_the_terminal_as_it_was(tmp_path):
    run = make_run(tmp_path / "run", [a_row(1)], 3)
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "40"}
    command = [sys.executable, "-m", "onethinker", "watch", str(run)]
    # A shell that runs tests in the background lets them ignore Ctrl-C, and a child would inherit that.
    listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, preexec_fn=listen
    ) as process:
        os.close(theirs)
        text, limit = "", time.monotonic() + 120
        while "tracking" not in text and time.monotonic() < limit:
            text += os.read(ours, 65536).decode(errors="replace")
        process.send_signal(signal.SIGINT)
        try:
            while chunk := os.read(ours, 65536):
                text += chunk.decode(errors="replace")
        except OSError:
            pass  # Linux says so when the other end of a pseudo-terminal is closed.
        os.close(ours)
    assert process.returncode == 130
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "the cursor is shown again"


def test_a_journal_with_numbers_that_are_not_finite_is_shown_and_told(tmp_path, capsys):
    bad = {"text": "the loss (nan) is not finite (last good step 1)"}
    null = {
        **an_sft_row(2),
        "loss": None,
        "grad_norm": None,
        "entropy": None,
        "not_finite": ["loss"],
        "bad_steps": [bad],
    }
    run = make_run(tmp_path / "run", [an_sft_row(1), null], 2)
    rows = RunFolder(run).rows()
    assert [row["loss"] for row in rows] == [2.0, None]
    assert "loss" not in scalars(rows[1])
    for width in (40, 120):
        assert "the loss (nan)" in " ".join(shown(Progress("SFT", 9, rows), width).split())
    assert Progress("SFT", 9, rows[:1]).add(rows[1]) == [
        "step 2 skipped its update: the loss (nan) is not finite (last good step 1)"
    ]
    assert Training("run", tuple(rows), None).curve("loss") == [(1, 2.0)]
    watch(run, json=True)
    said = capsys.readouterr().out
    assert json.loads(said, parse_constant=pytest.fail)["loss"] is None
