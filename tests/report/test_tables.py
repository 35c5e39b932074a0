import csv
import io
import json

import pytest
import yaml
from huggingface_hub import ModelCardData

from onethinker.cli import main
from onethinker.core.errors import StorageError
from onethinker.evaluation.benchmarks.registry import find_benchmark
from onethinker.evaluation.results import Result
from onethinker.evaluation.runs import load_runs
from onethinker.report.exports import model_index, write_exports
from onethinker.report.page import published_rows, write_report
from onethinker.tasks.grading import Grade
from tests.report.test_gallery import SETTINGS, result, store


def boxes(count: int, *, right: int, folder: str = "a") -> list[Result]:
    results = []
    for number in range(count):
        value = float(number < right)
        grade = Grade(value + 1, value, 1.0, 0.5, {"IoU": value, "R@0.5": value})
        results.append(
            Result(f"{folder}{number}", f"sample{number}", "spatial grounding", "Where?", "[]", "<answer>", grade)
        )
    return results


def rows_of(path):
    return list(csv.DictReader(io.StringIO(path.read_text())))


@pytest.fixture
def benchmarks(tmp_path):
    """Two models on a benchmark, the second one better."""
    store(tmp_path / "one" / "refcoco_val", boxes(40, right=10))
    store(tmp_path / "two" / "refcoco_val", boxes(40, right=30, folder="b"))
    store(tmp_path / "two" / "refcoco_testa", boxes(8, right=8, folder="c"))
    return tmp_path


def test_benchmarks_of_a_folder_are_one_run_beside_the_paper(benchmarks):
    loaded = load_runs([benchmarks / "one", benchmarks / "two"])
    assert [(run.name, len(run.evaluations)) for run in loaded.runs] == [("one", 1), ("two", 2)]
    rows = {(row.benchmark.name, row.metric.name): row for row in published_rows(loaded.runs)}
    row = rows["RefCOCO val", "R@0.5"]
    assert [ours.estimate.mean for ours in row.ours] == [0.25, 0.75]
    assert (row.paper, row.base) == (92.0, 89.9)
    assert row.best[1] < row.paper
    assert not row.best[0].startswith("OneThinker")
    only_second = rows["RefCOCO testA", "R@0.5"]
    assert (only_second.ours[0], only_second.ours[1].estimate.mean) == (None, 1.0)


def test_all_that_others_measured_of_a_model_is_shown_and_what_is_inferred_is_marked(benchmarks):
    rows = {(row.benchmark.name, row.metric.name): row for row in published_rows(load_runs([benchmarks / "one"]).runs)}
    row = rows["MathVista", "accuracy"]
    assert sorted(row.third_party["Qwen3-VL-8B-Instruct"]) == [72.4, 77.2]
    assert "Gemini 2.5 Pro" in row.uncertain
    assert "OneThinker-8B" not in row.uncertain


def test_every_benchmark_of_the_paper_has_its_row_whether_it_was_run_or_not(benchmarks):
    rows = published_rows(load_runs([benchmarks / "one"]).runs)
    assert len({row.benchmark.name for row in rows}) == 36
    assert [row.benchmark.name for row in rows if row.is_measured] == ["RefCOCO val"] * 2
    assert all(row.paper is not None or row.is_measured or row.base is not None for row in rows)


def test_the_page_shows_ours_theirs_the_difference_and_that_samples_are_missing(benchmarks):
    write_report(benchmarks / "page.html", load_runs([benchmarks / "one", benchmarks / "two"]))
    page = (benchmarks / "page.html").read_text()
    assert "<b>75.0</b>" in page
    assert ">92.0<" in page
    assert "RefCOCO val 40 of 10,834" in page
    assert '<span class="good">better</span><small>exact McNemar test</small>' in page
    assert "<option>RefCOCO val</option>" in page


def test_the_page_says_what_must_be_known_of_a_benchmark_that_was_run(benchmarks):
    track = Grade(2.0, 1.0, 1.0, 0.5, {"AO": 1.0, "R@0.3": 1.0, "R@0.5": 1.0, "R@0.7": 1.0})
    store(benchmarks / "one" / "got_10k", [Result("t", "video", "tracking", "Where?", "{}", "<answer>", track)])
    write_report(benchmarks / "page.html", load_runs([benchmarks / "one"]))
    page = (benchmarks / "page.html").read_text()
    assert f"GOT-10k: {find_benchmark('GOT-10k').note}." in page
    assert find_benchmark("MeViS").note not in page


def test_the_heading_names_every_model_once(benchmarks):
    settings = benchmarks / "two" / "refcoco_val" / "settings.json"
    settings.write_text(settings.read_text().replace('"untrained"', '"other"'))
    write_report(benchmarks / "page.html", load_runs([benchmarks / "one", benchmarks / "two"]))
    assert '<p class="quiet">untrained · other · 2026-01-01</p>' in (benchmarks / "page.html").read_text()


def test_a_folder_that_only_has_a_benchmarks_name_is_no_benchmark(tmp_path):
    store(tmp_path / "refcoco_val", [result(1, 1.0)])
    assert not load_runs([tmp_path / "refcoco_val"]).runs[0].of_benchmarks


