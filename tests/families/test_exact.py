"""Each family that is trained, on a tiny random model of its classes: packed rows, rollouts and batches are exact."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from num2words import num2words
from transformers import (
    Glm4vImageProcessor,
    Glm4vProcessor,
    Glm4vVideoProcessor,
    Glm46VImageProcessor,
    Glm46VProcessor,
    Glm46VVideoProcessor,
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
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
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)
from transformers.models.smolvlm.processing_smolvlm import DEFAULT_VIDEO_INTRO

from onethinker.core.request import Request, SamplingParams
from onethinker.core.sample import Sample
from onethinker.data.synthetic import make_sample
from onethinker.families.folder import ModelSettings, save_model
from onethinker.families.packing import check_packing
from onethinker.families.processing import full_frames, placeholder_tokens, position_ids, video_metadata
from onethinker.families.registry import check_processor, families, family_of, family_of_processor, fit_budget
from onethinker.families.tiny import TINY_BUDGET, TINY_TEMPLATE, build_tiny, build_tiny_processor
from onethinker.inference.encode import build_request, encode_requests, prompt_texts
from onethinker.inference.loading import load_local
from onethinker.inference.local import LocalEngine
from onethinker.media.budget import MediaBudget
from onethinker.media.sizing import count_tokens
from onethinker.rl.in_process import sample_answers
from onethinker.training.lengths import Lengths
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
    samples: list[Sample]
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


def tokenizer_with(named: dict[str, str], *others: str) -> Any:
    """The tiny tokenizer with the tokens of another family, some of which it knows by a name."""
    tokenizer = build_tiny_processor().tokenizer
    tokenizer.add_special_tokens({"extra_special_tokens": [*tokenizer.extra_special_tokens, *named.values(), *others]})
    return type(tokenizer)(
        **{**tokenizer.init_kwargs, "tokenizer_object": tokenizer.backend_tokenizer, "extra_special_tokens": named}
    )


def template_with(image: str, video: str) -> str:
    """The tiny chat template with the placeholders of another family."""
    template = build_tiny_processor().chat_template
    for kind, text in (("image", image), ("video", video)):
        template = template.replace(f"<|vision_start|><|{kind}_pad|><|vision_end|>", text)
    return template


GLM_TOKENS = [f"<|{place}_of_{kind}|>" for kind in ("image", "video") for place in ("begin", "end")]
GLM_TEMPLATE = template_with(
    "<|begin_of_image|><|image|><|end_of_image|>", "<|begin_of_video|><|video|><|end_of_video|>"
)


def glm(prefix: str, text: dict[str, Any], images: Any, videos: Any, processor: Any) -> tuple[Any, Any]:
    tokenizer = tokenizer_with({"image_token": "<|image|>", "video_token": "<|video|>"}, *GLM_TOKENS)
    made = processor(images(**PATCHES_14), tokenizer, videos(**PATCHES_14), chat_template=GLM_TEMPLATE)
    names = ("image_start", "image_end", "video_start", "video_end")
    ids = tokenizer.convert_tokens_to_ids([*GLM_TOKENS, "<|image|>", "<|video|>"])
    config, model = (getattr(transformers, f"{prefix}{end}") for end in ("Config", "ForConditionalGeneration"))
    own = config(
        text_config={**TEXT, "rope_parameters": ROPE, "vocab_size": len(tokenizer), **text},
        vision_config={**VISION, "image_size": 112, "out_hidden_size": 32},
        **{f"{name}_token_id": token for name, token in zip((*names, "image", "video"), ids, strict=True)},
    )
    return model(own), made


def glm_4_1v() -> tuple[Any, Any]:
    return glm("Glm4v", {}, Glm4vImageProcessor, Glm4vVideoProcessor, Glm4vProcessor)


def glm_4_6v() -> tuple[Any, Any]:
    return glm("Glm46V", {}, Glm46VImageProcessor, Glm46VVideoProcessor, Glm46VProcessor)


def glm_4_5v() -> tuple[Any, Any]:
    rope = {**ROPE, "mrope_section": [2, 1, 1], "partial_rotary_factor": 0.5}
    experts = {"moe_intermediate_size": 16, "n_routed_experts": 4, "num_experts_per_tok": 2, "first_k_dense_replace": 1}
    text = {"rope_parameters": rope, **experts}
    return glm("Glm4vMoe", text, Glm4vImageProcessor, Glm4vVideoProcessor, Glm4vProcessor)


SQUARE = {"height": 56, "width": 56}
SIGLIP = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "initializer_range": 0.2,
}


def internvl(text: dict[str, Any]) -> tuple[Any, Any]:
    named = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
    tokenizer = tokenizer_with({**named, "video_token": "<video>"})
    images, videos = GotOcr2ImageProcessor(size=SQUARE), InternVLVideoProcessor(size=SQUARE)
    template = template_with("<IMG_CONTEXT>", "<video>")
    processor = InternVLProcessor(images, tokenizer, videos, image_seq_length=4, chat_template=template)
    config = InternVLConfig(
        text_config={**TEXT, "vocab_size": len(tokenizer), **text},
        vision_config={**SIGLIP, "image_size": [56, 56], "patch_size": [14, 14]},
        image_token_id=tokenizer.context_image_token_id,
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    return InternVLForConditionalGeneration(config), processor


def internvl_on_qwen2() -> tuple[Any, Any]:
    rope = {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 2.0}
    return internvl({"model_type": "qwen2", "rope_parameters": rope, "max_position_embeddings": 4096})


def internvl_on_qwen3() -> tuple[Any, Any]:
    return internvl({"model_type": "qwen3", "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0}})


def smolvlm() -> tuple[Any, Any]:
    tokenizer = tokenizer_with(
        {"fake_image_token": "<fake_token_around_image>", "image_token": "<image>", "video_token": "<video>"},
        "<global-img>",
        "<end_of_utterance>",
    )
    longest = {"longest_edge": 64}
    processor = SmolVLMProcessor(
        SmolVLMImageProcessor(size=longest, max_image_size=longest),
        tokenizer,
        SmolVLMVideoProcessor(size=longest, max_image_size=longest, num_frames=4, fps=1),
        image_seq_len=4,
        chat_template=template_with("<image>", "<video>"),
    )
    text = {"model_type": "llama", "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0}}
    config = SmolVLMConfig(
        text_config={**TEXT, **text, "vocab_size": len(tokenizer), "pad_token_id": 0},
        vision_config={**SIGLIP, "image_size": 64, "patch_size": 16},
        image_token_id=tokenizer.image_token_id,
        scale_factor=2,
    )
    return SmolVLMForConditionalGeneration(config), processor


BUILDS = {
    "Qwen3-VL": qwen3_vl,
    "Qwen3-VL-MoE": qwen3_vl_moe,
    "Qwen3.5": qwen3_5,
    "Qwen3.5-MoE": qwen3_5_moe,
    "Qwen2.5-VL": qwen2_5_vl,
    "GLM-4V, 4.1": glm_4_1v,
    "GLM-4V, 4.6": glm_4_6v,
    "GLM-4V-MoE": glm_4_5v,
    "InternVL, Qwen2": internvl_on_qwen2,
    "InternVL, Qwen3": internvl_on_qwen3,
    "SmolVLM": smolvlm,
}


def family_in(build: str) -> str:
    """The family of a build, of which there may be several."""
    return build.split(", ")[0]


@pytest.fixture(scope="module", params=BUILDS)
def tiny(request) -> Tiny:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, processor = BUILDS[request.param]()
    model.eval()
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    budget = fit_budget(TINY_BUDGET, processor)
    samples = [make_sample(5, index, data_type=kind) for index, kind in enumerate(("image", "video", "image", "video"))]
    requests = [build_request(sample, TINY_TEMPLATE, budget) for sample in samples]
    prompts = split_prompts(encode_requests(processor, requests), requests, model)
    assert family_of(model).name == family_in(request.param)
    return Tiny(model, processor, samples, requests, prompts)


def test_a_saved_model_is_loaded_as_it_was(tiny: Tiny, tmp_path: Path) -> None:
    settings = ModelSettings(prompt_template=TINY_TEMPLATE, budget=TINY_BUDGET)
    save_model(tmp_path / "model", tiny.model, copy.deepcopy(tiny.processor), settings=settings)
    loaded = load_local(str(tmp_path / "model"))
    assert loaded.budget == fit_budget(TINY_BUDGET, tiny.processor)
    inputs = [encode_requests(processor, tiny.requests) for processor in (tiny.processor, loaded.processor)]
    assert inputs[0].keys() == inputs[1].keys()
    assert all(torch.equal(inputs[0][name], inputs[1][name]) for name in inputs[0])
    weights = loaded.model.state_dict()
    assert all(torch.equal(weight, weights[name]) for name, weight in tiny.model.state_dict().items())


def own_inputs(processor: Any, request: Request, budget: MediaBudget) -> Any:
    """What a processor of transformers makes of a request with one medium, at the size that it has."""
    [clip], [text] = request.media, prompt_texts(processor, [request])
    if clip.kind == "image":
        unsplit = (
            {"crop_to_patches": False} if "InternVL" in type(processor).__name__ else {"do_image_splitting": False}
        )
        options = {"do_resize": False, **(unsplit if budget.square_px else {})}
        return processor(images=[[clip.frames[0]]], text=[text], images_kwargs=options, return_tensors="pt")
    metadata = video_metadata(clip, budget.frames_per_token)
    options = {"do_resize": False, "do_sample_frames": False, "video_metadata": [metadata]}
    frames = [full_frames(clip, budget.frames_per_token)]
    return processor(videos=frames, text=[text], videos_kwargs=options, return_tensors="pt")


def test_families_that_make_their_inputs_differently_read_what_the_processor_and_model_of_transformers_read(
    tiny: Tiny,
) -> None:
    budget = fit_budget(TINY_BUDGET, tiny.processor)
    for request in tiny.requests:
        ours, theirs = encode_requests(tiny.processor, [request]), own_inputs(tiny.processor, request, budget)
        assert torch.equal(ours["input_ids"], theirs["input_ids"])
        with torch.no_grad():
            logits = [tiny.model(**inputs).logits for inputs in (ours, theirs)]
        assert float((logits[0] - logits[1]).abs().max()) < 1e-4


def some_groups(prompts: list[Prompt]) -> list[PrefixGroup]:
    generator = torch.Generator().manual_seed(0)
    lengths = ((7,), (70, 9, 1), (1, 4), (12, 2, 2, 6))
    return [
        PrefixGroup(prompt, tuple(torch.randint(20, 250, (length,), generator=generator) for length in several))
        for prompt, several in zip(prompts, lengths, strict=True)
    ]


def one_by_one(model: Any, groups: list[PrefixGroup]) -> torch.Tensor:
    """The stock model on each prompt with each answer, at the positions at which transformers generates it."""
    for module in model.modules():
        if getattr(getattr(module, "config", None), "_attn_implementation", None) == PACKED_ATTENTION:
            module.config._attn_implementation = "sdpa"
        if isinstance(module, torch.nn.Conv3d):
            module.__dict__.pop("forward", None)
    logps = []
    for group in groups:
        prompt, size = group.prompt, len(group.prompt.input_ids)
        for answer in group.answers:
            ids = torch.cat([prompt.input_ids, answer])[None]
            types = torch.cat([prompt.mm_token_type_ids, torch.zeros_like(answer)])[None]
            after = (torch.arange(len(answer)) + int(prompt.positions.max()) + 1).expand(len(prompt.positions), -1)
            logits = model(
                input_ids=ids,
                mm_token_type_ids=types,
                position_ids=position_ids(torch.cat([prompt.positions, after], 1)[:, None]),
                attention_mask=torch.ones_like(ids),
                **prompt.pixels,
            ).logits[0]
            logps.append(torch.log_softmax(logits[size - 1 : -1], -1)[range(len(answer)), answer])
    use_packed_attention(model)
    return torch.cat(logps)


def gradients(model: Any, logps: torch.Tensor) -> dict[str, torch.Tensor]:
    (logps * torch.linspace(-1, 1, len(logps))).sum().backward()
    found = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    return found


def test_packed_rows_give_the_log_probabilities_and_gradients_of_samples_one_by_one(tiny: Tiny) -> None:
    model, groups = tiny.model, some_groups(tiny.prompts)
    use_packed_attention(model)
    check_packing(model, 4096)
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
    budget = fit_budget(TINY_BUDGET, tiny.processor)
    check_processor(tiny.model, tiny.processor)
    for request, prompt in zip(tiny.requests, tiny.prompts, strict=True):
        standing = sum(int((prompt.input_ids == token).sum()) for token in placeholder_tokens(tiny.processor).values())
        assert standing == prompt.visual_tokens == sum(count_tokens(clip, budget) for clip in request.media)


def test_prompts_are_as_long_as_was_foreseen(tiny: Tiny) -> None:
    budget = fit_budget(TINY_BUDGET, tiny.processor)
    how = {"processor": tiny.processor, "prompt_template": TINY_TEMPLATE, "budget": budget, "max_new_tokens": 1}
    lengths = Lengths(tiny.samples, {}, **how)
    for request, prompt, length, bound in zip(tiny.requests, tiny.prompts, lengths.all(), lengths.bounds, strict=True):
        spare = length.prompt - len(prompt.input_ids)
        # The words around a clip, and the time of each frame, are counted at their longest.
        assert spare == 0 if request.media[0].kind == "image" else 0 <= spare <= 40 + 4 * len(request.media[0].frames)
        assert bound.prompt >= length.prompt


@pytest.mark.parametrize("frames", [1, 128, 377, 1373, 3773, 3888, 4096])
def test_no_number_of_frames_or_minutes_is_longer_in_smolvlms_words_than_was_foreseen(frames: int) -> None:
    processor = smolvlm()[1]
    family = family_of_processor(processor)
    assert family is not None
    words = DEFAULT_VIDEO_INTRO.format(frame_count=num2words(frames), video_duration="23:59:59")
    for written, foreseen in ((words, family.video_words), ("\nFrame from 1440:00:", family.frame_time)):
        assert len(written.encode()) <= len(foreseen.encode())
        assert len(processor.tokenizer(written).input_ids) <= len(processor.tokenizer(foreseen).input_ids)


def test_questions_in_a_batch_are_answered_as_alone(tiny: Tiny) -> None:
    engine = LocalEngine(tiny.model, tiny.processor, TINY_TEMPLATE, fit_budget(TINY_BUDGET, tiny.processor))
    params = SamplingParams(max_new_tokens=12, temperature=0.0, logprobs=True)
    together = engine.complete_batch(tiny.requests, params)
    for request, reply in zip(tiny.requests, together, strict=True):
        [alone] = engine.complete_batch([request], params)
        assert alone.token_ids == reply.token_ids
        assert alone.logprobs == pytest.approx(reply.logprobs, abs=1e-4)


def test_words_that_spell_a_placeholder_are_no_place_of_a_medium_where_it_is_no_token_either() -> None:
    _, processor = smolvlm()
    processor.video_token = "<clip>"
    [text] = prompt_texts(processor, [Request("What does <clip> mean?")])
    assert "What does < clip> mean?" in text


def test_every_family_that_is_trained_is_tested_here() -> None:
    assert {family.name for family in families() if family.is_trained} == set(map(family_in, BUILDS))
