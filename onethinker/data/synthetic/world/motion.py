"""Where a thing is, how large and how turned, at any second: straight lines between keyframes."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Track:
    """Keyframes of a centre and of the longer side, in fractions of the frame's side, and of a turn in degrees; at rest
    before and after.

    `angles` grow clockwise; a thing that is upright has 0.
    """

    times_s: tuple[float, ...]
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    sizes: tuple[float, ...]
    angles: tuple[float, ...]

    def poses(self, times_s: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return x, y, size and angle at each of the times, shaped (num_times, 4).

        >>> at_rest(0.2, 0.5, 0.3).then(0, 2, x=0.6).poses(np.array([1.0, 9.0])).tolist()
        [[0.4, 0.5, 0.3, 0.0], [0.6, 0.5, 0.3, 0.0]]
        """
        if len(self.times_s) == 1:
            return np.array(self._rows() * len(times_s))
        columns = (self.xs, self.ys, self.sizes, self.angles)
        return np.stack([np.interp(times_s, self.times_s, values) for values in columns], axis=1)

    def then(
        self,
        start_s: float,
        end_s: float,
        *,
        x: float | None = None,
        y: float | None = None,
        size: float | None = None,
        angle: float | None = None,
    ) -> "Track":
        """Return this track with one more stretch, from where it was to what is given, between two seconds.

        >>> at_rest(0.2, 0.5, 0.3).then(1.0, 2.0, x=0.6).times_s
        (0.0, 1.0, 2.0)
        """
        last = (self.xs[-1], self.ys[-1], self.sizes[-1], self.angles[-1])
        goal = tuple(old if new is None else new for old, new in zip(last, (x, y, size, angle), strict=True))
        stretch = [(end_s, goal)] if start_s <= self.times_s[-1] else [(start_s, last), (end_s, goal)]
        times, rows = (*self.times_s, *(time_s for time_s, _ in stretch)), (*self._rows(), *(row for _, row in stretch))
        return Track(times, *(tuple(row[k] for row in rows) for k in range(4)))

    def sized(self, scale: float) -> "Track":
        """Return this track of a thing that is larger throughout."""
        return replace(self, sizes=tuple(size * scale for size in self.sizes))

    def _rows(self) -> tuple[tuple[float, ...], ...]:
        return tuple(zip(self.xs, self.ys, self.sizes, self.angles, strict=True))


def at_rest(x: float, y: float, size: float, angle: float = 0.0) -> Track:
    """Return the track of a thing that stays where it is."""
    return Track((0.0,), (x,), (y,), (size,), (angle,))
