"""Activations that are computed a second time, or wait in the computer's memory, by parts of a model."""

from collections.abc import Sequence
from typing import Any

from onethinker.families.registry import family_of


def compute_again(model: Any, parts: Sequence[str], *, offloaded: Sequence[str] = ()) -> None:
    """Let the layers of some parts ("language", "vision") of a model compute their activations again in the backward
    pass; what those of `offloaded` begin with waits in the computer's memory. The gradients are the same.
    """
    if not parts:
        return
    part_of, layers = family_of(model).part_of, dict[str, Any]()
    model.activation_checkpointing_enable({"use_reentrant": False}, offload=True)
    for name, module in model.named_modules():
        if hasattr(module, "gradient_checkpointing"):
            layers[name] = module._gradient_checkpointing_func
    model.activation_checkpointing_enable({"use_reentrant": False})
    for name, offload in layers.items():
        module = model.get_submodule(name)
        part = "language" if part_of(f"{name}.") == "language" else "vision"
        module.gradient_checkpointing = part in parts
        if part in offloaded:
            module._gradient_checkpointing_func = offload
