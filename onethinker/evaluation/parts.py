"""What an evaluation asks about: the samples of benchmarks, of a file, or held-out scenes, each into a folder."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from onethinker.core.errors import ConfigError, DataError
from onethinker.core.sample import Sample
from onethinker.data.synthetic.worlds import HELD_OUT
from onethinker.evaluation.benchmarks.base import Benchmark
from onethinker.evaluation.benchmarks.data import DATA_FOLDER, known_samples, look_for, read_rows
from onethinker.evaluation.benchmarks.media_files import gone, unopened
from onethinker.evaluation.benchmarks.registry import find_benchmark
from onethinker.evaluation.benchmarks.table import BENCHMARKS, BEYOND_THE_PAPER
from onethinker.evaluation.config import SamplesConfig
from onethinker.tasks import parse_truth, task_of

SETS: Mapping[str, tuple[Benchmark, ...]] = {"paper": BENCHMARKS, "all": (*BENCHMARKS, *BEYOND_THE_PAPER)}
"""In place of names: those of a set whose data are there."""
MAX_NAMED = 10
"""Rows, samples or files that a note names at most."""


@dataclass(frozen=True)
class Part:
    """Samples that are evaluated into one folder: those of a benchmark, or a user's own; and why rows of the benchmark
    are missing.
    """

    benchmark: Benchmark | None
    samples: Sequence[Sample]
    folder: Path
    unusable: Sequence[str] = ()


def read_parts(config: SamplesConfig, output: Path, *, note: Callable[[str], None]) -> list[Part]:
    """Return what is asked about, checked to be gradable; `note` gets what a reader of the numbers must know.

    Raises: ConfigError: there is no such benchmark. DataError: samples cannot be read, or not be graded.
    """
    if config.benchmark:
        root = config.data or DATA_FOLDER
        chosen = choose_benchmarks(config.benchmark, root)
        parts = [_read_benchmark(row, root, config, output, note) for row in chosen]
        if archives := unopened(root) if any(gone(sample) for part in parts for sample in part.samples) else ():
            note("\n  ".join(("these archives are not unpacked yet:", *archives)))
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
                f"{root}: contains no data of any benchmark; `onethinker evaluate --list --data {root}` lists what each"
                " needs"
            )
        chosen |= {row.key: row for row in rows}
    return list(chosen.values())


def check_samples(samples: Sequence[Sample]) -> None:
    """Raise DataError, which names the sample, unless every one can be graded: before anything is spent on them."""
    if not samples:
        raise DataError("there are no samples to evaluate")
    repeated = [name for name, count in Counter(sample.id for sample in samples).items() if count > 1]
    if repeated:
        raise DataError(f"sample ids must be unique, but {repeated[0]!r} is used more than once")
    for sample in samples:
        try:
            parse_truth(sample.truth, task_of(sample), sample.options)
        except DataError as error:
            raise DataError(f"sample {sample.id!r}: {error}") from error


def _read_benchmark(
    benchmark: Benchmark, root: Path, config: SamplesConfig, output: Path, note: Callable[[str], None]
) -> Part:
    """Return a benchmark's samples; `note` gets which rows cannot be used or are odd, and whether media are missing.

    Raises: DataError: its data cannot be read, no row of them can be used, or one where the settings are strict.
    """
    rows = read_rows(benchmark, root, media_root=config.media_root, limit=config.limit, strict=config.strict)
    name, count = benchmark.name, len(rows.samples) + len(rows.unusable)
    if not rows.samples:
        raise DataError(
            f"{name}: none of {count} rows can be used; first reason: {next(iter(rows.unusable), 'no row')}"
        )
    if rows.unusable:
        missing = f"{len(rows.unusable)} of {count} rows cannot be used, and are missing from its numbers"
        note(f"{name}: {missing}:{_named(rows.unusable)}")
    if rows.odd:
        note(
            f"{name}: {len(rows.odd)} of {count} rows are odd, and were read with these corrections:{_named(rows.odd)}"
        )
    if rows.gone:
        files = list(dict.fromkeys(map(str, rows.gone.values())))
        note(f"{name}: the media of {len(rows.gone)} of {len(rows.samples)} samples are missing:{_named(files)}")
    expected = known_samples(benchmark, root) if config.limit is None else None
    if expected is not None and len(rows.samples) != expected:
        note(
            f"{name}: {len(rows.samples)} samples, but {expected} are expected; the numbers are over the samples found"
        )
    return Part(benchmark, rows.samples, output / benchmark.key, rows.unusable)


def _named(lines: Sequence[str]) -> str:
    return "".join(f"\n  {line}" for line in lines[:MAX_NAMED]) + ("\n  …" if lines[MAX_NAMED:] else "")


def _held_out_scenes(config: SamplesConfig) -> list[Sample]:
    """Return synthetic scenes that no training has seen, all tasks in turn."""
    from onethinker.data.synthetic import make_sample

    assert config.synthetic is not None
    count = min(config.synthetic, config.limit or config.synthetic)
    return [make_sample(config.synthetic_seed, index, split=HELD_OUT, world=config.world) for index in range(count)]
