"""The loss of RL: what each scored token adds to it, with which weight, and what is measured on the way.

Dimensions: S scored tokens of a row, A answers of a row, T tasks, M what is measured.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from onethinker.tasks import all_tasks
from onethinker.training.config import RlRecipe
from onethinker.training.metrics.task_rows import MEASURED
from onethinker.training.packing.row import PackedRow, PrefixGroup
from onethinker.training.rl_settings import Reduction
from onethinker.training.step import ScoredRow

TASK_INDICES = {task.key: index for index, task in enumerate(all_tasks())}
"""The row of each task in what a loss measures, the same in every process."""
Reference = Callable[[PackedRow], Tensor]
"""Gives the log-probabilities (S,) of a row's scored tokens under the model that RL started from, which the policy is
to stay near.
"""


@dataclass(frozen=True)
class GradedPrefixGroup(PrefixGroup):
    """A group as the loss needs it: its task, old log-probabilities of all answer tokens, one advantage and one weight
    an answer.
    """

    task: str
    old_logps: Tensor
    advantages: Tensor
    weights: Tensor


@dataclass
class PolicyLoss:
    """The loss of one optimizer step, row by row, with what is measured on the way.

    `measured` sums what `MEASURED` names over this process's rows, for each task, in the shape (tasks, names).
    `not_finite` names what was not finite where a row's loss was not.
    """

    recipe: RlRecipe
    reference: Reference | None
    num_tokens: int
    num_answers: int
    measured: Tensor = field(default_factory=lambda: torch.zeros(len(TASK_INDICES), len(MEASURED), dtype=torch.float64))
    not_finite: set[str] = field(default_factory=set)

    def __call__(self, scored: ScoredRow) -> Tensor:
        """Return a row's part of the batch's loss."""
        settings, row, logps_S = self.recipe.loss, scored.row, scored.logps_S
        prefix_groups = [
            prefix_group for prefix_group in scored.prefix_groups if isinstance(prefix_group, GradedPrefixGroup)
        ]
        old_logps_S = torch.cat([prefix_group.old_logps for prefix_group in prefix_groups])
        advantages_S = torch.cat([prefix_group.advantages for prefix_group in prefix_groups]).to(logps_S)[row.answer_S]
        weights_S = self._weights(row, prefix_groups, logps_S)
        loss_S = clipped_policy_loss(
            logps_S, old_logps_S, advantages_S, clip_low=settings.clip_low, clip_high=settings.clip_high
        )
        kl_S, reference_S = torch.zeros_like(loss_S), torch.zeros_like(loss_S)
        if self.reference is not None:
            reference_S = self.reference(row)
            kl_S = kl_k3(logps_S, reference_S)
        loss_S = loss_S + settings.kl_coefficient * kl_S
        ratio_S = (logps_S - old_logps_S).detach().exp()
        clipped_S = ((ratio_S < 1 - settings.clip_low) | (ratio_S > 1 + settings.clip_high)).to(logps_S)
        loss = (loss_S * weights_S).sum()
        if not bool(loss.isfinite()):
            parts = {
                "log-probabilities": logps_S,
                "log-probabilities at sampling": old_logps_S,
                "the reference's log-probabilities": reference_S,
                "advantages": advantages_S,
            }
            guilty = {name for name, part_S in parts.items() if not bool(part_S.isfinite().all())}
            self.not_finite |= guilty or {"a ratio of probabilities that is too large to be a number"}
        (pull_S,) = torch.autograd.grad(loss, logps_S, retain_graph=True)
        means_S = (loss_S, kl_S, scored.entropy_S, clipped_S, torch.ones_like(loss_S))
        weighed_S = [value_S.detach() * weights_S for value_S in means_S]
        self._measure(row, prefix_groups, torch.stack([*weighed_S, pull_S.abs()], 1))
        return loss

    def _weights(self, row: PackedRow, prefix_groups: list[GradedPrefixGroup], like: Tensor) -> Tensor:
        """Return each token's weight in the loss (S,): that of its answer times that of the token in the mean."""
        return torch.cat([prefix_group.weights for prefix_group in prefix_groups]).to(like)[
            row.answer_S
        ] * token_weights(
            row.answer_S,
            num_answers_in_row=row.num_answers,
            num_tokens=self.num_tokens,
            num_answers=self.num_answers,
            reduction=self.recipe.loss.reduction,
            max_tokens=self.recipe.rollout.max_new_tokens,
        )

    def _measure(self, row: PackedRow, prefix_groups: list[GradedPrefixGroup], values_SM: Tensor) -> None:
        """Add what each token measures to the sums of its task."""
        tasks_A = [TASK_INDICES[prefix_group.task] for prefix_group in prefix_groups for _ in prefix_group.answers]
        tasks_S = torch.tensor(tasks_A, device=row.answer_S.device)[row.answer_S]
        self.measured.index_add_(0, tasks_S.cpu(), values_SM.double().cpu())


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
    reduction: Reduction,
    max_tokens: int,
) -> Tensor:
    """Return each token's weight in the loss, so that the weighted sum over all rows of all processes is the mean asked
    for.

    `token_mean` gives all `num_tokens` tokens of the batch one weight; `sequence_mean` gives all `num_answers` answers
    one weight, split among an answer's tokens; `constant_length` gives every token the weight that it would have if
    all answers were as long as they may become, `max_tokens`, so that a long answer counts by its length and not by
    those of the others.

    Source: `constant_length` is the loss of Dr. GRPO (arXiv 2503.20783).

    >>> one = torch.tensor([0, 0, 1])
    >>> two = {"num_answers_in_row": 2, "num_tokens": 3, "num_answers": 2, "max_tokens": 10}
    >>> token_weights(one, reduction="sequence_mean", **two)
    tensor([0.2500, 0.2500, 0.5000])
    >>> token_weights(one, reduction="constant_length", **two)
    tensor([0.0500, 0.0500, 0.0500])
    """
    if reduction == "sequence_mean":
        lengths_A = torch.bincount(answer_S, minlength=num_answers_in_row)
        return 1.0 / (lengths_A[answer_S] * num_answers)
    divisor = num_tokens if reduction == "token_mean" else max_tokens * num_answers
    return torch.full(answer_S.shape, 1.0 / divisor, device=answer_S.device)
