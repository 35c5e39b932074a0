"""The update of RL: a batch of graded groups becomes optimizer steps.

Dimensions: G answers per group, T tasks, M what is measured.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from onethinker.rl.groups import Group
from onethinker.rl.loss import GradedPrefixGroup, PolicyLoss, task_indices
from onethinker.rl.rebalance import rebalance
from onethinker.training.config import RlRecipe
from onethinker.training.metrics.bad_steps import BadStep
from onethinker.training.metrics.task_rows import MEASURED, Measured
from onethinker.training.packing.row import split_group
from onethinker.training.reference import Reference
from onethinker.training.session import TrainingSession


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
    norms, bad = list[float](), list[BadStep]()
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
        if not prefix_groups:
            # Every process takes part in every exchange of gradients, this one with a prefix group that weighs nothing.
            group = next(iter(groups.values()))
            prefix_groups = _prefix_groups(group, torch.zeros(len(group.rollouts)), recipe.max_row_tokens, weight=0.0)
        loss = PolicyLoss(recipe, int(num_tokens), int(num_answers), step)
        norm = _take_step(session, prefix_groups, loss, reference, step)
        if isinstance(norm, BadStep):
            bad.append(norm)
            continue
        norms.append(norm)
        measured_TM += loss.measured
    return _summed(session, norms, bad, measured_TM, tokens, shared)


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
    norms: Sequence[float],
    bad: Sequence[BadStep],
    measured_TM: Tensor,
    tokens: int,
    shared: int,
) -> Updated:
    """Return what all processes have measured; norms and bad steps are the same in each."""
    total_tokens, total_shared, *totals = session.collectives.total(tokens, shared, *measured_TM.flatten().tolist())
    size, taken = len(MEASURED), len(norms)
    sums = {
        task: dict(zip(MEASURED, totals[index * size : (index + 1) * size], strict=True))
        for task, index in task_indices().items()
    }
    return Updated(
        updates=taken,
        bad=tuple(bad),
        loss=sum(each["loss"] for each in sums.values()) / taken if taken else None,
        grad_norm=sum(norms) / taken if taken else None,
        measured=sums,
        tokens=int(total_tokens),
        shared_tokens=int(total_shared),
    )


def _take_step(
    session: TrainingSession,
    prefix_groups: Sequence[GradedPrefixGroup],
    loss: PolicyLoss,
    reference: Reference | None,
    step: int,
) -> float | BadStep:
    """Take an optimizer step and return the norm of its gradient, or why it was not taken."""
    optimizer_step = session.optimization.begin(
        prefix_groups,
        step,
        temperature=loss.recipe.rollout.temperature,
        entropy_gradient=loss.recipe.loss.entropy_coefficient != 0,
        reference=reference,
    )
    for scored in optimizer_step.rows():
        optimizer_step.backward(scored, loss(scored))
    stepped = optimizer_step.finish()
    if stepped.bad is None:
        return stepped.norm
    causes = sorted(set(session.collectives.gather(sorted(loss.not_finite))))
    what = f"{stepped.bad.what}{', by ' if causes else ''}{' and '.join(causes)}"
    session.optimization.last_bad = replace(stepped.bad, what=what)
    return session.optimization.last_bad


def _engine_logps(group: Group, part: Sequence[int]) -> Tensor | None:
    """Return what the engine that sampled some answers says of their tokens, None where the policy sampled."""
    logps = [each for index in part if (each := group.rollouts[index].engine_logps) is not None]
    return torch.cat(logps) if logps else None


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
            samples=(group.sample.id,),
        )
        for part in parts
    ]
