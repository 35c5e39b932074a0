"""A curve of letters, for a terminal."""

from collections.abc import Sequence
from itertools import pairwise

BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int) -> str:
    """Return a row of bars, at most `width`, each the mean of neighbours; the lowest is the lowest bar. Nothing without
    values.

    >>> sparkline([0, 1, 2, 3], 4), sparkline([0, 0, 7, 7], 2), sparkline([5], 4)
    ('▁▃▆█', '▁█', '▁')
    """
    if not values:
        return ""
    count = min(width, len(values))
    edges = [round(index * len(values) / count) for index in range(count + 1)]
    means = [sum(values[first:last]) / (last - first) for first, last in pairwise(edges)]
    low, high = min(means), max(means)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((mean - low) * scale)] for mean in means)
