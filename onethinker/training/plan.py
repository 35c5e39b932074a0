"""What a recipe will do before it does it: parameters by part, the arithmetic of a batch, tokens of a row, memory of a
GPU.

Estimates are sums of named terms, each with its formula in words. Sizes are bytes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onethinker.core.errors import ConfigError
from onethinker.families.base import Part, Widths
from onethinker.families.packing import check_packing
from onethinker.families.registry import family_of
from onethinker.media.budget import FRAMES_PER_TOKEN, TOKEN_SIDE_PX, MediaBudget
from onethinker.training.adapters import Count, choose_trained, count_parameters
from onethinker.training.config import Dealing, Recipe, RlRecipe, SftRecipe
from onethinker.training.lengths import Length
from onethinker.training.scoring import LOGITS_AT_ONCE

TEXT_TOKENS = 1024
"""What question, options and instructions take at most in an estimate; a time before each pair of frames comes on
top.
"""
TOKENS_OF_A_TIME = 9
"""A time such as <12.5 seconds> with the marks around a pair of frames."""
FOUR_BIT_BYTES = 0.53
"""Half a byte a weight, and its scales."""
ADAPTER_BYTES = 4
BUCKET = 500_000_000
"""Gradients that DeepSpeed gathers, in float32, before it sends each to the process that keeps it."""
CACHE_ROOM = 1.5
"""Room for the keys and values of answers grows by halves, so that there may be so much more of it than tokens."""


@dataclass(frozen=True)
class Batch:
    """The arithmetic of one step: how many prompts and answers, where, and how long."""

    processes: int
    prompts: int
    answers: int
    updates: int
    visual_tokens: int
    prompt_tokens: int
    answer_tokens: int
    max_row_tokens: int

    @property
    def prompts_per_process(self) -> int:
        """Prompts of a step on the process that has most of them."""
        return math.ceil(self.prompts / self.processes)

    @property
    def tree_tokens(self) -> int:
        """Tokens of the longest prompt with all of its longest answers."""
        return self.prompt_tokens + self.answers * self.answer_tokens

    @property
    def row_tokens(self) -> int:
        """Tokens of the longest row there can be: a prompt whose answers do not fit into one row stands in several."""
        return max(self.prompt_tokens + self.answer_tokens, self.max_row_tokens)

    @property
    def trees_per_row(self) -> int:
        """Prompts with all of their answers that fit into a row when they are as long as can be, 1 where none does."""
        return max(1, self.max_row_tokens // self.tree_tokens)

    @property
    def rows(self) -> int:
        """Rows of an update on one process, when every prompt and every answer is as long as it can be."""
        trees = math.ceil(self.prompts_per_process / self.updates)
        if self.tree_tokens <= self.max_row_tokens:
            return math.ceil(trees / self.trees_per_row)
        answers_per_row = max(1, (self.max_row_tokens - self.prompt_tokens) // self.answer_tokens)
        return trees * math.ceil(self.answers / answers_per_row)


def plan_batch(recipe: Recipe, budget: MediaBudget, processes: int, longest: Length | None = None) -> Batch:
    """Return the arithmetic of a recipe's step; `longest` is what its records take at most, where that is known.

    Raises: ConfigError: the batch does not divide by the processes, or by the updates of a batch.
    """
    visual = largest_visual_tokens(budget)
    times = TOKENS_OF_A_TIME * math.ceil(budget.max_frames / FRAMES_PER_TOKEN)
    if isinstance(recipe, RlRecipe):
        settings, updates = recipe.rollout, recipe.loss.updates_per_batch
        name, prompts, answers, answer_tokens = (
            "rollout.generation_batch_size",
            settings.generation_batch_size,
            settings.group_size,
            settings.max_new_tokens,
        )
    else:
        assert isinstance(recipe, SftRecipe)
        name, prompts, answers, updates = "batch_size", recipe.batch_size, 1, 1
        answer_tokens = TEXT_TOKENS
    for what, number in (("processes", processes), ("updates (loss.updates_per_batch)", updates)):
        if prompts % number:
            near = [size for size in (prompts - prompts % number, prompts - prompts % number + number) if size]
            raise ConfigError(
                f"{name} = {prompts} does not divide by {number} {what}: some would get more than others, and the rest"
                f" wait. Choose {' or '.join(map(str, near))}"
            )
    prompt_tokens = visual + times + TEXT_TOKENS
    if longest is not None:
        visual, prompt_tokens, answer_tokens = longest.visual, longest.prompt, longest.answer
    return Batch(processes, prompts, answers, updates, visual, prompt_tokens, answer_tokens, recipe.max_row_tokens)


def largest_visual_tokens(budget: MediaBudget) -> int:
    """Return how many visual tokens the largest picture or the longest video takes.

    >>> largest_visual_tokens(MediaBudget())
    12288
    """
    area = TOKEN_SIDE_PX**2
    frame = min(budget.frame_max_pixels, budget.video_max_pixels // budget.max_frames) // area
    return max(budget.image_max_pixels // area, math.ceil(budget.max_frames / FRAMES_PER_TOKEN) * max(1, frame))


@dataclass(frozen=True)
class Term:
    """One part of the memory of a GPU: when it is there, how large it is, and how that was worked out."""

    name: str
    when: str
    size: float
    formula: str


ALWAYS, ROLLOUT, UPDATE = "always", "rollout", "update"


def estimate_memory(
    recipe: Recipe, counts: Mapping[Part, Count], widths: Widths, batch: Batch, *, dealing: Dealing | None = None
) -> list[Term]:
    """Return what one GPU must hold of what is not dealt to other processes."""
    total, trained, adapters = (
        sum(getattr(count, name) for count in counts.values()) for name in ("total", "trained", "adapters")
    )
    four_bit = recipe.lora is not None and recipe.lora.four_bit
    stored: float = FOUR_BIT_BYTES if four_bit else {"bfloat16": 2, "float32": 4}[recipe.weights_dtype]
    used = 4 if recipe.dtype == "float32" else 2
    sharded, share = dealing == "fsdp2", 1 / batch.processes
    shares: dict[Part, float] = {part: share if sharded and part == "language" else 1.0 for part in counts}
    held = sum((count.total * stored + count.adapters * ADAPTER_BYTES) * shares[part] for part, count in counts.items())
    learned = sum(
        (count.trained * stored + count.adapters * ADAPTER_BYTES) * (share if dealing == "zero2" else shares[part])
        for part, count in counts.items()
    )
    dealt = f", the language model's / {batch.processes} processes" if sharded else ""
    dealt_learned = f" / {batch.processes} processes" if dealing == "zero2" else dealt
    says_learned = (
        f"{adapters:,} in adapters x {ADAPTER_BYTES} bytes" if recipe.lora else f"{trained:,} trained x {stored} bytes"
    )
    terms = [
        Term("weights", ALWAYS, held, f"{total:,} parameters x {stored} bytes{dealt}"),
        Term("moments of the optimizer", ALWAYS, 2 * learned, f"2 x {says_learned}{dealt_learned}"),
        Term("gradients", UPDATE, learned, f"{says_learned}{dealt_learned}"),
        Term(
            "logits at a time",
            UPDATE,
            3 * 4 * LOGITS_AT_ONCE,
            f"3 x {LOGITS_AT_ONCE:,} in 4 bytes, however long the answers are",
        ),
    ]
    if dealing == "zero2":
        sent = 4 * min(BUCKET, trained + adapters)
        terms.append(Term("weights that it steps", ALWAYS, learned, f"a second copy: {says_learned}{dealt_learned}"))
        terms.append(Term("gradients to be sent", UPDATE, sent, f"at most {BUCKET:,} x 4 bytes"))
    if sharded or (recipe.dtype == "mixed" and not four_bit):
        what = "whole during a step, gathered from all processes" if sharded else "a copy to multiply with"
        terms.append(Term("weights in use", ALWAYS, total * used, f"{what}: {total:,} parameters x {used} bytes"))
    terms += _activations(recipe, counts, widths, batch, used)
    if isinstance(recipe, RlRecipe):
        if recipe.loss.kl_coefficient and recipe.lora is None:
            terms.append(
                Term(
                    "reference model",
                    ALWAYS,
                    total * used,
                    f"{total:,} parameters x {used} bytes; 0 with loss.kl_coefficient = 0 or with lora",
                )
            )
        terms.append(_cache(recipe, widths, batch, used))
    return terms


def _activations(recipe: Recipe, counts: Mapping[Part, Count], widths: Widths, batch: Batch, used: int) -> list[Term]:
    """Return what the backward pass needs of the longest row, and the logits that are computed at a time."""
    tokens, patches = batch.row_tokens, widths.patches_per_token * batch.visual_tokens * batch.trees_per_row
    through_vision = counts["vision"].trained or counts["vision"].adapters
    layer, block = widths.kept_per_token * used, widths.kept_per_patch * used
    terms = []
    if recipe.gradient_checkpointing:
        kept = tokens * widths.hidden * used * widths.layers + tokens * layer
        terms.append(
            Term(
                "activations",
                UPDATE,
                kept,
                f"{tokens:,} tokens x ({widths.layers} layers x {widths.hidden:,} x {used} bytes + one layer of"
                f" {layer:,})",
            )
        )
    else:
        terms.append(
            Term(
                "activations",
                UPDATE,
                tokens * layer * widths.layers,
                f"{tokens:,} tokens x {widths.layers} layers x {layer:,} bytes",
            )
        )
    if through_vision:
        each = widths.vision_hidden * used if recipe.gradient_checkpointing else block
        once = block if recipe.gradient_checkpointing else 0
        terms.append(
            Term(
                "activations of vision",
                UPDATE,
                patches * (each * widths.vision_layers + once),
                f"{patches:,} patches x {widths.vision_layers} blocks x"
                f" {each:,} bytes{f', and one block of {once:,}' if once else ''}",
            )
        )
    return terms


def _cache(recipe: RlRecipe, widths: Widths, batch: Batch, used: int) -> Term:
    prompts = min(recipe.rollout.decode_batch_size, batch.prompts_per_process)
    answers, each = batch.answers * batch.answer_tokens * CACHE_ROOM, 2 * widths.layers * widths.keys * used
    formula = (
        f"{prompts} prompts x ({batch.prompt_tokens:,} tokens + {batch.answers} answers x {batch.answer_tokens:,} x"
        f" {CACHE_ROOM} for room to grow) x {each:,} bytes"
    )
    return Term("keys and values", ROLLOUT, prompts * (batch.prompt_tokens + answers) * each, formula)


def peak(terms: list[Term]) -> float:
    """Return the most that is there at a time: what always is, and the larger of rollout and update.

    >>> terms = [("a", "always", 1), ("b", "rollout", 5), ("c", "update", 2), ("d", "update", 2)]
    >>> peak([Term(*term, "") for term in terms])
    6
    """
    sums = {when: sum(term.size for term in terms if term.when == when) for when in (ALWAYS, ROLLOUT, UPDATE)}
    return sums[ALWAYS] + max(sums[ROLLOUT], sums[UPDATE])


@dataclass(frozen=True)
class Plan:
    """All that is known of a run before it begins; `counts` and `memory` are empty where the model's config could not
    be had.
    """

    recipe: Recipe
    batch: Batch
    counts: Mapping[Part, Count]
    memory: tuple[Term, ...]

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
            step = (
                f"{batch.prompts} prompts x {batch.answers} answers = {batch.prompts * batch.answers:,} answers in"
                f" {batch.updates} update{'s' * (batch.updates > 1)}; {share}, {once} decoded at once"
            )
        else:
            step = f"{batch.prompts} samples in one update; {share}"
        alone = "; then it is dealt to several rows" if batch.tree_tokens > batch.max_row_tokens else ""
        return [
            f"steps        {recipe.steps:,}, each of {step}",
            f"prompt       up to {batch.prompt_tokens:,} tokens, {batch.visual_tokens:,} of them visual",
            f"answer       up to {batch.answer_tokens:,} tokens",
            (
                f"row          {batch.max_row_tokens:,} tokens; a prompt with its answers has up to"
                f" {batch.tree_tokens:,}{alone}"
            ),
            f"rows         up to {batch.rows} in an update of a process",
        ]

    def _memory(self) -> list[str]:
        if not self.memory:
            return []
        lines = [
            f"memory       {gigabytes(peak(list(self.memory)))} at most on each GPU, by estimate, for the longest"
            " prompts and answers"
        ]
        return lines + [
            f"  {term.name:<24} {gigabytes(term.size):>10}  {term.when:<8} {term.formula}" for term in self.memory
        ]


def gigabytes(size: float) -> str:
    """Return a size in the unit of graphics cards' data sheets.

    >>> gigabytes(80 * 2**30)
    '80.00 GiB'
    """
    return f"{size / 2**30:,.2f} GiB"


def make_plan(
    recipe: Recipe,
    *,
    processes: int,
    model: Any,
    budget: MediaBudget,
    dealing: Dealing | None = None,
    longest: Length | None = None,
) -> Plan:
    """Return the plan of a run; `model` is a network whose weights may be on the meta device, or None where it could
    not be had.

    `longest` are the most tokens of prompt, media and answer that its records have; without it they are estimated out
    of the budget.

    Raises: ConfigError: the batch does not divide, nothing would be trained, or the model is of no known family.
    """
    batch = plan_batch(recipe, budget, processes, longest)
    if model is None:
        return Plan(recipe, batch, {}, ())
    check_packing(model)
    choose_trained(model, recipe)
    counts, widths = count_parameters(model), family_of(model).widths(model.config)
    return Plan(recipe, batch, counts, tuple(estimate_memory(recipe, counts, widths, batch, dealing=dealing)))
