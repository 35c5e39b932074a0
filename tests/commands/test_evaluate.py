import json

import pytest

from onethinker.cli import main
from onethinker.data.formats import write_samples
from onethinker.data.sample import Sample


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return left.value.code


def test_evaluate_asks_held_out_scenes_and_report_makes_a_page(tmp_path, capsys):
    arguments = ("evaluate", "--model", "tiny", "--synthetic", 4, "--output", tmp_path / "run", "--max-new-tokens", 4, "--json")
    assert run(*arguments) == 0
    first = capsys.readouterr().out
    scores = json.loads(first)
    assert sum(task["num_samples"] for task in scores["tasks"]) == 4
    assert scores["mean_accuracy"] is not None
    assert run(*arguments) == 0
    assert capsys.readouterr().out == first
    assert run("report", tmp_path / "run", "--output", tmp_path / "page.html") == 0
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")


def test_evaluate_prints_a_table(tmp_path, capsys):
    assert run("evaluate", "--model", "tiny", "--synthetic", 1, "--output", tmp_path / "run", "--max-new-tokens", 4) == 0
    assert "mean accuracy" in capsys.readouterr().out


def test_samples_that_cannot_be_asked_are_named_and_leave_with_1(tmp_path, capsys):
    samples = [Sample("seven", "How many?", "numerical", "image", (tmp_path / "absent.png",), truth="2")]
    write_samples(tmp_path / "samples.jsonl", samples)
    assert run("evaluate", "--model", "tiny", "--data", tmp_path / "samples.jsonl", "--output", tmp_path / "run") == 1
    said = capsys.readouterr().err
    assert "1 of 1 samples" in said
    assert "absent.png" in said


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--model", "tiny"), "--data FILE or --synthetic"),
        (("--model", "tiny", "--synthetic", "0"), "--synthetic must be at least 1"),
        (("--model", "tiny", "--data", "absent.jsonl"), "absent.jsonl"),
        (("--model", "/no/such/model", "--synthetic", "1"), "/no/such/model"),
    ],
    ids=["no samples", "none", "file", "model"],
)
def test_bad_input_leaves_with_1_and_writes_nothing(tmp_path, capsys, arguments, complaint):
    assert run("evaluate", *arguments, "--output", tmp_path / "run") == 1
    assert complaint in capsys.readouterr().err.replace("\n", "")
    assert not (tmp_path / "run").exists()


def test_report_of_nothing_leaves_with_1(tmp_path, capsys):
    assert run("report", tmp_path, "--output", tmp_path / "page.html") == 1
    assert "expected a run" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()
