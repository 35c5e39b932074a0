"""Weights beside those that learn: their average over the steps, and a reference that is refreshed."""

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import nn

from onethinker.rl.loop import train_rl
from onethinker.training import reference
from onethinker.training.config import RlRecipe, SftRecipe
from onethinker.training.opening import open_session
from onethinker.training.sft import train_sft
from onethinker.training.state.average import trained
from tests.training.test_runs import SFT, StopRunError, files, journal, stop_after


def weights_of(folder, step, name="model/model.safetensors"):
    return load_file(folder / f"checkpoints/step-{step:08d}" / name)


def test_the_average_is_saved_and_finished_and_training_is_what_it_was(tmp_path):
    settings = SFT | {"steps": 3, "save_every": 1, "keep": "all"}
    train_sft(SftRecipe(**settings), tmp_path / "plain")
    averaged = SftRecipe(**settings | {"optimizer": {"learning_rate": 1e-3, "ema_decay": 0.6}})
    with pytest.raises(StopRunError):
        train_sft(averaged, tmp_path / "run", on_step=stop_after(3))
    train_sft(averaged, tmp_path / "run")
    assert journal(tmp_path / "run") == journal(tmp_path / "plain")
    average = None
    for step in (1, 2, 3):
        weights, told = weights_of(tmp_path / "plain", step), weights_of(tmp_path / "run", step)
        learning = weights_of(tmp_path / "run", step, "learning.safetensors")
        assert all(torch.equal(value, weights[name]) for name, value in learning.items())
        if average is not None:
            average = {name: 0.6 * value + 0.4 * weights[name] for name, value in average.items()}
            assert all(torch.allclose(value, told[name], atol=1e-7) for name, value in average.items())
            assert not all(torch.equal(told[name], weights[name]) for name in learning)
        average = {name: told[name] for name in learning}
    finished = load_file(tmp_path / "run/model/model.safetensors")
    assert all(torch.equal(value, finished[name]) for name, value in average.items())


def test_an_average_that_bfloat16_rounds_away_is_refused():
    with pytest.raises(ValidationError, match='set dtype = "mixed"'):
        SftRecipe(dtype="bfloat16", optimizer={"ema_decay": 0.99})


def refreshed(taught, every, **more) -> RlRecipe:
    return RlRecipe(
        model=taught.model,
        steps=3,
        save_every=1,
        max_row_tokens=512,
        data={"files": [taught.questions]},
        rollout={"generation_batch_size": 2, "group_size": 4, "max_new_tokens": 32},
        grading={"workers": 0},
        optimizer={"learning_rate": 1e-3},
        loss={"kl_coefficient": 0.1, "reference_refresh": every},
        **more,
    )


@pytest.mark.parametrize("lora", [None, {"rank": 4}])
def test_a_reference_that_is_never_due_is_the_start(taught, tmp_path, lora):
    train_rl(refreshed(taught, None, lora=lora), tmp_path / "plain")
    train_rl(refreshed(taught, 100, lora=lora), tmp_path / "run")
    assert journal(tmp_path / "run") == journal(tmp_path / "plain")
    assert journal(tmp_path / "run")[-1]["kl"] > 0


def test_a_reference_becomes_the_policy_and_a_stopped_run_knows_it(taught, tmp_path):
    train_rl(refreshed(taught, 2), tmp_path / "whole")
    kl = [row["kl"] for row in journal(tmp_path / "whole")]
    assert kl[0] == pytest.approx(0, abs=1e-9)
    assert kl[1] > 1e-6
    assert kl[2] == pytest.approx(0, abs=1e-9)
    with pytest.raises(StopRunError):
        train_rl(refreshed(taught, 2), tmp_path / "stopped", on_step=stop_after(3))
    train_rl(refreshed(taught, 2), tmp_path / "stopped")
    assert journal(tmp_path / "stopped") == journal(tmp_path / "whole")
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")


@pytest.mark.parametrize("sharded", [False, True])
def test_a_refresh_that_is_switched_on_begins_with_the_policy(taught, tmp_path, monkeypatch, sharded):
    with pytest.raises(StopRunError):
        train_rl(refreshed(taught, None), tmp_path / "run", on_step=stop_after(3))
    assert journal(tmp_path / "run")[-1]["kl"] > 1e-6
    if sharded:  # weights that count as sharded, in one process
        monkeypatch.setattr(reference, "DTensor", nn.Parameter)
    train_rl(refreshed(taught, 100), tmp_path / "run", allow_changes=True)
    assert journal(tmp_path / "run")[-1]["kl"] == pytest.approx(0, abs=1e-9)


def test_the_room_for_a_reference_in_checkpoints_is_known_before_the_run_begins(taught, tmp_path):
    plain, run = (open_session(refreshed(taught, every), tmp_path / str(every)) for every in (None, 2))
    assert run.checkpoint_bytes - plain.checkpoint_bytes == sum(weight.nbytes for _, weight in trained(run.model))


def test_a_refresh_needs_a_divergence():
    with pytest.raises(ValidationError, match="needs a kl_coefficient above 0"):
        RlRecipe(loss={"kl_coefficient": 0, "reference_refresh": 10})
