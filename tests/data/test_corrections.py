"""Corrected answers become records that can be trained on; a wrong correction is named and nothing is written."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onethinker.cli import main
from onethinker.core.sources import VideoPart
from onethinker.data.formats.released import read_samples
from onethinker.data.validate import check_files
from onethinker.media.writing import write_video
from tests.data.test_statistics import BOX, record, smooth, write


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for seed in range(3):
        smooth(seed).save(tmp_path / f"{seed}.png")
    return tmp_path


def corrected(capsys, *words: str | Path) -> dict[str, Any]:
    with pytest.raises(SystemExit, match="0"):
        main(["data", "from-answers", *map(str, words), "--json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def line(medium: str, task: str, answer: str, truth: Any = None, **more: Any) -> dict[str, Any]:
    """A line of `onethinker ask`."""
    text = f"<think>I look.</think><answer>{answer}</answer>"
    return {"media": [medium], "question": "Which?", "task": task, "text": text, "truth": truth, **more}


def test_lines_of_ask_become_records_with_the_right_answers_of_the_model_as_responses(folder, capsys) -> None:
    rows = [
        line("0.png", "numerical", "3", 3, id="right"),
        line("1.png", "spatial grounding", '{"boxes": [1, 1, 2, 2]}', BOX, id="box"),
        line("2.png", "multiple choice", "A", "<answer>B</answer>", options=["A. cat", "B. dog"]),
        line("2.png", "ocr", "STOP"),
        line("0.png", "ocr", "ST0P", "STOP", id="own", response="<think>An O.</think><answer>STOP</answer>"),
    ]
    found = corrected(capsys, write(folder / "answers.jsonl", rows), "--output", folder / "out/new.jsonl")
    assert found == {"rows": 5, "without_truth": 1, "written": 4, "right": 1, "with_response": 2}
    right, box, choice, own = read_samples(folder / "out/new.jsonl")
    assert (right.id, right.truth, right.source) == ("right", "3", "corrected")
    assert right.response == "<think>I look.</think><answer>3</answer>"
    assert json.loads(box.truth) == BOX
    assert box.response is None
    assert (choice.id, choice.truth, choice.options) == ("answers-3", "B", ("A. cat", "B. dog"))
    assert own.response == "<think>An O.</think><answer>STOP</answer>"
    assert check_files([folder / "out/new.jsonl"], need="truth").count == 4


def test_what_ask_writes_needs_only_truths(folder, capsys) -> None:
    (folder / "photos").mkdir()
    smooth(7).save(folder / "photos/a.png")
    smooth(8).save(folder / "photos/b.png")
    with pytest.raises(SystemExit, match="0"):
        main(["ask", "photos", "How many?", "--model", "scripted", "--task", "numerical"])
    said = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    answers = write(
        folder / "answers.jsonl", [{**one, "truth": truth} for one, truth in zip(said, (12, 4), strict=True)]
    )
    assert corrected(capsys, answers, "--output", "new.jsonl", "--answer-only")["with_response"] == 2
    first, second = read_samples(folder / "new.jsonl")
    assert first.media == (folder / "photos/a.png",)
    assert (first.response or "").startswith("<think>This answer is scripted.")
    assert second.response == "<think></think><answer>4</answer>"
    assert check_files([folder / "new.jsonl"], need="response").count == 2


def test_one_answer_of_ask_is_read_and_exported_too(folder, capsys) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["ask", "0.png", "Where is it?", "--model", "scripted", "--task", "spatial grounding", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert said["media"] == ["0.png"]
    answers = write(folder / "elsewhere/answers.jsonl", [{**said, "truth": BOX}])
    assert corrected(capsys, answers, "--output", "new.jsonl")["written"] == 1
    [sample] = read_samples(folder / "new.jsonl")
    assert (sample.media, json.loads(sample.truth)) == ((folder / "0.png",), BOX)
    with pytest.raises(SystemExit, match="0"):
        main(["data", "export", str(answers), "coco.json", "--to", "coco"])
    [image] = json.loads((folder / "coco.json").read_text())["images"]
    assert image["width"] == 96


def test_results_of_an_evaluation_are_joined_with_its_samples(folder, capsys) -> None:
    options = {"options": ["A. cat", "B. dog"]}
    data = write(folder / "val.jsonl", [record("0.png", "multiple choice", "A", problem_id="q1", **options)])
    with pytest.raises(SystemExit, match="0"):
        main(["evaluate", "--model", "scripted", "--data", str(data), "--output", "run"])
    results = folder / "run/results.jsonl"
    [row] = [json.loads(text) for text in results.read_text().splitlines()]
    write(results, [{**row, "truth": "B"}])
    capsys.readouterr()
    assert corrected(capsys, "run", "--data", data, "--output", "new.json")["written"] == 1
    [sample] = read_samples(folder / "new.json")
    assert (sample.id, sample.truth, sample.source, sample.options) == ("q1", "B", "drawn", ("A. cat", "B. dog"))
    assert sample.media == (folder / "0.png",)


def test_the_last_correction_of_an_id_counts(folder, capsys) -> None:
    rows = [line("0.png", "numerical", "3", 4, id="a"), line("0.png", "numerical", "3", 5, id="a")]
    corrected(capsys, write(folder / "answers.jsonl", rows), "--output", "new.jsonl")
    assert [sample.truth for sample in read_samples(folder / "new.jsonl")] == ["5"]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another task's truth": (line("0.png", "numerical", "3", "many"), "'truth' is not an answer to 'numerical'"),
    "pixels": (line("0.png", "spatial grounding", "", {"boxes": [0, 0, 2000, 9]}), "'truth' is not an answer"),
    "media that are gone": (line("9.png", "numerical", "3", "4"), "'media': there is no file"),
    "no media": ({"id": "x", "truth": "4"}, "there is no 'media'"),
    "an unknown task": (line("0.png", "nmerical", "3", "4"), "numerical"),
    "options that are no texts": (line("0.png", "multiple choice", "A", "A", options=[1]), "'options' must be a list"),
}


@pytest.mark.parametrize(("row", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_row_is_named_and_nothing_is_written(row, said, folder, capsys) -> None:
    answers = write(folder / "answers.jsonl", [line("0.png", "numerical", "3", "3"), row])
    with pytest.raises(SystemExit, match="1"):
        main(["data", "from-answers", str(answers), "--output", "new.jsonl"])
    error = capsys.readouterr().err
    assert f"{answers}, row 2: " in error
    assert said in error
    assert not (folder / "new.jsonl").exists()


def test_a_file_without_truths_says_what_to_do(folder, capsys) -> None:
    answers = write(folder / "answers.jsonl", [line("0.png", "numerical", "3")])
    with pytest.raises(SystemExit, match="1"):
        main(["data", "from-answers", str(answers), "--output", "new.jsonl"])
    assert "none of 1 rows has a 'truth'" in capsys.readouterr().err


def test_a_correction_of_a_part_of_a_video_is_about_that_part(folder, capsys) -> None:
    write_video(folder / "c.mp4", np.zeros((30, 48, 64, 3), np.uint8), fps=10)
    row = line("c.mp4", "temporal grounding", '{"time": [0, 1]}', {"time": [0, 1]}, clips=[[1, None]])
    corrected(capsys, write(folder / "answers.jsonl", [row]), "--output", folder / "new.jsonl")
    [sample] = read_samples(folder / "new.jsonl")
    assert sample.media == (VideoPart(folder / "c.mp4", 1.0),)
