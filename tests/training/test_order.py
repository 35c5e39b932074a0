"""A run that goes on in another number of processes learns from the samples that it would have learned from."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from onethinker.data.synthetic import write_dataset
from onethinker.training.config import BUILT_IN
from tests.training.learning import STAGES, learn

STEPS, BATCH = 4, 6
ROLLOUT = {"generation_batch_size": BATCH, "group_size": 2, "max_new_tokens": 4, "min_accuracy": -1, "max_accuracy": 2}
OWN = {
    "sft": {"batch_size": BATCH},
    "rl": {"rollout": ROLLOUT, "loss": {"kl_coefficient": 0}, "grading": {"workers": 0}},
}


def in_two_processes(jobs: list[tuple[str, dict, Path]], file: Path) -> list[dict[int, list[str]]]:
    """Train each run to its end, sharded over two processes, and return what both have learned from by step."""
    file.write_text(json.dumps([(stage, recipe, str(folder)) for stage, recipe, folder in jobs]))
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2", "--config_file"]
    worker = [str(Path(__file__).with_name("learning.py")), str(file)]
    root = Path(__file__).parents[2]
    command = [*launcher, str(BUILT_IN / "fsdp2.yaml"), *worker]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=800)
    assert done.returncode == 0, done.stderr[-3000:]
    both = [[json.loads((folder / f"learned-{rank}.json").read_text()) for rank in (0, 1)] for *_, folder in jobs]
    return [{int(step): one[step] + other[step] for step in one} for one, other in both]


def stopped_half_way(run: Path, folder: Path) -> Path:
    """Return a copy of a run as it was when it had done half of its steps."""
    shutil.copytree(run, folder)
    shutil.rmtree(folder / f"checkpoints/step-{STEPS:08d}")
    shutil.rmtree(folder / "model")
    return folder


@pytest.mark.timeout(900)
def test_a_run_that_goes_on_in_more_or_fewer_processes_has_the_same_samples_in_each_step(tmp_path):
    # Ten records, so that the order is drawn anew in the midst of a batch, before and after the run goes on.
    records = write_dataset(tmp_path / "records", num_samples=10, world="things")
    shared = {
        "model": "tiny",
        "steps": STEPS,
        "save_every": 2,
        "max_row_tokens": 1024,
        "data": {"files": [str(records)]},
    }
    recipes = {stage: shared | OWN[stage] for stage in STAGES}
    expected = {stage: learn(stage, recipes[stage], tmp_path / f"{stage} in one") for stage in STAGES}
    jobs = [(stage, recipes[stage], tmp_path / f"{stage} in two") for stage in STAGES]
    for stage in STAGES:
        more = stopped_half_way(tmp_path / f"{stage} in one", tmp_path / f"{stage}, then in two")
        jobs.append((stage, recipes[stage], more))
    whole_sft, whole_rl, more_sft, more_rl = in_two_processes(jobs, tmp_path / "jobs.json")
    for stage, whole, more in (("sft", whole_sft, more_sft), ("rl", whole_rl, more_rl)):
        fewer = stopped_half_way(tmp_path / f"{stage} in two", tmp_path / f"{stage}, then in one")
        learned = learn(stage, recipes[stage], fewer)
        ids = {step: sorted(samples) for step, samples in expected[stage].items()}
        assert all(len(samples) == BATCH for samples in ids.values())
        assert len({*map(tuple, ids.values())}) == STEPS, "no two steps have the same samples"
        assert {step: sorted(samples) for step, samples in whole.items()} == ids
        after = {step: samples for step, samples in ids.items() if step >= STEPS // 2}
        assert {step: sorted(samples) for step, samples in more.items()} == after
        assert {step: sorted(samples) for step, samples in learned.items()} == after