def test_other_settings_are_another_run(benchmarks):
    stored = {"settings": {**SETTINGS, "model": "other"}, "about": {"versions": {}}}
    (benchmarks / "two" / "refcoco_testa" / "settings.json").write_text(json.dumps(stored))
    assert len(load_runs([benchmarks / "two"]).runs) == 2


def test_scores_have_intervals_and_published_values(benchmarks):
    write_exports(benchmarks / "out", load_runs([benchmarks / "one", benchmarks / "two"]))
    [row] = [
        row
        for row in rows_of(benchmarks / "out" / "scores.csv")
        if (row["run"], row["set"], row["metric"]) == ("two", "RefCOCO val", "R@0.5")
    ]
    assert (float(row["mean"]), row["samples"], float(row["OneThinker-8B (paper, percent)"])) == (0.75, "40", 92.0)
    assert float(row["low"]) < 0.75 < float(row["high"])


def test_a_number_that_is_not_there_says_why(tmp_path):
    store(tmp_path / "run", [result(1, 1.0), result(2, None)])
    write_exports(tmp_path / "out", load_runs([tmp_path / "run"]))
    rows = rows_of(tmp_path / "out" / "scores.csv")
    assert {(row["metric"], row["mean"], row["missing"]) for row in rows} >= {
        ("accuracy", "", "1 of 2 samples not asked")
    }
    assert not list((tmp_path / "out").glob("*.yaml"))
    assert [row["outcome"] for row in rows_of(tmp_path / "out" / "samples.csv")] == ["right", "not asked"]


def test_every_sample_is_in_the_tables_and_no_text_is_a_formula(tmp_path):
    store(tmp_path / "run", [result(1, 1.0, text='=HYPERLINK("http://x")'), result(2, 0.0, text='say "a,b"\nnext')])
    write_exports(tmp_path / "out", load_runs([tmp_path / "run"]))
    texts = [row["response"] for row in rows_of(tmp_path / "out" / "samples.csv")]
    assert texts == ['\'=HYPERLINK("http://x")', 'say "a,b"\nnext']


def test_json_holds_settings_numbers_comparisons_and_samples(benchmarks):
    write_exports(benchmarks / "out", load_runs([benchmarks / "one", benchmarks / "two"]))
    record = json.loads((benchmarks / "out" / "report.json").read_text())
    assert [run["settings"]["sampling"]["seed"] for run in record["runs"]] == [7, 7]
    assert len(record["runs"][1]["samples"]) == 48
    [row] = record["comparisons"][0]["rows"]
    assert (row["verdict"], row["test"], row["difference"]) == ("better", "exact McNemar test", 0.5)


def test_the_hub_reads_the_metadata_of_a_model_card(benchmarks):
    write_exports(benchmarks / "out", load_runs([benchmarks / "one", benchmarks / "two"]))
    metadata = yaml.safe_load((benchmarks / "out" / "two.model-index.yaml").read_text())
    card = ModelCardData(**metadata)
    found = {(own.dataset_name, own.metric_type): own.metric_value for own in card.eval_results}
    assert found == {
        ("RefCOCO val", "R@0.5"): 75.0,
        ("RefCOCO val", "IoU"): 75.0,
        ("RefCOCO testA", "R@0.5"): 100.0,
        ("RefCOCO testA", "IoU"): 100.0,
    }


def test_tasks_keep_apart_in_a_model_card(tmp_path):
    store(tmp_path / "run", [result(1, 1.0), result(2, 0.0, task="math")])
    metadata = yaml.safe_load(model_index(load_runs([tmp_path / "run"]).runs[0]))
    tasks = [(own["task"]["name"], own["metrics"][0]["value"]) for own in metadata["model-index"][0]["results"]]
    assert tasks == [("numerical", 100.0), ("math", 0.0)]


def test_the_command_writes_page_and_tables_and_prints_where(benchmarks, capsys):
    with pytest.raises(SystemExit) as left:
        main(
            [
                "report",
                str(benchmarks / "two"),
                "--output",
                str(benchmarks / "a.html"),
                "--export",
                str(benchmarks / "out"),
            ]
        )
    assert left.value.code == 0
    names = [line.rsplit("/", 1)[1] for line in capsys.readouterr().out.split()]
    assert names == ["a.html", "scores.csv", "samples.csv", "report.json", "two.model-index.yaml"]


def test_a_folder_that_cannot_be_written_is_named(benchmarks):
    (benchmarks / "file").write_text("")
    with pytest.raises(StorageError, match="file/out"):
        write_exports(benchmarks / "file" / "out", load_runs([benchmarks / "one"]))


@pytest.mark.parametrize("limit", ["0", "-1", "nan", "inf"])
def test_a_limit_that_is_none_is_refused(benchmarks, capsys, limit):
    with pytest.raises(SystemExit) as left:
        main(["report", str(benchmarks / "one"), "--max-mb", limit, "--output", str(benchmarks / "a.html")])
    assert left.value.code == 1
    assert "--max-mb" in capsys.readouterr().err
