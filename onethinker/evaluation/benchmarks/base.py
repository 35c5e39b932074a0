"""What a benchmark is: where its data may lie and what reads them, its metrics, and its name for command lines."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from onethinker.core.sample import Sample
from onethinker.data.published.files import Bad

UNNAMED = "unnamed (paper)"
"""A number that the paper prints without saying what it is: nothing is measured under this name."""


@dataclass(frozen=True)
class Layout:
    """One form in which a benchmark's data may lie in the data folder: the files that must be there, and their
    reader.
    """

    files: tuple[str, ...]
    read: Callable[[Path, Bad], Iterator[Sample]]
    num_samples: int | None = None
    """How many samples these files have, where that is another number than the benchmark's."""


@dataclass(frozen=True)
class Metric:
    """A number of a benchmark under our name, and under the name in `published.csv`, where the paper has it.

    With `by_group` it is the mean over groups of samples (`Sample.group`) of that metric's mean in each.
    """

    name: str
    published: str | None = None
    by_group: str | None = None


@dataclass(frozen=True)
class Benchmark:
    """One row: a benchmark, or a split of one, as the paper's tables name it.

    `tasks` are the problem types of its samples, the first one the rule. `num_samples` is None where nobody says it.
    `circular` means that a question counts once, when it is right however its options are turned. `note` is what a
    reader of the number must know.
    """

    name: str
    group: str
    tasks: tuple[str, ...]
    data_type: Literal["image", "video"]
    num_samples: int | None
    layouts: tuple[Layout, ...]
    metrics: tuple[Metric, ...]
    circular: bool = False
    note: str = ""

    @property
    def known_sizes(self) -> frozenset[int]:
        """How many samples its files are known to have, which may differ by layout; none where nobody says."""
        return frozenset(filter(None, (self.num_samples, *(layout.num_samples for layout in self.layouts))))

    @property
    def key(self) -> str:
        """The name for file systems and command lines.

        >>> from onethinker.evaluation.benchmarks.registry import find_benchmark
        >>> find_benchmark("RefCOCO+ testA").key
        'refcocop_testa'
        """
        return key_of(self.name)

    @property
    def compared_by(self) -> list[str]:
        """The metrics that runs are compared by: those that the paper prints and that are measured, else the first."""
        printed = [metric.name for metric in self.metrics if metric.published and metric.name != UNNAMED]
        return printed or [self.metrics[0].name]


def key_of(name: str) -> str:
    """Return a benchmark's name in lower case, with underscores and with p for plus.

    >>> key_of("RefCOCO+-seg val"), key_of("MMVU(mc)")
    ('refcocop_seg_val', 'mmvu_mc')
    """
    return re.sub(r"[^a-z0-9]+", "_", name.lower().replace("+", "p")).strip("_")
