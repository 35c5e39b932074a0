"""What a run leaves on disk: torn checkpoints are passed over, other settings are refused unless allowed, other
processes go on.
"""

import hashlib
import json
import logging
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from torch import nn

from onethinker.commands.options import TrainingOptions
from onethinker.commands.sft import sft
from onethinker.core.errors import CheckpointError
from onethinker.core.request import SamplingParams
from onethinker.data.formats.released import read_samples
from onethinker.data.synthetic.dataset import write_dataset
from onethinker.inference.loading import load_engine
from onethinker.report.model_export import export_model
from onethinker.training.config import SftRecipe
from onethinker.training.parallel.moments import load_optimizer, optimizer_tensors
from onethinker.training.sft import train_sft
from onethinker.training.state.checkpoint import find_damage
from onethinker.training.state.provenance import digest_model
from onethinker.training.state.run_folder import RunFolder
from tests.evaluation.asking import evaluate
from tests.models import save_tiny
from tests.training.test_runs import StopRunError

SFT = {"steps": 3, "batch_size": 2, "save_every": 1, "max_row_tokens": 512, "optimizer": {"learning_rate": 1e-3}}


def checkpoint(folder: RunFolder, step: int) -> Path:
    """Write a checkpoint of three small files."""
    with folder.checkpoints.writing(step, size=0) as partial:
        (partial / "model").mkdir()
        (partial / "model/model.safetensors").write_bytes(b"weights" * 100)
        (partial / "optimizer.safetensors").write_bytes(b"moments" * 100)
        (partial / "progress.json").write_text(json.dumps({"step": step}))
    return folder.checkpoints.all()[-1]


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_checkpoint_as_it_was_written_has_no_damage(tmp_path):
    assert find_damage(checkpoint(RunFolder(tmp_path), 1)) is None


@pytest.mark.parametrize("name", ["model/model.safetensors", "optimizer.safetensors", "progress.json", "manifest.json"])
@pytest.mark.parametrize("tear", [cut, flip_a_bit, Path.unlink], ids=["cut", "flipped", "removed"])
def test_any_file_that_is_not_as_it_was_written_is_found_and_named(tmp_path, name, tear):
    whole = checkpoint(RunFolder(tmp_path), 1)
    tear(whole / name)
    damage = find_damage(whole)
    assert damage is not None
    # A flipped bit in the list of files can hit the name or the digest of any of them.
    assert (name in damage) or (name == "manifest.json" and tear is flip_a_bit)


def test_every_length_of_a_torn_list_of_files_is_damage(tmp_path):
    whole = checkpoint(RunFolder(tmp_path), 1)
    manifest = whole / "manifest.json"
    content = manifest.read_bytes()
    for length in range(len(content) - 2):
        manifest.write_bytes(content[:length])
        assert find_damage(whole) is not None, f"{length} bytes of {len(content)}"


def test_the_last_two_checkpoints_are_kept(tmp_path):
    for step in range(1, 5):
        checkpoint(RunFolder(tmp_path), step)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir() if not path.name.startswith(".")] == [
        path.name for path in RunFolder(tmp_path).checkpoints.all()
    ]
    assert [path.name for path in RunFolder(tmp_path).checkpoints.all()] == ["step-00000003", "step-00000004"]


def test_a_checkpoint_of_this_name_that_is_there_already_is_not_touched(tmp_path):
    there = checkpoint(RunFolder(tmp_path), 1)
    with pytest.raises(CheckpointError, match=r"step 1 cannot be saved.*resumes from step-00000001"):
        checkpoint(RunFolder(tmp_path), 1)
    assert [path.name for path in there.parent.iterdir()] == ["step-00000001"]
    assert find_damage(there) is None


