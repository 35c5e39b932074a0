"""What one GPU must hold during training: an estimate made of named terms, each with its formula in words.

Sizes are bytes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from onethinker.families.base import Part, Widths
from onethinker.training.adapters import Count
from onethinker.training.batch import Batch
from onethinker.training.config import Recipe, RlRecipe
from onethinker.training.optimizer import ADAPTER_BYTES, BYTES
from onethinker.training.scoring import LOGITS_AT_ONCE
from onethinker.training.sharding import Sharding

FOUR_BIT_BYTES = 0.53
"""Half a byte a weight, and its scales."""
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


STATE = {
    "adamw": "2 averages of {what}",
    "adamw8bit": "2 bytes for each of {what}, with scales",
    "adafactor": "a row and a column of each matrix of {what}",
    "muon": "1 average of matrices in layers, 2 of the rest of {what}",
}
"""What an optimizer keeps, in words."""
ALWAYS, ROLLOUT, UPDATE, VALIDATION, HOST = "always", "rollout", "update", "validation", "host"
"""When it is there; what is with the host is in the computer's memory, for each process."""


def estimate_memory(
    recipe: Recipe,
    counts: Mapping[Part, Count],
    state: Mapping[Part, float],
    widths: Widths,
    batch: Batch,
    *,
    sharding: Sharding | None = None,
) -> list[Term]:
    """Return what one GPU must hold: all that is not sharded over other processes; `state` are the bytes of the
    optimizer's.
    """
    used = 4 if recipe.dtype == "float32" else 2
    terms = _weights(recipe, counts, state, widths, used, sharding=sharding, processes=batch.processes)
    terms += _activations(recipe, counts, widths, batch, used)
    terms += _copies(recipe, counts, used, sharding=sharding, processes=batch.processes)
    if isinstance(recipe, RlRecipe) and recipe.rollout.engine == "in_process":
        terms.append(_cache(recipe, widths, batch, used))
        terms += [_states(recipe, widths, batch)] if widths.recurrent_layers else []
    return terms


@dataclass(frozen=True)
class _Share:
    """What of each part a process holds on its GPU, and how that is said."""

    sharding: Sharding | None
    processes: int

    @property
    def sharers(self) -> int:
        return self.sharding.sharers(self.processes) if self.sharding is not None else 1

    def held(self, part: Part, *, learned: bool = False) -> float:
        """Return the fraction of a part's weights, or of what learning it needs, that is on each GPU."""
        if self.sharding is None:
            return 1.0
        if self.sharding.kind == "zero2":
            return 1 / self.processes if learned else 1.0
        if part != "language":
            return 1.0
        return 0.0 if self.sharding.offload else 1 / self.sharers

    def words(self, *, learned: bool = False) -> str:
        """Return what is said of it behind a formula."""
        if self.sharding is None or (self.sharding.kind == "zero2" and not learned):
            return ""
        if self.sharding.kind == "zero2":
            return f" / {self.processes} processes"
        return ", the language model's " + ("on the host" if self.sharding.offload else f"/ {self.sharers} processes")


def _weights(
    recipe: Recipe,
    counts: Mapping[Part, Count],
    state: Mapping[Part, float],
    widths: Widths,
    used: int,
    *,
    sharding: Sharding | None,
    processes: int,
) -> list[Term]:
    """Return weights, gradients and the state of the optimizer; `used` are the bytes of a weight in a product."""
    trained, adapters = (sum(getattr(count, name) for count in counts.values()) for name in ("trained", "adapters"))
    total = sum(count.total for count in counts.values())
    stored = FOUR_BIT_BYTES if _is_four_bit(recipe) else BYTES[recipe.weights_dtype]
    share = _Share(sharding, processes)
    weights = {part: count.total * stored + count.adapters * ADAPTER_BYTES for part, count in counts.items()}
    learning = {part: count.trained * stored + count.adapters * ADAPTER_BYTES for part, count in counts.items()}
    held = sum(size * share.held(part) for part, size in weights.items())
    learned = sum(size * share.held(part, learned=True) for part, size in learning.items())
    moments = sum(size * share.held(part, learned=True) for part, size in state.items())
    what = (
        f"{adapters:,} in adapters x {ADAPTER_BYTES} bytes" if recipe.lora else f"{trained:,} trained x {stored} bytes"
    )
    kept, over = STATE[recipe.optimizer.kind].format(what=what), share.words(learned=True)
    terms = [
        Term("weights", ALWAYS, held, f"{total:,} parameters x {stored} bytes{share.words()}"),
        Term("moments of the optimizer", ALWAYS, moments, kept + over),
        Term("gradients", UPDATE, learned, f"{what}{over}"),
    ]
    if sharding == Sharding("zero2"):
        sent = 4 * min(BUCKET, trained + adapters)
        terms.append(Term("weights that it steps", ALWAYS, learned, f"a second copy: {what}{over}"))
        terms.append(Term("gradients to be sent", UPDATE, sent, f"at most {BUCKET:,} x 4 bytes"))
    if sharding is not None and sharding.offload:
        away = weights["language"] + learning["language"] + state["language"]
        terms.append(_on_host("weights, gradients and moments", away, share.sharers))
    return [*terms, *_weights_in_use(recipe, counts, widths, used, sharding)]


