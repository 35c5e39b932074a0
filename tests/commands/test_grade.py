import json

import pytest

from onethinker.cli import main
from onethinker.tasks import all_tasks

RIGHT = {
    "problem_type": "numerical",
    "data_type": "image",
    "solution": "<answer>12</answer>",
    "response": "<think>Count.</think><answer>12</answer>",
}
WRONG = {**RIGHT, "response": "twelve", "note": [1, {"kept": "é"}]}


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return caught.value.code


def grade(tmp_path, *records, flags=()):
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    code = run("grade", "--input", tmp_path / "answers.jsonl", "--output", tmp_path / "graded.jsonl", *flags)
    output = tmp_path / "graded.jsonl"
    return code, [json.loads(line) for line in output.read_text().splitlines()] if output.exists() else None


def test_each_line_comes_back_with_its_grade(tmp_path):
    code, (right, wrong) = grade(tmp_path, RIGHT, WRONG)
    assert code == 0
    assert right == {
        **RIGHT,
        "reading": "strict",
        "grade": {
            "reward": 2.0,
            "accuracy": 1.0,
            "format": 1.0,
            "structure": 0.5,
            "metrics": {"accuracy": 1.0},
            "problems": {},
        },
    }
    assert {name: value for name, value in wrong.items() if name not in ("grade", "reading")} == WRONG
    assert wrong["grade"]["reward"] == 0
    assert len(wrong["grade"]["problems"]) == 2


def test_the_release_profile_weighs_differently(tmp_path):
    _, (right,) = grade(tmp_path, RIGHT, flags=("--rewards", "release"))
    assert right["grade"]["reward"] == 1.5


@pytest.mark.parametrize("task", all_tasks(), ids=lambda task: task.key)
def test_every_task_is_graded(tmp_path, task):
    truth = task.example
    record = {"problem_type": task.problem_type.upper(), "data_type": task.data_types[0], "answer": truth}
    _, (right, wrong) = grade(
        tmp_path,
        {**record, "response": f"<think>So.</think><answer>{truth}</answer>"},
        {**record, "response": "\ud800 <answer>"},
    )
    assert right["grade"]["reward"] == task.terms + 1
    assert wrong["grade"]["reward"] == 0


def test_stdout_stays_empty_and_the_summary_names_the_file(tmp_path, capsys):
    grade(tmp_path, RIGHT, WRONG)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "2 records graded, mean reward 1.000" in captured.err


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({**RIGHT, "response": None}, "'response' is missing"),
        ({**RIGHT, "response": 12}, "'response' must be a text, got 12"),
        ({**RIGHT, "solution": None}, "'answer' or 'solution' is missing"),
        (
            {**RIGHT, "solution": "<answer>many</answer>"},
            "'solution' is not an answer to 'numerical': expected a number",
        ),
        ({**RIGHT, "problem_type": "poetry"}, "no task 'poetry'"),
        ({**RIGHT, "data_type": None}, "'data_type' is missing"),
    ],
)
def test_a_bad_row_is_named_and_the_others_are_graded_or_with_strict_none_is(tmp_path, capsys, record, message):
    code, graded = grade(tmp_path, RIGHT, record, WRONG)
    assert code == 1
    assert [row["grade"] and row["grade"]["reward"] for row in graded] == [2, None, 0]
    assert f"answers.jsonl, row 2: {message}" in graded[1]["error"]
    said = capsys.readouterr().err
    assert "2 records graded, mean reward 1.000" in said
    assert "1 of 3 records have no grade" in said
    assert f"answers.jsonl, row 2: {message}" in said
    (tmp_path / "graded.jsonl").unlink()
    assert grade(tmp_path, RIGHT, record, flags=("--strict",)) == (1, None)
    assert f"answers.jsonl, row 2: {message}" in capsys.readouterr().err


def test_lines_that_are_no_json_are_named_and_keep_their_place(tmp_path, capsys):
    lines = ["{", json.dumps(RIGHT), "[1]", json.dumps(RIGHT)]
    (tmp_path / "answers.jsonl").write_text("\n".join(lines) + "\n")
    assert run("grade", "--input", tmp_path / "answers.jsonl", "--output", tmp_path / "out.jsonl") == 1
    graded = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["grade"] is None for row in graded] == [True, False, True, False]
    said = capsys.readouterr().err
    assert "row 1: not JSON" in said
    assert "row 3: expected an object" in said


def test_lenient_reading_names_its_repairs_and_takes_reasoning_and_pixels(tmp_path):
    cat = {"problem_type": "spatial grounding", "data_type": "image", "answer": '{"boxes": [100, 200, 300, 400]}'}
    records = [
        {**RIGHT, "response": "twelve"},
        {**RIGHT, "response": "12", "reasoning_content": "I count."},
        {**cat, "response": '{"bbox_2d": [64, 96, 192, 192]}', "resolution": {"width": 640, "height": 480}},
    ]
    code, graded = grade(tmp_path, *records[:2], flags=("--reading", "lenient"))
    assert code == 0
    assert [(row["reading"], row["grade"]["accuracy"], row["grade"]["format"]) for row in graded] == [
        ("lenient", 1, 0),
        ("lenient", 1, 0),
    ]
    assert "read as 12" in graded[0]["grade"]["problems"]["repair"]
    _, (pixels,) = grade(tmp_path, records[2], flags=("--reading", "lenient", "--coordinates", "pixels"))
    assert pixels["grade"]["accuracy"] == 1
    assert "pixels of a frame of 640 x 480" in pixels["grade"]["problems"]["repair"]
    assert grade(tmp_path, *records[:2])[1][0]["grade"]["accuracy"] == 0
    exact = {**records[2], "response": '<think></think><answer>{"boxes": [64, 96, 192, 192]}</answer>'}
    _, (strict,) = grade(tmp_path, exact, flags=("--coordinates", "pixels"))
    assert (strict["grade"]["accuracy"], strict["grade"]["format"]) == (1, 1)
    without = {name: value for name, value in exact.items() if name != "resolution"}
    assert grade(tmp_path, without, flags=("--coordinates", "pixels"))[0] == 1
    _, (count,) = grade(tmp_path, RIGHT, flags=("--coordinates", "pixels"))  # which has no places
    assert count["grade"]["accuracy"] == 1


def test_a_file_without_records_and_a_missing_file_are_errors(tmp_path, capsys):
    assert grade(tmp_path) == (1, None)
    assert "contains no records" in capsys.readouterr().err
    assert run("grade", "--input", tmp_path / "none", "--output", tmp_path / "out") == 1


def test_an_unknown_profile_is_wrong_usage(tmp_path, capsys):
    assert grade(tmp_path, RIGHT, flags=("--rewards", "mine")) == (2, None)
