import json

import pytest

from onethinker.cli import main
from onethinker.data.synthetic import write_dataset

SEGMENTED = (
    '{"boxes": [100, 200, 300, 400], "positive_points": [[150, 250], [200, 300], [250, 350]],'
    ' "negative_points": [[90, 200], [310, 300], [200, 420]]}'
)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("scenes") / "data", num_samples=11)


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return caught.value.code


def test_scenes_have_no_faults_and_fit_a_recipe(scenes, capsys):
    assert run("data", "check", scenes) == 0
    assert run("data", "check", scenes, "--recipe", "tiny_sft", "--json") == 0
    out = capsys.readouterr().out
    assert json.loads(out)["records"] == 11
    assert json.loads(out)["problems"] == []


def test_faults_are_lines_on_stdout_counts_on_stderr_and_the_exit_code_is_1(scenes, tmp_path, capsys):
    first, second, *_ = scenes.read_text().splitlines()
    bad = json.loads(second) | {"problem_id": json.loads(first)["problem_id"], "images": ["gone.png"], "videos": []}
    file = scenes.parent / "bad.jsonl"
    file.write_text(f"{first}\n{json.dumps(bad)}\n")
    assert run("data", "check", file) == 1
    said = capsys.readouterr()
    assert f"{file}, row 2: id: " in said.out
    assert "gone.png" in said.out
    assert "1  id: an id that another record has" in said.err
    assert "faults in 2 records" in said.err


def test_a_single_fault_is_called_one(scenes, capsys):
    file = scenes.parent / "one.jsonl"
    file.write_text("// a comment")
    assert run("data", "check", file) == 1
    assert "error: 1 fault in 1 record\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [("check",), ("stats",), ("view", "--output", "a.html"), ("filter", "--output", "a")]
)
def test_a_file_without_records_and_a_picture_are_errors_of_every_command(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert run("data", command[0], "empty.jsonl", *command[1:]) == 1
    assert "empty.jsonl: contains no records" in capsys.readouterr().err
    assert run("data", command[0], "a.png", *command[1:]) == 1
    assert "a.png: is a PNG picture" in capsys.readouterr().err
    assert run("data", command[0], ".", *command[1:]) == 1
    assert "is a folder; name the file of records in it" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"empty.jsonl", "a.png"}


def test_the_name_of_a_task_is_not_broken_within_a_word_at_80_columns(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    about = {"data_type": "image", "images": ["a.png"], "problem": "<image>Cut it out."}
    file = tmp_path / "masks.jsonl"
    file.write_text(json.dumps({"problem_type": "segmentation", "answer": SEGMENTED, **about}))
    assert run("data", "stats", file, "--no-media") == 0
    assert "segmentation/image " in capsys.readouterr().out


def test_a_record_longer_than_a_row_of_the_recipe_is_a_fault(scenes, capsys):
    record = json.loads(scenes.read_text().splitlines()[0])
    record["response"] = f"<think>{'cat dog ' * 3000}</think>{record['answer']}"
    file = scenes.parent / "long.jsonl"
    file.write_text(json.dumps(record) + "\n")
    assert run("data", "check", file, "--recipe", "tiny_sft") == 1
    assert "too long: " in capsys.readouterr().out


def test_fixed_records_go_to_a_new_file_only(scenes, tmp_path, capsys):
    record = json.loads(scenes.read_text().splitlines()[0])
    record["problemtype"] = record.pop("problem_type")
    file = scenes.parent / "misspelt.jsonl"
    file.write_text(json.dumps(record) + "\n")
    assert run("data", "check", file) == 1
    assert run("data", "check", file, "--fix", tmp_path / "fixed.jsonl") == 0
    assert "'problemtype' is named 'problem_type'" in capsys.readouterr().err
    assert run("data", "check", file, "--fix", tmp_path / "again.jsonl", "--json") == 0
    [change] = json.loads(capsys.readouterr().out)["changes"]
    assert (change["file"], change["row"]) == (str(file), 1)
    assert "'problemtype' is named 'problem_type'" in change["text"]
    assert run("data", "check", file, "--fix", tmp_path / "fixed.jsonl") == 1
    assert "already exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data", "check"], "name at least one file"),
        (["data", "chek", "x"], "did you mean 'check'"),
        (["data", "validate", "x"], "did you mean 'check'"),
        (["data", "check", "nowhere.jsonl"], "nowhere.jsonl"),
        (["data", "check", "nowhere.jsonl", "--recipe", "tiny_sfd"], "tiny_sft"),
        (["data", "check", "nowhere.jsonl", "--shard", "1/2", "--parts", "p"], "nowhere.jsonl: there is no such file"),
        (["data", "check", "x.jsonl", "--workers", "2", "--parts", "p"], "leave it out with --parts"),
    ],
)
def test_wrong_words_are_answered(words, said, capsys):
    assert run(*words) in (1, 2)
    captured = capsys.readouterr()
    assert said in captured.err + captured.out


def test_nothing_is_mended_where_the_flags_do_not_go_together(scenes, tmp_path, capsys):
    file = scenes / "samples.jsonl"
    assert run("data", "check", file, "--fix", tmp_path / "fixed.jsonl", "--shard", "1/2") == 1
    assert "--shard needs --parts FOLDER" in capsys.readouterr().err
    assert not (tmp_path / "fixed.jsonl").exists()
