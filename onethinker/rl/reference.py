"""The model that RL started from, which the policy is not to leave too far behind.

Dimensions: S scored tokens of a row.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from onethinker.inference.loading import load_local
from onethinker.training.adapters import base_weights
from onethinker.training.config import RlRecipe
from onethinker.training.packing.attention import use_packed_attention
from onethinker.training.packing.row import PackedRow
from onethinker.training.session import TrainingSession

Reference = Callable[[PackedRow], Tensor]
"""Gives the log-probabilities (S,) of a row's scored tokens under the model that RL started from."""


def open_reference(session: TrainingSession, recipe: RlRecipe) -> Reference | None:
    """Return what scores rows as the model that RL started from did, or None when the divergence from it has no weight.

    Under adapters that is the model itself without them, and no second copy.
    """
    if recipe.loss.kl_coefficient == 0:
        return None
    if recipe.lora is not None:
        start = session.model
    else:
        dtype = "float32" if recipe.dtype == "float32" else "bfloat16"
        start = load_local(recipe.model, seed=recipe.seed, dtype=dtype).model
        use_packed_attention(start)
        start.to(session.collectives.device).eval().requires_grad_(False)

    def reference(row: PackedRow) -> Tensor:
        with session.clock.phase("reference"), torch.no_grad(), base_weights(start):
            return session.optimization.score(row, start, temperature=recipe.rollout.temperature)[0]

    return reference
