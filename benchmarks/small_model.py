"""A Qwen3-VL of 6 million parameters, or a small Qwen3.5, and pictures for it: what the benchmarks of training run,
ours and the peers'.

It needs nothing but transformers, so that a peer's environment can import it without OneThinker.
"""

from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message['role'] }}
{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] -%}
{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}
{%- endfor %}{% endif %}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif -%}
"""
QUESTION = "where is the cat?"
GATED_DELTA = {
    "linear_num_key_heads": 4,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 64,
    "linear_value_head_dim": 64,
}
HYBRID_LAYERS = 8
"""Three gated delta layers before each layer of attention, as in the large ones."""


def build(
    *, layers: int = 6, hidden: int = 256, vocabulary: int | None = None, hybrid: bool = False
) -> tuple[Any, Qwen3VLProcessor]:
    """Return the model, a Qwen3.5 where it is to be hybrid, with weights that depend on nothing but the arguments, and
    its processor: one token a byte.
    """
    letters = {letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    core = Tokenizer(models.BPE(vocab=letters, merges=[]))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL_TOKENS[1:]),
        padding_side="left",
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    sizes: dict[str, Any] = {"patch_size": 16, "merge_size": 2, "temporal_patch_size": 2}
    processor = Qwen3VLProcessor(
        Qwen2VLImageProcessor(**sizes), tokenizer, Qwen3VLVideoProcessor(**sizes), chat_template=CHAT_TEMPLATE
    )
    ids = dict(zip(SPECIAL_TOKENS, tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)), strict=True))
    kinds = (Qwen3_5Config, Qwen3_5ForConditionalGeneration)
    config_class, model_class = kinds if hybrid else (Qwen3VLConfig, Qwen3VLForConditionalGeneration)
    config = config_class(
        text_config={
            **(GATED_DELTA if hybrid else {}),
            "vocab_size": vocabulary or len(tokenizer),
            "hidden_size": hidden,
            "intermediate_size": 3 * hidden,
            "num_hidden_layers": HYBRID_LAYERS if hybrid else layers,
            "num_attention_heads": hidden // 64,
            "num_key_value_heads": max(1, hidden // 128),
            "head_dim": 64,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 500_000.0,
                "mrope_section": [12, 10, 10],
                "mrope_interleaved": True,
                **({"partial_rotary_factor": 1.0} if hybrid else {}),
            },
            "pad_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
        },
        vision_config={
            "depth": 4,
            "hidden_size": 192,
            "intermediate_size": 576,
            "num_heads": 4,
            "out_hidden_size": hidden,
            "num_position_embeddings": 256,
            **({} if hybrid else {"deepstack_visual_indexes": [1, 2]}),
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    return model_class(config), processor


def pictures(side: int, count: int) -> list[Image.Image]:
    """Return square pictures of noise, the same on every call."""
    generator = np.random.default_rng(0)
    return [Image.fromarray(generator.integers(0, 255, (side, side, 3), dtype=np.uint8)) for _ in range(count)]


def encode(processor: Qwen3VLProcessor, images: list[Image.Image], question: str = QUESTION) -> dict[str, torch.Tensor]:
    """Return one prompt of pictures and a question as the model's inputs, a batch of one."""
    content = [*({"type": "image", "image": image} for image in images), {"type": "text", "text": question}]
    return dict(
        processor.apply_chat_template(
            [[{"role": "user", "content": content}]],
            tokenize=True,
            return_dict=True,
            add_generation_prompt=True,
            processor_kwargs={"return_mm_token_type_ids": True},
            return_tensors="pt",
        )
    )
