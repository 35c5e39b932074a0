"""The loss of RL: what each scored token adds to it, with which weight, and what is measured on the way.

Dimensions: S scored tokens of a row, A answers of a row, T tasks, M what is measured.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from onethinker.rl.outside import PolicyTokens, outside_losses
from onethinker.tasks import all_tasks
from onethinker.training.config import RlRecipe
from onethinker.training.metrics.task_rows import MEASURED
from onethinker.training.packing.row import PackedRow, PrefixGroup
from onethinker.training.rl_settings import LossSettings, Reduction
from onethinker.training.routing import moved_tokens
from onethinker.training.step import ScoredRow


def task_indices() -> dict[str, int]:
    """Return the row of each task in what a loss measures, the same in every process."""
    return {task.key: index for index, task in enumerate(all_tasks())}


@dataclass(frozen=True)
class GradedPrefixGroup(PrefixGroup):
    """A group as the loss needs it: its task, old log-probabilities of all answer tokens, one advantage and one weight
    an answer; where another engine has sampled, its own log-probabilities too; of a mixture of experts those
    (tokens, L, K) that predicted them.
    """

    task: str
    old_logps: Tensor
    advantages: Tensor
    weights: Tensor
    engine_logps: Tensor | None = None
    experts: Tensor | None = None


def drawn_experts(prefix_groups: Sequence[PrefixGroup]) -> Tensor | None:
    """Return the experts (S, L, K) with which the scored tokens of a row were sampled; None where that is not known."""
    experts = [each.experts for each in prefix_groups if isinstance(each, GradedPrefixGroup)]
    known = [each for each in experts if each is not None]
    return torch.cat(known) if known and len(known) == len(prefix_groups) else None


@dataclass
class PolicyLoss:
    """The loss of one optimizer step, row by row, with what is measured on the way.

    `measured` sums what `MEASURED` names over this process's rows, for each task, in the shape (tasks, names).
    `not_finite` names what was not finite where a row's loss was not. `moved` counts the tokens that go to other
    experts than they were sampled with, and all.
    """

    recipe: RlRecipe
    num_tokens: int
    num_answers: int
    step: int = 0
    measured: Tensor = field(
        default_factory=lambda: torch.zeros(len(task_indices()), len(MEASURED), dtype=torch.float64)
    )
    not_finite: set[str] = field(default_factory=set)
    moved: tuple[int, int] = (0, 0)

    def __call__(self, scored: ScoredRow) -> Tensor:
        """Return a row's part of the batch's loss."""
        settings, row, logps_S = self.recipe.loss, scored.row, scored.logps_S
        prefix_groups = [
            prefix_group for prefix_group in scored.prefix_groups if isinstance(prefix_group, GradedPrefixGroup)
        ]
        old_logps_S = torch.cat([prefix_group.old_logps for prefix_group in prefix_groups])
        advantages_S = torch.cat([prefix_group.advantages for prefix_group in prefix_groups]).to(logps_S)[row.answer_S]
        weights_S = self._weights(row, prefix_groups, logps_S)
        tokens = PolicyTokens(logps_S, old_logps_S, advantages_S, row.answer_S, row.num_answers)
        loss_S = token_losses(tokens, settings)
        if settings.rollout_correction is not None:
            loss_S = loss_S * self._correction(prefix_groups, settings.rollout_correction)
        kl_S, reference_S = torch.zeros_like(loss_S), torch.zeros_like(loss_S)
        if scored.reference_S is not None:
            reference_S = scored.reference_S
            kl_S = kl_k3(logps_S, reference_S)
        loss_S = loss_S + kl_coefficient(settings, self.step, self.recipe.steps) * kl_S
        if settings.entropy_coefficient:
            loss_S = loss_S - settings.entropy_coefficient * scored.entropy_S
        ratio_S = (sequence_ratio(tokens) if settings.objective == "gspo" else policy_ratio(tokens)).detach()
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
        means_S = (loss_S, kl_S, scored.entropy_S, clipped_S, ratio_S, torch.ones_like(loss_S))
        weighed_S = [value_S.detach() * weights_S for value_S in means_S]
        self._measure(row, prefix_groups, torch.stack([*weighed_S, pull_S.abs()], 1))
        drawn_SLK = drawn_experts(prefix_groups)
        if drawn_SLK is not None and scored.experts_SLK is not None:
            moved, routed = moved_tokens(drawn_SLK, scored.experts_SLK)
            self.moved = self.moved[0] + moved, self.moved[1] + routed
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

    def _correction(self, prefix_groups: list[GradedPrefixGroup], cap: float) -> Tensor:
        """Return the weight (S,) of each token's loss for having been sampled by another engine."""
        engine = [each.old_logps if each.engine_logps is None else each.engine_logps for each in prefix_groups]
        return rollout_weights(torch.cat([each.old_logps for each in prefix_groups]), torch.cat(engine), cap)

    def _measure(self, row: PackedRow, prefix_groups: list[GradedPrefixGroup], values_SM: Tensor) -> None:
        """Add what each token measures to the sums of its task."""
        indices = task_indices()
        tasks_A = [indices[prefix_group.task] for prefix_group in prefix_groups for _ in prefix_group.answers]
        tasks_S = torch.tensor(tasks_A, device=row.answer_S.device)[row.answer_S]
        self.measured.index_add_(0, tasks_S.cpu(), values_SM.double().cpu())


def policy_ratio(tokens: PolicyTokens) -> Tensor:
    """Return how much more probable each token (S,) has become, π/π_old."""
    return torch.exp(tokens.logps_S - tokens.old_logps_S)


