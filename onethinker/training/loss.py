"""From scored tokens to one number: the losses of SFT and RL, as sums over tokens with their weights.

Dimensions: S scored tokens, A answers, V vocabulary.
"""

from typing import Literal

import torch
from torch import Tensor

Aggregate = Literal["token_mean", "sequence_mean"]


def token_logps(logits_SV: Tensor, targets_S: Tensor) -> tuple[Tensor, Tensor]:
    """Return log-probability and entropy (nats, without gradient) of each scored token, both of shape (S,) in float32."""
    logps_SV = torch.log_softmax(logits_SV.float(), -1)
    with torch.no_grad():
        entropy_S = -(logps_SV.exp() * logps_SV).sum(-1)
    return logps_SV.gather(-1, targets_S[:, None])[:, 0], entropy_S


def clipped_policy_loss(logps_S: Tensor, old_logps_S: Tensor, advantages_S: Tensor, *, clip_low: float, clip_high: float) -> Tensor:
    """Return the clipped surrogate loss of each token; its gradient is zero where the ratio has left the clip range the good way.

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


def token_weights(answer_S: Tensor, *, num_answers_in_row: int, num_tokens: int, num_answers: int, aggregate: Aggregate) -> Tensor:
    """Return each token's share of the loss, so that the weighted sum over all rows of all processes is the mean asked for.

    `token_mean` gives all `num_tokens` tokens of the batch one weight; `sequence_mean` gives all `num_answers` answers
    one weight, shared among an answer's tokens.

    >>> token_weights(torch.tensor([0, 0, 1]), num_answers_in_row=2, num_tokens=3, num_answers=2, aggregate="sequence_mean")
    tensor([0.2500, 0.2500, 0.5000])
    """
    if aggregate == "token_mean":
        return torch.full(answer_S.shape, 1.0 / num_tokens, device=answer_S.device)
    lengths_A = torch.bincount(answer_S, minlength=num_answers_in_row)
    return 1.0 / (lengths_A[answer_S] * num_answers)
