import copy
import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from onethinker.families.built_in import WEIGHTS
from onethinker.families.tiny import TINY_BUDGET
from onethinker.training.config import RlRecipe, SftRecipe
from tests.rl.vllm_server import vllm_server

SCRIPTS = Path(__file__).parents[1] / "scripts"


def load(name, monkeypatch):
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, script)
    spec.loader.exec_module(script)
    return script


@pytest.fixture
def check_gpu(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    return load("check_gpu", monkeypatch)


def small(shape):
    """The shape of a Qwen3-VL, with less of everything."""
    shape = copy.deepcopy(shape)
    shape["text_config"] |= {"vocab_size": 2048, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    shape["text_config"] |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32}
    shape["text_config"]["rope_scaling"]["mrope_section"] = [6, 5, 5]
    shape["vision_config"] |= {"num_heads": 2, "depth": 2, "hidden_size": 64, "intermediate_size": 128}
    shape["vision_config"] |= {"out_hidden_size": 64, "deepstack_visual_indexes": [0]}
    return shape


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: make check-gpu")
def test_without_a_gpu_nothing_is_checked_and_that_is_said(check_gpu, capsys):
    assert check_gpu.main() == 3
    assert "no GPU that torch can use, so nothing was checked" in capsys.readouterr().err


def test_what_is_checked_on_a_gpu_holds_on_the_cpu_but_for_its_memory(check_gpu, tmp_path):
    assert "gradients apart by" in check_gpu.activations(tmp_path, device="cpu", answers=2)
    assert "where all logits would be" in check_gpu.logits(tmp_path, device="cpu", tokens=80, words=2000)
    assert "off the GPU" in check_gpu.offloaded_shares(tmp_path, device="cpu")


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_a_packed_row_in_bfloat16_is_near_to_all_scores_with_a_mask(check_gpu, tmp_path, monkeypatch):
    forest = ((20, (5, 9, 3)), (7, (4,)), (3, (6, 6)))
    said = check_gpu.packed_in_bfloat16(tmp_path, device="cpu", forest=forest, heads=(4, 2, 16))
    assert said.startswith("63 tokens, forward and backward: ours apart by 0.00")
    assert "; flex apart by 0.00" in said
    assert "; dense apart by 0.00" in said
    attention = sys.modules["gpu_attention"]
    # Attention that lets answers see each other is found out.
    places = attention._places
    monkeypatch.setattr(attention, "_places", lambda *where: (places(*where)[0], places(*where)[1].clamp(max=0)))
    with pytest.raises(AssertionError, match="of the largest number"):
        check_gpu.packed_in_bfloat16(tmp_path, device="cpu", forest=forest, heads=(4, 2, 16))


def test_the_kernels_of_a_random_model_are_named_and_its_speed_and_memory_measured(check_gpu, tmp_path):
    model = sys.modules["gpu_model"]
    whole, _ = model.random_model(model.SHAPE_2B, "meta")
    assert sum(weight.numel() for weight in whole.parameters()) == 2_127_532_032
    shape, budget = small(model.SHAPE_2B), TINY_BUDGET
    said = check_gpu.kernels(tmp_path, device="cpu", shape=shape)
    assert said == "calls of a forward pass of 2 layers: language 6 x flash_for_cpu; vision 4 x flash_for_cpu"
    sizes = {"groups": 2, "group_size": 2, "max_new_tokens": 8}
    said = check_gpu.speed(tmp_path, device="cpu", shape=shape, sizes=sizes, budget=budget)
    assert "tokens a second sampled, 4 answers at once;" in said
    assert len(said.partition("by step [")[2].split(",")) == model.STEPS
    assert not (tmp_path / "run/checkpoints").exists() or not any((tmp_path / "run/checkpoints").iterdir())
    assert model.growth([50, 100, 100, 102]) == 0.02


def test_a_server_beside_the_run_has_the_weights_of_each_step(check_gpu, tmp_path, taught, monkeypatch):
    servers, data = sys.modules["gpu_servers"], {"files": [taught.questions]}
    with vllm_server(str(WEIGHTS), dtype="bfloat16") as server:
        said = servers.sampled(tmp_path / "run", servers.recipe_of(server.address, data))
    assert said.count("at most") == 3, "sampled() itself refuses steps that are further apart than rounding"
    # What the program says as it ends is said.
    monkeypatch.setenv("ONETHINKER_VLLM", "false")
    assert check_gpu.tried(lambda folder: check_gpu.served(folder, device="cpu"), tmp_path)[0] == "FAILED"
    monkeypatch.setenv("ONETHINKER_VLLM", "no-vllm")
    said = check_gpu.tried(lambda folder: check_gpu.served(folder, device="cpu"), tmp_path)
    assert said[0] == "not tried"
    assert "needs vLLM" in said[1]


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
