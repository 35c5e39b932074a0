"""The dry run that a user makes before a day of GPUs: every benchmark through every stage, without a model."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from onethinker.cli import main
from onethinker.evaluation.benchmarks.data import look_for
from onethinker.evaluation.benchmarks.table import BENCHMARKS, BEYOND_THE_PAPER
from tests.evaluation.layouts.official import build_official, build_tables
from tests.evaluation.layouts.released import build_released

ROWS = (*BENCHMARKS, *BEYOND_THE_PAPER)


def released_and_tables(root: Path) -> Path:
    return build_tables(build_released(root))


@pytest.mark.parametrize(
    ("build", "missing"),
    [
        (released_and_tables, {"Ref-DAVIS17"}),
        (
            build_official,
            {row.name for row in BENCHMARKS if len(row.layouts) == 1 and row.layouts[0].files[0][:5] == "eval_"},
        ),
    ],
    ids=["released", "official"],
)
def test_all_benchmarks_run_in_under_a_minute(tmp_path, capsys, build: Callable[[Path], Path], missing: set[str]):
    data = build(tmp_path)
    assert {row.name for row in ROWS if look_for(row, data).layout is None} == missing
    started = time.monotonic()
    arguments = ["--benchmark", "all", "--limit", "2", "--model", "scripted", "--json"]
    with pytest.raises(SystemExit) as left:
        main(["evaluate", *arguments, "--data", str(data), "--output", str(tmp_path / "run")])
    said = capsys.readouterr()
    assert left.value.code == 0, said.err
    assert time.monotonic() - started < 60
    rows = json.loads(said.out)["benchmarks"]
    assert {row["benchmark"] for row in rows} == {row.name for row in ROWS} - missing
    assert {row["missing"] for row in rows if row["estimate"] is None} <= {
        "needs --segmenter",
        "needs --judge",
        "needs GOT-10k/val",
    }
    assert "scripted" in said.err
