import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from onethinker.core.errors import ConfigError, DataError
from onethinker.evaluation.benchmarks.base import UNNAMED, Benchmark, Metric
from onethinker.evaluation.benchmarks.data import describe, look_for, read_benchmark
from onethinker.evaluation.benchmarks.published import (
    BASE_MODEL,
    PAPER_MODEL,
    PUBLISHED_FILE,
    published,
    published_values,
)
from onethinker.evaluation.benchmarks.registry import find_benchmark
from onethinker.evaluation.benchmarks.table import BENCHMARKS, BEYOND_THE_PAPER
from onethinker.evaluation.mask_metrics import VIDEO_NAMES
from onethinker.evaluation.metrics import OWN_RULES, RATIOS
from onethinker.evaluation.parts import check_samples
from onethinker.evaluation.results import Result
from onethinker.evaluation.scoring import circular_accuracy, score_benchmark
from onethinker.tasks import find_task, grade_response

FAMILIES = {"RefCOCO": 3, "RefCOCO+": 3, "RefCOCOg": 2}
"""Benchmarks of the paper that are several rows, one a split."""


def family(name: str) -> str:
    return next(
        (known for known in FAMILIES if name in (f"{known} {split}" for split in ("val", "test", "testA", "testB"))),
        name,
    )


def test_the_31_benchmarks_of_the_paper_have_a_row_each_and_refcoco_one_a_split():
    families = [family(benchmark.name) for benchmark in BENCHMARKS]
    assert len(set(families)) == 31
    assert {name: families.count(name) for name in set(families) if families.count(name) > 1} == FAMILIES
    groups = [benchmark.group for benchmark in BENCHMARKS]
    assert {group: groups.count(group) for group in dict.fromkeys(groups)} == {
        "image QA": 8,
        "video QA": 7,
        "caption": 3,
        "temporal grounding": 3,
        "spatial grounding": 8,
        "spatio-temporal grounding": 1,
        "tracking": 1,
        "image segmentation": 3,
        "video segmentation": 2,
    }


def test_38_rows_have_a_published_number_and_two_of_them_only_from_others():
    def has_number(benchmark: Benchmark, *, third_party: bool) -> bool:
        return any(
            row.benchmark == benchmark.name and row.source.startswith("third party") == third_party
            for row in published()
        )

    rows = (*BENCHMARKS, *BEYOND_THE_PAPER)
    of_the_paper = [row for row in rows if has_number(row, third_party=False)]
    of_others = [row.name for row in rows if row not in of_the_paper and has_number(row, third_party=True)]
    assert (len(of_the_paper), of_others) == (36, ["RealWorldQA", "WeMath"])


def test_keys_differ_and_find_their_benchmark():
    rows = (*BENCHMARKS, *BEYOND_THE_PAPER)
    assert len({benchmark.key for benchmark in rows}) == len(rows)
    for benchmark in rows:
        assert find_benchmark(benchmark.key) is find_benchmark(benchmark.name.upper()) is benchmark
    with pytest.raises(ConfigError, match="no benchmark 'MMMLU'; did you mean 'mmmu'"):
        find_benchmark("MMMLU")


def test_the_23_released_files_and_12_tables_are_all_read():
    files = [layout.files[0] for benchmark in BENCHMARKS for layout in benchmark.layouts]
    assert len([name for name in files if name.startswith("eval_")]) == 23
    # MMT-Bench and MMT-Caption share one. VLMEvalKit downloads MathVerse_MINIV.tsv and calls it MathVerse_MINI.tsv
    # (image_base.py, prepare_tsv).
    assert len({name for name in files if name.endswith(".tsv")} - {"MathVerse_MINIV.tsv"}) == 12
    assert "MathVerse_MINIV.tsv" in files


def test_published_values_are_whole():
    rows = published()
    assert len(rows) == 336
    assert sum(not row.certain for row in rows) == 27
    assert sum(row.source.startswith("third party") for row in rows) == 12
    assert all(0 < row.value < 100 for row in rows)
    named = [
        (row.benchmark, row.metric, row.model, row.source) for row in rows if not row.source.startswith("third party")
    ]
    assert len(set(named)) == len(named)


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda benchmark: benchmark.key)
def test_every_benchmark_has_the_papers_number_and_its_bases(benchmark):
    measured = [metric for metric in benchmark.metrics if metric.published]
    assert measured
    for metric in measured:
        assert {PAPER_MODEL, BASE_MODEL} <= published_values(benchmark, metric).keys()