def is_refreshed(recipe: Recipe) -> bool:
    """Tell whether a recipe's reference becomes the policy now and then, and so is in its checkpoints."""
    return isinstance(recipe, RlRecipe) and recipe.loss.reference_refresh is not None


def _copies(
    recipe: Recipe, counts: Mapping[Part, Count], used: int, *, sharding: Sharding | None, processes: int
) -> list[Term]:
    """Return the reference and the average of the weights, where the recipe has them."""
    share, stored = _Share(sharding, processes), BYTES[recipe.weights_dtype]
    sharded, refreshed = sharding is not None and sharding.kind == "fsdp2", is_refreshed(recipe)

    def of_learned(count: Count) -> float:
        return count.trained * stored + count.adapters * ADAPTER_BYTES

    copies: list[tuple[str, Callable[[Count], float], str]] = []
    if recipe.has_reference and refreshed and not sharded:
        copies.append(("reference model", of_learned, "a copy of what is trained, refreshed"))
    elif recipe.has_reference and (refreshed or recipe.lora is None):
        each = stored if refreshed else used
        total, unless = sum(count.total for count in counts.values()), "with loss.kl_coefficient = 0 or "
        formula = f"{total:,} parameters x {each} bytes{share.words()}"
        formula += "" if refreshed else f"; 0 {unless * isinstance(recipe, RlRecipe)}with lora"
        copies.append(("reference model", lambda count: count.total * each, formula))
    if recipe.optimizer.ema_decay is not None:
        copies.append(("average of the weights", of_learned, f"a copy of what is trained{share.words()}"))
    terms = []
    for name, size_of, formula in copies:
        sizes = {part: size_of(count) for part, count in counts.items()}
        terms.append(Term(name, ALWAYS, sum(size * share.held(part) for part, size in sizes.items()), formula))
        if sharding is not None and sharding.offload:
            terms.append(_on_host(name, sizes["language"], share.sharers))
    return terms


def _on_host(what: str, size: float, processes: int) -> Term:
    """Return what of the language model each process has in the computer's memory."""
    formula = f"{what} of the language model / {processes} processes; for each process"
    return Term("in the computer's memory", HOST, size / processes, formula)


