"""SIGKILL at named places and at random times, disks that fill up: the run that goes on ends exactly like one that was
never stopped.
"""

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors.torch import load_file

from onethinker.data.formats.records import write_records
from onethinker.training.state.checkpoint import find_damage
from onethinker.training.state.run_folder import RunFolder
from tests.models import save_tiny

RECIPES: dict[str, dict[str, Any]] = {
    "sft": {"steps": 5, "batch_size": 2, "save_every": 2, "max_row_tokens": 512, "optimizer": {"learning_rate": 1e-3}},
    "rl": {
        "steps": 3,
        "save_every": 1,
        "max_row_tokens": 512,
        "rollout": {"generation_batch_size": 4, "group_size": 4, "max_new_tokens": 16, "max_refills": 1},
        "grading": {"workers": 1},
        "optimizer": {"learning_rate": 1e-4},
        "loss": {"updates_per_batch": 2},
    },
    "sft with muon": {
        "steps": 3,
        "batch_size": 2,
        "save_every": 1,
        "max_row_tokens": 512,
        "optimizer": {"kind": "muon"},
    },
    "sft with dropout": {
        "steps": 3,
        "batch_size": 2,
        "save_every": 1,
        "max_row_tokens": 512,
        "lora": {"rank": 2, "dropout": 0.5},
    },
    "rl with adapters": {
        "steps": 3,
        "save_every": 1,
        "max_row_tokens": 512,
        "rollout": {"generation_batch_size": 4, "group_size": 4, "max_new_tokens": 16, "max_refills": 1},
        "lora": {"rank": 2},
    },
}
"""The first word is the stage. SFT saves after steps 2, 4 and 5, RL after every step; the first checkpoint goes after
the third.
"""
STEP_2, STEP_4 = "checkpoints/step-00000002", "checkpoints/step-00000004"
KILLS = {
    "sft": [
        "before optimizer step#3",
        "after optimizer step#4",
        "half journal.jsonl#3",
        "after journal row#5",
        f"half {STEP_4}.partial/.model.partial/model.safetensors",
        f"half {STEP_4}.partial/optimizer.safetensors",
        f"before replace {STEP_4}.partial/.progress.json.partial",
        f"before write {STEP_4}.partial/manifest.json",
        f"before fsync {STEP_4}.partial/model/model.safetensors",
        f"before rename {STEP_4}.partial",
        f"after rename {STEP_4}.partial",
        "before write .model.partial/model.safetensors",
        "after optimizer step#4, before replace .journal.jsonl.partial, before fsync journal.jsonl",
    ],
    "rl": [
        "before rollout#3",
        "after rollout#4",
        "before reward#10",
        "after reward#15",
        "before averages#2",
        "after averages#3",
        "after optimizer step#3",
        "before rename checkpoints/step-00000001",
        "after unlink …/optimizer.safetensors",
    ],
}
"""Places as `killing` names them, `#n` for the n-th passage; after a comma where the run that goes on is killed
again.
"""
MORE_KILLS = {
    "sft": [
        "before replace .recipe.json.partial",
        "after fsync starts.jsonl",
        "before backward#4",
        "after backward#5",
        "before journal row#4",
        "before fsync journal.jsonl#4",
        f"before write {STEP_4}.partial/.model.partial/config.json",
        f"after rename {STEP_4}.partial/.model.partial",
        f"after write {STEP_4}.partial/optimizer.safetensors",
        f"after fsync {STEP_4}.partial/manifest.json",
        f"after rmdir {STEP_2}.partial",
        "before rename .model.partial",
        "after rename .model.partial",
    ],
    "rl": [
        "after grading#5",
        "before optimizer step#4",
        "after journal row#2",
        f"before fsync {STEP_2}.partial",
        f"after rename {STEP_2}.partial",
        "after rename checkpoints/step-00000001",
        "after averages#2, after optimizer step#2, half journal.jsonl",
    ],
    "sft with muon": ["after optimizer step#2"],
    "sft with dropout": ["after optimizer step#2", "after journal row#3"],
    "rl with adapters": ["after optimizer step#2", "before write .model.partial/model.safetensors"],
}


@dataclass(frozen=True)
class Outcome:
    """How the run of an order ended: by which signal or 0, its error, where it passed, processes that it left
    behind.
    """

    number: int
    signal: int
    error: str
    seconds: float
    passed: list[str]
    left_behind: list[int]


