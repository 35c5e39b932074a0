"""Weights of a loaded model in 8 or 4 bits, by torchao: what is asked needs less memory; nothing is trained so."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, assert_never

from onethinker.core.errors import ConfigError
from onethinker.families.base import head_of
from onethinker.inference.settings import Quantization

if TYPE_CHECKING:
    from torch import nn

GROUP = 32
"""Inputs of a layer that share a scale in 4 bits; the least that torchao's kernels take, and the most exact."""


def quantize(model: Any, kind: Quantization, *, device: str) -> Any:
    """Return a model that is on the CPU with the weights of its linear layers in so many bits, on its device.

    Embeddings, norms, convolutions and the head stay as they are. The weights go to the device layer by layer, so that
    it never holds them all at once. 8 bits have a scale a row; 4 bits a scale and a zero for 32 weights.

    Raises: ConfigError: most weights are in no linear layers, as those of experts.
    """
    from torchao.quantization import quantize_

    layers = dict(_linear_layers(model))
    inside, all_weights = sum(layer.weight.numel() for layer in layers.values()), _count(model)
    if 2 * inside < all_weights:
        raise ConfigError(
            f"--quantize {kind}: only {inside:,} of the {all_weights:,} weights outside embeddings and head are in"
            f" linear layers whose inputs are a multiple of {GROUP}; the others, such as experts, would not be"
            " quantized. Leave it out for this model"
        )
    quantize_(model, _settings(kind, device), filter_fn=lambda _, name: name in layers, device=device)
    return model.to(device)


def _settings(kind: Quantization, device: str) -> Any:
    """Return how torchao stores the weights; its kernels for 4 bits are others on the CPU."""
    from torchao.quantization import Int4WeightOnlyConfig, Int8WeightOnlyConfig

    match kind:
        case "int8":
            return Int8WeightOnlyConfig()
        case "int4" if device == "cpu":
            from torchao.prototype.quantization.int4 import PrototypeInt4WeightOnlyConfig

            return PrototypeInt4WeightOnlyConfig(group_size=GROUP)
        case "int4":
            return Int4WeightOnlyConfig(group_size=GROUP, int4_packing_format="tile_packed_to_4d")
        case _:
            assert_never(kind)


def _linear_layers(model: Any) -> "Iterator[tuple[str, nn.Linear]]":
    """Yield the layers whose weights are stored anew, with their names."""
    from torch import nn

    head = head_of(model)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and module is not head and module.in_features % GROUP == 0:
            yield name, module


def _count(model: Any) -> int:
    tables = {id(model.get_input_embeddings().weight)}
    if (head := head_of(model)) is not None:
        tables.add(id(head.weight))
    return sum(weight.numel() for weight in model.parameters() if id(weight) not in tables)


@contextmanager
def without_notes() -> Iterator[None]:
    """Keep what torch tells the authors of torchao when that is imported, by transformers too, off stderr."""
    logger = logging.getLogger("torch.utils._pytree")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
