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
from tests.evaluation.layouts.released import ODD, UNUSABLE, build_odd, build_released

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
        "the paper does not say what this number is, so nothing of ours stands beside it",  # MMSci-Caption
    }
    assert "scripted" in said.err


def test_list_says_before_a_model_is_loaded_what_is_there_and_what_is_not_as_expected(tmp_path, capsys):
    build_odd(tmp_path, "eval_charades.json", UNUSABLE["a time of 0 s"][1])
    build_odd(tmp_path, "eval_refcoco_val.json", ODD["a box at 1001"][1])
    (tmp_path / "eval_stvg.json").write_text("[{")
    (tmp_path / "Charades.zip").write_bytes(b"")
    with pytest.raises(SystemExit) as left:
        main(["evaluate", "--list", "--json", "--data", str(tmp_path)])
    assert left.value.code == 0
    said = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in said["benchmarks"]}
    charades = rows["Charades-STA"]
    assert (charades["rows"], charades["expected"], charades["samples_without_media"]) == (2, 3720, 2)
    assert "row 2" in charades["unusable"][0]
    assert rows["RefCOCO val"]["rows"] == 3
    assert "row 2" in rows["RefCOCO val"]["odd"][0]
    assert "not JSON" in rows["STVG"]["error"]
    assert said["unopened"] == [f"unzip -q {tmp_path}/Charades.zip -d {tmp_path}"]
    with pytest.raises(SystemExit):
        main(["evaluate", "--list", "--data", str(tmp_path)])
    said = " ".join(capsys.readouterr().out.split())
    assert "2 samples, 3720" in said
    assert "Charades.zip -d" in said