class Driver:
    """The warm process of `killing.py`, in which every run is a fork."""

    def __init__(self, starts: dict[str, dict[str, Any]]) -> None:
        self.starts, self.orders = starts, 0
        command = [sys.executable, str(Path(__file__).with_name("killing.py"))]
        calm = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=calm)

    def run(self, stage: str, folder: Path, *, recipe: dict[str, Any] | None = None, **order: Any) -> Outcome:
        """Return how a run ended; by default it is the stage's above."""
        kind = stage.split()[0]
        settings = {**self.starts[kind], **(recipe or RECIPES[stage])}
        self.orders += 1
        whole = {"number": self.orders, "stage": kind, "folder": str(folder), "recipe": settings, **order}
        self.process.stdin.write(json.dumps(whole) + "\n")
        self.process.stdin.flush()
        while (outcome := json.loads(self.process.stdout.readline()))["number"] != self.orders:
            pass  # of a test that was given up before its run had ended
        return Outcome(**outcome)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


@dataclass(frozen=True)
class Whole:
    """What a run that was never stopped left behind, how long it took and where it passed."""

    outcome: Outcome
    files: dict[str, str]
    rows: list[dict[str, Any]]


@pytest.fixture(scope="module")
def driver(taught, tmp_path_factory):
    """Runs SFT from an untrained model on scenes, and RL from one that answers A or B by chance on questions of two
    tasks.
    """
    folder = tmp_path_factory.mktemp("model")
    save_tiny(folder / "tiny")
    Image.new("RGB", (64, 64), (200, 30, 30)).save(folder / "red.png")
    question = {
        "problem": "<image>Which one?",
        "answer": "<answer>A</answer>",
        "images": ["red.png"],
        "data_type": "image",
    }
    kinds = [{"problem_type": "multiple choice", "options": ["A. one", "B. two"]}, {"problem_type": "OCR"}]
    write_records(folder / "questions.jsonl", [question | kind for kind in kinds])
    driver = Driver(
        {
            "sft": {"model": str(folder / "tiny")},
            "rl": {"model": taught.model, "data": {"files": [str(folder / "questions.jsonl")]}},
        }
    )
    yield driver
    driver.close()


@pytest.fixture(scope="module")
def whole(driver, tmp_path_factory) -> Callable[[str], Whole]:
    """Gives what a recipe's run leaves that is never stopped; each is made once."""

    @cache
    def make(stage: str) -> Whole:
        folder = tmp_path_factory.mktemp("whole") / "run"
        outcome = driver.run(stage, folder, seed=1)
        assert (outcome.signal, outcome.error) == (0, "")
        return Whole(outcome, files(folder), rows(folder))

    return make


NOT_COMPARED = {
    "journal.jsonl": "holds the clock; its rows are compared without it",
    "starts.jsonl": "grows with every start",
    "lock": "names the process",
}


def files(folder: Path) -> dict[str, str]:
    """Return a digest of every file that lies in a run."""
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {
        name: "there" if path.name in NOT_COMPARED else hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in found.items()
    }


def rows(folder: Path) -> list[dict[str, Any]]:
    """Return the journal without what depends on the clock."""
    return [{key: value for key, value in row.items() if "seconds" not in key} for row in RunFolder(folder).rows()]


def kill(driver: Driver, stage: str, folder: Path, place: str) -> None:
    """Kill a run at a place, which it must reach, and look at what is left: no process, and no checkpoint that is not
    whole.
    """
    name, _, passage = place.partition("#")
    outcome = driver.run(stage, folder, place=name, passage=int(passage or 1), seed=2)
    assert (outcome.signal, outcome.error) == (signal.SIGKILL, ""), f"the run never came to {place!r}: {outcome.error}"
    look_at_what_is_left(folder, outcome)


def look_at_what_is_left(folder: Path, outcome: Outcome) -> None:
    assert outcome.left_behind == []
    assert {path.name: find_damage(path) for path in RunFolder(folder).checkpoints.all()} == {
        path.name: None for path in RunFolder(folder).checkpoints.all()
    }


def finish(driver: Driver, stage: str, folder: Path, whole: Whole) -> None:
    """Let a run go on to its end and compare it with one that was never stopped, byte by byte."""
    outcome = driver.run(stage, folder, seed=3)
    assert (outcome.signal, outcome.error) == (0, "")
    assert rows(folder) == whole.rows
    assert files(folder) == whole.files


