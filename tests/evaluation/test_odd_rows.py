"""One odd row never stops a benchmark: it is read and named, or missing and named; --strict stops at it."""

import json

import pytest

from onethinker.core.errors import DataError
from onethinker.data.published.masks import truth_masks
from onethinker.evaluation.benchmarks.base import Benchmark
from onethinker.evaluation.benchmarks.data import read_rows
from onethinker.evaluation.parts import check_samples
from tests.evaluation.layouts.released import ODD, RELEASED, UNUSABLE, build_odd, record, released_file


def benchmark_of(name: str) -> Benchmark:
    return next(benchmark for benchmark in RELEASED if released_file(benchmark) == name)


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_row_is_read_and_named(tmp_path, kind):
    name, changes, words = ODD[kind]
    rows = read_rows(benchmark_of(name), build_odd(tmp_path, name, changes))
    assert [sample.id for sample in rows.samples] == ["1", "2", "3"], rows.unusable
    check_samples(rows.samples)
    assert len(rows.odd) == (words is not None)
    assert all(f"{name}, row 2: " in said and words in said for said in rows.odd)
    if words is not None:
        with pytest.raises(DataError, match="row 2"):
            read_rows(benchmark_of(name), tmp_path, strict=True)


@pytest.mark.parametrize("kind", UNUSABLE)
def test_a_row_that_cannot_be_used_is_missing_and_named(tmp_path, kind):
    name, changes, words = UNUSABLE[kind]
    rows = read_rows(benchmark_of(name), build_odd(tmp_path, name, changes))
    assert [sample.id for sample in rows.samples] == ["1", "3"]
    [said] = rows.unusable
    assert name in said
    assert words in said
    with pytest.raises(DataError):
        read_rows(benchmark_of(name), tmp_path, strict=True)


@pytest.mark.parametrize(
    ("kind", "truth"),
    [
        ("a fraction", "0.3333333333"),
        ("a time backwards", {"time": [1, 5]}),
        ("a box at 1001", {"boxes": [100, 200, 1000, 400]}),
        ("tracking key 0", {"boxes": {"1": [100, 200, 300, 400]}}),
        ("a second outside", {"time": [4, 6], "boxes": {"5": [100, 200, 300, 400]}}),
        ("boxes as a list", {"time": [4.2, 6], "boxes": {str(second): [100, 200, 300, 400] for second in (4, 5, 6)}}),
    ],
)
def test_the_truth_of_an_odd_row_is_what_it_means(tmp_path, kind, truth):
    name, changes, _ = ODD[kind]
    sample = read_rows(benchmark_of(name), build_odd(tmp_path, name, changes)).samples[1]
    assert (sample.truth if isinstance(truth, str) else json.loads(sample.truth)) == truth


@pytest.mark.parametrize(
    ("kind", "areas"),
    [("counts null", [9, 0, 0]), ("a flat polygon", [800]), ("polygons", [800]), ("points", [800])],
)
def test_masks_are_empty_without_counts_and_polygons_are_filled(tmp_path, kind, areas):
    name, changes, _ = ODD[kind]
    sample = read_rows(benchmark_of(name), build_odd(tmp_path, name, changes)).samples[1]
    # Half of a square of 40 pixels, and its edge, which COCO's code rounds.
    assert [int(mask.sum()) for mask in truth_masks(sample).values()] == pytest.approx(
        areas, abs=40 if areas == [800] else 0
    )


JUNK = [
    None,
    0,
    -1,
    1.5,
    True,
    "",
    "x",
    "<answer>",
    [],
    [[]],
    [None],
    {},
    {"a": None},
    float("nan"),
    float("inf"),
    "\ud800",
]


@pytest.mark.parametrize("benchmark", RELEASED, ids=lambda benchmark: benchmark.key)
def test_junk_in_any_field_costs_its_own_row_at_most(tmp_path, benchmark):
    rows = [record(benchmark, 1)]
    for field in rows[0]:
        rows += [{**record(benchmark, 2), field: junk} for junk in JUNK]
        rows.append({name: value for name, value in record(benchmark, 2).items() if name != field})
    (tmp_path / released_file(benchmark)).write_text(
        "\n".join(json.dumps(row) for row in [*rows, 7]) + "\n{\n" + json.dumps(rows[0])
    )
    read = read_rows(benchmark, tmp_path)
    assert [sample.id for sample in read.samples][:1] == ["1"]
    assert read.samples[-1].id == "1#2"
    assert len(read.samples) + len(read.unusable) == len(rows) + 3
    check_samples(read.samples)
