"""Which process learns from which sample: the slowest one decides how long a step takes, so all get as many tokens."""

import itertools
import math
from collections.abc import Sequence

EVEN = 0.01
"""A process that has at most so much more than the mean, as a share of it, is left as it is."""
FEW = 8
"""Two items are exchanged at once only between processes that have no more."""


def balance(costs: Sequence[float], processes: int, *, same_number: bool = False) -> list[int]:
    """Return for each item the process that takes it, such that their costs are about the same.

    The dearest item is assigned first, each to the process that has least so far; then the process with most gives
    items to others, or exchanges them, as long as that helps. With `same_number` no process takes more items than
    needed, because each takes time whatever it costs.

    >>> balance([9, 1, 1, 1, 1, 5], 2)
    [0, 1, 1, 1, 1, 1]
    >>> balance([9, 1, 1, 1, 1, 5], 2, same_number=True)
    [0, 1, 1, 0, 0, 1]
    """
    most = math.ceil(len(costs) / processes) if same_number else len(costs)
    loads, items = [0.0] * processes, [list[int]() for _ in range(processes)]
    for item in sorted(range(len(costs)), key=lambda item: -costs[item]):
        free = (each for each in range(processes) if len(items[each]) < most)
        process = min(free, key=lambda each: (loads[each], len(items[each])))
        items[process].append(item)
        loads[process] += costs[item]
    enough = (1 + EVEN) * sum(costs) / processes
    while max(loads) > enough and (exchange := _best_exchange(costs, loads, items, most)):
        high, low, given, taken = exchange
        items[high] = [item for item in items[high] if item not in given] + [*taken]
        items[low] = [item for item in items[low] if item not in taken] + [*given]
        for process in (high, low):
            loads[process] = float(sum(costs[item] for item in items[process]))
    of = {item: process for process, own in enumerate(items) for item in own}
    return [of[item] for item in range(len(costs))]


def _best_exchange(
    costs: Sequence[float], loads: Sequence[float], items: Sequence[Sequence[int]], most: int
) -> tuple[int, int, tuple[int, ...], tuple[int, ...]] | None:
    """Return the process with most, another, what the first gives it and what it takes for that, such that the larger
    of their loads gets smallest; None where nothing makes it smaller.
    """
    high = max(range(len(loads)), key=loads.__getitem__)
    for size in (1, 2):
        least, best = loads[high], None
        for low in range(len(loads)):
            gap = loads[high] - loads[low]
            if gap <= 0 or (size > 1 and max(len(items[high]), len(items[low])) > FEW):
                continue
            for given in _choices(items[high], costs, size, least=1):
                for taken in _choices(items[low], costs, size, least=0):
                    change = given[0] - taken[0]
                    larger = max(loads[high] - change, loads[low] + change)
                    more = len(given[1]) - len(taken[1])
                    fits = len(items[low]) + more <= most and len(items[high]) - more <= most
                    if 0 < change < gap and larger < least and fits:
                        least, best = larger, (high, low, given[1], taken[1])
        if best is not None:
            return best
    return None


def _choices(
    items: Sequence[int], costs: Sequence[float], size: int, *, least: int
) -> list[tuple[float, tuple[int, ...]]]:
    """Return from `least` to `size` of the items together, in every way, with what they cost."""
    every = (chosen for count in range(least, size + 1) for chosen in itertools.combinations(items, count))
    return [(sum(costs[item] for item in chosen), chosen) for chosen in every]


def imbalance(costs: Sequence[float], chosen: Sequence[int], processes: int) -> float:
    """Return how much more the process with most takes than all do in the mean, as a share: 0 where all are the same.

    >>> imbalance([3, 1, 2], [0, 1, 1], 2)
    0.0
    """
    loads = [sum(cost for cost, of in zip(costs, chosen, strict=True) if of == each) for each in range(processes)]
    mean = sum(loads) / processes
    return max(loads) / mean - 1 if mean else 0.0
