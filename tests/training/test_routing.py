"""Mixtures of experts: the routers' loss is that of transformers for each answer, packed as alone; experts are adapted
by name, and what they do in rollout and update is compared.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.models.qwen3_vl_moe.modeling_qwen3_vl_moe import load_balancing_loss_func

from onethinker.core.errors import ConfigError
from onethinker.families.folder import ModelSettings, save_model
from onethinker.families.registry import family_of
from onethinker.families.tiny import TINY_BUDGET, TINY_TEMPLATE, build_tiny
from onethinker.inference.loading import load_local
from onethinker.media.budget import MediaBudget
from onethinker.rl.in_process import sample_answers
from onethinker.training.adapters import choose_trained
from onethinker.training.config import RlRecipe, SftRecipe
from onethinker.training.packing.attention import use_packed_attention
from onethinker.training.packing.row import PrefixGroup, Prompt, pack
from onethinker.training.plan import make_plan
from onethinker.training.routing import (
    balance_losses,
    check_experts,
    listening,
    moved_tokens,
    replay,
    router_loss_coefficient,
    router_loss_words,
)
from onethinker.training.scoring import score
from onethinker.training.sft import train_sft
from tests.families.test_exact import qwen3_5_moe, qwen3_vl_moe

TOP_K = 2


def build(make: Any = qwen3_vl_moe) -> tuple[Any, Any]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, processor = make()
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    return model.eval(), processor


@pytest.fixture(scope="module")
def moe() -> Any:
    model, _ = build()
    use_packed_attention(model)
    return model


def text_prompt(length: int, generator: torch.Generator) -> Prompt:
    ids = torch.randint(20, 250, (length,), generator=generator)
    return Prompt(ids, torch.zeros_like(ids), torch.arange(length).expand(3, -1), {})


def some_groups() -> list[PrefixGroup]:
    generator = torch.Generator().manual_seed(1)
    return [
        PrefixGroup(
            text_prompt(length, generator),
            tuple(torch.randint(20, 250, (count,), generator=generator) for count in answers),
        )
        for length, answers in ((9, (5,)), (6, (7, 3)), (12, (4, 8, 2)))
    ]


def balance_of(model: Any, groups: list[PrefixGroup]) -> torch.Tensor:
    row = pack(groups)
    with listening(family_of(model).routers(model)) as heard:
        score(model, row)
    logits = torch.stack([logits[row.scored_S] for logits in heard.logits])
    return balance_losses(logits, row.answer_S, row.num_answers, TOP_K)


def test_the_loss_of_an_answer_is_that_of_transformers_with_its_tokens_unmasked(moe: Any) -> None:
    for group in some_groups():
        for answer in group.answers:
            found = balance_of(moe, [PrefixGroup(group.prompt, (answer,))])
            row = pack([PrefixGroup(group.prompt, (answer,))])
            mask = torch.zeros(1, row.inputs["input_ids"].shape[1])
            mask[0, row.scored_S] = 1
            said = moe(**row.inputs, output_router_logits=True).router_logits
            expected = load_balancing_loss_func(said, 4, TOP_K, mask)
            assert len(said) == 4
            torch.testing.assert_close(found, expected[None], rtol=1e-6, atol=0)


def test_the_loss_and_its_gradient_are_packed_as_alone(moe: Any) -> None:
    alone = torch.cat(
        [balance_of(moe, [PrefixGroup(group.prompt, (answer,))]) for group in some_groups() for answer in group.answers]
    )
    gates = [router.weight for router in family_of(moe).routers(moe)]
    expected = torch.autograd.grad(alone.sum(), gates)
    packed = balance_of(moe, some_groups())
    assert float((packed - alone).detach().abs().max()) < 1e-5
    for gradient, each in zip(torch.autograd.grad(packed.sum(), gates), expected, strict=True):
        assert float((gradient - each).norm() / each.norm()) < 1e-5


def test_a_spread_without_favourites_costs_least_and_one_expert_most() -> None:
    answer_S = torch.zeros(4, dtype=torch.long)
    even = torch.eye(4)[None]  # each token prefers another expert
    assert float(balance_losses(even, answer_S, 1, 1)) == pytest.approx(1.0)
    one = torch.tensor([[50.0, 0, 0, 0]]).expand(1, 4, 4)
    assert float(balance_losses(one, answer_S, 1, 1)) == pytest.approx(4.0)


def test_the_coefficient_is_the_configs_where_it_outputs_router_logits_or_the_recipes(moe: Any) -> None:
    text = moe.config.get_text_config()
    assert (text.output_router_logits, text.router_aux_loss_coef) == (False, 0.001)
    assert router_loss_coefficient(moe, None) == 0
    assert "off (config.json: output_router_logits false" in (router_loss_words(moe, None) or "")
    text.output_router_logits = True
    assert router_loss_coefficient(moe, None) == 0.001
    assert "times 0.001 (config.json" in (router_loss_words(moe, None) or "")
    assert router_loss_coefficient(moe, 0.0) == 0
    assert "off (the recipe's router_loss)" in (router_loss_words(moe, 0.0) or "")
    text.output_router_logits = False
    dense, _ = build_tiny()
    assert router_loss_words(dense, None) is None
    check_experts(dense, SftRecipe())
    with pytest.raises(ConfigError, match="router_loss: this model has no experts"):
        check_experts(dense, SftRecipe(router_loss=0.1))
    with pytest.raises(ConfigError, match=r"rollout\.replay_experts: this model has no experts"):
        check_experts(dense, RlRecipe.model_validate({"rollout": {"replay_experts": True}}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> Path:
    model, processor = build()
    path: Path = tmp_path_factory.mktemp("moe") / "model"
    save_model(path, model, processor, settings=ModelSettings(prompt_template=TINY_TEMPLATE, budget=TINY_BUDGET))
    return path


def trained(folder: Path, run: Path, **settings: Any) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The journal's row of one step of SFT, and the weights after it."""
    recipe = {"model": str(folder), "steps": 1, "batch_size": 3, "max_row_tokens": 1024, **settings}
    model = train_sft(SftRecipe.model_validate(recipe), run)
    [row] = map(json.loads, (run / "journal.jsonl").read_text().splitlines())
    return row, load_local(str(model)).model.state_dict()


