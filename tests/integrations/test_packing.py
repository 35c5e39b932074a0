"""Packed rows in a loop that is not ours: models of transformers, inputs of their own processors, a plain loss."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    MistralConfig,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLProcessor,
)

from onethinker.core.errors import ConfigError, DataError
from onethinker.data.synthetic import make_sample
from onethinker.families.tiny import TINY_BUDGET, TINY_TEMPLATE
from onethinker.inference.encode import build_request
from onethinker.integrations.packing import PackedModel, packed_rows
from tests.families.test_exact import BUILDS, PATCHES_14, ROPE, TEXT, own_inputs, qwen2_5_vl, tokens_of

ROOT = Path(__file__).resolve().parents[2]
PLACEHOLDER, PICTURE_TOKENS = 99, 16
SEEN = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
SAID = {**TEXT, "num_hidden_layers": 2, "vocab_size": 100, "pad_token_id": 0}


def qwen2_vl() -> tuple[Any, Any]:
    """A model whose positions have three axes, of no family of ours."""
    made = qwen2_5_vl()[1]
    processor = Qwen2VLProcessor(
        made.image_processor, made.tokenizer, made.video_processor, chat_template=made.chat_template
    )
    text = {**TEXT, "rope_parameters": ROPE, "vocab_size": len(made.tokenizer)}
    vision = {"depth": 1, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "patch_size": PATCHES_14["patch_size"]}
    config = Qwen2VLConfig(text_config=text, vision_config=vision, **tokens_of(processor))
    return Qwen2VLForConditionalGeneration(config), processor


def llava(text: Any = LlamaConfig) -> LlavaForConditionalGeneration:
    """A model whose positions count tokens, of no family of ours."""
    config = LlavaConfig(vision_config=CLIPVisionConfig(**SEEN), text_config=text(**SAID), image_token_id=PLACEHOLDER)
    return LlavaForConditionalGeneration(config)


def paligemma() -> PaliGemmaForConditionalGeneration:
    """A model in which the tokens of a prompt see each other both ways."""
    vision = {"model_type": "siglip_vision_model", "projection_dim": 32, **SEEN}
    text = {"model_type": "gemma", **SAID}
    config = PaliGemmaConfig(
        vision_config=vision, text_config=text, image_token_id=PLACEHOLDER, projection_dim=32, hidden_size=32
    )
    return PaliGemmaForConditionalGeneration(config)


def gemma3() -> Gemma3ForConditionalGeneration:
    config = Gemma3Config(vision_config=SEEN, text_config={**SAID, "sliding_window": 8}, image_token_id=PLACEHOLDER)
    return Gemma3ForConditionalGeneration(config)


def by_processor(processor: Any, *kinds: str) -> list[Any]:
    """What a processor of transformers makes of pictures and clips with questions."""
    budget = TINY_BUDGET.model_copy(update={"token_side_px": processor.image_processor.patch_size * 2})
    samples = [make_sample(5, index, data_type=kind) for index, kind in enumerate(kinds)]
    return [own_inputs(processor, build_request(sample, TINY_TEMPLATE, budget), budget) for sample in samples]


def by_hand() -> list[dict[str, Tensor]]:
    """Three prompts of different length with one picture each."""
    random = torch.Generator().manual_seed(0)
    prompts = []
    for length in (3, 8, 5):
        parts = (torch.randint(1, 90, (4,), generator=random), torch.full((PICTURE_TOKENS,), PLACEHOLDER))
        ids = torch.cat([*parts, torch.randint(1, 90, (length,), generator=random)])[None]
        pixels = torch.rand(1, 3, 32, 32, generator=random)
        prompts.append({"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels})
    return prompts


def some_answers() -> list[list[list[int]]]:
    random = torch.Generator().manual_seed(1)
    lengths = ((7, 30, 1), (4,), (2, 9))
    return [[torch.randint(20, 90, (n,), generator=random).tolist() for n in several] for several in lengths]


def plain_logps(model: Any, prompts: list[Any], answers: list[list[list[int]]]) -> Tensor:
    """The loop that everyone writes: prompt and answer in a sequence, by the model as it comes."""
    found = []
    for prompt, several in zip(prompts, answers, strict=True):
        for answer in several:
            said = torch.tensor([answer])
            whole = dict(prompt)
            whole["input_ids"] = torch.cat([prompt["input_ids"], said], 1)
            whole["attention_mask"] = torch.ones_like(whole["input_ids"])
            if "mm_token_type_ids" in prompt:
                types = torch.as_tensor(prompt["mm_token_type_ids"])
                whole["mm_token_type_ids"] = torch.cat([types, torch.zeros_like(said)], 1)
            logits = model(**whole).logits[0, -len(answer) - 1 : -1]
            found.append(torch.log_softmax(logits, -1)[range(len(answer)), answer])
    return torch.cat(found)


def gradients(model: Any, logps: Tensor) -> dict[str, Tensor]:
    (logps * torch.linspace(-1, 1, len(logps))).sum().backward()
    found = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    return found


def made(build: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build()


@pytest.mark.parametrize(
    ("build", "middle"),
    [
        pytest.param(BUILDS["Qwen3-VL"], "video", id="Qwen3-VL"),
        # After a clip their forward pass counts on from another position than their `generate`, and so do we as it.
        pytest.param(qwen2_5_vl, "image", id="Qwen2.5-VL"),
        pytest.param(qwen2_vl, "image", id="Qwen2-VL"),
        pytest.param(lambda: (llava(), None), "", id="LLaVA"),
        pytest.param(lambda: (LlamaForCausalLM(LlamaConfig(**SAID)).double(), None), "", id="Llama, without eyes"),
    ],
)
def test_packed_rows_give_the_losses_and_gradients_of_a_plain_loop(build, middle):
    model, processor = made(build)
    prompts = by_processor(processor, "image", middle, "image") if processor else by_hand()
    if not hasattr(model.config, "vision_config"):
        prompts = [{name: each for name, each in prompt.items() if name != "pixel_values"} for prompt in prompts]
    model.eval()
    expected = plain_logps(model, prompts, some_answers())
    expected_gradients = gradients(model, expected)

    packed = PackedModel(model)
    groups = [packed.group(prompt, answers) for prompt, answers in zip(prompts, some_answers(), strict=True)]
    logps = packed.logps(groups)
    assert [[len(each) for each in several] for several in logps] == [[7, 30, 1], [4], [2, 9]]
    found = torch.cat([each for several in logps for each in several])
    # float32 sums in another order.
    assert float((found - expected).detach().abs().max()) < 1e-5
    found_gradients = gradients(model, found)
    assert found_gradients.keys() == expected_gradients.keys()
    largest = max(float(each.norm()) for each in expected_gradients.values())
    for weight, each in expected_gradients.items():
        difference = float((found_gradients[weight] - each).norm())
        assert difference / max(float(each.norm()), largest / 1000) < 1e-5, weight
    assert packed.largest_difference(groups) < 1e-5


@pytest.mark.parametrize("build", [qwen2_5_vl, qwen2_vl], ids=["Qwen2.5-VL", "Qwen2-VL"])
def test_answers_about_a_clip_are_those_that_the_model_generates(build):
    model, processor = made(build)
    prompts = by_processor(processor, "video", "image", "video")
    packed = PackedModel(model.eval())
    groups = [packed.group(prompt, answers) for prompt, answers in zip(prompts, some_answers(), strict=True)]
    assert packed.largest_difference(groups) < 1e-5


def test_rows_of_many_groups_are_dealt_by_their_length_and_the_model_generates_as_before():
    model, processor = made(BUILDS["Qwen3-VL"])
    [picture] = by_processor(processor, "image")
    ids = [model.generate(**picture, max_new_tokens=8, do_sample=False)]
    packed = PackedModel(model)
    ids.append(packed.model.generate(**picture, max_new_tokens=8, do_sample=False))
    assert torch.equal(*ids)
    group = packed.group(picture, [[5, 6], [7]])
    assert group.num_tokens == picture["input_ids"].shape[1] + 3
    assert [len(row) for row in packed_rows([group] * 3, 2 * group.num_tokens)] == [2, 1]


def test_padding_of_a_prompt_is_left_out():
    packed, prompt = PackedModel(made(llava)), by_hand()[0]
    pad = torch.zeros(1, 2, dtype=torch.long)
    padded = {name: torch.cat([pad, prompt[name]], 1) for name in ("input_ids", "attention_mask")}
    groups = [packed.group(each, [[5, 6, 7]]) for each in (prompt, {**prompt, **padded})]
    assert torch.equal(groups[0].prompt.input_ids, groups[1].prompt.input_ids)
    assert torch.equal(groups[0].prompt.positions, groups[1].prompt.positions)


def test_a_model_in_training_is_checked_without_its_dropout_and_goes_on_training():
    model = made(lambda: llava(lambda **sizes: LlamaConfig(**sizes, attention_dropout=0.5))).train()
    model.model.vision_tower.eval()
    packed = PackedModel(model)
    packed.logps([packed.group(by_hand()[0], [[5, 6, 7], [8]])])
    assert model.training
    assert model.lm_head.training
    assert not model.model.vision_tower.training


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: llava(MistralConfig), "a sliding window of 4096 tokens"),
        (gemma3, "layer 0: sliding_attention"),
    ],
)
def test_a_model_whose_layers_look_at_a_window_is_refused_by_name(build, says):
    with pytest.raises(ConfigError, match=f"cannot read packed rows: {says}"):
        PackedModel(made(build))


def test_a_model_whose_prompt_is_seen_both_ways_is_refused_by_its_own_log_probabilities():
    packed = PackedModel(made(paligemma).eval())
    group = packed.group(by_hand()[0], [[5, 6, 7]])
    with pytest.raises(ConfigError, match=r"up to .* from those of the answers computed one by one"):
        packed.logps([group])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda prompt: {**prompt, "input_ids": prompt["input_ids"].repeat(2, 1)}, "expected the inputs of one prompt"),
        (lambda prompt: (prompt, []), "at least one answer"),
        (lambda prompt: (prompt, [[5], []]), "answer 1 has no tokens"),
        (lambda prompt: (prompt, [[5, PLACEHOLDER]]), "answer 0 has a media token"),
    ],
)
def test_what_no_group_can_be_made_of_is_refused(change, says):
    changed = change(by_hand()[0])
    inputs, answers = changed if isinstance(changed, tuple) else (changed, [[5]])
    with pytest.raises(DataError, match=says):
        PackedModel(made(llava)).group(inputs, answers)


def test_the_example_learns_the_same_both_ways():
    small = ["--steps", "2", "--group", "3", "--pictures", "2", "--tokens", "6"]
    command = [sys.executable, str(ROOT / "examples/packed_loop.py"), *small]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    rows = [line.split() for line in done.stdout.splitlines() if re.match(r"\s+\d", line)]
    assert len(rows) == 2
    for _, _, _, plain, packed, _, _ in rows:
        assert float(packed) == pytest.approx(float(plain), abs=1e-4)
    assert "times faster" in done.stdout


def test_the_config_says_which_tokens_are_pictures_where_the_processor_does_not():
    model, processor = made(BUILDS["Qwen3-VL"])
    packed, prompt = PackedModel(model), dict(by_processor(processor, "image")[0])
    expected = packed.group(prompt, [[5]]).prompt
    del prompt["mm_token_type_ids"]
    found = packed.group(prompt, [[5]]).prompt
    assert torch.equal(found.mm_token_type_ids, expected.mm_token_type_ids)
    assert torch.equal(found.positions, expected.positions)
