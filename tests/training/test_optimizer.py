"""The optimizer of a run: who moves what, what its state takes, and that it travels."""

from importlib.util import find_spec

import pytest
import torch
from safetensors.torch import load_file, save_file

from onethinker.commands.dispatch import dispatch
from onethinker.core.errors import CheckpointError, ConfigError
from onethinker.families.tiny import build_tiny
from onethinker.training import preflight
from onethinker.training.adapters import choose_trained
from onethinker.training.config import SftRecipe
from onethinker.training.optimizer import make_optimizer, orthogonalized, set_learning_rate, state_bytes
from onethinker.training.parallel.choice import choose_backend
from onethinker.training.parallel.moments import load_optimizer, optimizer_tensors
from onethinker.training.settings import OptimizerSettings
from onethinker.training.sft import train_sft
from tests.training.test_runs import SFT, StopRunError, files, journal, stop_after

MUON = OptimizerSettings(kind="muon", learning_rate=0.1)
needs_bitsandbytes = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="pip install 'onethinker[8bit]'")
KINDS = ["adamw", "muon", "adafactor", pytest.param("adamw8bit", marks=needs_bitsandbytes)]


def one_matrix() -> torch.nn.Module:
    layer = torch.nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        layer.weight.zero_()
    return layer


def test_muon_moves_a_matrix_by_an_orthogonal_step_whatever_the_sizes_of_its_gradient():
    layer = one_matrix()
    layer.weight.grad = torch.tensor([[1e-3, 0.0, 0.0], [0.0, 0.0, 5e-3]])
    make_optimizer(layer, MUON).step()
    # Both singular values become about 1; the scale that matches AdamW is 0.2 times the root of the longer side.
    steps = -layer.weight.detach() / (0.1 * 0.2 * 3**0.5)
    assert float(steps[0, 0]) == pytest.approx(1, abs=0.35)
    assert float(steps[1, 2]) == pytest.approx(1, abs=0.35)
    assert steps[0, 1:].abs().max() < 0.05


@pytest.mark.parametrize("shape", [(64, 64), (48, 96), (96, 48)], ids=["square", "lying", "standing"])
def test_each_matrix_is_orthogonalized_in_float32_as_if_alone_and_as_torch_does_it_in_bfloat16(shape):
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))
    found = orthogonalized(matrices)
    assert found.dtype == torch.float32
    for matrix, one in zip(matrices, found, strict=True):
        values = torch.linalg.svdvals(one)
        assert 0.3 < float(values.min()) <= float(values.max()) < 1.25
        assert torch.allclose(orthogonalized(matrix[None])[0], one, atol=1e-5)
        moved = torch.nn.Parameter(torch.zeros(shape))
        moved.grad = matrix
        torch.optim.Muon(
            [moved], lr=1.0, momentum=0.0, nesterov=False, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"
        ).step()
        theirs = -moved.detach() / (0.2 * max(shape) ** 0.5)
        # bfloat16 has 8 bits, and five iterations add up what is rounded away.
        assert float((one - theirs).norm() / theirs.norm()) < 0.03


def test_adamw_moves_every_number_by_the_rate_at_first():
    layer = one_matrix()
    layer.weight.grad = torch.tensor([[1e-3, 0.0, 0.0], [0.0, 0.0, 5e-3]])
    make_optimizer(layer, OptimizerSettings(learning_rate=0.1)).step()
    assert layer.weight.tolist() == [pytest.approx([-0.1, 0, 0], abs=1e-4), pytest.approx([0, 0, -0.1], abs=1e-4)]


