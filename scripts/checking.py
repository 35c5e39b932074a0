"""What the checks of `make check-gpu` share."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

MIB = 2**20
BEGAN, LIMIT_S = time.monotonic(), 460.0
"""When it began, and after how many seconds the last check ends, at the latest."""


class NotTriedError(Exception):
    """A check needs what is not here; its text says what."""


def need(is_here: bool, what: str) -> None:
    """Raise NotTriedError unless what a check needs is here."""
    if not is_here:
        raise NotTriedError(what)


def left_s() -> float:
    """Return how many seconds are left for all checks."""
    return LIMIT_S - (time.monotonic() - BEGAN)


def near(found: Tensor, expected: Tensor, tolerance: float) -> float:
    """Return how far two tensors are apart, as a share of the largest number. Raises: AssertionError: too far."""
    apart = float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-12))
    assert apart <= tolerance, f"apart by {apart:.2g} of the largest number, {tolerance:g} is allowed"
    return apart


@contextmanager
def peak(device: str) -> Iterator[list[float]]:
    """Yield a list that gets the MiB by which what torch holds has grown at most; nothing on the CPU."""
    grown: list[float] = []
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    yield grown
    if device == "cuda":
        torch.cuda.synchronize()
        grown.append((torch.cuda.max_memory_allocated() - before) / MIB)