def test_a_torn_checkpoint_is_passed_over_loudly_and_the_run_ends_as_if_it_had_been_whole(tmp_path, caplog):
    recipe, folder = SftRecipe(**SFT), RunFolder(tmp_path / "run")
    train_sft(recipe, folder.path)
    expected = {path.name: path.read_bytes() for path in (folder.path / "checkpoints/step-00000003").glob("*.*")}
    rows = [row["loss"] for row in folder.rows()]
    cut(folder.checkpoints.all()[-1] / "optimizer.safetensors")
    with caplog.at_level(logging.WARNING):
        train_sft(recipe, folder.path)
    assert (
        "resuming after step 2, because newer checkpoints are damaged: step-00000003: optimizer.safetensors has"
        in caplog.text
    )
    start = json.loads(folder.starts.read_text().splitlines()[-1])
    assert start["step"] == 2
    assert list(start["torn"]) == ["step-00000003"]
    found = {path.name: path.read_bytes() for path in (folder.path / "checkpoints/step-00000003").glob("*.*")}
    assert found.keys() == expected.keys()
    assert found["optimizer.safetensors"] == expected["optimizer.safetensors"]
    assert [row["loss"] for row in folder.rows()] == rows
    assert [path.name for path in (folder.path / "checkpoints").iterdir() if path.suffix] == [], (
        "the torn one is gone with the next whole one"
    )


def test_where_no_checkpoint_is_whole_nothing_is_begun_anew_by_itself(tmp_path):
    recipe, folder = SftRecipe(**SFT), RunFolder(tmp_path / "run")
    train_sft(recipe, folder.path)
    for path in folder.checkpoints.all():
        cut(path / "model/model.safetensors")
    before = sorted(folder.path.rglob("*"))
    with pytest.raises(
        CheckpointError,
        match=r"all checkpoints are damaged \(step-00000003: model/model.safetensors has .* bytes of .*step-00000002",
    ):
        train_sft(recipe, folder.path)
    assert sorted(folder.path.rglob("*")) == before
    shutil.rmtree(folder.path / "checkpoints")
    train_sft(recipe, folder.path)
    assert [row["step"] for row in folder.rows()] == [1, 2, 3]


def test_other_settings_are_refused_with_the_difference_and_allowed_on_demand(tmp_path, caplog):
    folder = RunFolder(tmp_path / "run")
    train_sft(SftRecipe(**SFT), folder.path)
    changed = SftRecipe(**{**SFT, "steps": 4, "batch_size": 3})
    with pytest.raises(
        CheckpointError, match=r"--allow-changes to continue with the new ones: batch_size: 2 → 3; steps: 3 → 4"
    ):
        train_sft(changed, folder.path)
    assert json.loads((folder.path / "recipe.json").read_text())["batch_size"] == 2
    with caplog.at_level(logging.WARNING):
        train_sft(changed, folder.path, allow_changes=True)
    assert "resuming after step 3 with changes: batch_size: 2 → 3; steps: 3 → 4" in caplog.text
    assert [row["step"] for row in folder.rows()] == [1, 2, 3, 4]
    assert json.loads((folder.path / "recipe.json").read_text())["batch_size"] == 3
    starts = [json.loads(line) for line in folder.starts.read_text().splitlines()]
    assert [(start["step"], start["changed"], start["torn"]) for start in starts] == [
        (0, [], {}),
        (3, ["batch_size: 2 → 3", "steps: 3 → 4"], {}),
    ]
    train_sft(changed, folder.path)  # the new settings are now those of the run


def test_settings_that_decide_only_what_is_written_need_no_permission(tmp_path):
    folder = RunFolder(tmp_path / "run")
    train_sft(SftRecipe(**SFT), folder.path)
    train_sft(SftRecipe(**{**SFT, "save_every": 2, "log": {"project": "another"}}), folder.path)
    assert json.loads(folder.starts.read_text().splitlines()[-1])["changed"] == [
        "log.project: 'onethinker' → 'another'",
        "save_every: 1 → 2",
    ]


