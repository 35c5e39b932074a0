"""FSDP2: every process keeps a share of the language model's weights, gradients and moments; a step gathers them layer
by layer.

`accelerate launch --config_file …` says by the environment that it is wanted. The layers stay gathered between forward
and backward and throughout a rollout, because answers end at different times and processes would wait for each other at
every token. Vision tower and mergers stay whole in every process: how often they run hangs on what a row shows, and an
exchange in which one process takes part twice and another not at all never ends. Their gradients are averaged once a
step, like those of all weights where nothing is sharded.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from onethinker.core.errors import ConfigError
from onethinker.families.registry import family_of
from onethinker.training.config import Recipe
from onethinker.training.parallel.collectives import full_tensors
from onethinker.training.parallel.single import Replicated


@dataclass(frozen=True)
class Fsdp2(Replicated):
    """A model whose language model is sharded: weights, gradients and moments."""

    rows_in_step: ClassVar[bool] = True

    @classmethod
    def wrap(cls, model: Any, recipe: Recipe) -> Self:
        """Shard a model, in place, and make its optimizer."""
        shard(model, mixed=recipe.dtype == "mixed")
        return super().wrap(model, recipe)

    @contextmanager
    def unsharded(self) -> Iterator[None]:
        """Keep all weights in every process while this is open."""
        shards = [module for module in self.model.modules() if isinstance(module, FSDPModule)]
        for module in shards:
            module.unshard()
        try:
            yield
        finally:
            for module in shards:
                module.reshard()

    def weights(self, *, keep: bool) -> dict[str, Tensor]:
        """Return all weights as CPU tensors, where they are kept."""
        return full_tensors(dict(self.model.named_parameters()), keep=keep)


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
    family = family_of(model)
    for layer in family.layers(model):
        fully_shard(layer, mp_policy=policy, reshard_after_forward=False)
    unsharded = {weight for name, weight in model.named_parameters() if family.part_of(name) != "language"}
    fully_shard(model, mp_policy=policy, reshard_after_forward=False, ignored_params=unsharded)
