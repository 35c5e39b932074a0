"""Tasks of other distributions, installed as pip would leave them: a module and its dist-info folder on the path."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

COUNTING = """
from onethinker.drawing.draw import draw_caption
from onethinker.tasks import Score, Task


class Counting(Task[int]):
    problem_type = "{problem_type}"
    key = "{key}"
    instructions = "Count."
    example = "3"
    metrics = ("off by",)

    def parse(self, text, options=()):
        return int(text)

    def score(self, answer, truth, profile):
        off = abs(answer - truth)
        return Score(float(off == 0), {{"off by": float(off)}}, f"off by {{off}}")

    def draw(self, clip, answer):
        return draw_caption(clip, str(answer))
"""


def install(
    site: Path, distribution: str, value: str, *, problem_type: str = "counting", key: str = "counting"
) -> None:
    module = value.partition(":")[0]
    (site / f"{module}.py").write_text(COUNTING.format(problem_type=problem_type, key=key))
    info = site / f"{distribution}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[onethinker.tasks]\ncounting = {value}\n")


def call(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, *arguments], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )


def test_a_task_from_outside_is_listed_and_graded(tmp_path: Path) -> None:
    install(tmp_path, "thinker-counting", "counting_tasks:Counting")
    shown = call(tmp_path, "-m", "onethinker", "tasks", "--json")
    assert [row["problem_type"] for row in json.loads(shown.stdout)][-1] == "counting", shown.stderr
    record = {"problem": "How many?", "problem_type": "Counting", "data_type": "image", "solution": "4"}
    (tmp_path / "in.jsonl").write_text(json.dumps({**record, "response": "<think>x</think><answer>3</answer>"}))
    done = call(
        tmp_path, "-m", "onethinker", "grade", "--input", f"{tmp_path}/in.jsonl", "--output", f"{tmp_path}/out.jsonl"
    )
    grade = json.loads((tmp_path / "out.jsonl").read_text())["grade"], done.stderr
    assert grade[0] == {
        "reward": 1.0,
        "accuracy": 0.0,
        "format": 1.0,
        "structure": 0.5,
        "metrics": {"off by": 1.0},
        "problems": {"accuracy": "off by 1; the truth is '4'"},
    }


@pytest.mark.parametrize(
    ("problem_type", "key", "same"),
    [
        (
            "tracking",
            "my tracking",
            "two tasks have the problem type 'tracking' for video: onethinker's own, and entry point",
        ),
        ("my tracking", "tracking", "two tasks have the task key 'tracking': onethinker's own, and entry point"),
    ],
    ids=["problem type", "key"],
)
def test_a_task_that_clashes_with_ours_is_refused(tmp_path: Path, problem_type: str, key: str, same: str) -> None:
    install(tmp_path, "rival", "rival_tasks:Counting", problem_type=problem_type, key=key)
    shown = call(tmp_path, "-m", "onethinker", "tasks")
    assert shown.returncode != 0
    assert f"{same} counting = 'rival_tasks:Counting' of rival" in " ".join(shown.stderr.split())


def test_two_tasks_from_outside_that_clash_are_both_named(tmp_path: Path) -> None:
    for name in ("one", "two"):
        install(tmp_path, name, f"{name}_tasks:Counting")
    shown = call(tmp_path, "-m", "onethinker", "tasks")
    assert shown.returncode != 0
    for name in ("one", "two"):
        assert f"counting = '{name}_tasks:Counting' of {name}" in " ".join(shown.stderr.split())


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("odd_tasks:Nothing", "cannot be loaded: AttributeError"),
        ("odd_tasks:draw_caption", "must be a subclass of onethinker.tasks.Task, got <function draw_caption"),
    ],
    ids=["not there", "no task"],
)
def test_an_entry_point_that_is_no_task_is_named(tmp_path: Path, value: str, said: str) -> None:
    install(tmp_path, "odd", value)
    shown = call(tmp_path, "-m", "onethinker", "tasks")
    assert shown.returncode != 0
    assert f"entry point counting = {value!r} of odd {said}" in " ".join(shown.stderr.split())
