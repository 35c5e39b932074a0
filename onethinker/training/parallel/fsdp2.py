"""FSDP2: every process keeps a shard of the language model's weights, gradients and moments; a step gathers them layer
by layer.

`accelerate launch --config_file …` says by the environment that it is wanted. The layers stay gathered between forward
and backward and throughout a rollout, because answers end at different times and processes would wait for each other at
every token. Vision tower and mergers are not sharded: how often they run hangs on what a row shows, and an exchange in
which one process takes part twice and another not at all never ends. Their gradients are averaged once a step, like
those of all weights where nothing is sharded.
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


def check_fsdp2(recipe: Recipe) -> None:
    """Raise ConfigError where the environment asks for the first FSDP, or the recipe's weights cannot be sharded."""
    if os.environ.get("FSDP_VERSION", "1") != "2":
        raise ConfigError(
            "fsdp_config: set fsdp_version: 2 in accelerate's config file; the first FSDP cannot hold adapters and"
            " frozen parts"
        )
    if recipe.lora is not None and (recipe.lora.four_bit or recipe.dtype == "bfloat16"):
        raise ConfigError(
            'FSDP2 shards weights of one dtype, and adapters are in float32: set dtype = "mixed" and leave'
            " lora.four_bit out, or train adapters without FSDP2"
        )


def shard(model: Any, *, mixed: bool) -> None:
    """Shard the weights of each layer over all processes, in place; `mixed` gathers them in bfloat16 and keeps them in
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