def test_muon_leaves_embeddings_convolutions_and_vectors_to_adamw():
    model, _ = build_tiny()
    optimizer = make_optimizer(model, MUON)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    muon, *adamw = [{names[id(p)] for p in group["params"]} for group in optimizer.param_groups]
    assert set().union(muon, *adamw) == set(names.values())
    assert "model.language_model.layers.0.self_attn.q_proj.weight" in muon
    for name in (
        "model.language_model.embed_tokens.weight",
        "model.visual.pos_embed.weight",
        "model.visual.patch_embed.proj.weight",
    ):
        assert name in adamw[0]
    assert "model.language_model.norm.weight" in adamw[1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_moves_at_a_rate_of_its_own_and_the_longest_name_counts(kind):
    rates = {"vision": 0.5, "model.visual.patch_embed": 0.25, "model.language_model": 0.125}
    moved = {}
    for name, given in (("alike", {}), ("apart", rates)):
        model, _ = build_tiny()
        before = {key: value.detach().clone() for key, value in model.named_parameters()}
        optimizer = make_optimizer(model, OptimizerSettings(kind=kind, rates=given))
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        set_learning_rate(optimizer, 1e-3)
        optimizer.step()
        moved[name] = {key: float((value.detach() - before[key]).norm()) for key, value in model.named_parameters()}
    for key, factor in {
        "model.visual.blocks.0.mlp.linear_fc1.weight": 0.5,
        "model.visual.blocks.0.norm1.bias": 0.5,
        "model.visual.patch_embed.proj.weight": 0.25,
        "model.visual.merger.linear_fc1.weight": 1.0,
        "model.language_model.norm.weight": 0.125,
        "model.language_model.layers.0.self_attn.q_proj.weight": 0.125,
    }.items():
        assert moved["apart"][key] == pytest.approx(factor * moved["alike"][key], rel=1e-3), key


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_travels_bit_for_bit(tmp_path, kind):
    torch.manual_seed(0)
    # Large enough for 8 bits, with a last block of 256 that is not full.
    gradients = [torch.randn(64, 65), torch.randn(64)]
    settings = OptimizerSettings(kind=kind, learning_rate=0.1)

    def stepped(steps: int, saved: bool) -> torch.nn.Module:
        layer = torch.nn.Linear(65, 64)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.fill_(0.5)
        optimizer = make_optimizer(layer, settings)
        for step in range(steps):
            if saved and step == 2:
                save_file(optimizer_tensors(optimizer, layer), tmp_path / "optimizer.safetensors")
                optimizer = make_optimizer(layer, settings)
                load_optimizer(optimizer, layer, tmp_path / "optimizer.safetensors")
            for parameter, gradient in zip(layer.parameters(), gradients, strict=True):
                parameter.grad = gradient * (step + 1)
            optimizer.step()
        return layer

    whole, resumed = stepped(4, saved=False), stepped(4, saved=True)
    assert all(a.equal(b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_with_any_optimizer_goes_on_as_if_it_had_never_stopped(tmp_path, kind):
    settings = SFT | {"steps": 3, "save_every": 1, "optimizer": {"kind": kind, "learning_rate": 1e-3}}
    recipe = SftRecipe(**settings)
    train_sft(recipe, tmp_path / "whole")
    with pytest.raises(StopRunError):
        train_sft(recipe, tmp_path / "stopped", on_step=stop_after(2))
    train_sft(recipe, tmp_path / "stopped")
    assert journal(tmp_path / "stopped") == journal(tmp_path / "whole")
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")
    losses = [row["loss"] for row in journal(tmp_path / "whole")]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("lora", [None, {"rank": 8}], ids=["all", "adapters"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_plan_knows_the_bytes_of_a_state(kind, lora):
    recipe = SftRecipe(optimizer={"kind": kind}, lora=lora)
    model, _ = build_tiny()
    choose_trained(model, recipe)
    optimizer = make_optimizer(model, recipe.optimizer)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter) if parameter.requires_grad else None
    optimizer.step()
    held = optimizer_tensors(optimizer, model)
    expected = sum(value.nbytes for name, value in held.items() if not name.endswith("/step"))
    assert sum(state_bytes(model, recipe).values()) == expected > 0


@needs_bitsandbytes
def test_a_step_in_8_bits_is_nearly_that_of_adamw():
    torch.manual_seed(0)
    gradients = [torch.randn(64, 128) for _ in range(5)]
    moved = {}
    for kind in ("adamw", "adamw8bit"):
        layer = torch.nn.Linear(128, 64, bias=False)
        with torch.no_grad():
            layer.weight.zero_()
        optimizer = make_optimizer(layer, OptimizerSettings(kind=kind, learning_rate=0.1))
        for gradient in gradients:
            layer.weight.grad = gradient.clone()
            optimizer.step()
        moved[kind] = layer.weight.detach()
    off = (moved["adamw"] - moved["adamw8bit"]).norm() / moved["adamw"].norm()
    assert 0 < float(off) < 0.05


def test_adafactor_moves_weights_by_a_share_of_their_size():
    layer = one_matrix()
    with torch.no_grad():
        layer.weight.fill_(2.0)
    layer.weight.grad = torch.full((2, 3), 1e-3)
    make_optimizer(layer, OptimizerSettings(kind="adafactor", learning_rate=0.01)).step()
    # All gradients alike: their normalized step is 1, times the rate, times the root mean square of the weights.
    assert layer.weight.flatten().tolist() == pytest.approx([2.0 - 0.01 * 2.0] * 6, rel=1e-5)


def test_a_state_of_other_shapes_is_no_state_of_this_model(tmp_path):
    settings = OptimizerSettings(kind="adafactor")
    layer = one_matrix()
    layer.weight.grad = torch.ones(2, 3)
    optimizer = make_optimizer(layer, settings)
    optimizer.step()
    save_file(optimizer_tensors(optimizer, layer), tmp_path / "optimizer.safetensors")
    other = torch.nn.Linear(4, 2, bias=False)
    with pytest.raises(CheckpointError, match=r"col_var has the shape \(1, 3\), not \(1, 4\)"):
        load_optimizer(make_optimizer(other, settings), other, tmp_path / "optimizer.safetensors")
    assert load_file(tmp_path / "optimizer.safetensors")["weight/row_var"].shape == (2, 1)


def test_8_bits_without_bitsandbytes_are_refused_with_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(preflight, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'onethinker\[8bit\]'"):
        choose_backend(SftRecipe(optimizer={"kind": "adamw8bit"}))
    command = ["sft", "tiny_sft", "--set", "optimizer.kind=adamw8bit"]
    with pytest.raises(ConfigError, match=r"pip install 'onethinker\[8bit\]'"):
        dispatch([*command, "--output", str(tmp_path / "run")])
    assert dispatch([*command, "--dry-run"]) == 0, "a plan for another machine needs nothing"


def test_the_rate_of_a_group_is_the_rate_of_its_optimizer():
    layer = one_matrix()
    layer.weight.grad = torch.eye(2, 3)
    optimizer = make_optimizer(layer, MUON)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    optimizer.step()
    assert not layer.weight.any()
