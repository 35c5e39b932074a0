"""The published numbers of the benchmarks: those of the paper's tables, and those that others measured."""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from onethinker.evaluation.benchmarks.base import Benchmark, Metric

PUBLISHED_FILE = Path(__file__).with_name("published.csv")
PAPER_MODEL, BASE_MODEL = "OneThinker-8B", "Qwen3-VL-8B-Instruct"


@dataclass(frozen=True)
class Published:
    """A number that somebody printed, in percent; `certain` is false where its column in the table was inferred."""

    benchmark: str
    metric: str
    model: str
    value: float
    source: str
    certain: bool


@cache
def published() -> tuple[Published, ...]:
    """Return all published numbers, in the order of the paper's tables; those of others come last.

    Source: paper, tables 1 to 10; "third party" where a user measured again.
    """
    with PUBLISHED_FILE.open(newline="", encoding="utf-8") as file:
        return tuple(
            Published(
                row["benchmark"],
                row["metric"],
                row["model"],
                float(row["value"]),
                row["place"],
                row["certain"] == "yes",
            )
            for row in csv.DictReader(file)
        )


def published_values(benchmark: Benchmark, metric: Metric, *, third_party: bool = False) -> dict[str, float]:
    """Return what the paper's tables print for a benchmark's metric by model, in percent; or what others measured.

    >>> from onethinker.evaluation.benchmarks.registry import find_benchmark
    >>> published_values(find_benchmark("MeViS"), Metric("J", "J"))["OneThinker-8B"]
    48.8
    """
    rows = [row for row in published() if row.benchmark == benchmark.name and row.metric == metric.published]
    return {row.model: row.value for row in rows if row.source.startswith("third party") == third_party}
