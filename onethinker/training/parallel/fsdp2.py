"""FSDP2: every process keeps a share of the language model's weights, gradients and moments; a step gathers them layer
by layer.

`accelerate launch --config_file …` says by the environment that it is wanted. The layers stay gathered between forward
and backward and throughout a rollout, because answers end at different times and processes would wait for each other at
every token. Vision tower and mergers stay whole in every process: how often they run hangs on what a row shows, and an
exchange in which one process takes part twice and another not at all never ends. Their gradients are averaged once a
step, like those of all weights where nothing is dealt out.
"""

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import all_reduce, broadcast, get_world_size
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from onethinker.core.errors import ConfigError
from onethinker.training.config import Recipe

NUMBERS_AT_ONCE = 2**25
"""Gradients that are exchanged in one go."""


def is_wanted(num_processes: int, recipe: Recipe) -> bool:
    """Return whether accelerate's environment asks for FSDP2.

    Raises: ConfigError: it asks for the first FSDP, for FSDP of a single process, or the recipe cannot be dealt out.
    """
    if not _flag("ACCELERATE_USE_FSDP"):
        return False
    if os.environ.get("FSDP_VERSION", "1") != "2":
        raise ConfigError(
            "fsdp_config: set fsdp_version: 2 in accelerate's config file; the first FSDP cannot hold adapters and"
            " frozen parts"
        )
    if num_processes < 2:
        raise ConfigError(
            "FSDP2 deals a model to several processes, and there is one; start more, or leave accelerate's config"
            " file out"
        )
    if recipe.optimizer.kind == "muon":
        raise ConfigError(
            'optimizer.kind = "muon" needs whole matrices, and FSDP2 deals them out; take "adamw", or leave FSDP2 out'
        )
    if recipe.lora is not None and (recipe.lora.four_bit or recipe.dtype == "bfloat16"):
        raise ConfigError(
            'FSDP2 deals out weights of one kind, and adapters are in float32: set dtype = "mixed" and leave'
            " lora.four_bit out, or train adapters without FSDP2"
        )
    return True


def _flag(name: str) -> bool:
    return os.environ.get(name, "false").lower() in ("true", "1", "yes")


def shard(model: Any, *, mixed: bool) -> None:
    """Deal the weights of each layer to all processes, in place; `mixed` gathers them in bfloat16 and keeps them in
    float32.
    """
    # Every process would warn of changes in place to what the model returns; nothing here makes any.
    warnings.filterwarnings("ignore", r"FSDP2-wrapped module .* returned a view tensor", UserWarning)
    policy = (
        MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
        if mixed
        else MixedPrecisionPolicy()
    )
    for layer in model.model.language_model.layers:
        fully_shard(layer, mp_policy=policy, reshard_after_forward=False)
    seeing = set(model.model.visual.parameters())
    fully_shard(model, mp_policy=policy, reshard_after_forward=False, ignored_params=seeing)


def average_whole_gradients(model: nn.Module) -> None:
    """Average the gradients of what is not dealt out over all processes.

    A process without one counts as zero. What no process has a gradient of, as the vision tower after questions without
    media, stays without, and the optimizer leaves it alone.
    """
    held = [
        parameter for parameter in model.parameters() if parameter.requires_grad and not isinstance(parameter, DTensor)
    ]
    if not held:
        return
    counts = torch.tensor([parameter.grad is not None for parameter in held], dtype=torch.int32, device=held[0].device)
    all_reduce(counts)
    learning = [parameter for parameter, count in zip(held, counts.tolist(), strict=True) if count]
    for parameter in learning:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    for together in _bundles(learning):
        flat = torch.cat([parameter.grad.flatten() for parameter in together if parameter.grad is not None])
        all_reduce(flat)
        flat /= get_world_size()
        for parameter, part in zip(
            together, torch.split(flat, [parameter.numel() for parameter in together]), strict=True
        ):
            parameter.grad = part.view_as(parameter)


@torch.no_grad()
def broadcast_from(process: int, parameters: Iterable[nn.Parameter]) -> None:
    """Give the values that parameters have in one process to all others."""
    for together in _bundles(parameters):
        flat = torch.cat([parameter.flatten() for parameter in together])
        broadcast(flat, src=process)
        for parameter, part in zip(
            together, torch.split(flat, [parameter.numel() for parameter in together]), strict=True
        ):
            parameter.copy_(part.view_as(parameter))


def _bundles(parameters: Iterable[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Yield parameters of one kind of number together, as many as one exchange takes: few large ones are quicker than
    many.
    """
    bundle: list[nn.Parameter] = []
    for parameter in parameters:
        if bundle and (
            parameter.dtype != bundle[0].dtype or sum(map(torch.numel, bundle)) + parameter.numel() > NUMBERS_AT_ONCE
        ):
            yield bundle
            bundle = []
        bundle.append(parameter)
    if bundle:
        yield bundle


def gradient_norm(model: nn.Module) -> Tensor:
    """Return the norm of all gradients, all processes together; 0 without any."""
    learning = [parameter for parameter in model.parameters() if parameter.grad is not None]
    if not learning:
        return torch.zeros(())
    kinds = [[p for p in learning if isinstance(p, DTensor) is dealt] for dealt in (False, True)]
    norms = [nn.utils.get_total_norm([p.grad for p in kind if p.grad is not None]) for kind in kinds if kind]
    whole_norms = [norm.full_tensor() if isinstance(norm, DTensor) else norm for norm in norms]
    return whole_norms[0] if len(whole_norms) == 1 else torch.stack(whole_norms).norm()


def scale_gradients(model: nn.Module, most: float, norm: Tensor) -> None:
    """Scale gradients, which have this norm, down to a norm of at most `most`."""
    learning = [parameter for parameter in model.parameters() if parameter.grad is not None]
    for dealt in (False, True):
        nn.utils.clip_grads_with_norm_([p for p in learning if isinstance(p, DTensor) is dealt], most, norm)


def is_sharded(model: nn.Module) -> bool:
    """Return whether a model's weights are dealt out."""
    return isinstance(model, FSDPModule)


@contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Keep whole weights in every process while this is open, so that each can call the model as often as it likes."""
    shards = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for module in shards:
        module.unshard()
    try:
        yield
    finally:
        for module in shards:
            module.reshard()


def whole(tensors: Mapping[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """Return tensors as CPU tensors, put together from all processes where they are dealt out; every process must call
    it.

    A process that does not `keep` them takes part and gets none, one at a time in memory.
    """
    kept = {}
    for name, tensor in tensors.items():
        together = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if keep:
            kept[name] = together.detach().cpu().contiguous()
    return kept


def dealt_like(value: Tensor, parameter: Tensor) -> Tensor:
    """Return a whole tensor on the parameter's device, or this process's share of it where the parameter is dealt
    out.
    """
    if isinstance(parameter, DTensor):
        return distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)
    return value.to(parameter.device)
