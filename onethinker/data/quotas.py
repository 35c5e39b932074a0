"""How many records of each group a mixture has: by counts, weights, temperature and the share of videos."""

import math
from collections.abc import Iterator, Mapping
from fractions import Fraction

from onethinker.core.errors import ConfigError, DataError
from onethinker.core.nearest import no_such
from onethinker.data.mix_settings import MixSettings
from onethinker.data.statistics import By

Key = tuple[str, ...]
"""Kind of media, then what a group is by."""


def share_out(available: Mapping[Key, int], settings: MixSettings) -> dict[Key, int]:
    """Return how many records of each group a mixture has.

    Raises: ConfigError: weights or counts name what is not there. DataError: there are not enough records.

    >>> from onethinker.data.mix_settings import Input
    >>> settings = MixSettings(inputs=(Input(path="a"),), by=("task",), total=6, temperature=2)
    >>> share_out({("image", "ocr"): 16, ("image", "math"): 4}, settings)
    {('image', 'ocr'): 4, ('image', 'math'): 2}
    """
    _check_names(available, settings)
    shares = {key: _share(key, size, settings) for key, size in available.items()}
    limits = {key: size * settings.repeat if shares[key] else 0 for key, size in available.items()}
    quotas = dict.fromkeys(available, 0)
    for what, name, count in _counted(settings):
        own = [key for key in shares if name == key[_index_of(what, settings)]]
        quotas |= _fill({key: shares.pop(key) for key in own}, limits, count, f"counts.{what}: {name!r}")
    if settings.total is None and settings.counts:
        return quotas
    total = None if settings.total is None else settings.total - sum(quotas.values())
    if total is not None and total < 0:
        raise ConfigError(f"total = {settings.total} is less than the sum of the counts, {sum(quotas.values())}")
    return {**quotas, **_fill_parts(shares, limits, total, settings)}


def _fill_parts(
    shares: Mapping[Key, float], limits: Mapping[Key, int], total: int | None, settings: MixSettings
) -> dict[Key, int]:
    """Return the quotas of groups without a count, pictures and videos balanced where that is asked for."""
    if settings.videos is None:
        return _fill(shares, limits, total, "total")
    parts = {
        kind: {key: share for key, share in shares.items() if (key[0] == "video") == (kind == "videos")}
        for kind in ("pictures", "videos")
    }
    wanted = {"videos": Fraction(settings.videos).limit_denominator(10**6)}
    wanted["pictures"] = 1 - wanted["videos"]
    if total is None:
        most = {kind: sum(_fill(own, limits, None, kind).values()) for kind, own in parts.items()}
        total = min(int(most[kind] / share) for kind, share in wanted.items() if share)
    videos = round(total * wanted["videos"])
    return {
        **_fill(parts["pictures"], limits, total - videos, "questions about pictures"),
        **_fill(parts["videos"], limits, videos, "questions about videos"),
    }


def _fill(shares: Mapping[Key, float], limits: Mapping[Key, int], total: int | None, what: str) -> dict[Key, int]:
    """Return quotas by shares that sum up to a total; what a group does not have, the others give.

    Without a total they are as large as shares allow that no group falls short of.
    """
    wanted = {key: share for key, share in shares.items() if share > 0}
    if total is None:
        scale = min((limits[key] / share for key, share in wanted.items()), default=0.0)
        return {key: math.floor(scale * share + 1e-9) for key, share in shares.items()}
    there = sum(limits[key] for key in wanted)
    if total > there:
        raise DataError(
            f"{what}: {total:,} records are wanted, but there are only {there:,}; raise repeat, or ask for fewer"
        )
    used_up = _used_up(wanted, limits, total)
    open_shares = {key: share for key, share in wanted.items() if key not in used_up}
    return {**dict.fromkeys(shares, 0), **used_up, **_apportion(open_shares, total - sum(used_up.values()))}


def _used_up(shares: Mapping[Key, float], limits: Mapping[Key, int], total: int) -> dict[Key, int]:
    """Return the groups of which all records are needed, with their numbers of records."""
    used_up: dict[Key, int] = {}
    open_shares, left = dict(shares), total
    while left and open_shares:
        sum_of_shares = sum(open_shares.values())
        full = [key for key, share in open_shares.items() if left * share / sum_of_shares >= limits[key]]
        if not full:
            break
        for key in full:
            del open_shares[key]
            used_up[key] = limits[key]
            left -= limits[key]
    return used_up


def _apportion(shares: Mapping[Key, float], total: int) -> dict[Key, int]:
    """Return integers in proportion to shares that sum up to a total: the largest remainders are rounded up."""
    sum_of_shares = sum(shares.values())
    exact = {key: total * share / sum_of_shares for key, share in shares.items()}
    quotas = {key: math.floor(value) for key, value in exact.items()}
    short = total - sum(quotas.values())
    for key in sorted(exact, key=lambda key: (quotas[key] - exact[key], key))[:short]:
        quotas[key] += 1
    return quotas


def _counted(settings: MixSettings) -> Iterator[tuple[By, str, int]]:
    for what, table in settings.counts.items():
        for name, count in table.items():
            yield what, name, int(count)


def _share(key: Key, size: int, settings: MixSettings) -> float:
    """Return the share of a group with `size` records."""
    weight = math.prod(table.get(key[_index_of(what, settings)], 1.0) for what, table in settings.weights.items())
    return weight * size ** (1 / settings.temperature) if weight else 0.0


def _index_of(what: By, settings: MixSettings) -> int:
    return 0 if what == "data_type" else 1 + settings.by.index(what)


def _check_names(available: Mapping[Key, int], settings: MixSettings) -> None:
    for table, rows in (("weights", settings.weights), ("counts", settings.counts)):
        for what, named in rows.items():
            known = sorted({key[_index_of(what, settings)] for key in available})
            for name in named:
                if name not in known:
                    raise ConfigError(f"{table}.{what}: {no_such(what.replace('_', ' '), name, known)}")