def _weights_in_use(
    recipe: Recipe, counts: Mapping[Part, Count], widths: Widths, used: int, sharding: Sharding | None
) -> list[Term]:
    """Return the copy of the weights that is multiplied with, where those that are kept are sharded or in another
    dtype: of all of them, or in a step of two layers where one is gathered while the other works.
    """
    size = sum(count.total for count in counts.values()) * used
    every = f"{size // used:,} parameters x {used} bytes"
    if sharding is None or sharding.kind == "zero2":
        is_copied = recipe.dtype == "mixed" and not _is_four_bit(recipe)
        return [Term("weights in use", ALWAYS, size, f"a copy to multiply with: {every}")] if is_copied else []
    if not sharding.full:
        return [Term("weights in use", ALWAYS, size, f"unsharded during a step, gathered from all processes: {every}")]
    two = (widths.outside_layers + 2 * (counts["language"].total - widths.outside_layers) // widths.layers) * used
    others = size - counts["language"].total * used
    terms = [
        Term("weights in use", UPDATE, two + others, f"two of {widths.layers} layers, embeddings and head, and vision")
    ]
    samples = isinstance(recipe, RlRecipe) and recipe.rollout.engine == "in_process"
    phases = [ROLLOUT] * samples + [VALIDATION] * (recipe.validation is not None)
    return terms + [Term("all weights", phase, size, f"gathered from all processes: {every}") for phase in phases]


def _is_four_bit(recipe: Recipe) -> bool:
    return recipe.lora is not None and recipe.lora.four_bit


def _activations(recipe: Recipe, counts: Mapping[Part, Count], widths: Widths, batch: Batch, used: int) -> list[Term]:
    """Return what the backward pass needs of the longest row, and the logits that are computed at a time."""
    tokens, patches = batch.row_tokens, widths.patches_per_token * batch.visual_tokens * batch.groups_per_row
    through_vision = counts["vision"].trained or counts["vision"].adapters
    layer, block = widths.kept_per_token * used, widths.kept_per_patch * used
    logits = f"3 x {LOGITS_AT_ONCE:,} in 4 bytes, however long the answers are"
    terms = [Term("logits at a time", UPDATE, 3 * 4 * LOGITS_AT_ONCE, logits)]
    if "language" in recipe.computed_again:
        # Of what waits on the host, that of the layer at work is back.
        waiting = 1 if "language" in recipe.offloaded else widths.layers
        kept = tokens * widths.hidden * used * waiting + tokens * layer
        what = f"{waiting} layer{'s' * (waiting > 1)} x {widths.hidden:,} x {used} bytes + one layer of {layer:,}"
        terms.append(Term("activations", UPDATE, kept, f"{tokens:,} tokens x ({what})"))
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
        is_again = "vision" in recipe.computed_again
        each, once = (widths.vision_hidden * used, block) if is_again else (block, 0)
        waiting = 1 if "vision" in recipe.offloaded else widths.vision_layers
        terms.append(
            Term(
                "activations of vision",
                UPDATE,
                patches * (each * waiting + once),
                f"{patches:,} patches x {waiting} blocks x"
                f" {each:,} bytes{f', and one block of {once:,}' if once else ''}",
            )
        )
    return terms


def _cache(recipe: RlRecipe, widths: Widths, batch: Batch, used: int) -> Term:
    prompts = min(recipe.rollout.decode_batch_size, batch.prompts_per_process)
    answers, each = batch.answers * batch.answer_tokens * CACHE_GROWTH, 2 * widths.attention_layers * widths.keys * used
    formula = (
        f"{prompts} prompts x ({batch.prompt_tokens:,} tokens + {batch.answers} answers x {batch.answer_tokens:,} x"
        f" {CACHE_GROWTH} as the cache grows) x {each:,} bytes"
    )
    return Term("keys and values", ROLLOUT, prompts * (batch.prompt_tokens + answers) * each, formula)


def _states(recipe: RlRecipe, widths: Widths, batch: Batch) -> Term:
    """Return what recurrent layers keep in place of keys and values, however long prompts and answers are."""
    prompts = min(recipe.rollout.decode_batch_size, batch.prompts_per_process)
    formula = (
        f"{prompts} prompts x (1 + {batch.answers} answers) x {widths.recurrent_layers} layers x {widths.state:,} x 4"
        " bytes"
    )
    size = prompts * (1 + batch.answers) * widths.recurrent_layers * widths.state * 4
    return Term("recurrent states", ROLLOUT, size, formula)


def peak(terms: list[Term]) -> float:
    """Return the most that is there at a time: what always is, and the largest of rollout, update and validation.

    >>> terms = [("a", "always", 1), ("b", "rollout", 5), ("c", "update", 2), ("d", "update", 2)]
    >>> peak([Term(*term, "") for term in terms])
    6
    """
    sums = {
        when: sum(term.size for term in terms if term.when == when) for when in (ALWAYS, ROLLOUT, UPDATE, VALIDATION)
    }
    return sums.pop(ALWAYS) + max(sums.values())


def gigabytes(size: float) -> str:
    """Return a size in the unit of graphics cards' data sheets.

    >>> gigabytes(80 * 2**30)
    '80.00 GiB'
    """
    return f"{size / 2**30:,.2f} GiB"