def test_a_change_of_the_optimizers_kind_begins_its_moments_anew(tmp_path):
    folder = RunFolder(tmp_path / "run")
    train_sft(SftRecipe(**SFT), folder.path)
    for step, kind in ((4, "muon"), (5, "adamw")):
        optimizer = {**SFT["optimizer"], "kind": kind}
        train_sft(SftRecipe(**{**SFT, "steps": step, "optimizer": optimizer}), folder.path, allow_changes=True)
        tensors = load_file(folder.checkpoints.all()[-1] / "optimizer.safetensors")
        assert {float(value) for key, value in tensors.items() if key.endswith("/step")} == {1.0}
        assert any(key.endswith("/momentum_buffer") for key in tensors) == (kind == "muon")


def test_a_change_of_the_optimizers_kind_holds_until_there_is_a_checkpoint_of_it(tmp_path):
    def stop(row):
        raise StopRunError

    folder = RunFolder(tmp_path / "run")
    train_sft(SftRecipe(**SFT), folder.path)
    changed = SftRecipe(**SFT | {"steps": 5, "optimizer": {**SFT["optimizer"], "kind": "muon"}})
    with pytest.raises(StopRunError):
        train_sft(changed, folder.path, allow_changes=True, on_step=stop)
    with pytest.raises(StopRunError):
        train_sft(changed, folder.path, on_step=lambda row: stop(row) if row["step"] == 5 else None)
    assert folder.changes_since(3) == ["optimizer.kind: 'adamw' → 'muon'", "steps: 3 → 5"]
    assert folder.changes_since(4) == []
    train_sft(changed, folder.path)
    tensors = load_file(folder.checkpoints.all()[-1] / "optimizer.safetensors")
    assert {float(value) for key, value in tensors.items() if key.endswith("/step")} == {2.0}


def test_starts_before_a_checkpoint_was_made_again_say_nothing_of_it(tmp_path):
    folder = RunFolder(tmp_path / "run")
    for step, changed in ((0, []), (5, ["seed: 1 → 2"]), (2, []), (4, ["seed: 2 → 3"]), (3, ["seed: 3 → 4"])):
        folder.begin({}, step, changed=changed)
    assert folder.changes_since(3) == ["seed: 2 → 3", "seed: 3 → 4"]
    assert folder.changes_since(4) == []


def test_moments_are_kept_of_what_had_a_gradient_and_belong_to_one_model(tmp_path):
    model = nn.ModuleDict({"used": nn.Linear(2, 3), "unused": nn.Linear(2, 3)})
    optimizer = torch.optim.AdamW(model.parameters())
    model["used"](torch.ones(1, 2)).sum().backward()
    optimizer.step()
    save_file(optimizer_tensors(optimizer, model), tmp_path / "optimizer.safetensors")
    fresh = torch.optim.AdamW(model.parameters())
    load_optimizer(fresh, model, tmp_path / "optimizer.safetensors")
    assert fresh.state.keys() == {model["used"].weight, model["used"].bias}
    assert all(
        fresh.state[parameter][key].equal(value)
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
    )
    for other in (nn.ModuleDict({"used": nn.Linear(2, 4)}), nn.ModuleDict({"another": nn.Linear(2, 3)})):
        with pytest.raises(CheckpointError, match=r"this optimizer state does not fit this model: .*used"):
            load_optimizer(torch.optim.AdamW(other.parameters()), other, tmp_path / "optimizer.safetensors")


def test_the_command_refuses_changes_and_goes_on_with_them_when_told_to(tmp_path):
    settings = ("model=untrained", "steps=1", "batch_size=2", "max_row_tokens=512")
    sft(TrainingOptions(recipe="tiny_sft", output=tmp_path, set=settings))
    with pytest.raises(CheckpointError, match="steps: 1 → 2"):
        sft(TrainingOptions(recipe="tiny_sft", output=tmp_path, set=(*settings, "steps=2")))
    sft(TrainingOptions(recipe="tiny_sft", output=tmp_path, set=(*settings, "steps=2"), allow_changes=True))
    assert [row["step"] for row in RunFolder(tmp_path).rows()] == [1, 2]


