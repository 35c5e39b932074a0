"""Untrained Qwen3-VL models of 2 and 5.5 million parameters with their own tokenizers: the same classes as the large
ones, made without a download.
"""

from dataclasses import dataclass
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

from onethinker.data.synthetic.world.vocabulary import words_of_world
from onethinker.families.built_in import UNTRAINED
from onethinker.media.budget import MediaBudget
from onethinker.tasks.template import PromptTemplate

TINY_BUDGET = MediaBudget(max_frames=12, image_max_pixels=96 * 96, frame_min_pixels=32 * 32, frame_max_pixels=64 * 64)
"""Pictures of 9 visual tokens, clips of at most 6 pairs of frames of 4: what the tiny model is trained and asked
with.
"""
TINY_TEMPLATE = PromptTemplate(
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


@dataclass(frozen=True)
class Shape:
    """How large an untrained model is, and which world its tokens are for."""

    width: int
    layers: int
    heads: int
    vision_width: int
    vision_layers: int
    tokens: int
    """At most so many; fewer where the words have no more in common."""
    budget: MediaBudget
    things: bool = False
    """Whether its words are those of the world of things."""
    key_heads: int = 1
    mlp_width: int | None = None
    """By default three times the width."""
    rope_theta: float = 10_000.0


SHAPES_WORLD = Shape(width=128, layers=4, heads=2, vision_width=128, vision_layers=3, tokens=1024, budget=TINY_BUDGET)
"""2.2 million parameters for plain shapes: learns in minutes."""
THINGS_WORLD = Shape(
    width=192,
    layers=4,
    heads=4,
    key_heads=4,
    mlp_width=768,
    rope_theta=1_000_000.0,
    vision_width=160,
    vision_layers=4,
    tokens=3072,
    budget=MediaBudget(
        fps=4, max_frames=24, image_max_pixels=128 * 128, frame_min_pixels=32 * 32, frame_max_pixels=96 * 96
    ),
    things=True,
)
"""5.5 million parameters for the world of things: pictures of 16 visual tokens, clips of 12 pairs of frames of 9, a
pair for each half second of 6, on which everything of that world begins and ends. Every head has keys of its own, and
positions turn slowly enough for a word to find its visual token 50 positions before: with fewer keys, a smaller theta
or more layers it takes more steps to learn to look something up (docs/results/things.md).
"""
SHAPES = dict(zip(UNTRAINED, (SHAPES_WORLD, THINGS_WORLD), strict=True))
"""The untrained models by name."""
_VOCABULARY = Path(__file__).with_name("tiny_vocabulary.txt")
# As in the large models pictures and frames are scaled alike; vLLM counts on it and scales frames as the picture
# processor says.
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


def build_tiny(seed: int = 0, shape: Shape = SHAPES_WORLD) -> tuple[Qwen3VLForConditionalGeneration, Qwen3VLProcessor]:
    """Return an untrained tiny Qwen3-VL in float32 and its processor; the same seed gives the same weights.

    The global random state of torch is left as it was.
    """
    processor = build_tiny_processor(shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3VLForConditionalGeneration(_config(processor.tokenizer, shape))
        _start_well(model)
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    return model.eval(), processor


def build_tiny_processor(shape: Shape = SHAPES_WORLD) -> Qwen3VLProcessor:
    """Return the tiny model's processor: byte-level BPE in which every digit and every answer tag is one token."""
    tokenizer = _tokenizer(shape)
    return Qwen3VLProcessor(
        Qwen2VLImageProcessor(**_SHAPE), tokenizer, Qwen3VLVideoProcessor(**_SHAPE), chat_template=_CHAT_TEMPLATE
    )


def _start_well(model: Qwen3VLForConditionalGeneration) -> None:
    """Change random weights so that a few minutes of training on CPU teach the model to see.

    With the usual start, one step of Adam turns the embedding of a flat patch around (1,536 inputs that move together),
    places are lost among colours, and a word is lost in the first sum over the picture. Here patches start as their
    low frequencies, places as waves as strong as the colours, and every branch as a small change of what it adds to.
    """
    language, vision = model.model.language_model, model.model.visual
    branches = [layer.self_attn.o_proj for layer in language.layers] + [
        layer.mlp.down_proj for layer in language.layers
    ]
    branches += [block.attn.proj for block in vision.blocks] + [block.mlp.linear_fc2 for block in vision.blocks]
    with torch.no_grad():
        for branch in branches:
            branch.weight *= 0.35
        for merger in (vision.merger, *vision.deepstack_merger_list):
            merger.linear_fc2.weight *= 0.3
        language.embed_tokens.weight *= 0.1 / language.embed_tokens.weight.std()
        vision.patch_embed.proj.weight.copy_(_low_frequencies(vision.patch_embed.proj.weight.shape))
        vision.pos_embed.weight[:, : PLACE_WAVES.shape[1]] += PLACE_WAVES


def _low_frequencies(shape: torch.Size) -> torch.Tensor:
    """Return patch weights (embedding, colour, frame, row, column): the lowest cosines of brightness and of two
    contrasts of colour.

    Grey is nothing to a contrast, so what is coloured stands out from any background before anything is learned.
    """
    width, colors, frames, rows, columns = shape
    waves_x, waves_y = (
        torch.cos(torch.pi * torch.arange(8)[:, None] * (torch.arange(side) + 0.5) / side) for side in (columns, rows)
    )
    lowest = sorted(((v, u) for v in range(8) for u in range(8)), key=lambda vu: (sum(vu), vu))[: width // colors]
    weights = torch.zeros(shape)
    for number, (v, u) in enumerate(lowest):
        wave = waves_y[v][:, None] * waves_x[u] * (1 if (v, u) == (0, 0) else 2) / (frames * rows * columns)
        for axis, shares in enumerate(COLOR_AXES):
            weights[number * colors + axis] = torch.tensor(shares)[:, None, None, None] * wave
    return weights


def _place_waves(side: int) -> torch.Tensor:
    """Return for each place of a square grid its coordinates and slow waves of them, (side · side, features), mean
    0.
    """
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    features = []
    for axis in (x.reshape(-1, 1), y.reshape(-1, 1)):
        angles = torch.pi * axis * torch.arange(1, 5) / side
        features += [2 * axis / (side - 1) - 1, angles.sin(), angles.cos()]
    waves = torch.cat(features, 1)
    return 0.7 * (waves - waves.mean(0))


PLACE_WAVES = _place_waves(8)
COLOR_AXES = ((0.33, 0.33, 0.33), (1.0, -1.0, 0.0), (0.5, 0.5, -1.0))
"""Brightness, red against green, yellow against blue, as shares of red, green and blue."""


def _tokenizer(shape: Shape) -> PreTrainedTokenizerFast:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d| ?\p{L}+|[^\s\p{L}\p{N}]+|\s+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=shape.tokens - len(SPECIAL_TOKENS) - len(ANSWER_TAGS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    words = _VOCABULARY.read_text().splitlines()
    if shape.things:
        words += [begun + word for word in words_of_world() for begun in ("", " ")]
    core.train_from_iterator(words, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",  # noqa: S106 (a token of text, not a password)
        pad_token="<|endoftext|>",  # noqa: S106
        additional_special_tokens=list(SPECIAL_TOKENS[1:]),
        padding_side="left",
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in ANSWER_TAGS])
    tokenizer.chat_template = _CHAT_TEMPLATE
    return tokenizer


def _config(tokenizer: PreTrainedTokenizerFast, shape: Shape) -> Qwen3VLConfig:
    ids = dict(zip(SPECIAL_TOKENS, tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)), strict=True))
    return Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": shape.width,
            "intermediate_size": shape.mlp_width or 3 * shape.width,
            "initializer_range": 0.05,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.key_heads,
            "head_dim": 64,
            "max_position_embeddings": 4096,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": shape.rope_theta,
                "mrope_section": [12, 10, 10],
                "mrope_interleaved": True,
            },
            "pad_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": shape.vision_layers,
            "initializer_range": 0.06,
            "hidden_size": shape.vision_width,
            "intermediate_size": 3 * shape.vision_width,
            "num_heads": 4,
            "out_hidden_size": shape.width,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [1],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
