"""What a model says of the tokens of a packed row: log-probability and entropy, without all logits at once.

Dimensions: S scored tokens, H hidden size, V vocabulary, C words of one block of it.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from onethinker.families.base import head_of
from onethinker.training.config import Recipe
from onethinker.training.packing.row import PackedRow

LOGITS_AT_ONCE = 2**24
"""Logits that exist at any moment while tokens are scored: 64 MiB in float32, a few times."""


def precision(recipe: Recipe, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context in which a model in training is called: it multiplies in bfloat16 where the recipe says
    "mixed".
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.dtype == "mixed")


def score(
    model: nn.Module, row: PackedRow, *, temperature: float = 1.0, entropy_gradient: bool = False
) -> tuple[Tensor, Tensor]:
    """Return log-probability and entropy of every scored token of a row, each of shape (S,), of logits divided by the
    temperature. The entropy has a gradient only where it is asked for.
    """
    head = head_of(model)
    assert head is not None, "a model in training gives logits"
    with _scoring(head, row.targets_S, temperature, entropy_gradient):
        scored_S2 = model(**row.inputs, logits_to_keep=row.scored_S).logits[0]
    return scored_S2[:, 0], scored_S2[:, 1]


@contextmanager
def _scoring(head: nn.Linear, targets_S: Tensor, temperature: float, entropy_gradient: bool) -> Iterator[None]:
    """Let the head, while this is open, give log-probability and entropy of the targets, (1, S, 2), in place of all
    logits.

    It stays inside the model's own forward, where whatever wraps the model gathers its weights and counts its
    gradients.
    """

    def forward(hidden_1SH: Tensor) -> Tensor:
        logps_S, entropy_S = scored_by_head(
            hidden_1SH[0], head.weight, targets_S, temperature, entropy_gradient=entropy_gradient
        )
        return torch.stack([logps_S[None], entropy_S[None]], -1)

    setattr(head, "forward", forward)  # noqa: B010 (a method to mypy)
    try:
        yield
    finally:
        del head.forward


def scored_by_head(
    hidden_SH: Tensor,
    weight_VH: Tensor,
    targets_S: Tensor,
    temperature: float = 1.0,
    *,
    entropy_gradient: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return log-probability and entropy (nats) of each scored token, both of shape (S,) in float32; the entropy has a
    gradient only where it is asked for.

    The logits are `hidden_SH @ weight_VH.T`, divided by `temperature` as where tokens are drawn, and never exist all at
    once: forward and backward go through the vocabulary in blocks; the logits of a block are computed in each of the
    two, as autocast says, and taken to float32. Memory beyond the gradients grows with S·H, not with S·V.
    """
    device = hidden_SH.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden_SH.dtype
    logps_S, entropy_S = _ScoredByHead.apply(
        hidden_SH.to(dtype), weight_VH.to(dtype), targets_S, temperature, entropy_gradient
    )
    return logps_S, entropy_S


class _ScoredByHead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_SH: Tensor,
        weight_VH: Tensor,
        targets_S: Tensor,
        temperature: float,
        entropy_gradient: bool,
    ) -> tuple[Tensor, Tensor]:
        # Sums over the blocks so far: log of all exp(logit), and the mean logit under the probabilities.
        norm_S = torch.full(targets_S.shape, -torch.inf, device=hidden_SH.device)
        mean_S, target_S = torch.zeros_like(norm_S), torch.zeros_like(norm_S)
        for first, block_CH in _blocks(weight_VH, len(targets_S)):
            logits_SC = (hidden_SH @ block_CH.T).float().div_(temperature)
            inside_S, index_S1 = _in_block(targets_S, first, len(block_CH))
            target_S += torch.where(inside_S, logits_SC.gather(1, index_S1)[:, 0], 0)
            block_norm_S = logits_SC.logsumexp(1)
            block_mean_S = (logits_SC.sub(block_norm_S[:, None]).exp_().mul_(logits_SC)).sum(1)
            total_S = torch.logaddexp(norm_S, block_norm_S)
            mean_S = mean_S * (norm_S - total_S).exp() + block_mean_S * (block_norm_S - total_S).exp()
            norm_S = total_S
        entropy_S = norm_S - mean_S
        ctx.save_for_backward(hidden_SH, weight_VH, targets_S, norm_S, entropy_S if entropy_gradient else None)
        ctx.temperature = temperature
        if not entropy_gradient:
            ctx.mark_non_differentiable(entropy_S)
        return target_S - norm_S, entropy_S

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None, None, None]:
        hidden_SH, weight_VH, targets_S, norm_S, entropy_S = ctx.saved_tensors
        gradient_S1 = gradients[0][:, None]
        hidden_gradient_SH = torch.zeros_like(hidden_SH, dtype=torch.float32)
        weight_gradient_VH = torch.empty_like(weight_VH) if ctx.needs_input_grad[1] else None
        for first, block_CH in _blocks(weight_VH, len(targets_S)):
            all_logps_SC = (hidden_SH @ block_CH.T).float().div_(ctx.temperature).sub_(norm_S[:, None])
            # ∂H/∂logit = -p (log p + H)
            of_entropy_SC = None if entropy_S is None else _entropy_slope(all_logps_SC, entropy_S, gradients[1])
            slope_SC = all_logps_SC.exp_().mul_(-gradient_S1)
            inside_S, index_S1 = _in_block(targets_S, first, len(block_CH))
            slope_SC.scatter_add_(1, index_S1, gradient_S1 * inside_S[:, None])
            if of_entropy_SC is not None:
                slope_SC += of_entropy_SC
            slope_SC = slope_SC.div_(ctx.temperature).to(hidden_SH.dtype)
            hidden_gradient_SH += slope_SC @ block_CH
            if weight_gradient_VH is not None:
                weight_gradient_VH[first : first + len(block_CH)] = slope_SC.T @ hidden_SH
        return hidden_gradient_SH.to(hidden_SH.dtype), weight_gradient_VH, None, None, None


def _entropy_slope(logps_SC: Tensor, entropy_S: Tensor, gradient_S: Tensor) -> Tensor:
    """Return what the entropy's gradient adds to that of a block of logits."""
    return -logps_SC.exp() * (logps_SC + entropy_S[:, None]) * gradient_S[:, None]


def _blocks(weight_VH: Tensor, num_tokens: int) -> Iterator[tuple[int, Tensor]]:
    """Yield the weights of one block of words after the other, each with the index of its first word."""
    size = max(1, LOGITS_AT_ONCE // max(1, num_tokens))
    for first in range(0, len(weight_VH), size):
        yield first, weight_VH[first : first + size]


def _in_block(targets_S: Tensor, first: int, size: int) -> tuple[Tensor, Tensor]:
    """Return which targets lie in a block, and the index of each in it, (S, 1); that of the others is any."""
    index_S = targets_S - first
    return (index_S >= 0) & (index_S < size), index_S.clamp(0, size - 1)[:, None]
