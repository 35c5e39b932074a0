"""A Qwen3-VL of about 3 million parameters with its own tokenizer: the same classes as the large ones, made without a download."""

from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from onethinker.media.budget import MediaBudget
from onethinker.models.folder import save_model
from onethinker.models.wording import Wording

TINY_BUDGET = MediaBudget(max_frames=12, image_max_pixels=128 * 128, frame_max_pixels=96 * 96)
"""Pictures of 16 visual tokens and clips of at most 6 pairs of frames: what the tiny model is trained and asked with."""
TINY_WORDING = Wording(
    template="{instructions} {question}{options}",
    frame="",
    instructions={
        "multiple choice": "choice:",
        "numerical": "number:",
        "regression": "estimate:",
        "math": "math:",
        "ocr": "read:",
        "open-ended": "describe:",
        "spatial grounding": "box:",
        "temporal grounding": "when:",
        "spatial-temporal grounding": "when and where:",
        "tracking": "track:",
        "segmentation/image": "segment:",
        "segmentation/video": "segment clip:",
    },
)
"""A word instead of a page of instructions: all that a model of this size can learn to follow."""

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
ANSWER_TAGS = ("<think>", "</think>", "<answer>", "</answer>")
VOCABULARY_SIZE = 1024
_VOCABULARY = Path(__file__).with_name("tiny_vocabulary.txt")
# As in the large models pictures and frames are scaled alike; vLLM counts on it and scales frames as the picture processor says.
_SHAPE = {"patch_size": 16, "merge_size": 2, "temporal_patch_size": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
_CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message['role'] }}
{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] -%}
{% if part['type'] == 'image' or part['type'] == 'image_url' %}<|vision_start|><|image_pad|><|vision_end|>
{%- elif part['type'] == 'video' or part['type'] == 'video_url' %}<|vision_start|><|video_pad|><|vision_end|>
{%- else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif -%}
"""


def build_tiny(seed: int = 0) -> tuple[Qwen3VLForConditionalGeneration, Qwen3VLProcessor]:
    """Return an untrained tiny Qwen3-VL in float32 and its processor; the same seed gives the same weights.

    The global random state of torch is left as it was.
    """
    processor = build_tiny_processor()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3VLForConditionalGeneration(_config(processor.tokenizer))
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    return model.eval(), processor


def build_tiny_processor() -> Qwen3VLProcessor:
    """Return the tiny model's processor: byte-level BPE in which every digit and every answer tag is one token."""
    tokenizer = _tokenizer()
    return Qwen3VLProcessor(Qwen2VLImageProcessor(**_SHAPE), tokenizer, Qwen3VLVideoProcessor(**_SHAPE), chat_template=_CHAT_TEMPLATE)


def save_tiny(folder: Path, seed: int = 0) -> None:
    """Write an untrained tiny model as an ordinary Hugging Face folder, with the wording and budget that it wants."""
    model, processor = build_tiny(seed)
    save_model(folder, model, processor, wording=TINY_WORDING, budget=TINY_BUDGET)


def _tokenizer() -> PreTrainedTokenizerFast:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d| ?\p{L}+|[^\s\p{L}\p{N}]+|\s+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE - len(SPECIAL_TOKENS) - len(ANSWER_TAGS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(_VOCABULARY.read_text().splitlines(), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL_TOKENS[1:]),
        padding_side="left",
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in ANSWER_TAGS])
    tokenizer.chat_template = _CHAT_TEMPLATE
    return tokenizer


def _config(tokenizer: PreTrainedTokenizerFast) -> Qwen3VLConfig:
    ids = dict(zip(SPECIAL_TOKENS, tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)), strict=True))
    return Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 192,
            "intermediate_size": 512,
            "num_hidden_layers": 4,
            "num_attention_heads": 3,
            "num_key_value_heads": 1,
            "head_dim": 64,
            "max_position_embeddings": 4096,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "mrope_section": [12, 10, 10],
                "mrope_interleaved": True,
            },
            "pad_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": 4,
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_heads": 4,
            "out_hidden_size": 192,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [1],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