def listed(kills: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(stage, places) for stage in kills for places in kills[stage]]


def kill_and_finish(driver: Driver, stage: str, folder: Path, places: str, whole: Whole) -> None:
    for place in places.split(", "):
        kill(driver, stage, folder, place)
    finish(driver, stage, folder, whole)


@pytest.mark.parametrize(("stage", "places"), listed(KILLS))
def test_a_run_killed_at_a_place_ends_like_one_that_never_was(driver, whole, tmp_path, stage, places):
    kill_and_finish(driver, stage, tmp_path / "run", places, whole(stage))


@pytest.mark.long
@pytest.mark.parametrize(("stage", "places"), listed(MORE_KILLS))
def test_a_run_killed_at_one_of_more_places_ends_like_one_that_never_was(driver, whole, tmp_path, stage, places):
    kill_and_finish(driver, stage, tmp_path / "run", places, whole(stage))


def kill_at_random_times(driver: Driver, stage: str, tmp_path: Path, whole: Whole, *, seed: int, kills: int) -> None:
    """Kill a run again and again; one that came to its end in between is compared, and another one is begun."""
    random_times, killed, number = random.Random(seed), 0, 0
    while killed < kills:
        folder = tmp_path / f"run{number}"
        outcome = driver.run(stage, folder, after_s=random_times.uniform(0, 0.8) * whole.outcome.seconds, seed=2)
        assert outcome.error == ""
        look_at_what_is_left(folder, outcome)
        killed += outcome.signal == signal.SIGKILL
        if not outcome.signal:
            finish(driver, stage, folder, whole)
            number += 1
    finish(driver, stage, tmp_path / f"run{number}", whole)


@pytest.mark.parametrize("stage", ["sft", "rl"])
def test_a_run_killed_at_random_times_ends_like_one_that_never_was(driver, whole, tmp_path, stage):
    kill_at_random_times(driver, stage, tmp_path, whole(stage), seed=0, kills=3)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("stage", ["sft", "rl"])
def test_a_run_killed_at_many_random_times_ends_like_one_that_never_was(driver, whole, tmp_path, stage, seed):
    kill_at_random_times(driver, stage, tmp_path, whole(stage), seed=seed, kills=6)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", range(10))
