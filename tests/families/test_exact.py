"""Each family that is trained, on a tiny random model of its classes: packed rows, rollouts and batches are exact."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3_5MoeConfig,
    Qwen3_5MoeForConditionalGeneration,
    Qwen3VLMoeConfig,
    Qwen3VLMoeForConditionalGeneration,
)

from onethinker.core.request import Request, SamplingParams
from onethinker.data.synthetic import make_sample
from onethinker.families.packing import check_packing
from onethinker.families.processing import placeholder_tokens
from onethinker.families.registry import check_processor, families, family_of
from onethinker.families.tiny import TINY_BUDGET, TINY_TEMPLATE, build_tiny, build_tiny_processor
from onethinker.inference.encode import build_request, encode_requests
from onethinker.inference.local import LocalEngine
from onethinker.media.sizing import count_tokens
from onethinker.rl.in_process import sample_answers
from onethinker.training.packing.attention import PACKED_ATTENTION, use_packed_attention
from onethinker.training.packing.row import PrefixGroup, Prompt, pack, split_prompts
from onethinker.training.scoring import score

TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "initializer_range": 0.2,
}
ROPE: dict[str, Any] = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 2, 2]}
VISION: dict[str, Any] = {
    "depth": 1,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_heads": 2,
    "out_hidden_size": 32,
    "num_position_embeddings": 64,
}
EXPERTS = {"moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2}
DELTA = {
    "initializer_range": 0.05,
    "linear_num_key_heads": 1,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 8,
}
INTERLEAVED = {**ROPE, "mrope_interleaved": True, "partial_rotary_factor": 1.0}
PATCHES_14 = {
    "patch_size": 14,
    "merge_size": 2,
    "temporal_patch_size": 2,
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
}


@dataclass(frozen=True)
class Tiny:
    """A tiny random model of a family, with its processor and the requests that it is asked."""

    model: Any
    processor: Any
    requests: list[Request]
    prompts: list[Prompt]


def tokens_of(processor: Any) -> dict[str, int]:
    names = ("image_pad", "video_pad", "vision_start", "vision_end")
    ids = processor.tokenizer.convert_tokens_to_ids([f"<|{name}|>" for name in names])
    keys = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    return dict(zip(keys, ids, strict=True))


def of_classes(config: Any, model: Any, text: dict[str, Any], vision: dict[str, Any], processor: Any) -> Any:
    text = {"rope_parameters": INTERLEAVED, **TEXT, **text, "vocab_size": len(processor.tokenizer)}
    return model(config(text_config=text, vision_config={**VISION, **vision}, **tokens_of(processor)))


def qwen3_vl() -> tuple[Any, Any]:
    return build_tiny(seed=3)


def qwen3_vl_moe() -> tuple[Any, Any]:
    processor = build_tiny_processor()
    deepstack = {"deepstack_visual_indexes": [0]}
    return of_classes(Qwen3VLMoeConfig, Qwen3VLMoeForConditionalGeneration, EXPERTS, deepstack, processor), processor


def qwen3_5() -> tuple[Any, Any]:
    processor = build_tiny_processor()
    return of_classes(Qwen3_5Config, Qwen3_5ForConditionalGeneration, DELTA, {}, processor), processor


def qwen3_5_moe() -> tuple[Any, Any]:
    processor = build_tiny_processor()
    text = {**DELTA, **EXPERTS, "shared_expert_intermediate_size": 16}
    return of_classes(Qwen3_5MoeConfig, Qwen3_5MoeForConditionalGeneration, text, {}, processor), processor


def qwen2_5_vl() -> tuple[Any, Any]:
    tiny = build_tiny_processor()
    images, videos = Qwen2VLImageProcessor(**PATCHES_14), Qwen2VLVideoProcessor(**PATCHES_14)
    processor = Qwen2_5_VLProcessor(images, tiny.tokenizer, videos, chat_template=tiny.chat_template)
    text, vision = {"rope_parameters": ROPE}, {"window_size": 56, "fullatt_block_indexes": []}
    return of_classes(Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, text, vision, processor), processor


BUILDS = {
    "Qwen3-VL": qwen3_vl,
    "Qwen3-VL-MoE": qwen3_vl_moe,
    "Qwen3.5": qwen3_5,
    "Qwen3.5-MoE": qwen3_5_moe,
    "Qwen2.5-VL": qwen2_5_vl,
}


@pytest.fixture(scope="module", params=BUILDS)
def tiny(request) -> Tiny:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, processor = BUILDS[request.param]()
    model.eval()
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    budget = family_of(model).fit_budget(TINY_BUDGET)
    samples = [make_sample(5, index, data_type=kind) for index, kind in enumerate(("image", "video", "image", "video"))]
    requests = [build_request(sample, TINY_TEMPLATE, budget) for sample in samples]
    prompts = split_prompts(encode_requests(processor, requests), requests, model)
    assert family_of(model).name == request.param
    return Tiny(model, processor, requests, prompts)


def some_groups(prompts: list[Prompt]) -> list[PrefixGroup]:
    generator = torch.Generator().manual_seed(0)
    lengths = ((7,), (70, 9, 1), (1, 4), (12, 2, 2, 6))
    return [
        PrefixGroup(prompt, tuple(torch.randint(20, 250, (length,), generator=generator) for length in several))
        for prompt, several in zip(prompts, lengths, strict=True)
    ]


def one_by_one(model: Any, groups: list[PrefixGroup]) -> torch.Tensor:
    """The stock model on each prompt with each answer, at the positions at which transformers generates it."""
    model.config.text_config._attn_implementation = "sdpa"
    patches = model.model.visual.patch_embed.proj.__dict__.pop("forward")
    logps = []
    for group in groups:
        prompt, size = group.prompt, len(group.prompt.input_ids)
        for answer in group.answers:
            ids = torch.cat([prompt.input_ids, answer])[None]
            types = torch.cat([prompt.mm_token_type_ids, torch.zeros_like(answer)])[None]
            after = (torch.arange(len(answer)) + int(prompt.positions.max()) + 1).expand(3, -1)
            logits = model(
                input_ids=ids,
                mm_token_type_ids=types,
                position_ids=torch.cat([prompt.positions, after], 1)[:, None],
                attention_mask=torch.ones_like(ids),
                **prompt.pixels,
            ).logits[0]
            logps.append(torch.log_softmax(logits[size - 1 : -1], -1)[range(len(answer)), answer])
    model.config.text_config._attn_implementation = PACKED_ATTENTION
    model.model.visual.patch_embed.proj.forward = patches
    return torch.cat(logps)


def gradients(model: Any, logps: torch.Tensor) -> dict[str, torch.Tensor]:
    (logps * torch.linspace(-1, 1, len(logps))).sum().backward()
    found = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    return found


def test_packed_rows_give_the_log_probabilities_and_gradients_of_samples_one_by_one(tiny: Tiny) -> None:
    model, groups = tiny.model, some_groups(tiny.prompts)
    use_packed_attention(model)
    check_packing(model)
    alone = one_by_one(model, groups)
    expected = gradients(model, alone)
    packed, _ = score(model, pack(groups))
    found = gradients(model, packed)
    # float32 sums in another order.
    assert float((packed - alone).detach().abs().max()) < 1e-5
    assert found.keys() == expected.keys()
    largest = max(float(gradient.norm()) for gradient in expected.values())
    # Gated delta layers compute in chunks of 64 tokens whose borders fall elsewhere in a row: the small gradients of
    # their decays are differences of large ones, so theirs are measured by the largest.
    least = largest if "linear_attention" in family_of(model).packed_layer_types else largest / 1000
    for name, each in expected.items():
        assert float((found[name] - each).norm()) / max(float(each.norm()), least) < 1e-5, name


def test_an_answer_is_learned_from_with_the_log_probabilities_that_it_was_drawn_with(tiny: Tiny) -> None:
    use_packed_attention(tiny.model)
    rollouts = sample_answers(
        tiny.model,
        tiny.prompts,
        torch.rand(len(tiny.prompts), 3, 24, generator=torch.Generator().manual_seed(1)),
        temperature=1.0,
        end_token=tiny.processor.tokenizer.eos_token_id,
        forbidden_tokens=family_of(tiny.model).media_tokens(tiny.model.config),
    )
    groups = [
        PrefixGroup(prompt, tuple(rollout.ids for rollout in several))
        for prompt, several in zip(tiny.prompts, rollouts, strict=True)
    ]
    with torch.no_grad():
        updated, _ = score(tiny.model, pack(groups))
    drawn = torch.cat([rollout.logps for several in rollouts for rollout in several])
    assert float((updated - drawn).abs().max()) < 1e-5


def test_there_are_as_many_visual_tokens_as_were_counted(tiny: Tiny) -> None:
    budget = family_of(tiny.model).fit_budget(TINY_BUDGET)
    check_processor(tiny.model, tiny.processor)
    for request, prompt in zip(tiny.requests, tiny.prompts, strict=True):
        standing = sum(int((prompt.input_ids == token).sum()) for token in placeholder_tokens(tiny.processor).values())
        assert standing == prompt.visual_tokens == sum(count_tokens(clip, budget) for clip in request.media)


def test_questions_in_a_batch_are_answered_as_alone(tiny: Tiny) -> None:
    engine = LocalEngine(tiny.model, tiny.processor, TINY_TEMPLATE, TINY_BUDGET)
    params = SamplingParams(max_new_tokens=12, temperature=0.0, logprobs=True)
    together = engine.complete_batch(tiny.requests, params)
    for request, reply in zip(tiny.requests, together, strict=True):
        [alone] = engine.complete_batch([request], params)
        assert alone.token_ids == reply.token_ids
        assert alone.logprobs == pytest.approx(reply.logprobs, abs=1e-4)


def test_every_family_that_is_trained_is_tested_here() -> None:
    assert [family.name for family in families() if family.is_trained] == list(BUILDS)