def test_sft_adds_the_loss_says_so_and_leaves_it_out_where_told(folder: Path, tmp_path: Path, caplog: Any) -> None:
    off, plain = trained(folder, tmp_path / "off")
    assert "auxiliary loss of the routers: off" in caplog.text
    on, moved = trained(folder, tmp_path / "on", router_loss=1.0)
    assert "auxiliary loss of the routers: times 1 (the recipe's router_loss)" in caplog.text
    rows, again = trained(folder, tmp_path / "rows", router_loss=1.0, max_row_tokens=256, gradient_checkpointing=True)
    assert (off["router_coefficient"], on["router_coefficient"]) == (0, 1)
    assert on["loss"] == pytest.approx(off["loss"])  # what is predicted; the routers' loss stands beside it
    assert TOP_K <= off["router_loss"] <= 4
    assert rows["router_loss"] == pytest.approx(on["router_loss"], rel=1e-5)
    assert on["grad_norm"] != pytest.approx(off["grad_norm"], rel=1e-4)
    assert rows["grad_norm"] == pytest.approx(on["grad_norm"], rel=1e-4)
    gate = "model.language_model.layers.0.mlp.gate.weight"
    assert not torch.equal(plain[gate], moved[gate])
    assert torch.allclose(again[gate], moved[gate], atol=1e-6)


def test_experts_get_adapters_by_name_and_are_merged_exactly(folder: Path, tmp_path: Path) -> None:
    model, _ = build()
    lora = {"rank": 2, "experts": True}
    choose_trained(model, SftRecipe.model_validate({"lora": lora}))
    names = [name for name, weight in model.named_parameters() if weight.requires_grad and ".experts." in name]
    assert len(names) == 4 * 2 * 2  # layers, weights of the experts, both halves
    row, _ = trained(folder, tmp_path / "run", lora=lora, optimizer={"learning_rate": 0.01})
    assert row["router_loss"] is not None
    last = tmp_path / "run" / "checkpoints"
    adapters = next(path.parent for path in last.rglob("adapter_config.json"))
    assert "experts" in (adapters / "adapter_config.json").read_text()
    before, after = (load_local(str(path)).model.state_dict() for path in (folder, adapters))
    weight = "model.language_model.layers.0.mlp.experts.down_proj"
    assert not torch.equal(before[weight], after[weight])
    with pytest.raises(ConfigError, match=r"lora\.experts needs lora\.dropout = 0"):
        choose_trained(build()[0], SftRecipe.model_validate({"lora": {**lora, "dropout": 0.1}}))
    with pytest.raises(ConfigError, match=r"lora\.experts: there are no experts"):
        choose_trained(build_tiny()[0], SftRecipe.model_validate({"lora": lora}))


