"""Benchmarks by name: the paper's, others that we know, and those of other packages."""

from collections.abc import Sequence
from functools import cache

from onethinker.core.errors import ConfigError
from onethinker.core.nearest import no_such
from onethinker.core.plugins import load_plugins, named_plugins
from onethinker.evaluation.benchmarks.base import Benchmark, key_of
from onethinker.evaluation.benchmarks.readers.tables import circle_of
from onethinker.evaluation.benchmarks.table import BENCHMARKS, BEYOND_THE_PAPER

GROUP = "onethinker.benchmarks"
"""The group under which other packages name their rows, each a `Benchmark`."""


def all_benchmarks() -> tuple[Benchmark, ...]:
    """Return the paper's benchmarks, others that we know, and those of other packages. Raises: ConfigError: one of
    these is none, or has the name of another.
    """
    return _all_benchmarks(named_plugins())


@cache
def _all_benchmarks(named: tuple[str, ...]) -> tuple[Benchmark, ...]:
    rows = [*BENCHMARKS, *BEYOND_THE_PAPER]
    for plugin in load_plugins(GROUP):
        row = plugin.value
        if not isinstance(row, Benchmark):
            raise ConfigError(f"{plugin.where} must be an onethinker.evaluation.benchmarks.base.Benchmark, got {row!r}")
        if row.key in {known.key for known in rows}:
            raise ConfigError(f"two benchmarks are named {row.key!r}; the second is {plugin.where}. Rename it")
        rows.append(row)
    return tuple(rows)


def find_benchmark(name: str) -> Benchmark:
    """Return the benchmark of a name or key, in any case. Raises: ConfigError."""
    rows = all_benchmarks()
    for benchmark in rows:
        if benchmark.key == key_of(name):
            return benchmark
    see = "`onethinker evaluate --list` shows all"
    raise ConfigError(no_such("benchmark", name, ("paper", "all", *(benchmark.key for benchmark in rows)), see=see))


def groups_of(benchmark: Benchmark, sample_ids: Sequence[str]) -> list[str]:
    """Return for each sample the question that it belongs to: itself, or of a circular benchmark the one whose options
    it turns.
    """
    return [circle_of(name) if benchmark.circular else name for name in sample_ids]
