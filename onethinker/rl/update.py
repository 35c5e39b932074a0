"""The update of RL: a batch of graded groups becomes optimizer steps.

Dimensions: G answers per group, A answers of a row, S scored tokens, T tasks, M what is measured.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from accelerate.utils import gather_object
from torch import Tensor

from onethinker.inference.loading import load_local
from onethinker.rl.groups import Group
from onethinker.tasks import all_tasks
from onethinker.training.adapters import base_weights
from onethinker.training.config import RlRecipe
from onethinker.training.loss import clipped_policy_loss, kl_k3, token_weights
from onethinker.training.metrics.bad_steps import BadStep
from onethinker.training.metrics.records import MEASURED, Measured
from onethinker.training.packing.attention import use_packed_attention
from onethinker.training.packing.prefix_group import Tree, deal
from onethinker.training.packing.row import Row
from onethinker.training.session import Run, score

Reference = Callable[[Row], Tensor]
"""Gives the log-probabilities (S,) of a row's scored tokens under the model that RL started from."""
TASK_NUMBERS = {task.statistics: number for number, task in enumerate(all_tasks())}
"""The row of each task in what a loss measures, the same in every process."""


@dataclass(frozen=True)
class GradedTree(Tree):
    """A group as the loss needs it: its task, old log-probabilities of all answer tokens, one advantage and one weight
    an answer.
    """

    task: str
    old_logps: Tensor
    advantages: Tensor
    weights: Tensor


def open_reference(run: Run, recipe: RlRecipe) -> Reference | None:
    """Return what scores rows as the model that RL started from did, or None when the divergence from it has no weight.

    Under adapters that is the model itself without them, and no second copy.
    """
    if recipe.loss.kl == 0:
        return None
    if recipe.lora is not None:
        start = run.model
    else:
        dtype = "float32" if recipe.dtype == "float32" else "bfloat16"
        start = load_local(recipe.model, seed=recipe.seed, dtype=dtype).model
        use_packed_attention(start)
        start.to(run.accelerator.device).eval().requires_grad_(False)

    def reference(row: Row) -> Tensor:
        with run.clock.phase("reference"), torch.no_grad(), run.precision(), base_weights(start):
            return score(start, row, temperature=recipe.rollout.temperature)[0]

    return reference


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
    measured: Tensor = field(default_factory=lambda: torch.zeros(len(TASK_NUMBERS), len(MEASURED), dtype=torch.float64))
    not_finite: set[str] = field(default_factory=set)

    def __call__(self, row: Row, members: Sequence[Tree], logps_S: Tensor, entropy_S: Tensor) -> Tensor:
        """Return a row's part of the batch's loss."""
        settings = self.recipe.loss
        trees = [tree for tree in members if isinstance(tree, GradedTree)]
        old_logps_S = torch.cat([tree.old_logps for tree in trees])
        advantages_S = torch.cat([tree.advantages for tree in trees]).to(logps_S)[row.answer_S]
        weights_S = torch.cat([tree.weights for tree in trees]).to(logps_S)[row.answer_S] * token_weights(
            row.answer_S,
            num_answers_in_row=row.num_answers,
            num_tokens=self.num_tokens,
            num_answers=self.num_answers,
            aggregate=settings.aggregate,
            max_tokens=self.recipe.rollout.max_new_tokens,
        )
        loss_S = clipped_policy_loss(
            logps_S, old_logps_S, advantages_S, clip_low=settings.clip_low, clip_high=settings.clip_high
        )
        kl_S, reference_S = torch.zeros_like(loss_S), torch.zeros_like(loss_S)
        if self.reference is not None:
            reference_S = self.reference(row)
            kl_S = kl_k3(logps_S, reference_S)
        loss_S = loss_S + settings.kl * kl_S
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
        weighed_S = [
            value_S.detach() * weights_S for value_S in (loss_S, kl_S, entropy_S, clipped_S, torch.ones_like(loss_S))
        ]
        tasks_A = [TASK_NUMBERS[tree.task] for tree in trees for _ in tree.answers]
        tasks_S = torch.tensor(tasks_A, device=row.answer_S.device)[row.answer_S]
        self.measured.index_add_(0, tasks_S.cpu(), torch.stack([*weighed_S, pull_S.abs()], 1).double().cpu())
        return loss


