"""FSDP2: every process keeps a shard of the language model's weights, gradients and moments; a step gathers them layer
by layer.

`accelerate launch --config_file …` says by the environment that it is wanted, and more: with
`fsdp_reshard_after_forward: false` the layers stay gathered between forward and backward, else one is gathered at a
time; with `fsdp_offload_params: true` shards, gradients and moments are in the computer's memory, and the optimizer
steps there; with `fsdp_sharding_strategy: HYBRID_SHARD` each node has a copy, which its processes share, and nodes
average their gradients once an update. Throughout a validation, and a rollout by the model itself, all layers are
gathered, because answers end at different times and processes would wait for each other at every token; not so where
servers sample. Those of a reference, which is only asked, are gathered one at a time. Vision tower and mergers are not
sharded: how often they run hangs on what a row shows, and an exchange in which one process takes part twice and another
not at all never ends. Their gradients are averaged once a step, like those of all weights where nothing is sharded.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy, OffloadPolicy, fully_shard

from onethinker.core.errors import ConfigError
from onethinker.families.registry import family_of
from onethinker.training.adapters import is_adapter
from onethinker.training.config import Recipe
from onethinker.training.parallel.base import is_set
from onethinker.training.parallel.collectives import full_tensors
from onethinker.training.parallel.moments import optimizer_tensors
from onethinker.training.parallel.single import Replicated
from onethinker.training.sharding import HYBRID, is_hybrid


@dataclass(frozen=True)
class Fsdp2(Replicated):
    """A model whose language model is sharded: weights, gradients and moments."""

    rows_in_step: ClassVar[bool] = True

    @classmethod
    def wrap(cls, model: Any, recipe: Recipe, device: torch.device) -> Self:
        """Shard a model, in place, and make its optimizer."""
        shard(model, device, mixed=recipe.dtype == "mixed", keep_gathered=not _is_full())
        return cls.of(model, recipe)

    def share_frozen(self, model: Any, device: torch.device) -> Any:
        """Shard a model that is only asked, in place: of its layers one is gathered at a time."""
        shard(model, device, mixed=False, keep_gathered=False)
        return model

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add the gradients of a row to this process's shard; where nodes have copies, they exchange theirs last."""
        self.model.set_requires_all_reduce(last)
        super().backward(loss, last=last)

    def unsharded(self) -> AbstractContextManager[None]:
        """Keep all weights in every process while this is open."""
        return self._gathered(at_once=True)

    def together(self) -> AbstractContextManager[None]:
        """Let the layers be gathered as they are called, and leave none of them so."""
        return self._gathered(at_once=False)

    @contextmanager
    def _gathered(self, *, at_once: bool) -> Iterator[None]:
        shards = [module for module in self.model.modules() if isinstance(module, FSDPModule)]
        for module in shards if at_once else ():
            module.set_reshard_after_forward(False, recurse=False)
            module.unshard()
        try:
            yield
        finally:
            for module in shards:
                module.reshard()
                module.set_reshard_after_forward(_is_full(), recurse=False)

    def weights(self, *, keep: bool, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        """Return all weights as CPU tensors where they are kept; of a model with adapters those alone."""
        named = dict(self.model.named_parameters())
        return full_tensors({name: named[name] for name in named if is_adapter(name)} or named, keep=keep, dtype=dtype)

    def sharded_moments(self) -> dict[str, Tensor]:
        """Return the optimizer's state, of which this process holds a shard."""
        return optimizer_tensors(self.optimizer, self.model)


def check_fsdp2(recipe: Recipe) -> None:
    """Raise ConfigError where the environment asks for the first FSDP, or the recipe's weights cannot be sharded."""
    if os.environ.get("FSDP_VERSION", "1") != "2":
        raise ConfigError(
            "fsdp_config: set fsdp_version: 2 in accelerate's config file; FSDP version 1 does not support adapters and"
            " frozen parts"
        )
    if is_hybrid(os.environ.get("FSDP_SHARDING_STRATEGY")) and os.environ.get("LOCAL_WORLD_SIZE", "1") == "1":
        raise ConfigError(
            f"fsdp_sharding_strategy: {HYBRID} shards weights over the processes of a node, and each node has only one:"
            " raise --processes, or choose another config"
        )
    if recipe.lora is not None and (recipe.lora.four_bit or recipe.dtype == "bfloat16"):
        raise ConfigError(
            'FSDP2 needs all weights in one dtype, and adapters are float32: set dtype = "mixed" and leave'
            " lora.four_bit out, or train adapters without FSDP2"
        )


def _is_full() -> bool:
    """Tell whether of the layers of a model in training one is gathered at a time; so accelerate, unless told not."""
    return is_set("FSDP_RESHARD_AFTER_FORWARD", "true")


def _offloading() -> OffloadPolicy:
    """Return where the shards are: in the computer's memory if the environment says so, else where the model is."""
    return CPUOffloadPolicy(pin_memory=torch.cuda.is_available()) if is_set("FSDP_OFFLOAD_PARAMS") else OffloadPolicy()


def _mesh() -> DeviceMesh | None:
    """Return which processes share and which hold the same, nodes by processes of a node; None where all share."""
    if not is_hybrid(os.environ.get("FSDP_SHARDING_STRATEGY")):
        return None
    world, local = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return init_device_mesh(device, (world // local, local), mesh_dim_names=("replicate", "shard"))


def shard(model: Any, device: torch.device, *, mixed: bool, keep_gathered: bool = True) -> None:
    """Shard the weights of each layer over all processes, in place; `mixed` gathers them in bfloat16 and keeps them in
    float32, and layers stay gathered after a forward pass where they are to.

    The model comes from the computer's memory layer by layer, each of which leaves its shard on the device: no device
    ever holds all of it.
    """
    # Every process would warn of changes in place to what the model returns; nothing here makes any.
    warnings.filterwarnings("ignore", r"FSDP2-wrapped module .* returned a view tensor", UserWarning)
    policy = (
        MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
        if mixed
        else MixedPrecisionPolicy()
    )
    how: Any = {"mp_policy": policy, "offload_policy": _offloading(), "reshard_after_forward": not keep_gathered}
    how["mesh"] = _mesh()
    family = family_of(model)
    for layer in family.layers(model):
        fully_shard(layer, **how)
    unsharded = {weight for name, weight in model.named_parameters() if family.part_of(name) != "language"}
    for weight in unsharded:
        weight.data = weight.data.to(device)
    fully_shard(model, **how, ignored_params=unsharded)
