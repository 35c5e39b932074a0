"""Liger's Triton kernels for two parts of each layer of the language model: its norms, and the product in its MLP.

Both keep less for the backward pass than the same in steps of torch. Liger's fused cross entropy has no place here:
`scoring.py` also gives entropies, of logits divided by a temperature, without all logits either. Its rotary embedding
would be put into transformers for all models at once, so it is left out.

Source: Hsu et al., Liger Kernel (arXiv 2410.10989).
"""

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from onethinker.core.errors import ConfigError
from onethinker.families.registry import family_of


def use_liger(model: Any) -> None:
    """Let Liger's kernels compute norms and gated products in a model's layers, in place; weights and their names stay.

    Raises: ConfigError: the layers have neither.
    """
    parts = list(_parts(model))
    if not parts:
        raise ConfigError(
            f"liger: the layers of {type(model).__name__} have no part that Liger has a kernel for; leave it out"
        )
    for module, forward in parts:
        module.forward = forward


def _parts(model: Any) -> Iterator[tuple[nn.Module, Callable[[Tensor], Tensor]]]:
    """Yield each module that there is a kernel for, with what it computes by it."""
    for layer in family_of(model).layers(model):
        for module in layer.modules():
            if type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon"):
                yield module, _norm(module)
            elif "SiLU" in type(getattr(module, "act_fn", None)).__name__ and hasattr(module, "gate_proj"):
                yield module, _gated(module)


def _norm(module: Any) -> Callable[[Tensor], Tensor]:
    from liger_kernel.ops import LigerRMSNormFunction

    def forward(hidden: Tensor) -> Tensor:
        # As Llama's: only the root mean square in float32. Its gradient is not written over the one that comes in.
        normed: Tensor = LigerRMSNormFunction.apply(hidden, module.weight, module.variance_epsilon, 0.0, "llama", False)
        return normed

    return forward


def _gated(module: Any) -> Callable[[Tensor], Tensor]:
    from liger_kernel.ops import LigerSiLUMulFunction

    def forward(hidden: Tensor) -> Tensor:
        product: Tensor = LigerSiLUMulFunction.apply(module.gate_proj(hidden), module.up_proj(hidden))
        down: Tensor = module.down_proj(product)
        return down

    return forward
