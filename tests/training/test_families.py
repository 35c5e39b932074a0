"""Which models can be trained: those for which a packed row is exact, by test; all others are refused by name before
anything starts.
"""

from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    AutoModelForImageTextToText,
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
from onethinker.families.registry import known
from onethinker.families.tiny import TINY_BUDGET, TINY_TEMPLATE, build_tiny
from onethinker.rl.loop import train_rl
from onethinker.training.config import RlRecipe, SftRecipe
from onethinker.training.dpo import train_dpo
from onethinker.training.dpo_recipe import DpoRecipe
from onethinker.training.packing.attention import PACKED_ATTENTION, use_packed_attention
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


SHORT_CONVOLUTIONS = {"model_type": "lfm2", "num_hidden_layers": 2, "layer_types": ["conv", "full_attention"]}


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


def test_windows_of_attention_are_wrong_in_a_row_and_refused_by_layer_in_a_family_that_is_known():
    model, prefix_groups = made(tiny_windowed), some_groups()
    with torch.no_grad():
        # Were it exact, this refusal would be for nothing.
        assert float((packed(model, prefix_groups) - one_by_one(model, prefix_groups)).abs().max()) > 1e-3
    with pytest.raises(ConfigError, match=r"Qwen2_5_VLForConditionalGeneration.*layer 2: sliding_attention, layer 3"):
        check_packing(model)


def test_gated_delta_layers_that_are_not_told_of_a_row_would_be_wrong():
    model, prefix_groups = made(tiny_qwen3_5), some_groups()
    with torch.no_grad():
        alone = one_by_one(model, prefix_groups)
        assert float((packed(model, prefix_groups) - alone).abs().max()) > 1e-3
        use_packed_attention(model)
        assert float((packed(model, prefix_groups) - alone).abs().max()) < 1e-5


@pytest.mark.parametrize(
    ("kind", "text", "named"),
    [
        ("lfm2_vl", SHORT_CONVOLUTIONS, ("layer 0: conv", "Lfm2ShortConv", "Conv1d")),
        ("gemma3", None, ("layer 0: sliding_attention", "Gemma3Attention")),
        ("mistral3", None, ("MistralAttention",)),
        ("llava_onevision", None, ("LlavaOnevisionForConditionalGeneration (model)",)),
        ("internvl", {"model_type": "phi3"}, ("Phi3Attention",)),
    ],
    ids=("lfm2_vl", "gemma3", "mistral3", "llava_onevision", "internvl with another language model"),
)
def test_a_base_that_nobody_has_proven_is_refused_with_the_names_of_its_layers_and_of_the_families_that_work(
    kind, text, named
):
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(CONFIG_MAPPING[kind](text_config=text))
    with pytest.raises(ConfigError) as refused:
        check_packing(model)
    assert [name for name in (type(model).__name__, *named, known()) if name not in str(refused.value)] == []


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


def test_rotations_that_follow_only_positions_beyond_the_longest_row_are_let_through():
    model, _ = build_tiny()
    text = model.config.text_config
    text.rope_parameters = {**text.rope_parameters, "rope_type": "dynamic", "factor": 2.0}
    check_packing(model, text.max_position_embeddings)
    with pytest.raises(ConfigError, match="rope_type dynamic beyond max_row_tokens = 4096"):
        check_packing(model, text.max_position_embeddings + 1)


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_rotations_that_follow_the_largest_position_of_a_row_are_refused(kind):
    model, _ = build_tiny()
    model.config.text_config.rope_parameters = {**model.config.text_config.rope_parameters, "rope_type": kind}
    with pytest.raises(ConfigError, match=f"positions: rope_type {kind}"):
        check_packing(model)


@pytest.mark.parametrize("stage", ["sft", "dpo", "rl", "dry run"])
def test_all_stages_and_the_dry_run_refuse_before_anything_is_written(tmp_path, stage):
    model, processor = build_tiny()
    model.config.text_config.layer_types = ["full_attention", "full_attention", "sliding_attention", "full_attention"]
    save_model(
        tmp_path / "qwen", model, processor, settings=ModelSettings(prompt_template=TINY_TEMPLATE, budget=TINY_BUDGET)
    )
    recipe: Any = {"rl": RlRecipe, "dpo": DpoRecipe}.get(stage, SftRecipe)(model=str(tmp_path / "qwen"), steps=1)
    begin = {
        "sft": lambda: train_sft(recipe, tmp_path / "run"),
        "dpo": lambda: train_dpo(recipe, tmp_path / "run"),
        "rl": lambda: train_rl(recipe, tmp_path / "run"),
        "dry run": lambda: make_plan(recipe, processes=1, model=model, budget=TINY_BUDGET),
    }
    with pytest.raises(ConfigError, match="layer 2: sliding_attention"):
        begin[stage]()
    assert not (tmp_path / "run").exists()