def test_the_means_that_the_paper_prints_follow_from_the_rows():
    def mean(metrics: dict[str, tuple[str, ...]], model: str) -> float:
        values = [
            published_values(benchmark, metric)[model]
            for benchmark in BENCHMARKS
            for metric in benchmark.metrics
            if metric.published in metrics.get(benchmark.group, ())
        ]
        return sum(values) / len(values)

    printed = {(row.benchmark, row.model): row.value for row in published() if row.source == "table 9"}
    for name, metrics in {
        "avg QA": {"image QA": ("accuracy",), "video QA": ("accuracy",)},
        "avg temporal grounding": {"temporal grounding": ("tIoU",)},
        "avg spatial grounding": {"spatial grounding": ("R@0.5",)},
        "avg S.-T. grounding": {"spatio-temporal grounding": ("tIoU", "sIoU")},
        "avg segmentation": {"image segmentation": ("cIoU",), "video segmentation": ("J&F",)},
    }.items():
        for model in (PAPER_MODEL, BASE_MODEL):
            # Printed with one digit, of numbers with one digit.
            assert mean(metrics, model) == pytest.approx(printed[name, model], abs=0.11), (name, model)


@pytest.mark.parametrize("benchmark", [*BENCHMARKS, *BEYOND_THE_PAPER], ids=lambda benchmark: benchmark.key)
def test_every_metric_is_one_that_the_tasks_or_masks_or_judge_give(benchmark):
    given = {
        "accuracy",
        "accuracy (circular)",
        "judge",
        "gIoU",
        *VIDEO_NAMES,
        *RATIOS,
        *OWN_RULES,
        "questions answered (paper)",
        UNNAMED,
    }
    for problem_type in benchmark.tasks:
        task = find_task(problem_type, benchmark.data_type)
        given |= set(task.metrics)
    assert {metric.by_group or metric.name for metric in benchmark.metrics} <= given


def test_missing_data_are_named_with_the_place_where_they_go(tmp_path):
    benchmark = find_benchmark("RefCOCO val")
    found = look_for(benchmark, tmp_path)
    assert found.layout is None
    assert found.missing == (("eval_refcoco_val.json",), ("refcoco/refs(unc).p", "refcoco/instances.json"))
    with pytest.raises(DataError, match=r"eval_refcoco_val.json\n  or .*refs\(unc\)\.p, .*instances\.json"):
        list(read_benchmark(benchmark, tmp_path))


def charades(root: Path, *records: dict[str, object]) -> Path:
    path = root / "eval_charades.json"
    path.write_text(json.dumps(records))
    return root


RECORD = {
    "problem": "When does the man sit down?",
    "problem_type": "temporal grounding",
    "data_type": "video",
    "path": "Charades/a.mp4",
    "solution": '<answer>{"time": [1, 5]}</answer>',
    "problem_id": 1,
}


def test_found_data_are_read_and_described(tmp_path):
    benchmark = find_benchmark("charades_sta")
    root = charades(tmp_path, RECORD, {**RECORD, "problem_id": 2})
    assert [sample.id for sample in read_benchmark(benchmark, root)] == ["1", "2"]
    record = describe(look_for(benchmark, root))
    assert (record["found"], record["files"], record["missing"]) == (True, ["eval_charades.json"], [])
    assert (record["name"], record["task"], record["metrics"]) == (
        "Charades-STA",
        "temporal grounding",
        ["R@0.3", "R@0.5", "R@0.7", "tIoU"],
    )
    assert record["published"]["R@0.5"][PAPER_MODEL] == 68.3


def test_a_sample_of_another_task_is_refused(tmp_path):
    root = charades(tmp_path, {**RECORD, "problem_type": "numerical", "solution": "<answer>1</answer>"})
    with pytest.raises(
        DataError, match=r"eval_charades.json, sample '1': 'numerical' about a video does not belong to Charades-STA"
    ):
        list(read_benchmark(find_benchmark("Charades-STA"), root))


def results(benchmark_name: str, *answers: str, truth: str, ids: tuple[str, ...] = ()) -> list[Result]:
    benchmark = find_benchmark(benchmark_name)
    task = find_task(benchmark.tasks[0], benchmark.data_type)
    return [
        Result(
            key=str(number),
            sample_id=ids[number] if ids else str(number),
            task=task.key,
            problem="?",
            truth=truth,
            response=answer,
            grade=grade_response(f"<think>x</think><answer>{answer}</answer>", truth, task=task),
        )
        for number, answer in enumerate(answers)
    ]