@pytest.mark.parametrize("make", [qwen3_vl_moe, qwen3_5_moe])
def test_the_update_sends_tokens_to_the_experts_of_the_rollout_and_counts_those_that_it_does_not(make: Any) -> None:
    model, processor = build(make)
    use_packed_attention(model)
    routers = family_of(model).routers(model)
    generator = torch.Generator().manual_seed(2)
    prompts = [text_prompt(length, generator) for length in (8, 13)]
    rollouts = sample_answers(
        model,
        prompts,
        torch.rand(2, 3, 12, generator=generator),
        temperature=1.0,
        end_token=processor.tokenizer.eos_token_id,
        forbidden_tokens=(),
    )
    groups = [
        PrefixGroup(prompt, tuple(each.ids for each in several))
        for prompt, several in zip(prompts, rollouts, strict=True)
    ]
    drawn = torch.cat([each.experts for several in rollouts for each in several if each.experts is not None])

    def now() -> torch.Tensor:
        row = pack(groups)
        with torch.no_grad(), listening(routers) as heard:
            score(model, row)
        return torch.stack([experts[row.scored_S] for experts in heard.experts], 1)

    assert moved_tokens(drawn, now()) == (0, len(drawn))
    with torch.no_grad():
        routers[1].weight.copy_(torch.randn(routers[1].weight.shape, generator=generator))
    moved, tokens = moved_tokens(drawn, now())
    assert 0 < moved <= tokens


def test_tokens_are_sent_again_to_the_experts_that_they_were_sampled_with(moe: Any) -> None:
    routers, row = family_of(moe).routers(moe), pack(some_groups())
    with listening(routers) as heard:
        logps, _ = score(moe, row)
    own = torch.stack([experts[row.scored_S] for experts in heard.experts], 1)
    weights = [router.weight for router in routers]
    expected = torch.autograd.grad(logps.sum(), weights)
    hooks = replay(routers, row.scored_S, own)
    again, _ = score(moe, row)
    assert torch.equal(again, logps)  # replaying what is chosen anyway changes nothing
    for found, each in zip(torch.autograd.grad(again.sum(), weights), expected, strict=True):
        torch.testing.assert_close(found, each, rtol=1e-5, atol=1e-7)
    for hook in hooks:
        hook.remove()
    others = (own + 1) % 4
    hooks = replay(routers, row.scored_S, others)
    read: list[torch.Tensor] = []
    spies = [
        layer.mlp.experts.register_forward_pre_hook(lambda _, inputs: read.append(inputs[1]))
        for layer in family_of(moe).layers(moe)
    ]
    moved, _ = score(moe, row)
    assert torch.equal(torch.stack([experts[row.scored_S] for experts in read], 1), others)
    assert float((moved - logps).detach().abs().max()) > 1e-4
    expected = torch.autograd.grad(moved.sum(), weights)
    moe.train()
    moe.gradient_checkpointing_enable({"use_reentrant": False})
    recomputed, _ = score(moe, row)
    for found, each in zip(torch.autograd.grad(recomputed.sum(), weights), expected, strict=True):
        torch.testing.assert_close(found, each, rtol=1e-5, atol=1e-7)
    moe.gradient_checkpointing_disable()
    moe.eval()
    for hook in (*hooks, *spies):
        hook.remove()


def test_a_dry_run_refuses_what_needs_experts_as_the_run_does() -> None:
    dense, _ = build_tiny()
    with pytest.raises(ConfigError, match="router_loss: this model has no experts"):
        make_plan(SftRecipe(router_loss=0.1), processes=1, model=dense, budget=MediaBudget())
