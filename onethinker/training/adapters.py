"""What is trained: every weight, whole parts of the model, or low-rank adapters on parts; one function decides."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from onethinker.core.errors import ConfigError
from onethinker.core.nearest import ask_for
from onethinker.families.base import PARTS, ModelFamily, Part, head_of
from onethinker.families.registry import family_of
from onethinker.training.config import Recipe

PART_ALIASES = {
    **dict.fromkeys(("llm", "lm", "text", "decoder"), ("language",)),
    **dict.fromkeys(("vit", "visual", "vision tower", "encoder"), ("vision",)),
    **dict.fromkeys(("projector", "connector", "mlp", "multi modal projector"), ("merger",)),
}
"""What others call the parts; words are apart by a space."""


@dataclass(frozen=True)
class Count:
    """Parameters of a part: all of them but adapters, those of them that are trained, and those of its adapters."""

    total: int
    trained: int
    adapters: int


def choose_trained(model: nn.Module, recipe: Recipe) -> None:
    """Make trainable what the recipe says, and nothing else: with `lora` adapters alone, otherwise all that is not
    `frozen`.

    Adapters are added in place, in float32, and start as no change at all; their random halves follow the recipe's
    seed.

    Raises: ConfigError: `frozen` or `optimizer.rates` names nothing in the model, or nothing is left to train.
    """
    family, names = family_of(model), [name for name, _ in model.named_parameters()]
    for setting, beginnings in (("frozen", recipe.frozen), ("optimizer.rates", recipe.optimizer.rates)):
        _check_names(setting, beginnings, names)
    if recipe.lora is not None:
        _add_adapters(model, family, recipe)
    else:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(not is_frozen(name, family, recipe.frozen))
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(f"frozen: with {', '.join(recipe.frozen)} frozen, nothing is left to train; remove some")


def _check_names(setting: str, beginnings: Iterable[str], names: Sequence[str]) -> None:
    for beginning in beginnings:
        if beginning not in PARTS and not any(name.startswith(beginning) for name in names):
            raise ConfigError(
                f"{setting}: {beginning!r} is not one of the parts {', '.join(PARTS)}, and no parameter name begins"
                f" with it; names look like {names[0]!r}, {names[-1]!r}{ask_for(beginning, PARTS, PART_ALIASES)}"
            )


def is_frozen(name: str, family: ModelFamily, frozen: Sequence[str]) -> bool:
    """Return whether a parameter belongs to one of the parts in `frozen`, or begins with one of the names in it."""
    return family.part_of(name) in frozen or name.startswith(tuple(frozen))


def _add_adapters(model: nn.Module, family: ModelFamily, recipe: Recipe) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    lora, head = recipe.lora, head_of(model)
    assert lora is not None
    # Neither head nor embeddings get adapters: where their weights are tied, a change of one is none of the other.
    targets = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and module is not head
        and family.part_of(name) in lora.parts
        and not is_frozen(name, family, recipe.frozen)
    ]
    experts = _expert_targets(model, family, recipe) if lora.experts else []
    without = sorted(set(lora.parts) - {family.part_of(name) for name in targets})
    if without:
        raise ConfigError(
            f"lora.parts: no layer of {', '.join(without)} can have an adapter: the part is frozen, or the model does"
            " not have it"
        )
    settings = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        target_parameters=experts or None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        inject_adapter_in_model(settings, model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(is_adapter(name))
        if is_adapter(name):
            parameter.data = parameter.data.float()


def _expert_targets(model: nn.Module, family: ModelFamily, recipe: Recipe) -> list[str]:
    """Return the names of the weights of experts that get adapters. Raises: ConfigError: none can."""
    assert recipe.lora is not None
    names = [name for name in family.expert_weights(model) if not is_frozen(name, family, recipe.frozen)]
    if not names or "language" not in recipe.lora.parts:
        raise ConfigError(
            "lora.experts: there are no experts to adapt: the model has none, or their part is not in lora.parts; leave"
            " it out"
        )
    if recipe.lora.dropout:
        raise ConfigError("lora.experts needs lora.dropout = 0: dropout is not supported on the inputs of experts")
    return names


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
    family, counts = family_of(model), dict.fromkeys(PARTS, Count(0, 0, 0))
    for name, parameter in model.named_parameters():
        part, size = family.part_of(name), number_of_elements(parameter)
        before = counts[part]
        if is_adapter(name):
            counts[part] = Count(before.total, before.trained, before.adapters + size)
        else:
            counts[part] = Count(before.total + size, before.trained + size * parameter.requires_grad, before.adapters)
    return counts


def number_of_elements(parameter: torch.Tensor) -> int:
    """Return how many numbers a weight stands for; one stored in 4 bits holds two in each byte."""
    return parameter.numel() * (2 if type(parameter).__name__ == "Params4bit" else 1)
