"""Which process learns from which sample: the slowest one decides how long a step takes, so all get as many tokens."""

import math
from collections.abc import Sequence


def balance(costs: Sequence[float], processes: int, *, updates: int = 1, same_number: bool = False) -> list[int]:
    """Return for each item the process that takes it, such that their costs are about the same.

    The dearest item is assigned first, each to the process that has least so far. Of several updates, update u learns
    from the items u, u + updates, …: each of these parts is balanced for itself. With `same_number` no process takes
    more items than needed, because each takes time whatever it costs.

    >>> balance([9, 1, 1, 1, 1, 5], 2)
    [0, 1, 1, 1, 1, 1]
    >>> balance([1, 1, 1, 1], 2, updates=2)
    [0, 0, 1, 1]
    """
    whole, most = [0.0] * processes, math.ceil(len(costs) / processes) if same_number else len(costs)
    counts, chosen = [0] * processes, [0] * len(costs)
    for update in range(updates):
        part = range(update, len(costs), updates)
        loads, taken = [0.0] * processes, [0] * processes
        most_of_part = math.ceil(len(part) / processes) if same_number else len(part)
        for item in sorted(part, key=lambda item: -costs[item]):
            free = [each for each in range(processes) if taken[each] < most_of_part and counts[each] < most]
            process = min(
                free or range(processes), key=lambda each: (loads[each], whole[each], taken[each], counts[each])
            )
            chosen[item] = process
            loads[process] += costs[item]
            whole[process] += costs[item]
            taken[process] += 1
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