def values(rows) -> dict[str, float | None]:
    return {row.metric: row.estimate.mean if row.estimate else None for row in rows}


def test_an_unparsable_answer_stays_in_the_denominator_of_every_number():
    rows = score_benchmark(
        find_benchmark("Charades-STA"),
        results(
            "Charades-STA",
            '{"time": [0, 10]}',
            '{"time": [0, 4]}',
            "I do not know",
            '{"time": [NaN, 4]}',
            truth='{"time": [0, 10]}',
        ),
    )
    assert values(rows) == {"R@0.3": 0.5, "R@0.5": 0.25, "R@0.7": 0.25, "tIoU": (1 + 0.4) / 4}
    assert rows[1].published[PAPER_MODEL] == 68.3
    assert rows[1].estimate.low <= 0.25 <= rows[1].estimate.high


def test_a_sample_that_was_not_asked_withholds_the_numbers_and_is_counted():
    got = results("Charades-STA", '{"time": [0, 10]}', "x", truth='{"time": [0, 10]}')
    rows = score_benchmark(find_benchmark("Charades-STA"), [got[0], replace(got[1], grade=None, error="no video")])
    assert values(rows) == dict.fromkeys(("R@0.3", "R@0.5", "R@0.7", "tIoU"))
    assert {row.missing for row in rows} == {"1 of 2 samples without a grade"}


def test_mmbench_counts_a_question_when_it_is_right_however_its_options_are_turned():
    ids = ("1", "2", "1000001", "1000002", "3")
    rows = score_benchmark(find_benchmark("MMBench"), results("MMBench", "A", "A", "A", "B", "B", truth="A", ids=ids))
    assert values(rows) == {"accuracy (circular)": pytest.approx(1 / 3), "accuracy": 3 / 5}
    assert rows[0].published[PAPER_MODEL] == 86.6
    assert rows[1].published == {}
    assert circular_accuracy(["a", "a", "b"], [1, 1, 1]).mean == 1


def test_mmt_caption_counts_each_sub_task_the_same_as_its_toolkit_does():
    # VLMEvalKit, multiple_choice.py, report_acc_MMT: "VC" is the mean of the accuracies of its sub-tasks.
    answers = [
        replace(result, group=group)
        for result, group in zip(results("MMT-Caption", "A", "A", "B", "B", truth="A"), "xxxy", strict=True)
    ]
    rows = score_benchmark(find_benchmark("MMT-Caption"), answers)
    assert values(rows) == {"accuracy (sub-tasks)": pytest.approx(1 / 3), "accuracy": 0.5}
    assert (rows[0].published[PAPER_MODEL], rows[1].published) == (57.9, {})
    old = score_benchmark(find_benchmark("MMT-Caption"), results("MMT-Caption", "A", truth="A"))
    assert (old[0].estimate, old[0].missing.startswith("needs --stage score")) == (None, True)


def test_anet_rtl_has_litas_means_over_videos_beside_the_papers_over_questions():
    # LITA, eval_model_rtl.py: the mean over videos of the mean over their questions.
    answers = ('{"time": [0, 10]}', '{"time": [0, 10]}', '{"time": [0, 4]}')
    found = [
        replace(result, group=group)
        for result, group in zip(results("ANet-RTL", *answers, truth='{"time": [0, 10]}'), "aab", strict=True)
    ]
    numbers = values(score_benchmark(find_benchmark("ANet-RTL"), found))
    assert (numbers["tIoU"], numbers["R@0.5"]) == (pytest.approx(0.8), pytest.approx(2 / 3))
    assert (numbers["tIoU (official)"], numbers["R@0.5 (official)"]) == (pytest.approx(0.7), 0.5)


def test_mmmu_has_the_papers_rule_and_its_own_for_choices_and_open_questions_together():
    choice = results("MMMU", "A", "B", truth="A")
    task = find_task("math", "image")
    grade = grade_response("<answer>2.83</answer>", "2.83", task=task)
    number = replace(
        choice[0],
        key="n",
        sample_id="n",
        task=task.key,
        grade=replace(grade, metrics={**grade.metrics, "accuracy (paper)": 0.0}),
    )
    rows = score_benchmark(find_benchmark("MMMU"), [*choice, number])
    assert values(rows) == {"accuracy (paper)": pytest.approx(1 / 3), "accuracy (official)": pytest.approx(2 / 3)}
    assert (rows[0].published[PAPER_MODEL], rows[1].published) == (70.6, {})


