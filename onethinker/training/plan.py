"""What a recipe will do before it does it: parameters by part, the arithmetic of a batch, tokens of a row, memory of a
GPU.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from onethinker.families.base import Part, Widths
from onethinker.families.packing import check_packing
from onethinker.families.registry import family_of
from onethinker.media.budget import MediaBudget
from onethinker.training.adapters import Count, choose_trained, count_parameters
from onethinker.training.batch import Batch, plan_batch
from onethinker.training.config import Recipe, RlRecipe
from onethinker.training.lengths import Length
from onethinker.training.memory import Term, estimate_memory, gigabytes, peak
from onethinker.training.optimizer import state_bytes
from onethinker.training.routing import check_experts
from onethinker.training.server_memory import ServerMemory, server_memory
from onethinker.training.sharding import Sharding


@dataclass(frozen=True)
class Plan:
    """All that is known of a run before it begins; `counts` and `memory` are empty where the model's config could not
    be had.
    """

    recipe: Recipe
    batch: Batch
    counts: Mapping[Part, Count]
    memory: tuple[Term, ...]
    widths: Widths | None = None
    weights: Mapping[Part, float] = field(default_factory=dict)
    """Those that a token is multiplied with."""
    server: ServerMemory | None = None

    def lines(self) -> list[str]:
        """Return the plan as text, a line each."""
        return [*self._parameters(), *self._batch(), *self._memory()]

    def _parameters(self) -> list[str]:
        if not self.counts:
            return []
        total = sum(count.total for count in self.counts.values())
        trained = sum(count.trained + count.adapters for count in self.counts.values())
        lines = [f"parameters   {total:,}, of which {trained:,} are trained"]
        for part, count in self.counts.items():
            what = {0: "frozen", count.total: "trained"}.get(count.trained, f"{count.trained:,} of them trained")
            adapters = f", with {count.adapters:,} trained in adapters" if count.adapters else ""
            lines.append(f"  {part:<10} {count.total:>15,}  {what}{adapters}")
        return lines

    def _batch(self) -> list[str]:
        batch, recipe = self.batch, self.recipe
        share = f"{batch.prompts_per_process} on each of {batch.processes} processes"
        if isinstance(recipe, RlRecipe):
            once = min(recipe.rollout.decode_batch_size, batch.prompts_per_process)
            done = "decoded" if recipe.rollout.engine == "in_process" else "asked"
            step = (
                f"{batch.prompts} prompts x {batch.answers} answers = {batch.prompts * batch.answers:,} answers in"
                f" {batch.updates} update{'s' * (batch.updates > 1)}; {share}, {once} {done} at once"
            )
        else:
            what = "pairs of responses" if recipe.need == "rejected" else "samples"
            step = f"{batch.prompts} {what} in one update; {share}"
        alone = "; then it is split over several rows" if batch.group_tokens > batch.max_row_tokens else ""
        return [
            f"steps        {recipe.steps:,}, each of {step}",
            f"prompt       up to {batch.prompt_tokens:,} tokens, {batch.visual_tokens:,} of them visual",
            f"answer       up to {batch.answer_tokens:,} tokens",
            (
                f"row          {batch.max_row_tokens:,} tokens; a prompt with its answers has up to"
                f" {batch.group_tokens:,}{alone}"
            ),
            f"rows         up to {batch.rows} in an update of a process",
            *_servers(recipe),
            *(self.server.lines() if self.server else ()),
        ]

    def _memory(self) -> list[str]:
        if not self.memory:
            return []
        lines = [
            f"memory       {gigabytes(peak(list(self.memory)))} at most on each GPU (an estimate), for the longest"
            " prompts and answers"
        ]
        return lines + [
            f"  {term.name:<24} {gigabytes(term.size):>10}  {term.when:<8} {term.formula}" for term in self.memory
        ]


def _servers(recipe: Recipe) -> list[str]:
    """Return which servers sample, where the model in training does not, and what this machine lacks for them."""
    if not isinstance(recipe, RlRecipe) or recipe.rollout.engine != "vllm":
        return []
    settings = recipe.rollout.vllm
    if settings is None:
        return [
            f"servers      {recipe.rollout.servers} of vLLM, already running: {', '.join(recipe.rollout.endpoints)}"
        ]
    on = f"{settings.gpus_per_server} GPUs each" if settings.gpus_per_server else "on the CPU"
    program = settings.command[0]
    missing = "" if shutil.which(program) else "; this machine does not have that program"
    return [f"servers      {settings.servers} of vLLM, {on}, started by the run with {program!r}{missing}"]


def make_plan(
    recipe: Recipe,
    *,
    processes: int,
    model: Any,
    budget: MediaBudget,
    sharding: Sharding | None = None,
    longest: Length | None = None,
) -> Plan:
    """Return the plan of a run; `model` is a network whose weights may be on the meta device, or None where it could
    not be had.

    `longest` are the most tokens of prompt, media and answer that its records have; without it they are estimated out
    of the budget.

    Raises: ConfigError: the batch does not divide, nothing would be trained, or the model is of no known family.
    """
    if model is None:
        return Plan(recipe, plan_batch(recipe, budget, processes, longest), {}, ())
    check_packing(model, recipe.max_row_tokens)
    check_experts(model, recipe)
    family = family_of(model)
    batch = plan_batch(recipe, family.fit_budget(budget, model.config), processes, longest)
    choose_trained(model, recipe)
    counts, widths = count_parameters(model), family.widths(model.config)
    memory = tuple(estimate_memory(recipe, counts, state_bytes(model, recipe), widths, batch, sharding=sharding))
    server = server_memory(recipe, counts, widths, batch)
    return Plan(recipe, batch, counts, memory, widths, family.multiplied(model), server)
