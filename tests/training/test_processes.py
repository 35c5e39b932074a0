"""Two processes on this machine against one: the same batches, the same averages, the same weights."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file

from onethinker.training.metrics.records import scalars
from onethinker.training.state.run_folder import RunFolder

SETTINGS = {
    "sft": ["steps=2", "batch_size=6", "max_row_tokens=256"],
    "rl": [
        "model=untrained",
        "steps=2",
        "rollout.generation_batch_size=3",
        "loss.updates_per_batch=3",
        "rollout.group_size=2",
        "rollout.max_new_tokens=6",
        "rollout.min_accuracy=-1",
        'data.problem_types=["tracking","segmentation","spatial grounding"]',
    ],
}

GROUPS_ARE_CUT = ["rollout.group_size=8", "rollout.max_new_tokens=48", "grading.rewards.repetition.settings.words=1"]
"""One group is learned from in each update, by both processes."""
COUNTS = {
    "sft": ("tokens_by_phase", "answer_tokens"),
    "rl": ("tokens_by_phase", "shared_prompt_tokens", "groups", "dropped"),
}
"""What the journal counts over all processes."""


def train(stage: str, output: Path, processes: int, *settings: str) -> Path:
    command = [
        sys.executable,
        "-m",
        "onethinker",
        stage,
        f"tiny_{stage}",
        "--output",
        str(output),
        "--processes",
        str(processes),
    ]
    done = subprocess.run([*command, "--set", *SETTINGS[stage], *settings], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return next((output / "checkpoints").glob("step-00000002"))


@pytest.mark.parametrize(
    ("stage", "settings"), [("sft", []), ("rl", []), ("rl", GROUPS_ARE_CUT)], ids=["sft", "rl", "rl, groups are cut"]
)
def test_two_processes_equal_one(tmp_path, stage, settings):
    one, two = train(stage, tmp_path / "one", 1, *settings), train(stage, tmp_path / "two", 2, *settings)
    expected, found = (load_file(folder / "model/model.safetensors") for folder in (one, two))
    # Adam's first steps divide a gradient by its own size: where it is nearly nothing, rounding decides its sign.
    assert max(float((expected[name] - found[name]).abs().mean()) for name in expected) < 1e-5
    # Also what Muon remembers of matrices that the other process moves: gradients differ by rounding only.
    expected, found = (load_file(folder / "optimizer.safetensors") for folder in (one, two))
    assert expected.keys() == found.keys()
    assert (
        max(float((expected[name] - found[name]).norm() / (1e-6 + expected[name].norm())) for name in expected) < 1e-3
    )
    # The norm before clipping sees a wrong scale of the loss, which Adam hides.
    rows = [RunFolder(folder.parents[1]).rows() for folder in (one, two)]
    for name in ("loss", "grad_norm"):
        assert [row[name] for row in rows[0]] == pytest.approx([row[name] for row in rows[1]], rel=1e-3, abs=1e-6)
    for first, second in zip(*rows, strict=True):
        if settings:
            assert first["grad_norm"] > 0
            # Its prompt is read by both.
            assert first["tokens_by_phase"]["update"] < second["tokens_by_phase"]["update"]
            assert first["tokens_by_phase"]["rollout"] == second["tokens_by_phase"]["rollout"]
        else:
            assert [first[name] for name in COUNTS[stage]] == [second[name] for name in COUNTS[stage]]
        tasks = [scalars(row.get("tasks", {})) for row in (first, second)]
        assert tasks[0] == pytest.approx(tasks[1], rel=1e-3, abs=1e-6)
    ema = [json.loads((folder / "progress.json").read_text())["ema"] for folder in (one, two)]
    assert ema[0] == ema[1]


def test_two_processes_equal_one_where_only_one_of_them_has_something_to_see(tmp_path):
    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    asked = {
        "problem": "How much is 1+1?",
        "problem_type": "math",
        "data_type": "image",
        "response": "<think>It is 2.</think><answer>2</answer>",
    }
    rows = [
        {**asked, "solution": "<answer>2</answer>", **({"path": "red.png"} if number % 2 else {})}
        for number in range(4)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = [
        f'data.files=["{tmp_path}/rows.jsonl"]',
        "data.weights={}",
        'frozen=["language"]',
        "batch_size=2",
        'optimizer.kind="adamw"',
    ]
    one, two = (train("sft", tmp_path / f"{processes}", processes, *settings) for processes in (1, 2))
    expected, found = (load_file(folder / "model/model.safetensors") for folder in (one, two))
    assert max(float((expected[name] - found[name]).abs().mean()) for name in expected) < 1e-5
    rows = [RunFolder(folder.parents[1]).rows() for folder in (one, two)]
    assert [row["grad_norm"] for row in rows[0]] == pytest.approx([row["grad_norm"] for row in rows[1]], rel=1e-3)
    assert all(row["grad_norm"] > 0 for row in rows[0])


def test_a_batch_smaller_than_the_processes_is_refused(tmp_path):
    command = [
        sys.executable,
        "-m",
        "onethinker",
        "sft",
        "tiny_sft",
        "--output",
        str(tmp_path / "run"),
        "--processes",
        "2",
    ]
    done = subprocess.run([*command, "--set", "batch_size=1"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is smaller than the 2 processes" in done.stderr
    assert not (tmp_path / "run").exists()