@pytest.mark.long
def test_processes_that_the_command_starts_are_told_that_changes_are_allowed(tmp_path):
    settings = ("model=untrained", "batch_size=2", "max_row_tokens=512")
    for steps in (1, 2):
        options = {"set": (*settings, f"steps={steps}"), "processes": 2, "allow_changes": True}
        sft(TrainingOptions(recipe="tiny_sft", output=tmp_path, **options))
    assert [row["step"] for row in RunFolder(tmp_path).rows()] == [1, 2]


def test_a_folder_belongs_to_one_process_until_it_is_gone(tmp_path):
    code = "import sys, time; from pathlib import Path; from onethinker.training.state.run_folder import RunFolder; "
    code += "RunFolder(Path(sys.argv[1])).begin({}, 0); print('begun', flush=True); time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "begun\n"
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(CheckpointError, match=f"process {other.pid} is already training in this folder"):
        folder.begin({}, 0)
    starts = folder.starts.read_text()
    other.kill()
    other.communicate()
    folder.begin({}, 0)
    folder.begin({}, 0)
    assert len(folder.starts.read_text()) > len(starts)


@pytest.fixture
def stopped(tmp_path) -> tuple[RunFolder, SftRecipe]:
    """A run of a folder's model on a file of samples, which was stopped after its second step of three."""
    save_tiny(tmp_path / "base")
    write_dataset(tmp_path / "data", num_samples=4, seed=1)
    settings = SFT | {"steps": 2, "model": str(tmp_path / "base"), "data": {"files": [tmp_path / "data/samples.jsonl"]}}
    folder = RunFolder(tmp_path / "run")
    train_sft(SftRecipe(**settings), folder.path)
    recipe = json.loads((folder.path / "recipe.json").read_text())
    (folder.path / "recipe.json").write_text(json.dumps(recipe | {"steps": 3}))
    return folder, SftRecipe(**settings | {"steps": 3})


