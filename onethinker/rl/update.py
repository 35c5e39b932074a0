"""The update of RL: a batch of graded groups becomes optimizer steps.

Dimensions: G answers per group, T tasks, M what is measured.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from onethinker.rl.groups import Group
from onethinker.rl.loss import GradedPrefixGroup, PolicyLoss, drawn_experts, task_indices
from onethinker.rl.rebalance import rebalance
from onethinker.training.config import RlRecipe
from onethinker.training.metrics.bad_steps import BadStep
from onethinker.training.metrics.task_rows import MEASURED, Measured
from onethinker.training.packing.row import split_group
from onethinker.training.reference import Reference
from onethinker.training.session import TrainingSession
from onethinker.training.step import Stepped


@dataclass(frozen=True)
class Updated:
    """What the optimizer steps on one batch of groups have measured, over all processes.

    `updates` were taken, `bad` ones not: these are in no number. `loss` and `grad_norm` are means over the steps, None
    without any; `tokens` are those of the packed rows, `shared_tokens` what one row an answer would have read in
    addition.
    """

    updates: int
    bad: tuple[BadStep, ...]
    loss: float | None = None
    grad_norm: float | None = None
    measured: Measured = field(default_factory=dict)
    tokens: int = 0
    shared_tokens: int = 0
    router_loss: float | None = None
    """Mean of the routers' loss over the steps; None without experts."""
    moved_tokens: float | None = None
    """Fraction of the tokens that went to other experts than they were sampled with; None where that is not known."""

    def mean(self, name: str) -> float | None:
        """Return the mean of what was measured over all tasks, with the weights of the loss; None where nothing has
        weight.
        """
        weight = sum(sums["weight"] for sums in self.measured.values())
        return sum(sums[name] for sums in self.measured.values()) / weight if weight else None


def update_policy(
    session: TrainingSession,
    recipe: RlRecipe,
    reference: Reference | None,
    groups: Mapping[int, Group],
    advantages: Mapping[int, Tensor],
    step: int,
) -> Updated:
    """Take the optimizer steps on one batch of groups, each on its part of them, and return what was measured."""
    indices, updates = sorted(advantages), recipe.loss.updates_per_batch
    measured_TM = torch.zeros(len(task_indices()), len(MEASURED), dtype=torch.float64)
    taken, bad, moved = list[Stepped](), list[BadStep](), (0, 0)
    tokens, shared = 0, 0
    for part in range(updates):
        sampled = {index: groups[index] for index in indices[part::updates] if index in groups}
        prefix_groups = _own_prefix_groups(session, recipe, sampled, advantages)
        num_tokens, num_answers = session.collectives.total(
            sum(prefix_group.num_scored for prefix_group in prefix_groups),
            sum(len(prefix_group.answers) for prefix_group in prefix_groups),
        )
        if not num_answers:
            continue
        tokens += sum(prefix_group.num_tokens for prefix_group in prefix_groups)
        shared += sum(prefix_group.num_shared for prefix_group in prefix_groups)
        weighs = bool(prefix_groups)
        if not weighs:
            # Every process takes part in every exchange of gradients, this one with a prefix group that weighs nothing.
            group = next(iter(groups.values()))
            prefix_groups = _prefix_groups(group, torch.zeros(len(group.rollouts)), recipe.max_row_tokens, weight=0.0)
        loss = PolicyLoss(recipe, int(num_tokens), int(num_answers), step)
        routed = num_tokens if weighs else math.inf
        stepped = _take_step(session, prefix_groups, loss, reference, step, routed=routed)
        if stepped.bad is not None:
            bad.append(stepped.bad)
            continue
        taken.append(stepped)
        measured_TM += loss.measured
        if weighs:
            moved = moved[0] + loss.moved[0], moved[1] + loss.moved[1]
    return _summed(session, taken, bad, measured_TM, (tokens, shared, *moved))


