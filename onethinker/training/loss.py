"""From scored tokens to one number: the losses of SFT and RL, as sums over tokens with their weights.

Dimensions: S scored tokens, A answers, H hidden size, V vocabulary, C words of one block of it.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from onethinker.training.config import Aggregate

LOGITS_AT_ONCE = 2**24
"""Logits that exist at any moment while tokens are scored: 64 MiB in float32, a few times."""


def token_logps(logits_SV: Tensor, targets_S: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return log-probability and entropy (nats, without gradient) of each scored token, both of shape (S,) in float32.

    Logits are divided by `temperature`, as where tokens are drawn.
    """
    logps_SV = torch.log_softmax(logits_SV.float() / temperature, -1)
    with torch.no_grad():
        entropy_S = -(logps_SV.exp() * logps_SV).sum(-1)
    return logps_SV.gather(-1, targets_S[:, None])[:, 0], entropy_S


def scored_by_head(
    hidden_SH: Tensor, weight_VH: Tensor, targets_S: Tensor, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Return what `token_logps` gives of the logits `hidden_SH @ weight_VH.T`, which never exist all at once.

    Forward and backward go through the vocabulary in blocks; the logits of a block are computed in each of the two, as
    autocast says, and taken to float32. Memory beyond the gradients grows with S·H, not with S·V.
    """
    device = hidden_SH.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden_SH.dtype
    logps_S, entropy_S = _ScoredByHead.apply(hidden_SH.to(dtype), weight_VH.to(dtype), targets_S, temperature)
    return logps_S, entropy_S


class _ScoredByHead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_SH: Tensor, weight_VH: Tensor, targets_S: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor]:
        # Sums over the blocks so far: log of all exp(logit), and the mean logit under the probabilities.
        norm_S = torch.full(targets_S.shape, -torch.inf, device=hidden_SH.device)
        mean_S, target_S = torch.zeros_like(norm_S), torch.zeros_like(norm_S)
        for first, block_CH in _blocks(weight_VH, len(targets_S)):
            logits_SC = (hidden_SH @ block_CH.T).float().div_(temperature)
            inside_S, place_S1 = _places(targets_S, first, len(block_CH))
            target_S += torch.where(inside_S, logits_SC.gather(1, place_S1)[:, 0], 0)
            block_norm_S = logits_SC.logsumexp(1)
            block_mean_S = (logits_SC.sub(block_norm_S[:, None]).exp_().mul_(logits_SC)).sum(1)
            total_S = torch.logaddexp(norm_S, block_norm_S)
            mean_S = mean_S * (norm_S - total_S).exp() + block_mean_S * (block_norm_S - total_S).exp()
            norm_S = total_S
        ctx.save_for_backward(hidden_SH, weight_VH, targets_S, norm_S)
        ctx.temperature = temperature
        entropy_S = norm_S - mean_S
        ctx.mark_non_differentiable(entropy_S)
        return target_S - norm_S, entropy_S

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        hidden_SH, weight_VH, targets_S, norm_S = ctx.saved_tensors
        gradient_S1 = gradients[0][:, None]
        hidden_gradient_SH = torch.zeros_like(hidden_SH, dtype=torch.float32)
        weight_gradient_VH = torch.empty_like(weight_VH) if ctx.needs_input_grad[1] else None
        for first, block_CH in _blocks(weight_VH, len(targets_S)):
            slope_SC = (
                (hidden_SH @ block_CH.T).float().div_(ctx.temperature).sub_(norm_S[:, None]).exp_().mul_(-gradient_S1)
            )
            inside_S, place_S1 = _places(targets_S, first, len(block_CH))
            slope_SC.scatter_add_(1, place_S1, gradient_S1 * inside_S[:, None])
            slope_SC = slope_SC.div_(ctx.temperature).to(hidden_SH.dtype)
            hidden_gradient_SH += slope_SC @ block_CH
            if weight_gradient_VH is not None:
                weight_gradient_VH[first : first + len(block_CH)] = slope_SC.T @ hidden_SH
        return hidden_gradient_SH.to(hidden_SH.dtype), weight_gradient_VH, None, None


def _blocks(weight_VH: Tensor, num_tokens: int) -> Iterator[tuple[int, Tensor]]:
    """Yield the weights of one block of words after the other, each with the number of its first word."""
    size = max(1, LOGITS_AT_ONCE // max(1, num_tokens))
    for first in range(0, len(weight_VH), size):
        yield first, weight_VH[first : first + size]


def _places(targets_S: Tensor, first: int, size: int) -> tuple[Tensor, Tensor]:
    """Return which targets lie in a block, and the place of each in it, (S, 1); that of the others is any."""
    place_S = targets_S - first
    return (place_S >= 0) & (place_S < size), place_S.clamp(0, size - 1)[:, None]


def clipped_policy_loss(
    logps_S: Tensor, old_logps_S: Tensor, advantages_S: Tensor, *, clip_low: float, clip_high: float
) -> Tensor:
    """Return the clipped surrogate loss of each token; its gradient is zero where the ratio has left the clip range the
    good way.

    Source: paper, equation 12; `clip_low` and `clip_high` are the distances of the bounds from a ratio of 1.

    >>> ratio_two = torch.tensor([2.0]).log()
    >>> clipped_policy_loss(ratio_two, torch.zeros(1), torch.ones(1), clip_low=0.2, clip_high=0.3)
    tensor([-1.3000])
    """
    ratio_S = torch.exp(logps_S - old_logps_S)
    clipped_S = ratio_S.clamp(1 - clip_low, 1 + clip_high)
    return -torch.minimum(ratio_S * advantages_S, clipped_S * advantages_S)


def kl_k3(logps_S: Tensor, reference_logps_S: Tensor) -> Tensor:
    """Return the k3 estimate of the KL divergence from the reference, at each token, never negative.

    >>> kl_k3(torch.tensor([0.0]), torch.tensor([0.0]))
    tensor([0.])
    """
    difference_S = reference_logps_S - logps_S
    return torch.exp(difference_S) - difference_S - 1


def token_weights(
    answer_S: Tensor,
    *,
    num_answers_in_row: int,
    num_tokens: int,
    num_answers: int,
    aggregate: Aggregate,
    max_tokens: int,
) -> Tensor:
    """Return each token's share of the loss, so that the weighted sum over all rows of all processes is the mean asked
    for.

    `token_mean` gives all `num_tokens` tokens of the batch one weight; `sequence_mean` gives all `num_answers` answers
    one weight, shared among an answer's tokens; `constant_length` gives every token the weight that it would have if
    all answers were as long as they may become, `max_tokens`, so that a long answer counts by its length and not by
    those of the others.

    Source: `constant_length` is the loss of Dr. GRPO (arXiv 2503.20783).

    >>> one = torch.tensor([0, 0, 1])
    >>> two = {"num_answers_in_row": 2, "num_tokens": 3, "num_answers": 2, "max_tokens": 10}
    >>> token_weights(one, aggregate="sequence_mean", **two)
    tensor([0.2500, 0.2500, 0.5000])
    >>> token_weights(one, aggregate="constant_length", **two)
    tensor([0.0500, 0.0500, 0.0500])
    """
    if aggregate == "sequence_mean":
        lengths_A = torch.bincount(answer_S, minlength=num_answers_in_row)
        return 1.0 / (lengths_A[answer_S] * num_answers)
    divisor = num_tokens if aggregate == "token_mean" else max_tokens * num_answers
    return torch.full(answer_S.shape, 1.0 / divisor, device=answer_S.device)
