"""What one GPU must hold during training: an estimate made of named terms, each with its formula in words.

Sizes are bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from onethinker.families.base import Part, Widths
from onethinker.training.adapters import Count
from onethinker.training.batch import Batch
from onethinker.training.config import Recipe, RlRecipe, Sharding
from onethinker.training.scoring import LOGITS_AT_ONCE

FOUR_BIT_BYTES = 0.53
"""Half a byte a weight, and its scales."""
ADAPTER_BYTES = 4
BUCKET = 500_000_000
"""Gradients that DeepSpeed gathers, in float32, before it sends each to the process that keeps it."""
CACHE_GROWTH = 1.5
"""The cache of keys and values grows by halves, so it may be so much larger than the tokens in it."""


@dataclass(frozen=True)
class Term:
    """One part of the memory of a GPU: when it is there, how large it is, and how that was worked out."""

    name: str
    when: str
    size: float
    formula: str


ALWAYS, ROLLOUT, UPDATE = "always", "rollout", "update"


def estimate_memory(
    recipe: Recipe, counts: Mapping[Part, Count], widths: Widths, batch: Batch, *, sharding: Sharding | None = None
) -> list[Term]:
    """Return what one GPU must hold: all that is not sharded over other processes."""
    used = 4 if recipe.dtype == "float32" else 2
    terms = _weights(recipe, counts, used, sharding=sharding, processes=batch.processes)
    terms += _activations(recipe, counts, widths, batch, used)
    if isinstance(recipe, RlRecipe):
        if recipe.loss.kl_coefficient and recipe.lora is None:
            total = sum(count.total for count in counts.values())
            unless = "0 with loss.kl_coefficient = 0 or with lora"
            formula = f"{total:,} parameters x {used} bytes; {unless}"
            terms.append(Term("reference model", ALWAYS, total * used, formula))
        terms.append(_cache(recipe, widths, batch, used))
    return terms


def _weights(
    recipe: Recipe, counts: Mapping[Part, Count], used: int, *, sharding: Sharding | None, processes: int
) -> list[Term]:
    """Return weights, gradients and the state of the optimizer; `used` are the bytes of a weight in a product."""
    total, trained, adapters = (
        sum(getattr(count, name) for count in counts.values()) for name in ("total", "trained", "adapters")
    )
    stored = FOUR_BIT_BYTES if _is_four_bit(recipe) else {"bfloat16": 2, "float32": 4}[recipe.weights_dtype]
    shard, held, learned = 1 / processes, 0.0, 0.0
    for part, count in counts.items():
        held_fraction = shard if sharding == "fsdp2" and part == "language" else 1.0
        learned_fraction = shard if sharding == "zero2" else held_fraction
        held += (count.total * stored + count.adapters * ADAPTER_BYTES) * held_fraction
        learned += (count.trained * stored + count.adapters * ADAPTER_BYTES) * learned_fraction
    over = f", the language model's / {processes} processes" if sharding == "fsdp2" else ""
    over_learned = f" / {processes} processes" if sharding == "zero2" else over
    what = (
        f"{adapters:,} in adapters x {ADAPTER_BYTES} bytes" if recipe.lora else f"{trained:,} trained x {stored} bytes"
    )
    terms = [
        Term("weights", ALWAYS, held, f"{total:,} parameters x {stored} bytes{over}"),
        Term("moments of the optimizer", ALWAYS, 2 * learned, f"2 x {what}{over_learned}"),
        Term("gradients", UPDATE, learned, f"{what}{over_learned}"),
    ]
    if sharding == "zero2":
        sent = 4 * min(BUCKET, trained + adapters)
        terms.append(Term("weights that it steps", ALWAYS, learned, f"a second copy: {what}{over_learned}"))
        terms.append(Term("gradients to be sent", UPDATE, sent, f"at most {BUCKET:,} x 4 bytes"))
    return [*terms, *_weights_in_use(recipe, total, used, sharding)]


def _weights_in_use(recipe: Recipe, total: int, used: int, sharding: Sharding | None) -> list[Term]:
    """Return the copy of all weights that a step multiplies with, where those that are kept are sharded or in another
    dtype.
    """
    if sharding == "fsdp2":
        what = "unsharded during a step, gathered from all processes"
    elif recipe.dtype == "mixed" and not _is_four_bit(recipe):
        what = "a copy to multiply with"
    else:
        return []
    return [Term("weights in use", ALWAYS, total * used, f"{what}: {total:,} parameters x {used} bytes")]


def _is_four_bit(recipe: Recipe) -> bool:
    return recipe.lora is not None and recipe.lora.four_bit


def _activations(recipe: Recipe, counts: Mapping[Part, Count], widths: Widths, batch: Batch, used: int) -> list[Term]:
    """Return what the backward pass needs of the longest row, and the logits that are computed at a time."""
    tokens, patches = batch.row_tokens, widths.patches_per_token * batch.visual_tokens * batch.groups_per_row
    through_vision = counts["vision"].trained or counts["vision"].adapters
    layer, block = widths.kept_per_token * used, widths.kept_per_patch * used
    logits = f"3 x {LOGITS_AT_ONCE:,} in 4 bytes, however long the answers are"
    terms = [Term("logits at a time", UPDATE, 3 * 4 * LOGITS_AT_ONCE, logits)]
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
    answers, each = batch.answers * batch.answer_tokens * CACHE_GROWTH, 2 * widths.layers * widths.keys * used
    formula = (
        f"{prompts} prompts x ({batch.prompt_tokens:,} tokens + {batch.answers} answers x {batch.answer_tokens:,} x"
        f" {CACHE_GROWTH} as the cache grows) x {each:,} bytes"
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


def gigabytes(size: float) -> str:
    """Return a size in the unit of graphics cards' data sheets.

    >>> gigabytes(80 * 2**30)
    '80.00 GiB'
    """
    return f"{size / 2**30:,.2f} GiB"