def edit(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def drop_a_row(path: Path) -> None:
    path.write_text(path.read_text().splitlines(keepends=True)[1])


TAMPERED = {
    "a data file is edited": ("data/samples.jsonl", edit, "samples.jsonl: has another content"),
    "weights are replaced": ("base/model.safetensors", flip_a_bit, "model.safetensors: has another content"),
    "the words of the base are edited": ("base/onethinker.json", edit, "onethinker.json: has another content"),
    "a file of the base is removed": ("base/generation_config.json", Path.unlink, "generation_config.json: is gone"),
    "the recipe is removed": ("run/recipe.json", Path.unlink, "recipe.json: is gone"),
    "the starts are removed": ("run/starts.jsonl", Path.unlink, "starts.jsonl: is gone"),
    "the journal is removed": ("run/journal.jsonl", Path.unlink, "journal.jsonl: lacks the rows of steps 1 to 2"),
    "a row of the journal is removed": ("run/journal.jsonl", drop_a_row, "journal.jsonl: lacks the rows of steps 1"),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_what_changed_under_a_stopped_run_is_named_and_goes_on_only_if_that_is_allowed(tmp_path, stopped, what):
    (folder, recipe), (name, tamper, said) = stopped, TAMPERED[what]
    tamper(tmp_path / name)
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    with pytest.raises(CheckpointError, match=f"--allow-changes.*{re.escape(said)}"):
        train_sft(recipe, folder.path)
    assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == before
    train_sft(recipe, folder.path, allow_changes=True)
    assert folder.rows()[-1]["step"] == 3
    (change,) = json.loads(folder.starts.read_text().splitlines()[-1])["changed"]
    assert change.endswith(said)
    train_sft(recipe, folder.path)  # what it was allowed to go on with is now the run's own


def test_a_run_whose_inputs_are_as_they_were_says_what_they_are_and_where_it_trains(tmp_path, stopped):
    folder, recipe = stopped
    (tmp_path / "base/README.md").write_text("A card decides nothing.")
    os.utime(tmp_path / "data/samples.jsonl")
    train_sft(recipe, folder.path)
    first, last = (json.loads(line) for line in folder.starts.read_text().splitlines())
    assert (last["step"], last["changed"]) == (2, [])
    assert last["inputs"] == first["inputs"]
    digest = hashlib.sha256((tmp_path / "data/samples.jsonl").read_bytes()).hexdigest()
    assert first["inputs"]["data"] == {str(tmp_path / "data/samples.jsonl"): digest}
    assert {"config.json", "model.safetensors", "onethinker.json", "tokenizer.json"} < first["inputs"]["model"].keys()
    assert first["processes"] == 1
    assert first["host"] == platform.node()
    assert {"torch", "transformers", "onethinker"} <= first["versions"].keys()
    assert {"cpu", "gpus", "command", "commit"} <= first.keys()


def test_a_start_that_a_crash_cut_short_is_left_out(tmp_path, stopped):
    folder, recipe = stopped
    with folder.starts.open("a") as file:
        file.write('{"step": 2, "cha')
    train_sft(recipe, folder.path)
    assert [json.loads(line)["step"] for line in folder.starts.read_text().splitlines()] == [0, 2]


def test_a_base_that_was_removed_is_not_missed_by_a_run_that_no_longer_reads_it(tmp_path, stopped):
    folder, recipe = stopped
    shutil.rmtree(tmp_path / "base")
    train_sft(recipe, folder.path)
    assert folder.rows()[-1]["step"] == 3


def test_weights_below_adapters_and_in_the_hubs_cache_have_digests(tmp_path, monkeypatch):
    save_tiny(tmp_path / "base")
    train_sft(SftRecipe(**SFT | {"steps": 1, "model": str(tmp_path / "base")}, lora={"rank": 2}), tmp_path / "run")
    digests = digest_model(str(tmp_path / "run/checkpoints/step-00000001/model"))
    assert {"adapter_model.safetensors", "base/model.safetensors"} < digests.keys()
    assert digest_model("untrained") == digest_model("someone/not-in-the-cache") == {}
    # As the hub's cache lies: links to files that are named by the digest of weights, or by git's of small files.
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    repository = tmp_path / "cache/models--someone--thinker"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text("c0ffee")
    (repository / "snapshots/c0ffee").mkdir(parents=True)
    (repository / "blobs").mkdir()
    for name, blob, content in (("config.json", "ab" * 20, "{}"), ("model.safetensors", "cd" * 32, "weights")):
        (repository / "blobs" / blob).write_text(content)
        (repository / "snapshots/c0ffee" / name).symlink_to(repository / "blobs" / blob)
    assert digest_model("someone/thinker") == {
        "config.json": hashlib.sha256(b"{}").hexdigest(),
        "model.safetensors": "cd" * 32,
    }


def permissions(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mode & 0o777 for path in folder.rglob("*")}


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002], ids=oct)
def test_the_umask_decides_who_may_read_whatever_is_written(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_dataset(tmp_path / "data", num_samples=2, seed=1)
        train_sft(SftRecipe(**SFT | {"steps": 1}, lora={"rank": 2}), tmp_path / "run")
        export_model(tmp_path / "run", tmp_path / "thinker")
        samples = list(read_samples(tmp_path / "data/samples.jsonl"))
        evaluate(
            load_engine(str(tmp_path / "thinker")),
            samples,
            output=tmp_path / "scores",
            sampling=SamplingParams(max_new_tokens=4),
        )
    finally:
        os.umask(before)
    found = permissions(tmp_path)
    assert {"thinker/model.safetensors", "run/checkpoints/step-00000001/model/adapter_model.safetensors"} < found.keys()
    assert found == {name: (0o777 if (tmp_path / name).is_dir() else 0o666) & ~umask for name in found}
