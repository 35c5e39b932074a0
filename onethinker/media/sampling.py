"""Which frames of a video a model sees: chosen by true time, whatever the frame rate does."""

import math
from bisect import bisect_left
from collections.abc import Sequence

from onethinker.media.budget import MediaBudget

TIE_S = 1e-6
"""Two frames this equally near to a timestamp are a tie, which the earlier one wins."""


def most_frames(budget: MediaBudget) -> int:
    """Return how many frames of a video are looked at, however long it is."""
    return min(budget.max_frames, max(1, budget.video_max_pixels // budget.least_frame_pixels))


def target_times(duration_s: float, budget: MediaBudget) -> tuple[float, ...]:
    """Return the seconds at which a video of this length is looked at: `fps` a second, else evenly over its full
    length.

    The first is 0; there is always one. Lengths are taken to a hundredth of a step, because containers round times.

    >>> target_times(2.0, MediaBudget(fps=2))
    (0.0, 0.5, 1.0, 1.5)
    >>> target_times(100.0, MediaBudget(fps=2, max_frames=4))
    (0.0, 25.0, 50.0, 75.0)
    """
    most = most_frames(budget)
    wanted = max(1, math.ceil(round(duration_s * budget.fps, 2)))
    return (
        tuple(n / budget.fps for n in range(wanted))
        if wanted <= most
        else tuple(n * duration_s / most for n in range(most))
    )


def choose_frames(times_s: Sequence[float], targets_s: Sequence[float]) -> list[int]:
    """Return the indices of the frames that are nearest to the wanted seconds, each once, in order.

    `times_s` are the seconds of all frames, rising, at least one. Choosing again among the chosen changes nothing.

    >>> choose_frames([0.0, 0.4, 0.8, 1.2, 1.6], targets_s=[0.0, 0.5, 1.0, 1.5])
    [0, 1, 2, 4]
    """
    return list(dict.fromkeys(_nearest(times_s, target) for target in targets_s))


def _nearest(times_s: Sequence[float], target_s: float) -> int:
    after = min(bisect_left(times_s, target_s), len(times_s) - 1)
    before = max(after - 1, 0)
    return before if target_s - times_s[before] <= times_s[after] - target_s + TIE_S else after
