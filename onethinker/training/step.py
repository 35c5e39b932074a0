"""An optimizer step: rows are scored, their gradients added up, and the step is taken unless something is not finite.

Dimensions: S scored tokens of a row.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from onethinker.families.registry import family_of
from onethinker.training.config import Recipe
from onethinker.training.metrics.bad_steps import BadStep, Taken, first_not_finite, largest_by_part, together
from onethinker.training.optimizer import learning_rate
from onethinker.training.packing.row import PackedRow, PrefixGroup, pack, packed_rows
from onethinker.training.parallel.base import ParallelBackend
from onethinker.training.parallel.collectives import Collectives
from onethinker.training.routing import balance_losses, listening, replay, router_loss_coefficient
from onethinker.training.scoring import precision, score
from onethinker.training.state.average import WeightAverage
from onethinker.training.state.progress import Streak


@dataclass(frozen=True)
class ScoredRow:
    """A packed row, its prefix groups, and log-probability and entropy of each scored token under the model; also the
    log-probabilities under the reference, where the step was begun with one.
    """

    row: PackedRow
    prefix_groups: list[PrefixGroup]
    logps_S: Tensor
    entropy_S: Tensor
    reference_S: Tensor | None = None
    experts_SLK: Tensor | None = None
    """The experts of a mixture that each scored token went to, layer by layer."""
    balance: Tensor | None = None
    """The row's part of the mean of the routers' loss over all learned tokens of the step."""


@dataclass(frozen=True)
class Stepped:
    """What an optimizer step has measured, all processes together; `bad` says why it was not taken where it was not."""

    loss: float
    norm: float
    bad: BadStep | None = None
    balance: float | None = None
    """Mean of the routers' loss over the learned tokens, before its coefficient; None without experts."""


