"""Which process learns from which sample: the slowest one decides how long a step takes, so all get as many tokens."""

import math
from collections.abc import Sequence


def balance(costs: Sequence[float], processes: int, *, same_number: bool = False) -> list[int]:
    """Return for each item the process that takes it, such that their costs are about the same.

    The dearest item is assigned first, each to the process that has least so far. With `same_number` no process takes
    more items than needed, because each takes time whatever it costs.

    >>> balance([9, 1, 1, 1, 1, 5], 2)
    [0, 1, 1, 1, 1, 1]
    >>> balance([9, 1, 1, 1, 1, 5], 2, same_number=True)
    [0, 1, 1, 0, 0, 1]
    """
    most = math.ceil(len(costs) / processes) if same_number else len(costs)
    loads, counts, chosen = [0.0] * processes, [0] * processes, [0] * len(costs)
    for item in sorted(range(len(costs)), key=lambda item: -costs[item]):
        free = (each for each in range(processes) if counts[each] < most)
        process = min(free, key=lambda each: (loads[each], counts[each]))
        chosen[item] = process
        loads[process] += costs[item]
        counts[process] += 1
    return chosen


def imbalance(costs: Sequence[float], chosen: Sequence[int], processes: int) -> float:
    """Return how much more the process with most takes than all do in the mean, as a share: 0 where all are the same.

    >>> imbalance([3, 1, 2], [0, 1, 1], 2)
    0.0
    """
    loads = [sum(cost for cost, of in zip(costs, chosen, strict=True) if of == each) for each in range(processes)]
    mean = sum(loads) / processes
    return max(loads) / mean - 1 if mean else 0.0
