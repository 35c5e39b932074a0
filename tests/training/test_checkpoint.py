"""What a run leaves on disk: torn checkpoints are passed over, other settings are refused unless allowed, other processes go on."""

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from onethinker.commands.sft import sft
from onethinker.errors import CheckpointError
from onethinker.training.checkpoint import RunFolder, find_damage, load_optimizer, optimizer_tensors
from onethinker.training.config import SftRecipe
from onethinker.training.sft import train_sft

SFT = {"steps": 3, "batch_size": 2, "save_every": 1, "max_row_tokens": 512, "optimizer": {"learning_rate": 1e-3}}


def checkpoint(folder: RunFolder, step: int) -> Path:
    """Write a checkpoint of three small files."""
    with folder.writing(step, size=0) as partial:
        (partial / "model").mkdir()
        (partial / "model/model.safetensors").write_bytes(b"weights" * 100)
        (partial / "optimizer.safetensors").write_bytes(b"moments" * 100)
        (partial / "progress.json").write_text(json.dumps({"step": step}))
    return folder.checkpoints()[-1]


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
        path.name for path in RunFolder(tmp_path).checkpoints()
    ]
    assert [path.name for path in RunFolder(tmp_path).checkpoints()] == ["step-00000003", "step-00000004"]


def test_a_checkpoint_of_this_name_that_is_there_already_is_not_touched(tmp_path):
    there = checkpoint(RunFolder(tmp_path), 1)
    with pytest.raises(CheckpointError, match=r"step 1 cannot be saved.*goes on from step-00000001"):
        checkpoint(RunFolder(tmp_path), 1)
    assert [path.name for path in there.parent.iterdir()] == ["step-00000001"]
    assert find_damage(there) is None


def test_a_torn_checkpoint_is_passed_over_loudly_and_the_run_ends_as_if_it_had_been_whole(tmp_path, caplog):
    recipe, folder = SftRecipe(**SFT), RunFolder(tmp_path / "run")
    train_sft(recipe, folder.path)
    expected = {path.name: path.read_bytes() for path in (folder.path / "checkpoints/step-00000003").glob("*.*")}
    rows = [row["loss"] for row in folder.rows()]
    cut(folder.checkpoints()[-1] / "optimizer.safetensors")
    with caplog.at_level(logging.WARNING):
        train_sft(recipe, folder.path)
    assert "going on after step 2, because newer checkpoints are damaged: step-00000003: optimizer.safetensors has" in caplog.text
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
    for path in folder.checkpoints():
        cut(path / "model/model.safetensors")
    before = sorted(folder.path.rglob("*"))
    with pytest.raises(
        CheckpointError, match=r"no checkpoint is whole \(step-00000003: model/model.safetensors has .* bytes of .*step-00000002"
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
    with pytest.raises(CheckpointError, match=r"--allow-changes to go on with the new ones: batch_size: 2 → 3; steps: 3 → 4"):
        train_sft(changed, folder.path)
    assert json.loads((folder.path / "recipe.json").read_text())["batch_size"] == 2
    with caplog.at_level(logging.WARNING):
        train_sft(changed, folder.path, allow_changes=True)
    assert "going on after step 3 with changes: batch_size: 2 → 3; steps: 3 → 4" in caplog.text
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
        tensors = load_file(folder.checkpoints()[-1] / "optimizer.safetensors")
        assert {float(value) for key, value in tensors.items() if key.endswith("/step")} == {1.0}
        assert any(key.endswith("/momentum_buffer") for key in tensors) == (kind == "muon")


def test_moments_are_kept_of_what_had_a_gradient_and_belong_to_one_model(tmp_path):
    model = nn.ModuleDict({"used": nn.Linear(2, 3), "unused": nn.Linear(2, 3)})
    optimizer = torch.optim.AdamW(model.parameters())
    model["used"](torch.ones(1, 2)).sum().backward()
    optimizer.step()
    save_file(optimizer_tensors(optimizer, model), tmp_path / "optimizer.safetensors")
    fresh = torch.optim.AdamW(model.parameters())
    load_optimizer(fresh, model, tmp_path / "optimizer.safetensors")
    assert fresh.state.keys() == {model["used"].weight, model["used"].bias}
    assert all(fresh.state[parameter][key].equal(value) for parameter, state in optimizer.state.items() for key, value in state.items())
    for other in (nn.ModuleDict({"used": nn.Linear(2, 4)}), nn.ModuleDict({"another": nn.Linear(2, 3)})):
        with pytest.raises(CheckpointError, match=r"not the optimizer of this model: .*used"):
            load_optimizer(torch.optim.AdamW(other.parameters()), other, tmp_path / "optimizer.safetensors")


def test_the_command_refuses_changes_and_goes_on_with_them_when_told_to(tmp_path):
    settings = ("model=tiny", "steps=1", "batch_size=2", "max_row_tokens=512")
    sft("tiny_sft", output=tmp_path, set=settings)
    with pytest.raises(CheckpointError, match="steps: 1 → 2"):
        sft("tiny_sft", output=tmp_path, set=(*settings, "steps=2"))
    sft("tiny_sft", output=tmp_path, set=(*settings, "steps=2"), allow_changes=True)
    assert [row["step"] for row in RunFolder(tmp_path).rows()] == [1, 2]


@pytest.mark.long
def test_processes_that_the_command_starts_are_told_that_changes_are_allowed(tmp_path):
    settings = ("model=tiny", "batch_size=2", "max_row_tokens=512")
    for steps in (1, 2):
        sft("tiny_sft", output=tmp_path, set=(*settings, f"steps={steps}"), processes=2, allow_changes=True)
    assert [row["step"] for row in RunFolder(tmp_path).rows()] == [1, 2]


def test_a_folder_belongs_to_one_process_until_it_is_gone(tmp_path):
    code = "import sys, time; from pathlib import Path; from onethinker.training.checkpoint import RunFolder; "
    code += "RunFolder(Path(sys.argv[1])).begin({}, 0); print('begun', flush=True); time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "begun\n"
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(CheckpointError, match=f"process {other.pid} is training into this folder"):
        folder.begin({}, 0)
    starts = folder.starts.read_text()
    other.kill()
    other.communicate()
    folder.begin({}, 0)
    folder.begin({}, 0)
    assert len(folder.starts.read_text()) > len(starts)