@dataclass(frozen=True)
class Updated:
    """What the optimizer steps on one batch of groups have measured, over all processes.

    `updates` were taken, `bad` ones not: these are in no number. `loss` and `grad_norm` are means over the steps, None
    without any; `tokens` are those of the packed rows, `shared_tokens` what one row an answer would have read in
    addition.
    """

    updates: int
    bad: tuple[BadStep, ...]
    loss: float | None
    grad_norm: float | None
    measured: Measured
    tokens: int
    shared_tokens: int

    @classmethod
    def none(cls, bad: BadStep) -> "Updated":
        """Return what a batch that nothing could be learned from has measured: nothing."""
        return cls(0, (bad,), None, None, {}, 0, 0)

    def mean(self, name: str) -> float | None:
        """Return the mean of what was measured over all tasks, with the weights of the loss; None where nothing has
        weight.
        """
        weight = sum(sums["weight"] for sums in self.measured.values())
        return sum(sums[name] for sums in self.measured.values()) / weight if weight else None


def update_policy(
    run: Run,
    recipe: RlRecipe,
    reference: Reference | None,
    groups: Mapping[int, Group],
    advantages: Mapping[int, Tensor],
    step: int,
) -> Updated:
    """Take the optimizer steps on one batch of groups, each on its share of them, and return what was measured on the
    way.
    """
    numbers, updates = sorted(advantages), recipe.loss.updates_per_batch
    measured_TM = torch.zeros(len(TASK_NUMBERS), len(MEASURED), dtype=torch.float64)
    norms: list[float] = []
    bad: list[BadStep] = []
    tokens, shared = 0, 0
    for part in range(updates):
        mine = [number for number in numbers[part::updates] if number in groups]
        trees = [tree for number in mine for tree in _trees(groups[number], advantages[number], recipe.max_row_tokens)]
        answers = [answer for tree in trees for answer in tree.answers]
        num_tokens, num_answers = run.total(sum(map(len, answers)), len(answers))
        if not num_answers:
            continue
        tokens += sum(tree.num_tokens for tree in trees)
        shared += sum(len(tree.prompt.input_ids) * (len(tree.answers) - 1) for tree in trees)
        if not trees:
            # Every process takes part in every exchange of gradients, this one with a tree that weighs nothing.
            group = next(iter(groups.values()))
            trees = _trees(group, torch.zeros(len(group.rollouts)), recipe.max_row_tokens, weight=0.0)
        loss = PolicyLoss(recipe, reference, int(num_tokens), int(num_answers))
        stepped = run.update(trees, step, loss, temperature=recipe.rollout.temperature)
        if stepped.bad is not None:
            causes = sorted(set().union(*gather_object([loss.not_finite])))
            run.last_bad = replace(
                stepped.bad, what=f"{stepped.bad.what}{', by ' if causes else ''}{' and '.join(causes)}"
            )
            bad.append(run.last_bad)
            continue
        norms.append(stepped.norm)
        measured_TM += loss.measured
    total_tokens, total_shared, *totals = run.total(tokens, shared, *measured_TM.flatten().tolist())
    sums = {
        task: dict(zip(MEASURED, totals[number * len(MEASURED) : (number + 1) * len(MEASURED)], strict=True))
        for task, number in TASK_NUMBERS.items()
    }
    taken = len(norms)
    return Updated(
        updates=taken,
        bad=tuple(bad),
        loss=sum(each["loss"] for each in sums.values()) / taken if taken else None,
        grad_norm=sum(norms) / taken if taken else None,
        measured=sums,
        tokens=int(total_tokens),
        shared_tokens=int(total_shared),
    )


def _trees(group: Group, advantages_G: Tensor, max_tokens: int, *, weight: float = 1.0) -> list[GradedTree]:
    """Return a group as one tree, or as several with the same prompt where it would be longer than a row."""
    parts = deal([len(answer.ids) for answer in group.rollouts], max_tokens - len(group.prompt.input_ids))
    return [
        GradedTree(
            group.prompt,
            tuple(group.rollouts[number].ids for number in part),
            group.task,
            torch.cat([group.rollouts[number].logps for number in part]),
            advantages_G[list(part)],
            torch.full((len(part),), weight),
            samples=(group.sample.id,),
        )
        for part in parts
    ]
