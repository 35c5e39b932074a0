"""What an evaluation asks about: the samples of benchmarks, of a file, or held-out scenes, each into a folder."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from onethinker.core.errors import ConfigError, DataError
from onethinker.core.sample import Sample
from onethinker.evaluation.benchmarks.base import Benchmark
from onethinker.evaluation.benchmarks.data import DATA_FOLDER, look_for, read_benchmark
from onethinker.evaluation.benchmarks.table import BENCHMARKS, BEYOND_THE_PAPER, find_benchmark
from onethinker.evaluation.config import SamplesConfig
from onethinker.tasks import parse_truth, task_of

HELD_OUT = "test"
"""The split of the synthetic scenes that training never draws from."""
SETS: Mapping[str, tuple[Benchmark, ...]] = {"paper": BENCHMARKS, "all": (*BENCHMARKS, *BEYOND_THE_PAPER)}
"""In place of names: those of a set whose data are there."""
MOST_BAD = 0.1
"""A benchmark of which a larger fraction of records cannot be used is not what it should be, and is not asked."""


@dataclass(frozen=True)
class Part:
    """Samples that are evaluated into one folder: those of a benchmark, or a user's own."""

    benchmark: Benchmark | None
    samples: Sequence[Sample]
    folder: Path


def read_parts(config: SamplesConfig, output: Path, *, note: Callable[[str], None]) -> list[Part]:
    """Return what is asked about, checked to be gradable; `note` gets what a reader of the numbers must know.

    Raises: ConfigError: there is no such benchmark. DataError: samples cannot be read, or not be graded.
    """
    if config.benchmark:
        root = config.data or DATA_FOLDER
        chosen = choose_benchmarks(config.benchmark, root)
        parts = [Part(row, _read_benchmark(row, root, config, note), output / row.key) for row in chosen]
    elif config.data is not None:
        from onethinker.data.formats.released import read_samples

        parts = [Part(None, list(islice(read_samples(config.data, config.media_root), config.limit)), output)]
    else:
        parts = [Part(None, _held_out_scenes(config), output)]
    for part in parts:
        check_samples(part.samples)
    return parts


def choose_benchmarks(names: Sequence[str], root: Path) -> list[Benchmark]:
    """Return the benchmarks of these names, once each. Raises: ConfigError: there is no such one, or no data of any."""
    chosen: dict[str, Benchmark] = {}
    for name in names:
        if name.lower() not in SETS:
            rows = [find_benchmark(name)]
        elif not (rows := [row for row in SETS[name.lower()] if look_for(row, root).layout is not None]):
            raise ConfigError(
                f"{root}: there are no data of any benchmark; `onethinker evaluate --list --data {root}` says which"
            )
        chosen |= {row.key: row for row in rows}
    return list(chosen.values())


def check_samples(samples: Sequence[Sample]) -> None:
    """Raise DataError, which names the sample, unless every one can be graded: before anything is spent on them."""
    if not samples:
        raise DataError("there are no samples to evaluate")
    repeated = [name for name, count in Counter(sample.id for sample in samples).items() if count > 1]
    if repeated:
        raise DataError(f"sample ids must differ, {repeated[0]!r} stands for more than one sample")
    for sample in samples:
        try:
            parse_truth(sample.truth, task_of(sample), sample.options)
        except DataError as error:
            raise DataError(f"sample {sample.id!r}: {error}") from error


def _read_benchmark(
    benchmark: Benchmark, root: Path, config: SamplesConfig, note: Callable[[str], None]
) -> list[Sample]:
    """Return a benchmark's samples; `note` gets which records cannot be used, and whether samples are missing.

    Raises: DataError: its data cannot be read, or more than a tenth of its records cannot be used.
    """
    bad: list[DataError] = []
    reading = read_benchmark(benchmark, root, media_root=config.media_root, bad=bad.append)
    samples = list(islice(reading, config.limit))
    count = len(samples) + len(bad)
    name, unusable = benchmark.name, f"{len(bad)} of {count} records cannot be used"
    if not samples or len(bad) > max(1, MOST_BAD * count):
        raise DataError(f"{name}: {unusable}; the first: {next(iter(bad), 'there is none')}")
    if bad:
        named = "".join(f"\n  {error}" for error in bad[:10]) + ("\n  …" if bad[10:] else "")
        note(f"{name}: {unusable} and are missing from its numbers:{named}")
    expected = benchmark.num_samples if config.limit is None else None
    if expected is not None and len(samples) != expected:
        note(f"{name}: {len(samples)} samples, {expected} are expected; numbers are over those that are there")
    return samples


def _held_out_scenes(config: SamplesConfig) -> list[Sample]:
    """Return synthetic scenes that no training has seen, all tasks in turn."""
    from onethinker.data.synthetic import make_sample

    assert config.synthetic is not None
    count = min(config.synthetic, config.limit or config.synthetic)
    return [make_sample(config.synthetic_seed, index, split=HELD_OUT, world=config.world) for index in range(count)]
