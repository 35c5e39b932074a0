"""Where a thing is at any second: straight lines between keyframes."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Motion:
    """Keyframes of a centre, in fractions of the frame's side (0 to 1); at rest before the first and after the last."""

    times_s: tuple[float, ...]
    xs: tuple[float, ...]
    ys: tuple[float, ...]

    def centers(self, times_s: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the centre (x, y) at each of the times, shaped (num_times, 2).

        >>> Motion((0.0, 2.0), (0.2, 0.6), (0.5, 0.5)).centers(np.array([1.0, 9.0])).tolist()
        [[0.4, 0.5], [0.6, 0.5]]
        """
        return np.stack([np.interp(times_s, self.times_s, self.xs), np.interp(times_s, self.times_s, self.ys)], axis=1)

    def moved(self, start_s: float, end_s: float, *, dx: float, dy: float) -> "Motion":
        """Return this motion with one more stretch: from its last position by (dx, dy) between two seconds.

        >>> at_rest(0.2, 0.5).moved(1.0, 2.0, dx=0.4, dy=0.0).times_s
        (0.0, 1.0, 2.0)
        """
        x, y = self.xs[-1], self.ys[-1]
        if start_s == self.times_s[-1]:
            return Motion((*self.times_s, end_s), (*self.xs, x + dx), (*self.ys, y + dy))
        return Motion((*self.times_s, start_s, end_s), (*self.xs, x, x + dx), (*self.ys, y, y + dy))


def at_rest(x: float, y: float) -> Motion:
    """Return the motion of a thing that stays where it is."""
    return Motion((0.0,), (x,), (y,))