def clipped_policy_loss(
    logps_S: Tensor, old_logps_S: Tensor, advantages_S: Tensor, *, clip_low: float, clip_high: float
) -> Tensor:
    """Return the clipped surrogate loss of each token; its gradient is zero where the ratio has left the clip range the
    good way.

    Source: paper, equation 12; `clip_low` and `clip_high` are the distances of the bounds from a ratio of 1. Bounds
    that differ are DAPO's clip-higher (arXiv 2503.14476).

    >>> ratio_two = torch.tensor([2.0]).log()
    >>> clipped_policy_loss(ratio_two, torch.zeros(1), torch.ones(1), clip_low=0.2, clip_high=0.3)
    tensor([-1.3000])
    """
    ratio_S = torch.exp(logps_S - old_logps_S)
    clipped_S = ratio_S.clamp(1 - clip_low, 1 + clip_high)
    return -torch.minimum(ratio_S * advantages_S, clipped_S * advantages_S)


def dual_clipped(loss_S: Tensor, advantages_S: Tensor, bound: float) -> Tensor:
    """Return clipped losses that are at most -bound · A where the advantage A is negative: a token that has become far
    more probable pulls no longer.

    Source: dual-clip PPO (arXiv 1912.09729, equation 5).

    >>> dual_clipped(torch.tensor([9.0, 9.0]), torch.tensor([-1.0, 1.0]), 3.0)
    tensor([3., 9.])
    """
    return torch.where(advantages_S < 0, torch.minimum(loss_S, -bound * advantages_S), loss_S)


def sequence_ratio(tokens: PolicyTokens) -> Tensor:
    """Return for each token the ratio of its whole answer: the geometric mean of the ratios of the answer's tokens.

    Source: GSPO (arXiv 2507.18071, equation 7).
    """
    difference_S = tokens.logps_S - tokens.old_logps_S
    totals_A = difference_S.new_zeros(tokens.num_answers).index_add(0, tokens.answer_S, difference_S)
    lengths_A = torch.bincount(tokens.answer_S, minlength=tokens.num_answers).clamp(min=1)
    return torch.exp(totals_A / lengths_A)[tokens.answer_S]


def gspo_loss(tokens: PolicyTokens, *, clip_low: float, clip_high: float) -> Tensor:
    """Return the clipped surrogate of whole answers, the same for each token of one.

        ℓ = -min(s A, clip(s, 1 - clip_low, 1 + clip_high) A),      s = (π(y)/π_old(y))^(1/|y|)

    Source: GSPO (arXiv 2507.18071, equation 5); its mean over answers is `loss.reduction = "sequence_mean"`.
    """
    ratio_S = sequence_ratio(tokens)
    clipped_S = ratio_S.clamp(1 - clip_low, 1 + clip_high)
    return -torch.minimum(ratio_S * tokens.advantages_S, clipped_S * tokens.advantages_S)


def cispo_loss(tokens: PolicyTokens, *, clip_high: float) -> Tensor:
    """Return REINFORCE with a bounded importance weight: no token's gradient is ever cut off, only its weight is.

        ℓ = -sg[min(ρ, 1 + clip_high)] A log π,      sg: without gradient

    Source: CISPO (MiniMax-M1, arXiv 2506.13585, equations 4 and 5), without a lower bound, as there.
    """
    weight_S = policy_ratio(tokens).detach().clamp(max=1 + clip_high)
    return -weight_S * tokens.advantages_S * tokens.logps_S


def token_losses(tokens: PolicyTokens, settings: LossSettings) -> Tensor:
    """Return the loss of each token by the objective of the settings. Raises: PluginError: that of another package
    failed.
    """
    low, high = settings.clip_low, settings.clip_high
    if settings.objective == "gspo":
        return gspo_loss(tokens, clip_low=low, clip_high=high)
    if settings.objective == "cispo":
        return cispo_loss(tokens, clip_high=high)
    if settings.objective != "clipped":
        return outside_losses(tokens, settings)
    values_S = tokens.logps_S, tokens.old_logps_S, tokens.advantages_S
    loss_S = clipped_policy_loss(*values_S, clip_low=low, clip_high=high)
    return loss_S if settings.dual_clip is None else dual_clipped(loss_S, tokens.advantages_S, settings.dual_clip)


def rollout_weights(old_logps_S: Tensor, engine_logps_S: Tensor, cap: float) -> Tensor:
    """Return the importance weight of each token that an engine has sampled in place of the policy, cut at the cap.

        w = min(π_old / π_engine, cap)

    Source: truncated importance sampling (Yao et al., "Your efficient RL framework secretly brings you off-policy RL
    training", 2025).

    >>> rollout_weights(torch.tensor([0.25, 0.9]).log(), torch.tensor([0.5, 0.1]).log(), 2.0)
    tensor([0.5000, 2.0000])
    """
    return torch.exp(old_logps_S - engine_logps_S).clamp(max=cap)


def kl_coefficient(settings: LossSettings, step: int, steps: int) -> float:
    """Return the weight of the divergence at a step of a run of so many, both counted from 0.

    >>> settings = LossSettings(kl_coefficient=0.1, kl_schedule="linear", kl_final_share=0.5)
    >>> [round(kl_coefficient(settings, step, 3), 3) for step in range(3)]
    [0.1, 0.075, 0.05]
    """
    if settings.kl_schedule == "constant":
        return settings.kl_coefficient
    done = step / max(1, steps - 1)
    left = 1 - done if settings.kl_schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
    return settings.kl_coefficient * (settings.kl_final_share + (1 - settings.kl_final_share) * left)


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