def test_choices_and_numbers_of_one_benchmark_count_together():
    choice = results("MathVista", "A", "B", truth="A")
    task = find_task("math", "image")
    number = replace(
        choice[0],
        key="n",
        sample_id="n",
        task=task.key,
        grade=grade_response("<answer>4</answer>", "4", task=task),
    )
    assert values(score_benchmark(find_benchmark("MathVista"), [*choice, number])) == {"accuracy": pytest.approx(2 / 3)}


def test_masks_and_a_judge_that_are_still_to_come_are_asked_for():
    answer = find_task("segmentation", "image").example
    rows = score_benchmark(find_benchmark("RefCOCO-seg val"), results("RefCOCO-seg val", answer, truth=answer))
    assert {row.metric: row.missing for row in rows} == {"cIoU": "needs --segmenter", "gIoU": "needs --segmenter"}
    rows = score_benchmark(find_benchmark("MMSci-Caption"), results("MMSci-Caption", "a ball", truth="a ball"))
    assert {row.metric: row.missing for row in rows if row.estimate is None}["judge"] == "needs --judge"
    assert values(rows)["ROUGE-L"] == 1


def test_what_others_measured_stands_apart():
    mmmu, accuracy = find_benchmark("MMMU"), Metric("accuracy", "accuracy")
    assert published_values(mmmu, accuracy)[PAPER_MODEL] == 70.6
    assert published_values(mmmu, accuracy, third_party=True)[PAPER_MODEL] in (64.9, 65.0)


RELEASED = [benchmark for benchmark in BENCHMARKS if benchmark.layouts[0].files[0].startswith("eval_")]
TABLES = [benchmark for benchmark in BENCHMARKS if benchmark.layouts[0].files[0].endswith(".tsv")]


@pytest.mark.parametrize("benchmark", RELEASED, ids=lambda benchmark: benchmark.key)
def test_each_released_file_is_read(tmp_path, benchmark):
    task = find_task(benchmark.tasks[0], benchmark.data_type)
    record = {
        "problem": "?",
        "problem_type": task.problem_type,
        "data_type": benchmark.data_type,
        "path": "media/a",
        "problem_id": 3,
    }
    record |= {
        "solution": f"<answer>{task.example}</answer>",
        "options": ["A. x", "B. y"] if task.problem_type == "multiple choice" else [],
    }
    (tmp_path / benchmark.layouts[0].files[0]).write_text(json.dumps(record) + "\n")
    [sample] = read_benchmark(benchmark, tmp_path)
    check_samples([sample])
    assert (sample.id, sample.media) == ("3", (tmp_path / "media/a",))


@pytest.mark.parametrize("benchmark", TABLES, ids=lambda benchmark: benchmark.key)
def test_each_table_is_read(tmp_path, benchmark):
    row = {"index": "3", "question": "?", "split": "validation", "l2-category": "visual_captioning", "category": "c"}
    row |= {"caption": "A ball."} if benchmark.tasks[0] == "open-ended" else {"A": "x", "B": "y", "answer": "B"}
    if benchmark.name == "VideoMMLU-Caption":
        row["question"] = "[{'question': 'What?', 'answer': 'A ball'}]"
    row |= {"image": "aGk=" * 30} if benchmark.data_type == "image" else {"video_path": "video/a.mp4"}
    path = tmp_path / benchmark.layouts[0].files[0]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\t".join(row) + "\n" + "\t".join(row.values()) + "\n")
    [sample] = read_benchmark(benchmark, tmp_path)
    check_samples([sample])
    assert (sample.id, len(sample.media)) == ("3", 1)


def test_published_values_travel_with_the_package():
    root = Path(__file__).parents[2]
    patterns = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["onethinker"]
    carried = {path for pattern in patterns for path in (root / "onethinker").glob(pattern)}
    files = {
        path for path in (root / "onethinker").rglob("*.*") if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert PUBLISHED_FILE in carried
    assert files - carried == set()


def test_one_released_record_that_cannot_be_used_is_handed_over(tmp_path):
    root = charades(
        tmp_path,
        RECORD,
        {**RECORD, "problem_id": 2, "solution": '<answer>{"time": [0, 0]}</answer>'},
        {**RECORD, "problem_id": 3},
    )
    bad: list[DataError] = []
    assert len(list(read_benchmark(find_benchmark("charades_sta"), root, bad=bad.append))) == 2
    assert "eval_charades.json, row 2: 'solution' is not an answer" in str(bad[0])
    with pytest.raises(DataError, match="row 2"):
        list(read_benchmark(find_benchmark("charades_sta"), root))
