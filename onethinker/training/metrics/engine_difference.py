"""How far what an engine says of the tokens that it has sampled is from what the model in training says of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the journal's fields are known before torch is there
    from torch import Tensor

    from onethinker.training.parallel.collectives import Collectives

LARGE = 0.1
"""Nats beyond which a token's two log-probabilities count as different."""


@dataclass(frozen=True)
class EngineDifference:
    """|log-probability at the engine - that of the model in training| over all sampled tokens of a step, in nats."""

    mean: float
    """The mean."""
    max: float
    """The largest."""
    beyond: float
    """Fraction of the tokens beyond 0.1 nats, 0 to 1."""


def engine_difference(
    pairs: Iterable[tuple["Tensor", "Tensor | None"]], collectives: "Collectives"
) -> EngineDifference | None:
    """Return the difference over the answers of all processes, each given as its log-probabilities by the model in
    training and by the engine; None where the model in training has sampled. All processes take part.
    """
    total, largest, beyond, tokens = 0.0, 0.0, 0, 0
    for ours, theirs in pairs:
        if theirs is not None:
            apart = (ours - theirs).abs()
            total += float(apart.sum())
            largest = max(largest, float(apart.max()))
            beyond += int((apart > LARGE).sum())
            tokens += len(apart)
    all_total, all_beyond, all_tokens = collectives.total(total, beyond, tokens)
    if not all_tokens:
        return None
    return EngineDifference(all_total / all_tokens, max(collectives.gather([largest])), all_beyond / all_tokens)
