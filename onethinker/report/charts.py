"""The geometry of line charts that the report draws as inline SVG, in the colours of its light or dark theme."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 300, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 36, 44, 10, 22
_MAX_POINTS = 200
_BARS = 24

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """A line chart in the units of its view box, `WIDTH` by `HEIGHT`; the report's template draws it."""

    label: str
    raw: str
    smooth: str
    grid: tuple[tuple[float, str], ...]
    end: tuple[float, float]
    end_value: str
    first_step: str
    last_step: str
    band: str = ""
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    width: float = WIDTH
    height: float = HEIGHT


def line_chart(points: Points, *, label: str) -> Chart | None:
    """Return the chart of at least one (step, value) point: every value, and their moving mean; None without a finite
    value.
    """
    shown = [(float(x), float(y)) for x, y in points if math.isfinite(y)]
    if not shown:
        return None
    return _chart(label, _thin(shown), _thin(moving_mean(shown, max(1, len(shown) // 12))), ())


def band_chart(points: Sequence[tuple[float, float, float, float]], *, label: str) -> Chart | None:
    """Return the chart of at least one (step, mean, low, high), with the interval as a band; None without any."""
    means, lows, highs = ([(point[0], point[n]) for point in points] for n in (1, 2, 3))
    return _chart(label, (), _thin(means), [*_thin(highs), *reversed(_thin(lows))]) if means else None


def _chart(label: str, raw: Points, smooth: Points, band: Points) -> Chart:
    low, high = _nice_range([y for _, y in (*raw, *band)])
    first, last = smooth[0][0], max(smooth[-1][0], smooth[0][0] + 1)

    def position(point: tuple[float, float]) -> tuple[float, float]:
        x = _LEFT + (point[0] - first) / (last - first) * (WIDTH - _LEFT - _RIGHT)
        y = HEIGHT - _BOTTOM - (point[1] - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM)
        return round(x, 1), round(y, 1)

    return Chart(
        label=label,
        raw=_path(map(position, raw)),
        smooth=_path(map(position, smooth)),
        grid=tuple((position((first, value))[1], _number(value)) for value in (low, (low + high) / 2, high)),
        end=position(smooth[-1]),
        end_value=_number(smooth[-1][1]),
        first_step=f"{first:g}",
        last_step=f"{smooth[-1][0]:g}",
        band=_path(map(position, band)),
    )


@dataclass(frozen=True)
class Histogram:
    """Bars in the units of a view box of `WIDTH` by `HEIGHT`, each with left, top, width and height; the ends of the
    axis, and how many values the highest bar stands for.
    """

    label: str
    bars: tuple[tuple[float, float, float, float], ...]
    first: str
    last: str
    highest: int
    width: float = WIDTH
    height: float = HEIGHT


def histogram(values: Sequence[float], *, label: str) -> Histogram | None:
    """Return how often values lie where, between their smallest and largest but for the outer two percent, which count
    as those; None without a finite value.
    """
    shown = sorted(value for value in values if math.isfinite(value))
    if not shown:
        return None
    low, high = shown[len(shown) // 100], shown[-1 - len(shown) // 100]
    is_whole = all(value == round(value) for value in shown)
    count = min(_BARS, round(high - low) + 1) if is_whole else _BARS if high > low else 1
    heights = [0] * count
    for value in shown:
        share = (min(max(value, low), high) - low) / (high - low) if high > low else 0.0
        heights[min(count - 1, int(share * count))] += 1
    step, top = WIDTH / count, max(heights)
    room = HEIGHT - _TOP - _BOTTOM
    bars = tuple(
        (
            round(index * step + 1, 1),
            round(HEIGHT - _BOTTOM - room * own / top, 1),
            round(step - 2, 1),
            round(room * own / top, 1),
        )
        for index, own in enumerate(heights)
    )
    return Histogram(label, bars, f"{low:.4g}", f"{high:.4g}", top)


def moving_mean(points: Points, window: int) -> list[tuple[float, float]]:
    """Return each point with the mean of the last `window` values in place of its value.

    >>> moving_mean([(1, 0.0), (2, 1.0), (3, 2.0)], 2)
    [(1, 0.0), (2, 0.5), (3, 1.5)]
    """
    values = [y for _, y in points]
    return [
        (x, math.fsum(values[max(0, i + 1 - window) : i + 1]) / min(i + 1, window)) for i, (x, _) in enumerate(points)
    ]


def _thin(points: Points) -> list[tuple[float, float]]:
    """Return at most `_MAX_POINTS` points: the means of neighbours, and the very last point as it is."""
    size = math.ceil(len(points) / _MAX_POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    means = [(group[-1][0], math.fsum(y for _, y in group) / len(group)) for group in groups]
    return [*means[:-1], points[-1]]


def _nice_range(values: Sequence[float]) -> tuple[float, float]:
    """Return round ends from zero or below to the highest value or above.

    >>> _nice_range([0.2, 2.6])
    (0.0, 3.0)
    """
    low, high = min(0.0, min(values)), max(0.0, max(values))
    unit = 10.0 ** math.floor(math.log10(high - low)) if high > low else 1.0
    unit = (
        next(unit * factor for factor in (0.2, 0.5, 1.0, 2.0) if (high - low) / (unit * factor) <= 6)
        if high > low
        else 1.0
    )
    return math.floor(low / unit) * unit, max(math.ceil(high / unit) * unit, unit)


def _path(positions: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in positions)


def _number(value: float) -> str:
    return f"{value:.2f}" if 0.01 <= abs(value) < 10 or not value else f"{value:.3g}"
