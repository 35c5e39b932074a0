"""Turns in rounds: who is next, how often somebody was before, and in which order the records of a pool come.

Everything is a function of a seed, a purpose and a number, on every machine the same.
"""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache, reduce
from itertools import chain
from math import gcd, lcm
from typing import Any, Literal, TypeVar

import numpy as np

Mixing = Literal["equal", "proportional", "temperature"]
Order = np.ndarray[tuple[int], np.dtype[np.int64]]
"""Indices of records in their pool."""
Numbers = np.ndarray[tuple[int], np.dtype[Any]]
FINEST = 1000
"""About as many turns has a round in which shares are no ratio of whole numbers: they are met to a thousandth."""
T = TypeVar("T")


def turns_of(
    sizes: Mapping[str, int],
    weights: Mapping[str, float],
    mixing: Mixing = "equal",
    *,
    temperature: float = 1.0,
    together: int = 1,
) -> dict[str, int]:
    """Return how many turns in a round each name has, by its records and its weight (absent: 1).

    A turn is `together` records long. With weight w and n records the share is proportional to w ("equal"), to w n, or
    to w n^(1/temperature).

    >>> turns_of({"a": 30, "b": 20}, {"b": 2}), turns_of({"a": 30, "b": 20}, {"b": 2}, "proportional")
    ({'a': 1, 'b': 2}, {'a': 3, 'b': 4})
    >>> turns_of({"a": 900, "b": 100}, {}, "temperature", temperature=2.0)
    {'a': 3, 'b': 1}
    """
    weight = {name: Fraction(str(weights.get(name, 1))) for name in sizes}
    if mixing == "temperature":
        shares = {name: sizes[name] ** (1 / temperature) * float(weight[name]) for name in sizes}
        finest = FINEST / sum(shares.values())
        exact = {name: Fraction(max(1, round(share * finest))) for name, share in shares.items()}
    elif mixing == "proportional":
        exact = {name: max(1, round(sizes[name] / together)) * weight[name] for name in sizes}
    else:
        exact = weight
    unit = lcm(*(share.denominator for share in exact.values()))
    turns = {name: int(share * unit) for name, share in exact.items()}
    common = 1 if mixing == "equal" else reduce(gcd, turns.values())
    return {name: count // common for name, count in turns.items()}


def draw(seed: int, purpose: str, turns: Mapping[str, int], index: int) -> tuple[str, int]:
    """Return the name that turn `index` is for, and how often it came before."""
    names = list(turns)
    number, position = divmod(index, sum(turns.values()))
    of_round = _round(seed, purpose, tuple(turns.values()), number)
    drawn = int(of_round[position])
    return names[drawn], number * turns[names[drawn]] + int(np.count_nonzero(of_round[:position] == drawn))


def counts(seed: int, purpose: str, turns: Mapping[str, int], count: int) -> dict[str, int]:
    """Return how often each name has a turn among the first `count`."""
    rounds, rest = divmod(count, sum(turns.values()))
    last = np.bincount(_round(seed, purpose, tuple(turns.values()), rounds)[:rest], minlength=len(turns))
    return {name: rounds * turns[name] + int(more) for name, more in zip(turns, last, strict=True)}


def in_blocks(records: Sequence[T], about: Callable[[T], Any], size: int) -> tuple[T, ...]:
    """Return records in blocks of `size`, the last shorter, in which those `about` the same are together as far as they
    fit.
    """
    if size == 1:
        return tuple(records)
    clips: dict[Any, list[T]] = {}
    for record in records:
        clips.setdefault(about(record), []).append(record)
    runs = [clip[first : first + size] for clip in clips.values() for first in range(0, len(clip), size)]
    blocks_by_free: list[list[list[T]]] = [[] for _ in range(size + 1)]  # how many records still fit
    for run in sorted(runs, key=len, reverse=True):
        fitting: list[list[T]] = next(filter(None, blocks_by_free[len(run) : size]), [[]])
        block = fitting.pop()
        blocks_by_free[size - len(block) - len(run)].append(block + run)
    return tuple(chain.from_iterable(chain.from_iterable(blocks_by_free)))


def order_of_epoch(
    seed: int, purpose: str, epoch: int, count: int, size: int, *, keys: Numbers | None = None, drawn: int | None = None
) -> Order:
    """Return which of `count` records in blocks of `size` comes when in an epoch: blocks are shuffled, and begin where
    turns begin.

    With `keys` blocks with smaller ones (in the mean) come first; of an epoch of which only the first `drawn` records
    are drawn, just those are sorted, so that a run that ends early has not seen one end of the scale alone.
    """
    full = count // size
    blocks = permutation(seed, purpose, epoch, full).astype(np.int64)
    if keys is not None:
        first = full if drawn is None else min(full, -(-drawn // size))
        mean = keys[: full * size].reshape(full, size).mean(1)
        for part in (blocks[:first], blocks[first:]):
            part[:] = part[np.argsort(mean[part], kind="stable")]
    blocks_BS = blocks[:, None] * size + np.arange(size)
    order = np.concatenate([blocks_BS.ravel(), np.arange(full * size, count)])
    return np.roll(order, -epoch * count % size)


@lru_cache(maxsize=64)
def _round(seed: int, purpose: str, turns: tuple[int, ...], number: int) -> Numbers:
    """Return whose turn it is, by number, in a round. Each array is one of few, and is not written to."""
    of_all = np.repeat(np.arange(len(turns), dtype=np.int32), turns)
    return of_all[permutation(seed, purpose, number, len(of_all))]


@lru_cache(maxsize=64)
def permutation(seed: int, purpose: str, epoch: int, length: int) -> Numbers:
    """Return the order of an epoch; the same arguments give the same order on every machine."""
    order = np.random.default_rng([seed, *purpose.encode(), epoch]).permutation(length)
    return order.astype(np.int32)
