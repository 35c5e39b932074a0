"""What one GPU must hold during training: an estimate made of named terms, each with its formula in words.

Sizes are bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from onethinker.families.base import Part, Widths
from onethinker.training.adapters import Count
from onethinker.training.batch import Batch
from onethinker.training.config import Dealing, Recipe, RlRecipe
from onethinker.training.scoring import LOGITS_AT_ONCE

FOUR_BIT_BYTES = 0.53
"""Half a byte a weight, and its scales."""
ADAPTER_BYTES = 4
BUCKET = 500_000_000
"""Gradients that DeepSpeed gathers, in float32, before it sends each to the process that keeps it."""
CACHE_ROOM = 1.5
"""Room for the keys and values of answers grows by halves, so that there may be so much more of it than tokens."""


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
    tokens, patches = batch.row_tokens, widths.patches_per_token * batch.visual_tokens * batch.groups_per_row
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


def gigabytes(size: float) -> str:
    """Return a size in the unit of graphics cards' data sheets.

    >>> gigabytes(80 * 2**30)
    '80.00 GiB'
    """
    return f"{size / 2**30:,.2f} GiB"
