"""The data of benchmarks in a data folder: which files are there, and their samples."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from onethinker.core.errors import DataError
from onethinker.core.plugins import naming
from onethinker.core.sample import Sample
from onethinker.data.published.files import Bad, ReadOtherwise, refuse
from onethinker.evaluation.benchmarks.base import Benchmark, Layout
from onethinker.evaluation.benchmarks.media_files import gone, with_found_media
from onethinker.evaluation.benchmarks.published import published_values
from onethinker.evaluation.benchmarks.readers.released import with_own_ids

DATA_FOLDER = Path("data/benchmarks")
"""Where data are looked for unless a folder is named."""


@dataclass(frozen=True)
class Found:
    """What of a benchmark is in a data folder: the layout that is complete, or for each layout the files that are
    missing.
    """

    benchmark: Benchmark
    layout: Layout | None
    missing: tuple[tuple[str, ...], ...] = ()


def look_for(benchmark: Benchmark, root: Path) -> Found:
    """Return what of a benchmark's data is in a folder; only whether the named files are there is looked at."""
    missing = [tuple(name for name in layout.files if not (root / name).exists()) for layout in benchmark.layouts]
    complete = next((layout for layout, names in zip(benchmark.layouts, missing, strict=True) if not names), None)
    return Found(benchmark, complete, () if complete else tuple(missing))


def read_benchmark(
    benchmark: Benchmark, root: Path, *, media_root: Path | None = None, bad: Bad = refuse
) -> Iterator[Sample]:
    """Yield a benchmark's samples out of a data folder, each with an id of its own and its media where they lie.

    A record that cannot be used is handed to `bad`, which raises it unless another is given, and is missing.

    Raises: DataError: its data are not there, or a file cannot be read.
    """
    found = look_for(benchmark, root)
    if found.layout is None:
        choices = "\n  or ".join(", ".join(str(root / name) for name in names) for names in found.missing)
        raise DataError(f"the data of {benchmark.name} are incomplete; still missing:\n     {choices}")
    for sample in with_own_ids(_named(found.layout, root, bad, benchmark.name)):
        if sample.problem_type not in benchmark.tasks or sample.data_type != benchmark.data_type:
            bad(
                DataError(
                    f"{found.layout.files[0]}, sample {sample.id!r}: {sample.problem_type!r} about a"
                    f" {sample.data_type} does not belong to {benchmark.name}, which asks"
                    f" {' or '.join(map(repr, benchmark.tasks))} about a {benchmark.data_type}"
                )
            )
            continue
        yield with_found_media(sample, root, media_root)


def _named(layout: Layout, root: Path, bad: Bad, name: str) -> Iterator[Sample]:
    """Yield what a layout's reader finds; mistakes in one of another package are named with its file and line."""
    with naming(layout.read, f"the reader of benchmark {name!r}"):
        yield from layout.read(root, bad)


def known_samples(benchmark: Benchmark, root: Path) -> int | None:
    """Return how many samples the files of a benchmark in a data folder are known to have, None where nobody says."""
    layout = look_for(benchmark, root).layout
    return (layout and layout.num_samples) or benchmark.num_samples


@dataclass(frozen=True)
class Rows:
    """What the files of a benchmark hold: its samples, the rows that cannot be used, those that are used though they
    are odd, and the samples whose media are not there, each with the first missing file.
    """

    samples: list[Sample]
    unusable: list[str]
    odd: list[str]
    gone: dict[str, Path]


def read_rows(
    benchmark: Benchmark,
    root: Path,
    *,
    media_root: Path | None = None,
    limit: int | None = None,
    strict: bool = False,
) -> Rows:
    """Return the rows of a benchmark, the first `limit` that can be used. Raises: DataError: a file cannot be read, or,
    where it is strict, the first odd row.
    """
    errors: list[DataError] = []
    bad = refuse if strict else errors.append
    samples = list(islice(read_benchmark(benchmark, root, media_root=media_root, bad=bad), limit))
    missing = {sample.id: paths[0] for sample in samples if (paths := gone(sample))}
    unusable = [str(error) for error in errors if not isinstance(error, ReadOtherwise)]
    odd = [str(error) for error in errors if isinstance(error, ReadOtherwise)]
    return Rows(samples, unusable, odd, missing)


def examine(benchmark: Benchmark, root: Path, media_root: Path | None = None) -> dict[str, Any]:
    """Return a benchmark and the state of its data as a record for machines; files that are there are read.

    "rows" is None where they are not there or cannot be read, and "error" says why not.
    """
    found = look_for(benchmark, root)
    record = describe(found) | {"rows": None, "expected": known_samples(benchmark, root), "error": ""}
    if found.layout is None:
        return record
    try:
        rows = read_rows(benchmark, root, media_root=media_root)
    except DataError as error:
        return record | {"error": str(error)}
    gone_files = list(dict.fromkeys(map(str, rows.gone.values())))
    return record | {
        "rows": len(rows.samples),
        "unusable": rows.unusable,
        "odd": rows.odd,
        "samples_without_media": len(rows.gone),
        "missing_media": gone_files,
    }


def describe(found: Found) -> dict[str, Any]:
    """Return a benchmark and where its data are as a record for machines."""
    benchmark = found.benchmark
    return {
        "name": benchmark.name,
        "key": benchmark.key,
        "group": benchmark.group,
        "task": benchmark.tasks[0],
        "data_type": benchmark.data_type,
        "num_samples": benchmark.num_samples,
        "metrics": [metric.name for metric in benchmark.metrics],
        "published": {
            metric.name: values for metric in benchmark.metrics if (values := published_values(benchmark, metric))
        },
        "found": found.layout is not None,
        "files": list(found.layout.files) if found.layout else [],
        "missing": [list(names) for names in found.missing],
        "layouts": [list(layout.files) for layout in benchmark.layouts],
        "note": benchmark.note,
    }