def _own_prefix_groups(
    session: TrainingSession, recipe: RlRecipe, sampled: Mapping[int, Group], advantages: Mapping[int, Tensor]
) -> list[GradedPrefixGroup]:
    """Return what this process learns from in an update, of the groups that each process has sampled for it; all
    processes take part.
    """
    collectives = session.collectives
    share = collectives.total(sum(group.num_tokens for group in sampled.values()))[0] / collectives.count
    prefix_groups = [
        prefix_group
        for index, group in sampled.items()
        for prefix_group in _prefix_groups(group, advantages[index], recipe.max_row_tokens, share=share)
    ]
    return rebalance(prefix_groups, collectives) if collectives.count > 1 else prefix_groups


def _summed(
    session: TrainingSession,
    stepped: Sequence[Stepped],
    bad: Sequence[BadStep],
    measured_TM: Tensor,
    counts: tuple[int, int, int, int],
) -> Updated:
    """Return what all processes have measured; steps are the same in each. `counts` are tokens of rows, those shared,
    and of those sampled here the ones that moved to other experts, of how many.
    """
    tokens, shared, moved, routed, *totals = session.collectives.total(*counts, *measured_TM.flatten().tolist())
    size, taken = len(MEASURED), len(stepped)
    balances = [each.balance for each in stepped if each.balance is not None]
    sums = {
        task: dict(zip(MEASURED, totals[index * size : (index + 1) * size], strict=True))
        for task, index in task_indices().items()
    }
    return Updated(
        updates=taken,
        bad=tuple(bad),
        loss=sum(each["loss"] for each in sums.values()) / taken if taken else None,
        grad_norm=sum(each.norm for each in stepped) / taken if taken else None,
        measured=sums,
        tokens=int(tokens),
        shared_tokens=int(shared),
        router_loss=sum(balances) / len(balances) if balances else None,
        moved_tokens=moved / routed if routed else None,
    )


def _take_step(
    session: TrainingSession,
    prefix_groups: Sequence[GradedPrefixGroup],
    loss: PolicyLoss,
    reference: Reference | None,
    step: int,
    *,
    routed: float,
) -> Stepped:
    """Take an optimizer step and return what it measured; the routers' loss is a mean over so many tokens."""
    optimizer_step = session.optimization.begin(
        prefix_groups,
        step,
        temperature=loss.recipe.rollout.temperature,
        entropy_gradient=loss.recipe.loss.entropy_coefficient != 0,
        reference=reference,
        tokens=routed,
        experts=drawn_experts if loss.recipe.rollout.replay_experts else None,
    )
    for scored in optimizer_step.rows():
        optimizer_step.backward(scored, loss(scored))
    stepped = optimizer_step.finish()
    if stepped.bad is None:
        return stepped
    causes = sorted(set(session.collectives.gather(sorted(loss.not_finite))))
    what = f"{stepped.bad.what}{', by ' if causes else ''}{' and '.join(causes)}"
    session.optimization.last_bad = replace(stepped.bad, what=what)
    return replace(stepped, bad=session.optimization.last_bad)


def _engine_logps(group: Group, part: Sequence[int]) -> Tensor | None:
    """Return what the engine that sampled some answers says of their tokens, None where the policy sampled."""
    logps = [each for index in part if (each := group.rollouts[index].engine_logps) is not None]
    return torch.cat(logps) if logps else None


def _experts(group: Group, part: Sequence[int]) -> Tensor | None:
    """Return the experts with which the tokens of some answers were sampled; None without experts, and of servers."""
    experts = [each for index in part if (each := group.rollouts[index].experts) is not None]
    return torch.cat(experts) if experts else None


def _prefix_groups(
    group: Group, advantages_G: Tensor, max_tokens: int, *, share: float = math.inf, weight: float = 1.0
) -> list[GradedPrefixGroup]:
    """Return a group as one prefix group, or as several with the same prompt where it would be longer than a row, or
    than a process's `share` of the tokens.
    """
    lengths = [len(rollout.ids) for rollout in group.rollouts]
    parts = split_group(len(group.prompt.input_ids), lengths, max_tokens=max_tokens, share=share)
    return [
        GradedPrefixGroup(
            group.prompt,
            tuple(group.rollouts[index].ids for index in part),
            group.task,
            torch.cat([group.rollouts[index].logps for index in part]),
            advantages_G[list(part)],
            torch.full((len(part),), weight),
            _engine_logps(group, part),
            _experts(group, part),
            samples=(group.sample.id,),
        )
        for part in parts
    ]
