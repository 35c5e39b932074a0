"""What is trained: every weight, whole parts of the model, or low-rank adapters on parts; one function decides."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import nn

from onethinker.core.errors import ConfigError
from onethinker.training.config import LoraSettings, Part, Recipe

PARTS: tuple[Part, ...] = get_args(Part)
_MERGER = ("model.visual.merger.", "model.visual.deepstack_merger_list.")
_VISION = "model.visual."
_HEAD = "lm_head"
"""Neither head nor embeddings get adapters: where their weights are tied, a change of one would not be one of the
other.
"""


@dataclass(frozen=True)
class Count:
    """Parameters of a part: all of them but adapters, those of them that are trained, and those of its adapters."""

    total: int
    trained: int
    adapters: int


def part_of(name: str) -> Part:
    """Return the part that a parameter or module belongs to, by its name; embeddings and head belong to the language
    model.

    >>> names = "model.visual.blocks.0.attn.qkv.weight", "model.visual.merger.norm.weight", "lm_head.weight"
    >>> [part_of(name) for name in names]
    ['vision', 'merger', 'language']
    """
    if name.startswith(_MERGER):
        return "merger"
    return "vision" if name.startswith(_VISION) else "language"


def choose_trained(model: nn.Module, recipe: Recipe) -> None:
    """Make trainable what the recipe says, and nothing else: with `lora` adapters alone, otherwise all that is not
    `frozen`.

    Adapters are added in place, in float32, and start as no change at all; their random halves follow the recipe's
    seed.

    Raises: ConfigError: `frozen` names nothing in the model, or nothing is left to train.
    """
    names = [name for name, _ in model.named_parameters()]
    for beginning in recipe.frozen:
        if beginning not in PARTS and not any(name.startswith(beginning) for name in names):
            raise ConfigError(
                f"frozen: {beginning!r} is none of the parts {', '.join(PARTS)}, and no parameter's name begins with"
                f" it; names look like {names[0]!r}, {names[-1]!r}"
            )
    if recipe.lora is not None:
        _add_adapters(model, recipe.lora, recipe.frozen, recipe.seed)
    else:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(not is_frozen(name, recipe.frozen))
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(f"frozen: {', '.join(recipe.frozen)} leave nothing to train")


def is_frozen(name: str, frozen: Sequence[str]) -> bool:
    """Return whether a parameter belongs to one of the parts in `frozen`, or begins with one of the names in it.

    >>> is_frozen("model.visual.pos_embed.weight", ["vision"]), is_frozen("model.visual.merger.norm.weight", ["vision"])
    (True, False)
    """
    return part_of(name) in frozen or name.startswith(tuple(frozen))


def _add_adapters(model: nn.Module, lora: LoraSettings, frozen: Sequence[str], seed: int) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    places = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and name != _HEAD
        and part_of(name) in lora.parts
        and not is_frozen(name, frozen)
    ]
    without = sorted(set(lora.parts) - {part_of(name) for name in places})
    if without:
        raise ConfigError(
            f"lora.parts: nothing of {', '.join(without)} can have an adapter; it is frozen, or the model has no such"
            " part"
        )
    settings = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=places)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        inject_adapter_in_model(settings, model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(is_adapter(name))
        if is_adapter(name):
            parameter.data = parameter.data.float()


def is_adapter(name: str) -> bool:
    """Return whether a parameter belongs to an adapter, by its name."""
    return ".lora_" in name


@contextmanager
def base_weights(model: nn.Module) -> Iterator[None]:
    """Switch the adapters off for a while, so that the model answers as it did before training; without adapters,
    change nothing.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def count_parameters(model: Any) -> dict[Part, Count]:
    """Return how many parameters each part has and how many of them are trained; tied weights count once."""
    counts = dict.fromkeys(PARTS, Count(0, 0, 0))
    for name, parameter in model.named_parameters():
        part, size = part_of(name), number_of_elements(parameter)
        before = counts[part]
        if is_adapter(name):
            counts[part] = Count(before.total, before.trained, before.adapters + size)
        else:
            counts[part] = Count(before.total + size, before.trained + size * parameter.requires_grad, before.adapters)
    return counts


def number_of_elements(parameter: torch.Tensor) -> int:
    """Return how many numbers a weight stands for; one stored in 4 bits holds two in each byte."""
    return parameter.numel() * (2 if type(parameter).__name__ == "Params4bit" else 1)
