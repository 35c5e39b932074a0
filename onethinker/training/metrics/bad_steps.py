"""Steps that must not be taken: a loss, gradient or weight that is not finite is found before it can reach weights or a
checkpoint.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from onethinker.core.grammar import show

SHOWN_SAMPLES = 5
"""Samples that a sentence names; the journal has all of them."""


@dataclass(frozen=True)
class BadStep:
    """An optimizer step that was not taken, or should not have been, and what led there.

    `what` is not finite: a sentence's subject. `samples` are the ids of the samples that it came from, or of the whole
    batch where it is not known. `largest_gradients` is the largest |gradient| by part of the model, None where some of
    it is not finite.
    """

    what: str
    samples: tuple[str, ...]
    largest_gradients: Mapping[str, float | None]
    last_good_step: int
    learning_rate: float

    def text(self) -> str:
        """Return what is not finite and what led there, in one line."""
        more = f" and {len(self.samples) - SHOWN_SAMPLES} more" if len(self.samples) > SHOWN_SAMPLES else ""
        samples = ", ".join(show(sample) for sample in self.samples[:SHOWN_SAMPLES])
        parts = ", ".join(
            f"{part} {'not finite' if most is None else f'{most:.2g}'}" for part, most in self.largest_gradients.items()
        )
        return (
            f"{self.what} is not finite (last good step {self.last_good_step or 'none'}, learning rate"
            f" {self.learning_rate:.3g}, samples {samples or 'unknown'}{more}; largest gradient by part:"
            f" {parts or 'unknown'})"
        )


def bad_step_rows(bad: Iterable[BadStep]) -> list[dict[str, Any]]:
    """Return what the journal says of optimizer steps that were not taken."""
    return [{**asdict(each), "text": each.text()} for each in bad]


@dataclass(frozen=True)
class Taken:
    """The last optimizer step that was taken, as this process knows it: a row it learned from, its samples, the largest
    |gradient| by part, and the last step of the run before it in which one was taken.
    """

    row: Any
    samples: tuple[str, ...]
    largest_gradients: Mapping[str, float]
    last_good_step: int


def largest_by_part(gradients: Iterable[tuple[str, Tensor | None]], block_of: Callable[[str], str]) -> dict[str, float]:
    """Return the largest |gradient| of each part that `block_of` gives for a weight's name, infinite where one is not
    finite; of sharded gradients, this process's shard.

    >>> head, merger = torch.tensor([1.0, -3.0]), torch.tensor([1.0, torch.nan])
    >>> largest_by_part([("head.weight", head), ("merger.weight", merger)], lambda name: name.partition(".")[0])
    {'head': 3.0, 'merger': inf}
    """
    norms: dict[str, list[Tensor]] = {}
    for name, gradient in gradients:
        if gradient is not None:
            mine = gradient.to_local() if isinstance(gradient, DTensor) else gradient
            norms.setdefault(block_of(name), []).append(
                torch.linalg.vector_norm(mine.float(), math.inf)
                if mine.numel()
                else torch.zeros((), device=mine.device)
            )
    largest = {part: float(torch.stack(each).max()) for part, each in norms.items()}
    return {part: most if math.isfinite(most) else math.inf for part, most in largest.items()}


def together(found: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    """Return what `largest_by_part` gave in each process as one, None in place of infinite.

    >>> together([{"head": 1.0}, {"head": 2.0, "vision": math.inf}])
    {'head': 2.0, 'vision': None}
    """
    largest: dict[str, float] = {}
    for mine in found:
        for part, most in mine.items():
            largest[part] = max(largest.get(part, 0.0), most)
    return {part: most if math.isfinite(most) else None for part, most in sorted(largest.items())}


@torch.no_grad()
def first_not_finite(tensors: Iterable[tuple[str, Any]]) -> str | None:
    """Return the name of the first tensor with a number that is not finite, or None; of sharded tensors this process's
    shard is looked at.

    >>> first_not_finite([("a", torch.ones(2)), ("b", torch.tensor([1.0, torch.inf]))])
    'b'
    """
    names: list[str] = []
    flags: list[Tensor] = []
    for name, tensor in tensors:
        mine = tensor.to_local() if isinstance(tensor, DTensor) else tensor
        if mine.is_floating_point() and mine.numel():
            names.append(name)
            # The largest and the smallest number say it without a copy; NaN wins over both.
            flags.append(torch.stack(mine.aminmax()).isfinite().all())
    if not flags:
        return None
    finite = torch.stack([flag.to(flags[0].device) for flag in flags]).tolist()
    return None if all(finite) else names[finite.index(False)]
