import json

import pytest

from onethinker.cli import main
from onethinker.data.formats.registry import FORMS
from onethinker.data.synthetic import write_dataset


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("scenes") / "data", num_samples=11)


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return caught.value.code


@pytest.mark.parametrize("to", [form.name for form in FORMS if form.write and form.name != "evaluation"])
def test_scenes_of_every_task_go_into_a_form_and_back_without_a_fault(scenes, tmp_path, to, capsys):
    there, back = tmp_path / f"{to}.json", tmp_path / "back.jsonl"
    assert run("data", "convert", scenes, there, "--to", to, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    counts = {"rows": 11, "written": 11, "media": 0}
    assert said == {"output": str(there), **counts, "forms": {"own": 11}, "lost": []}
    assert run("data", "convert", there, back, "--to", "own", "--from", to) == 0
    assert run("data", "check", back) == 0


@pytest.mark.parametrize("to", [form.name for form in FORMS if form.write])
def test_datasets_reads_and_streams_every_form_of_rows(scenes, tmp_path, to):
    datasets = pytest.importorskip("datasets")
    new = tmp_path / "new.jsonl"
    assert run("data", "convert", scenes, new, "--to", to) == 0
    ids = [json.loads(line)["problem_id"] for line in scenes.read_text().splitlines()]
    for streaming in (False, True):
        rows = datasets.load_dataset(
            "json", data_files=str(new), split="train", streaming=streaming, cache_dir=str(tmp_path / "cache")
        )
        assert [row["problem_id"] for row in rows] == ids


def test_a_row_that_would_lose_something_is_a_line_on_stdout_and_the_exit_code_is_1(scenes, tmp_path, capsys):
    record = json.loads(scenes.read_text().splitlines()[0])
    record.pop("response")
    file = scenes.parent / "two.jsonl"
    file.write_text(scenes.read_text().splitlines()[1] + "\n" + json.dumps(record) + "\n")
    output = tmp_path / "sft.json"
    assert run("data", "convert", file, output, "--to", "sft") == 1
    said = capsys.readouterr()
    assert f"{file}, row 2: there is no response, but" in said.out
    assert "1 of 2 rows cannot be converted; nothing was written" in said.err
    assert not output.exists()
    assert run("data", "convert", file, output, "--to", "sft", "--leave-out", "--json") == 1
    assert json.loads(capsys.readouterr().out)["lost"][0]["row"] == 2
    assert len(json.loads(output.read_text())) == 1


@pytest.mark.parametrize("to", ["swift", "sft"])
def test_shards_become_the_bytes_of_one_run_or_nothing(scenes, tmp_path, to, capsys, monkeypatch):
    monkeypatch.setattr("onethinker.data.spreading.AT_ONCE", 2)
    rows = [json.loads(line) for line in scenes.read_text().splitlines()]
    rows[4].pop("response")  # which swift can do without
    file = scenes.parent / f"some-{to}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    alone, joined = tmp_path / "alone.json", tmp_path / "joined.json"
    code = run("data", "convert", file, alone, "--to", to, "--json")
    said = json.loads(capsys.readouterr().out)
    words = ("data", "convert", file, joined, "--to", to, "--json", "--parts", tmp_path / "parts")
    assert [run(*words, "--shard", shard) for shard in ("2/2", "1/2")] == [0, 0]
    capsys.readouterr()
    assert run(*words) == code == (1 if to == "sft" else 0)
    expected = {**said, "output": str(joined) if said["output"] else None}
    assert json.loads(capsys.readouterr().out) == expected
    assert joined.exists() == alone.exists() == (to == "swift")
    if to == "swift":
        assert joined.read_bytes() == alone.read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--to", "coco"), "from a file of rows to a format of rows"),
        (("--to", "own", "--copy-media"), "cannot be combined with --shard"),
        (("--recipe", "data_onethinker"), "leave out --shard"),
    ],
)
def test_what_shards_cannot_do_is_said(scenes, tmp_path, words, said, capsys):
    shard = ("--shard", "1/2", "--parts", tmp_path / "parts")
    assert run("data", "convert", scenes, tmp_path / "o.json", *words, *shard) == 1
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "parts").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--to", "swfit"), "swift"),
        (("--to", "own", "--from", "ms"), "no form 'ms'"),
    ],
)
def test_a_form_that_there_is_not_is_answered_with_the_nearest(scenes, tmp_path, words, said, capsys):
    assert run("data", "convert", scenes, tmp_path / "o.jsonl", *words) in (1, 2)
    assert said in capsys.readouterr().err


def test_a_file_that_is_there_is_not_written_over(scenes, capsys):
    assert run("data", "convert", scenes, scenes, "--to", "own") == 1
    assert "already exists" in capsys.readouterr().err