@dataclass
class Optimization:
    """The optimizer steps of a run.

    `streak` counts those that were not taken, `last_bad` is the last of them, and `taken` is the last one that was.
    """

    recipe: Recipe
    backend: ParallelBackend
    collectives: Collectives
    streak: Streak = field(default_factory=Streak)
    last_bad: BadStep | None = None
    taken: Taken | None = None
    average: WeightAverage | None = None
    """What is validated, saved and exported in place of the weights, where the recipe wants it."""

    @cached_property
    def routers(self) -> list[nn.Module]:
        """What sends tokens to experts, layer after layer; [] without experts."""
        return family_of(self.backend.model).routers(self.backend.model)

    @cached_property
    def router_coefficient(self) -> float | None:
        """What the routers' loss is multiplied by; None without experts."""
        return router_loss_coefficient(self.backend.model, self.recipe.router_loss) if self.routers else None

    def begin(
        self,
        prefix_groups: Sequence[PrefixGroup],
        step: int,
        *,
        temperature: float = 1.0,
        entropy_gradient: bool = False,
        reference: Callable[[PackedRow], Tensor] | None = None,
        tokens: float,
        experts: Callable[[Sequence[PrefixGroup]], Tensor | None] | None = None,
    ) -> "OptimizerStep":
        """Begin an optimizer step on this process's prefix groups; the temperature divides all logits.

        The entropy has a gradient only where a loss has a term of it. `reference` scores each row before the model
        does. `tokens` are learned in this step by all processes, over which the routers' loss is a mean; infinitely
        many for prefix groups that weigh nothing. `experts` says to which experts (S, L, K) the tokens of a row are
        sent in place of those that the routers choose.
        """
        processes = self.collectives
        # Only the dropout of adapters draws from this; which step it is decides what is left out, so a resumed run
        # equals a whole one.
        torch.manual_seed((self.recipe.seed * 1_000_003 + step) * processes.count + processes.index)
        score = partial(self.score, temperature=temperature, entropy_gradient=entropy_gradient)
        return OptimizerStep(self, prefix_groups, step, score, reference, tokens, experts)

    def bad_step(
        self, what: str, samples: Sequence[str], step: int, largest: Mapping[str, float | None] | None = None
    ) -> BadStep:
        """Count an optimizer step that is not taken, and return what led there; all processes take part, each with its
        samples.
        """
        rate = learning_rate(self.recipe.optimizer, step, self.recipe.steps)
        named = tuple(sorted(set(self.collectives.gather(samples))))
        self.last_bad = BadStep(what, named, largest or {}, self.streak.last_good_step, rate)
        self.streak = replace(self.streak, bad=self.streak.bad + 1)
        return self.last_bad

    def score(
        self, row: PackedRow, model: Any, *, temperature: float = 1.0, entropy_gradient: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return log-probability and entropy of a row's scored tokens, in the precision of the recipe."""
        with precision(self.recipe, self.collectives.device):
            return score(model, row, temperature=temperature, entropy_gradient=entropy_gradient)

    def find_not_finite(self) -> BadStep | None:
        """Return what is not finite after the last step that was taken, or None; all processes take part.

        That is a weight, one of the optimizer's moments, or what the model says of a batch that it has just learned
        from: weights that are finite can be too large for anything to be computed with them. Nothing is where this
        process has taken no step yet.
        """
        if self.taken is None:
            return None
        model = self.backend.model
        mine = first_not_finite((name, weight) for name, weight in model.named_parameters() if weight.requires_grad)
        if mine is None:
            mine = first_not_finite(self.backend.own_moments())
        with self.backend.together(), torch.no_grad():
            logps_S, _ = self.score(self.taken.row, model)
        if mine is None and not bool(logps_S.isfinite().all()):
            mine = "what the model says of the batch that it has just learned from"
        found = [each for each in self.collectives.gather([mine]) if each is not None]
        if not found:
            return None
        step = self.streak.last_good_step
        samples = tuple(sorted(set(self.collectives.gather(self.taken.samples))))
        largest = together(self.collectives.gather([self.taken.largest_gradients]))
        rate = learning_rate(self.recipe.optimizer, step - 1, self.recipe.steps)
        return BadStep(f"{found[0]}, after step {step},", samples, largest, self.taken.last_good_step, rate)


class OptimizerStep:
    """One optimizer step: each of `rows` needs a call of `backward` with its loss, then comes `finish`."""

    def __init__(
        self,
        optimization: Optimization,
        prefix_groups: Sequence[PrefixGroup],
        step: int,
        score: Callable[[PackedRow, Any], tuple[Tensor, Tensor]],
        reference: Callable[[PackedRow], Tensor] | None,
        tokens: float,
        experts: Callable[[Sequence[PrefixGroup]], Tensor | None] | None,
    ) -> None:
        """Pack the prefix groups into rows."""
        self._owner, self._backend, self._processes = optimization, optimization.backend, optimization.collectives
        self._step, self._score, self._reference, self._tokens = step, score, reference, tokens
        self._block_of = family_of(self._backend.model).block_of
        self._routers, self._balance, self._experts = optimization.routers, 0.0, experts
        self._replayed: list[RemovableHandle] = []
        self._rows = packed_rows(prefix_groups, optimization.recipe.max_row_tokens)
        count = len(self._rows)
        self._num_rows = max(self._processes.gather([count])) if self._backend.rows_in_step else count
        self._samples = [sample for prefix_group in prefix_groups for sample in prefix_group.samples]
        self._losses: list[float] = []
        self._suspects: list[str] = []
        self._first: PackedRow | None = None

    def rows(self) -> Iterator[ScoredRow]:
        """Yield this process's rows, each scored when the one before it has been learned from."""
        for prefix_groups in self._rows:
            yield self._scored(prefix_groups)

    def _scored(self, prefix_groups: list[PrefixGroup]) -> ScoredRow:
        row = pack(prefix_groups)
        self._first = self._first or row
        self._end_replay()
        # Rows that only fill up come here too: a sharded reference takes all processes, as the model does.
        reference_S = self._reference(row) if self._reference is not None else None
        with listening(self._routers) as heard:
            if self._experts is not None and (experts_SLK := self._experts(prefix_groups)) is not None:
                self._replayed = replay(self._routers, row.scored_S, experts_SLK)
            logps_S, entropy_S = self._score(row, self._backend.callee)
        if not logps_S.requires_grad:
            logps_S.requires_grad_()  # a row without media, where all is frozen but the vision tower
        scored = ScoredRow(row, prefix_groups, logps_S, entropy_S, reference_S)
        if not self._routers:
            return scored
        experts_SLK = torch.stack([experts[row.scored_S] for experts in heard.experts], 1)
        logits_LSE = torch.stack([logits[row.scored_S] for logits in heard.logits])
        if not self._owner.router_coefficient:
            logits_LSE = logits_LSE.detach()  # measured, not learned from
        balance_A = balance_losses(logits_LSE, row.answer_S, row.num_answers, experts_SLK.shape[-1])
        tokens_A = torch.bincount(row.answer_S, minlength=row.num_answers)
        return replace(scored, experts_SLK=experts_SLK, balance=(balance_A * tokens_A).sum() / self._tokens)

    def _end_replay(self) -> None:
        while self._replayed:
            self._replayed.pop().remove()

    def backward(self, scored: ScoredRow, loss: Tensor) -> None:
        """Add the gradients of a row's loss, which is its part of a sum over all rows of all processes."""
        self._losses.append(float(loss.detach()))
        if not math.isfinite(self._losses[-1]):
            self._suspects += [sample for prefix_group in scored.prefix_groups for sample in prefix_group.samples]
        if scored.balance is not None:
            self._balance += float(scored.balance.detach())
            if self._owner.router_coefficient:
                loss = loss + self._owner.router_coefficient * scored.balance
        # Processes average their gradients; the loss is a sum over all of them.
        self._backend.backward(loss * self._processes.count, last=len(self._losses) == self._num_rows)

    def finish(self) -> Stepped:
        """Take the step and return what it measured, all processes together.

        Where the loss or the gradient is not finite no step is taken: weights and moments stay.
        """
        # A process with fewer rows than another repeats some of its own, and they count nothing.
        for index in range(len(self._rows), self._num_rows):
            scored = replace(self._scored(self._rows[index % len(self._rows)]), balance=None)
            self.backward(scored, scored.logps_S.sum() * 0.0)
        self._end_replay()
        norm = self._backend.reduce_gradients()
        # Summed up, so that all processes see the same and do the same.
        loss, not_finite, balance = self._processes.total(sum(self._losses), not math.isfinite(norm), self._balance)
        if not math.isfinite(loss):
            return self._drop(f"the loss ({loss})", self._suspects, loss, norm)
        if not_finite:
            return self._drop(f"the norm of the gradient ({float(norm)})", self._samples, loss, norm)
        owner = self._owner
        largest = largest_by_part(self._backend.own_gradients(), self._block_of)
        owner.taken = Taken(self._first, tuple(self._samples), largest, owner.streak.last_good_step)
        self._backend.step(learning_rate(owner.recipe.optimizer, self._step, owner.recipe.steps), norm)
        if owner.average is not None:
            owner.average.follow()
        owner.streak = Streak(0, self._step + 1)
        return Stepped(loss, float(norm), balance=balance if self._routers else None)

    def _drop(self, what: str, samples: Sequence[str], loss: float, norm: Tensor) -> Stepped:
        """Forget the gradients and note what they say."""
        largest = together(self._processes.gather([largest_by_part(self._backend.gradients(), self._block_of)]))
        self._backend.drop()
        return Stepped(loss, float(norm), self._owner.bad_step(what, samples, self._step, largest))
