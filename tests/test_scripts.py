import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from onethinker.training.config import RlRecipe, SftRecipe

SCRIPTS = Path(__file__).parents[1] / "scripts"


def load(name, monkeypatch):
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, script)
    spec.loader.exec_module(script)
    return script


@pytest.fixture
def check_gpu(monkeypatch):
    return load("check_gpu", monkeypatch)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: make check-gpu")
def test_without_a_gpu_nothing_is_checked_and_that_is_said(check_gpu, capsys):
    assert check_gpu.main() == 3
    assert "no GPU that torch can use, so nothing was checked" in capsys.readouterr().err


def test_what_is_checked_on_a_gpu_holds_on_the_cpu_but_for_its_memory(check_gpu, tmp_path):
    assert "gradients apart by" in check_gpu.activations(tmp_path, device="cpu", answers=2)
    assert "where all logits would be" in check_gpu.logits(tmp_path, device="cpu", tokens=80, words=2000)
    assert "off the GPU" in check_gpu.offloaded_shares(tmp_path, device="cpu")


def test_a_check_that_fails_or_cannot_be_tried_says_so_and_ends_no_other(check_gpu, tmp_path):
    def fails(folder):
        check_gpu.near(torch.tensor([1.0]), torch.tensor([2.0]), 0.1)

    def cannot(folder):
        check_gpu.need(False, "two GPUs")

    assert check_gpu.tried(fails, tmp_path) == (
        "FAILED",
        "AssertionError: apart by 0.5 of the largest number, 0.1 is allowed",
    )
    assert check_gpu.tried(cannot, tmp_path) == ("not tried", "needs two GPUs")


def test_runs_that_are_checked_on_a_gpu_have_settings_that_there_are(check_gpu):
    def recipe(kind, name, settings):
        return kind.load(name, [f"{key}={value}" for key, value in settings.items()])

    assert recipe(SftRecipe, "tiny_sft", check_gpu.SFT).optimizer.kind == "adamw"
    assert recipe(RlRecipe, "tiny_rl", check_gpu.RL).rollout.group_size == 4
