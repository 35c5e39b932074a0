"""The optimizer of a run: who moves what, and that its state travels."""

import pytest
import torch
from safetensors.torch import save_file

from onethinker.families.tiny import build_tiny
from onethinker.training.optimizer import make_optimizer, orthogonalized
from onethinker.training.parallel.moments import load_optimizer, optimizer_tensors
from onethinker.training.settings import OptimizerSettings

MUON = OptimizerSettings(kind="muon", learning_rate=0.1)


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


def test_the_state_of_both_travels_bit_for_bit(tmp_path):
    torch.manual_seed(0)
    gradients = [torch.randn(4, 5), torch.randn(4)]

    def stepped(steps: int, saved: bool) -> torch.nn.Module:
        layer = torch.nn.Linear(5, 4)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.fill_(0.5)
        optimizer = make_optimizer(layer, MUON)
        for step in range(steps):
            if saved and step == 2:
                save_file(optimizer_tensors(optimizer, layer), tmp_path / "optimizer.safetensors")
                optimizer = make_optimizer(layer, MUON)
                load_optimizer(optimizer, layer, tmp_path / "optimizer.safetensors")
            for parameter, gradient in zip(layer.parameters(), gradients, strict=True):
                parameter.grad = gradient * (step + 1)
            optimizer.step()
        return layer

    whole, resumed = stepped(4, saved=False), stepped(4, saved=True)
    assert all(a.equal(b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_the_rate_of_a_group_is_the_rate_of_its_optimizer():
    layer = one_matrix()
    layer.weight.grad = torch.eye(2, 3)
    optimizer = make_optimizer(layer, MUON)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    optimizer.step()
    assert not layer.weight.any()
