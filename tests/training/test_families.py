"""Which models can be trained: those for which a packed row is exact, by test; all others are refused by name before
anything starts.
"""

from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3VLMoeConfig,
    Qwen3VLMoeForConditionalGeneration,
)

from onethinker.core.errors import ConfigError
from onethinker.families.folder import ModelSettings, save_model
from onethinker.families.packing import check_packing
from onethinker.families.tiny import TINY_BUDGET, TINY_TEMPLATE, build_tiny, build_tiny_processor
from onethinker.rl.loop import train_rl
from onethinker.training.config import RlRecipe, SftRecipe
from onethinker.training.packing.attention import PACKED_ATTENTION
from onethinker.training.packing.row import PrefixGroup, Prompt, pack
from onethinker.training.plan import make_plan
from onethinker.training.scoring import score
from onethinker.training.sft import train_sft

TEXT: dict[str, Any] = {
    "vocab_size": 1024,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "initializer_range": 0.3,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10_000.0,
        "mrope_section": [4, 2, 2],
        "mrope_interleaved": True,
    },
}
VISION: dict[str, Any] = {
    "depth": 1,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_heads": 2,
    "out_hidden_size": 32,
    "num_position_embeddings": 64,
}


def tiny_qwen3_5() -> Qwen3_5ForConditionalGeneration:
    """Three layers of gated delta nets and one of attention, as the large ones alternate."""
    linear = {
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
    }
    text = {**TEXT, **linear, "rope_parameters": {**TEXT["rope_parameters"], "partial_rotary_factor": 1.0}}
    return Qwen3_5ForConditionalGeneration(Qwen3_5Config(text_config=text, vision_config=VISION))


def tiny_moe() -> Qwen3VLMoeForConditionalGeneration:
    text = {**TEXT, "moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2}
    vision = {**VISION, "deepstack_visual_indexes": [0]}
    return Qwen3VLMoeForConditionalGeneration(Qwen3VLMoeConfig(text_config=text, vision_config=vision))


def tiny_windowed() -> Qwen2_5_VLForConditionalGeneration:
    text = {**TEXT, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 2}
    text["rope_parameters"] = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 2, 2]}
    vision = {"depth": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32}
    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision))


def made(build: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build().eval()


def some_groups() -> list[PrefixGroup]:
    """Three prompts of text, the last with two answers."""
    generator = torch.Generator().manual_seed(1)
    prefix_groups = []
    for length, answers in ((9, (5,)), (6, (7,)), (12, (4, 8))):
        ids = torch.randint(20, 900, (length,), generator=generator)
        prompt = Prompt(ids, torch.zeros_like(ids), torch.arange(length).expand(3, -1), {})
        prefix_groups.append(
            PrefixGroup(prompt, tuple(torch.randint(20, 900, (count,), generator=generator) for count in answers))
        )
    return prefix_groups


def one_by_one(model: Any, prefix_groups: list[PrefixGroup]) -> torch.Tensor:
    model.config.text_config._attn_implementation = "sdpa"
    logps = []
    for prefix_group in prefix_groups:
        for answer in prefix_group.answers:
            ids = torch.cat([prefix_group.prompt.input_ids, answer])[None]
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
            logps_RV = torch.log_softmax(logits[len(prefix_group.prompt.input_ids) - 1 : -1], -1)
            logps.append(logps_RV[range(len(answer)), answer])
    return torch.cat(logps)


def packed(model: Any, prefix_groups: list[PrefixGroup]) -> torch.Tensor:
    model.config.text_config._attn_implementation = PACKED_ATTENTION
    return score(model, pack(prefix_groups))[0]


def test_a_mixture_of_experts_is_exact_and_let_through():
    model, prefix_groups = made(tiny_moe), some_groups()
    check_packing(model)
    with torch.no_grad():
        assert float((packed(model, prefix_groups) - one_by_one(model, prefix_groups)).abs().max()) < 1e-5


def test_the_tiny_model_is_let_through_on_any_device():
    check_packing(build_tiny()[0])
    check_packing(build_tiny()[0].to("meta"))


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (
            tiny_qwen3_5,
            (
                "Qwen3_5ForConditionalGeneration",
                "layer 0: linear_attention",
                "Qwen3_5GatedDeltaNet",
                "layers.0.linear_attn",
            ),
        ),
        (
            tiny_windowed,
            (
                "Qwen2_5_VLForConditionalGeneration",
                "layer 3: sliding_attention",
                "Qwen2_5_VLAttention",
                "layers.0.self_attn",
            ),
        ),
    ],
    ids=["gated delta nets", "windows of attention"],
)
def test_a_model_that_packing_gets_wrong_is_refused_with_the_names_of_its_layers(build, named):
    model, prefix_groups = made(build), some_groups()
    with torch.no_grad():
        # Were it exact, this refusal would be for nothing.
        assert float((packed(model, prefix_groups) - one_by_one(model, prefix_groups)).abs().max()) > 1e-3
    with pytest.raises(ConfigError) as refused:
        check_packing(model)
    assert all(name in str(refused.value) for name in named)


@pytest.mark.parametrize(
    "strange", [nn.Conv1d(4, 4, 3), nn.GRU(4, 4), nn.LSTM(4, 4)], ids=["convolution", "GRU", "LSTM"]
)
def test_a_layer_that_nobody_has_looked_at_is_refused_wherever_it_stands(strange):
    model, _ = build_tiny()
    model.model.language_model.layers[2].mlp.extra = strange
    with pytest.raises(ConfigError, match=rf"{type(strange).__name__} \(language_model.layers.2.mlp.extra\)"):
        check_packing(model)


def test_a_proven_family_with_windows_in_its_config_is_refused():
    model, _ = build_tiny()
    model.config.text_config.layer_types = [
        "full_attention",
        "sliding_attention",
        "chunked_attention",
        "full_attention",
    ]
    with pytest.raises(ConfigError, match="layer 1: sliding_attention, layer 2: chunked_attention"):
        check_packing(model)


@pytest.mark.parametrize("stage", ["sft", "rl", "dry run"])
def test_both_stages_and_the_dry_run_refuse_before_anything_is_written(tmp_path, stage):
    model, processor = made(tiny_qwen3_5), build_tiny_processor()
    save_model(
        tmp_path / "qwen", model, processor, settings=ModelSettings(prompt_template=TINY_TEMPLATE, budget=TINY_BUDGET)
    )
    recipe: Any = (RlRecipe if stage == "rl" else SftRecipe)(model=str(tmp_path / "qwen"), steps=1)
    begin = {
        "sft": lambda: train_sft(recipe, tmp_path / "run"),
        "rl": lambda: train_rl(recipe, tmp_path / "run"),
        "dry run": lambda: make_plan(recipe, processes=1, model=model, budget=TINY_BUDGET),
    }
    with pytest.raises(ConfigError, match="Qwen3_5GatedDeltaNet"):
        begin[stage]()
    assert not (tmp_path / "run").exists()
