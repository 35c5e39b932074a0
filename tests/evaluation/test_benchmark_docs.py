"""What docs/benchmarks.md says of each benchmark, held against the table by which data are read and numbers made."""

import re
from pathlib import Path

import pytest

from onethinker.evaluation.benchmarks.base import UNNAMED, Benchmark
from onethinker.evaluation.benchmarks.table import BENCHMARKS, BEYOND_THE_PAPER
from tests.evaluation.test_benchmarks import family

PAGE = (Path(__file__).parents[2] / "docs/benchmarks.md").read_text()
SECTION = PAGE.split("\n## Each benchmark\n")[1].split("\n## ")[0]
BLOCKS = {block.partition("\n")[0]: block for block in re.split(r"^### ", SECTION, flags=re.MULTILINE)[1:]}
ROWS = (*BENCHMARKS, *BEYOND_THE_PAPER)


def test_every_benchmark_has_its_paragraph_in_the_order_of_the_table_and_nothing_else_has_one():
    assert list(BLOCKS) == list(dict.fromkeys(family(row.name) for row in ROWS))
    assert len(dict.fromkeys(family(row.name) for row in BENCHMARKS)) == 31


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_a_paragraph_names_every_file_the_known_number_of_rows_and_the_number_beside_the_papers(row: Benchmark):
    block = BLOCKS[family(row.name)]
    assert [file for layout in row.layouts for file in layout.files if f"`{file}`" not in block] == []
    assert row.num_samples is None or re.search(rf"\b{row.num_samples}\b", block)
    printed = [metric.name for metric in row.metrics if metric.published] if row in BENCHMARKS else []
    assert [name for name in printed if f'"{name}"' not in block] == []
    assert "Read: " in block  # whose code was read
    assert "(official)" not in " ".join(metric.name for metric in row.metrics) or '(official)"' in block


def test_a_number_that_nothing_of_ours_is_like_is_said_to_stand_apart():
    [row] = [row for row in BENCHMARKS if any(metric.name == UNNAMED for metric in row.metrics)]
    assert "stand apart" in BLOCKS[row.name]