@pytest.mark.parametrize("stage", ["sft", "rl"])
def test_a_run_killed_anywhere_ends_like_one_that_never_was(driver, whole, tmp_path, stage, part):
    """Fifty of the places that a run passes, at the same distance from each other, in ten parts."""
    passed = whole(stage).outcome.passed
    numbered = [f"{place}#{passed[: number + 1].count(place)}" for number, place in enumerate(passed)]
    chosen = numbered[:: len(numbered) // 50][part:50:10]
    assert len(chosen) == 5
    for number, place in enumerate(chosen):
        kill_and_finish(driver, stage, tmp_path / str(number), place, whole(stage))


@pytest.mark.parametrize("stage", ["sft", "rl"])
def test_what_is_compared_moves_at_every_step(whole, stage):
    """Two checkpoints of a run differ in their weights, and RL in the averages of both tasks: equal ends are no
    accident.
    """
    changing = [
        name
        for name in whole(stage).files
        if name.startswith("checkpoints/") and name.endswith((".safetensors", "progress.json"))
    ]
    assert len({whole(stage).files[name] for name in changing}) == len(changing) == 6
    if stage == "rl":
        assert all(
            row["grad_norm"] > 0 and set(row["tasks"]) == {"multiple choice", "ocr"} for row in whole(stage).rows
        )


def test_a_place_that_is_never_reached_is_seen(driver, tmp_path):
    outcome = driver.run(
        "sft", tmp_path / "run", recipe=RECIPES["sft"] | {"steps": 1}, place="before optimizer step", passage=2
    )
    assert outcome.signal == 0


@pytest.mark.parametrize(
    ("place", "left"),
    [
        ("before optimizer step#4", 0),
        # The next file but two is the tokenizer's, whose library has errors of its own.
        (f"after write {STEP_4}.partial/.model.partial/model.safetensors", 8192),
        (f"before write {STEP_4}.partial/optimizer.safetensors", 0),
        (f"before write {STEP_4}.partial/manifest.json", 0),
        pytest.param("before journal row#4", 4096, marks=pytest.mark.long),
        pytest.param(f"before write {STEP_4}.partial/.model.partial/config.json", 0, marks=pytest.mark.long),
        pytest.param(f"before write {STEP_4}.partial/.model.partial/model.safetensors", 0, marks=pytest.mark.long),
        pytest.param(f"before write {STEP_4}.partial/.model.partial/onethinker.json", 0, marks=pytest.mark.long),
        pytest.param(f"before write {STEP_4}.partial/.progress.json.partial", 0, marks=pytest.mark.long),
    ],
)
def test_a_disk_that_fills_up_leaves_the_last_checkpoint_and_the_error_says_how_much_is_missing(
    driver, whole, small_disk, place, left
):
    folder, (name, _, passage) = small_disk / "run", place.partition("#")
    outcome = driver.run("sft", folder, fill_at=name, passage=int(passage or 1), fill_but_bytes=left)
    assert re.search(
        r"CheckpointError: .*step 4 cannot be saved: .*No space left.* MB are missing.*resumes from step-00000002",
        outcome.error,
    )
    assert [(path.name, find_damage(path)) for path in RunFolder(folder).checkpoints.all()] == [("step-00000002", None)]
    assert "MB are missing" in driver.run("sft", folder).error
    (small_disk / "filler").unlink()
    finish(driver, "sft", folder, whole("sft"))


def test_a_disk_without_room_for_the_checkpoints_is_an_error_before_the_first_step(driver, small_disk):
    (small_disk / "filler").write_bytes(bytes(200_000_000))
    error = driver.run("sft", small_disk / "run").error
    missing = re.search(
        r"not enough disk space for 3 checkpoints of ([\d.]+) MB: ([\d.]+) MB are needed, ([\d.]+) MB are free,"
        r" ([\d.]+) MB are missing",
        error,
    )
    assert missing, error
    size, needed, free, lacking = map(float, missing.groups())
    assert needed == pytest.approx(3 * size, abs=0.2)
    assert lacking == pytest.approx(needed - free, abs=0.2)
    assert not (small_disk / "run").exists()


def test_a_disk_that_became_read_only_leaves_the_run_as_it_was(driver, whole, small_disk):
    folder = small_disk / "run"
    kill(driver, "sft", folder, "after optimizer step#4")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert re.match(r"CheckpointError: .*Read-only file system", driver.run("sft", folder).error)
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    finish(driver, "sft", folder, whole("sft"))


def test_a_file_that_may_not_grow_further_is_an_error_and_leaves_nothing_half_written(driver, whole, tmp_path):
    outcome = driver.run("sft", tmp_path / "run", file_limit=3_000_000)
    assert re.search(
        r"CheckpointError: .*step 2 cannot be saved: .*File too large.*resumes from the beginning", outcome.error
    )
    assert list((tmp_path / "run/checkpoints").iterdir()) == []
    finish(driver, "sft", tmp_path / "run", whole("sft"))


@pytest.mark.parametrize("stage", ["sft", "rl"])
def test_a_run_of_two_processes_goes_on_in_one(driver, whole, tmp_path, stage):
    recipe = RECIPES[stage] | {"optimizer": {**RECIPES[stage]["optimizer"], "min_lr_ratio": 1.0}}
    folders = tmp_path / "one", tmp_path / "two, then one"
    for folder, steps, processes in ((folders[0], 2, 1), (folders[1], 1, 2), (folders[1], 2, 1)):
        outcome = driver.run(stage, folder, recipe=recipe | {"steps": steps}, processes=processes, allow_changes=True)
        assert outcome.error == ""
    starts = [json.loads(line) for line in (folders[1] / "starts.jsonl").read_text().splitlines()]
    assert [(start["step"], start["changed"], start["processes"]) for start in starts] == [
        (0, [], 2),
        (1, ["steps: 1 → 2"], 1),
    ]
    expected, found = (load_file(folder / "model/model.safetensors") for folder in folders)
    assert not all(expected[name].equal(found[name]) for name in expected), (
        "two processes sum in another order: were there two?"
    )
    # As between one process and two: where a gradient is nearly nothing, rounding decides the sign of Adam's first
    # steps.
    assert max(float((expected[name] - found[name]).abs().mean()) for name in expected) < 1e-5
    one, two = (json.loads((folder / "checkpoints/step-00000002/progress.json").read_text()) for folder in folders)
    assert one == two
