"""The dry run that a user makes before a day of GPUs: every benchmark through every stage, without a model."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from markupsafe import escape

from onethinker.cli import main
from onethinker.evaluation.benchmarks.data import look_for
from onethinker.evaluation.benchmarks.table import BENCHMARKS, BEYOND_THE_PAPER
from tests.evaluation.layouts.media import picture
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
def test_all_benchmarks_run(tmp_path, capsys, build: Callable[[Path], Path], missing: set[str]):
    data = build(tmp_path)
    assert {row.name for row in ROWS if look_for(row, data).layout is None} == missing
    arguments = ["--benchmark", "all", "--limit", "2", "--model", "scripted", "--json"]
    with pytest.raises(SystemExit) as left:
        main(["evaluate", *arguments, "--data", str(data), "--output", str(tmp_path / "run")])
    said = capsys.readouterr()
    assert left.value.code == 0, said.err
    rows = json.loads(said.out)["benchmarks"]
    assert {row["benchmark"] for row in rows} == {row.name for row in ROWS} - missing
    assert {row["missing"] for row in rows if row["estimate"] is None} <= {
        "needs --segmenter",
        "needs --judge",
        "needs GOT-10k/val",
        "the paper does not define this number, so nothing comparable is computed",  # MMSci-Caption
    }
    assert "scripted" in said.err
    assert (tmp_path / "run/report.html").exists()


def evaluated(capsys, *arguments: object) -> str:
    """What `onethinker evaluate` prints."""
    with pytest.raises(SystemExit):
        main(["evaluate", "--model", "scripted", *map(str, arguments)])
    return capsys.readouterr().out


def test_rows_that_are_in_no_number_are_named_beside_the_numbers(tmp_path, capsys):
    data, output = build_odd(tmp_path, "eval_refcoco_val.json", UNUSABLE["a box without area"][1]), tmp_path / "run"
    rows = json.loads((data / "eval_refcoco_val.json").read_text())
    picture(data / "refcoco_val/GOT-10k_Val_000001.jpg")
    (data / "eval_refcoco_val.json").write_text(json.dumps([*rows[:2], rows[2] | {"path": "<gone>.jpg"}]))
    arguments = ("--benchmark", "refcoco_val", "--data", data, "--output", output)
    [(name, missing)] = json.loads(evaluated(capsys, *arguments, "--json"))["missing_rows"].items()
    assert (name, missing["count"]) == ("RefCOCO val", 2)
    unusable, gone = missing["first"]
    assert "row 2" in unusable
    assert gone.startswith("3: ")
    assert "<gone>.jpg" in gone
    table = evaluated(capsys, *arguments)
    assert f"RefCOCO val: 2 rows are missing from its numbers: {unusable}; {gone}" in table
    page = (output / "report.html").read_text()
    assert "2 rows are missing from the numbers of RefCOCO val" in page
    assert escape(f"{unusable}; {gone}") in page
    with pytest.raises(SystemExit):
        main(["report", str(output), "--output", str(tmp_path / "page.html"), "--export", str(tmp_path / "numbers")])
    assert (tmp_path / "page.html").read_text().count("rows are missing") == 1
    [run] = json.loads((tmp_path / "numbers/report.json").read_text())["runs"]
    assert run["evaluations"][0]["missing_rows"] == [unusable, gone]
    assert {score["missing_rows"] for score in run["scores"]} == {2}


def test_rows_that_were_mended_are_no_longer_named(tmp_path, capsys):
    data, output = build_odd(tmp_path, "eval_refcoco_val.json", UNUSABLE["a box without area"][1]), tmp_path / "run"
    for number in (1, 2, 3):
        picture(data / f"refcoco_val/GOT-10k_Val_{number:06d}.jpg")
    arguments = ("--benchmark", "refcoco_val", "--data", data, "--output", output, "--json")
    assert json.loads(evaluated(capsys, *arguments))["missing_rows"]["RefCOCO val"]["count"] == 1
    build_odd(tmp_path, "eval_refcoco_val.json", {})
    assert json.loads(evaluated(capsys, *arguments))["missing_rows"] == {}
    assert "are missing from" not in (output / "report.html").read_text()


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


def test_media_that_are_gone_are_said_to_be_gone(tmp_path, capsys):
    """Of a sample that was never asked, and of one that was answered before they went."""
    data, output = build_odd(tmp_path, "eval_refcoco_val.json", {}), tmp_path / "run"
    for number in (1, 2, 3):
        picture(data / f"refcoco_val/GOT-10k_Val_{number:06d}.jpg")
    arguments = ("--benchmark", "refcoco_val", "--data", data, "--output", output, "--json")
    evaluated(capsys, *arguments, "--limit", 2)
    (data / "refcoco_val/GOT-10k_Val_000003.jpg").unlink()
    said = json.loads(evaluated(capsys, *arguments, "--stage", "score"))
    [gone] = said["missing_rows"]["RefCOCO val"]["first"]
    assert gone.startswith("3: its media are missing: ")
    assert "GOT-10k_Val_000003.jpg" in gone
    (data / "refcoco_val/GOT-10k_Val_000001.jpg").unlink()
    with pytest.raises(SystemExit):
        main(["evaluate", "--model", "scripted", *map(str, arguments), "--stage", "score"])
    assert "sample '1' was answered before, but its media are missing now" in " ".join(capsys.readouterr().err.split())
