"""Records that stay are those that were asked for, as they were; what goes has its reason."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from onethinker.cli import main
from onethinker.data import spreading
from onethinker.data.formats.released import read_samples
from onethinker.storage.folders import ROLLOUTS_FOLDER
from tests.data.test_statistics import BOX, record, smooth, write


@pytest.fixture
def data(tmp_path) -> Path:
    for seed in range(3):
        smooth(seed).save(tmp_path / f"{seed}.png")
    smooth(0).save(tmp_path / "like0.jpg", quality=80)
    rows = [
        record("0.png", "numerical", "3", problem_id="a", note="kept as it is"),
        record("1.png", "numerical", "4", problem_id="b", source="counted"),
        record("2.png", "spatial grounding", BOX, problem_id="c", problem="<image>Where is the cup of tea?"),
        record("like0.jpg", "ocr", "STOP", problem_id="d", problem="<image>Read it."),
        record("0.png", "ocr", "STOP", problem_id="e", problem="<image>Read it again."),
        record("gone.png", "ocr", "STOP", problem_id="f", problem="<image>Read what is gone."),
        {"problem": "no task"},
    ]
    return write(tmp_path / "data.jsonl", rows)


def run(capsys, *words: str | Path) -> dict[str, Any]:
    with pytest.raises(SystemExit, match="0"):
        main(["data", "filter", *map(str, words), "--json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


CASES: dict[str, tuple[tuple[str, ...], str, dict[str, int]]] = {
    "by task": (("--task", "OCR"), "def", {"task": 3}),
    "by source": (("--source", "counted"), "b", {"source": 5}),
    "by a least value": (("--at-least", "box_side=100"), "c", {"no box_side": 5}),
    "by a most value": (("--at-most", "question_words=4"), "def", {"question_words above 4": 3}),
    "by faults": (("--faultless",), "abcde", {"fault: media": 1}),
    "by looks": (("--near", "6"), "abcef", {"looks like one before it": 1}),
    "by two at once": (
        ("--task", "ocr", "--at-most", "question_words=2"),
        "d",
        {"task": 3, "question_words above 2": 2},
    ),
}


@pytest.mark.parametrize(("words", "ids", "reasons"), CASES.values(), ids=CASES)
def test_records_stay(words, ids, reasons, data, tmp_path, capsys) -> None:
    found = run(capsys, data, "--output", tmp_path / "kept.jsonl", *words)
    assert [sample.id for sample in read_samples(tmp_path / "kept.jsonl")] == list(ids)
    assert found == {"records": 7, "written": len(ids), "dropped": {**reasons, "cannot be read": 1}}


def test_what_stays_is_written_as_it_was_with_media_that_are_found_from_there(data, tmp_path, capsys) -> None:
    run(capsys, data, "--output", tmp_path / "deep/er/kept.json", "--source", "drawn", "--task", "numerical")
    [kept] = json.loads((tmp_path / "deep/er/kept.json").read_text())
    assert kept["note"] == "kept as it is"
    assert kept["images"] == [str(tmp_path / "0.png")]


def test_each_record_that_goes_is_named_with_its_reason(data, tmp_path, capsys) -> None:
    run(capsys, data, "--output", tmp_path / "kept.jsonl", "--task", "numerical", "--dropped", tmp_path / "gone.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "gone.jsonl").read_text().splitlines()]
    assert lines[0] == {"file": str(data), "row": 3, "id": "c", "reason": "task"}
    assert (lines[-1]["row"], lines[-1]["reason"]) == (7, "cannot be read")
    assert "problem_type" in lines[-1]["error"]


def test_what_a_benchmark_has_goes(data, tmp_path, capsys) -> None:
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench/x.png").write_bytes((tmp_path / "2.png").read_bytes())
    bench = write(
        tmp_path / "bench/bench.jsonl", [record("x.png", "ocr", "STOP", problem="<image>How many cups are there?")]
    )
    found = run(capsys, data, "--output", tmp_path / "kept.jsonl", "--against", bench)
    assert found["dropped"] == {"shared: question": 2, "shared: media": 1, "cannot be read": 1}


def write_rollouts(run: Path, accuracies: dict[str, list[float | None]]) -> Path:
    """The sampled answers of a step: a question by its id, with the accuracy of each answer."""
    groups = [
        {
            "id": name,
            "problem": {"c": "Where is the cup of tea?", "d": "Read it."}.get(name, "How many cups are there?"),
            "answers": [{"reward": None} if value is None else {"reward": 1, "accuracy": value} for value in values],
        }
        for name, values in accuracies.items()
    ]
    (run / ROLLOUTS_FOLDER).mkdir(parents=True)
    lines = "".join(json.dumps(group) + "\n" for group in groups)
    (run / ROLLOUTS_FOLDER / "step-00000001.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    return run


def test_records_stay_by_the_answers_that_a_run_sampled(data, tmp_path, capsys) -> None:
    run_folder = write_rollouts(tmp_path / "run", {"a": [1, 1, 0, None], "b": [1, 1, 1, 1]})
    words = ("--rollouts-of", run_folder, "--pass-rate", "0.1", "0.9")
    found = run(capsys, data, "--output", tmp_path / "kept.jsonl", *words)
    assert [sample.id for sample in read_samples(tmp_path / "kept.jsonl")] == ["a"]
    assert found["dropped"] == {"pass rate above 0.9": 1, "no answers": 4, "cannot be read": 1}


def test_records_stay_by_answers_that_a_model_gives_once_for_all(data, tmp_path, capsys) -> None:
    words = ("--model", "scripted", "--rollouts", "2", "--pass-rate", "0", "1")
    found = run(capsys, data, "--output", tmp_path / "kept.jsonl", *words)
    assert found["dropped"] == {"no answers": 1, "cannot be read": 1}  # the picture of f is gone
    journal = tmp_path / "kept.jsonl.answers/answers.jsonl"
    asked = journal.read_text().splitlines()
    assert len([line for line in asked if not json.loads(line)["error"]]) == 2 * 5
    (tmp_path / "kept.jsonl").unlink()
    assert run(capsys, data, "--output", tmp_path / "kept.jsonl", *words) == found
    again = journal.read_text().splitlines()[len(asked) :]
    assert [line for line in again if not json.loads(line)["error"]] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--task", "trakcing"), "did you mean 'tracking'"),
        (("--at-most", "second=3"), "did you mean"),
        (("--at-least", "seconds"), "--at-least takes measures such as seconds=2, got 'seconds'"),
        (("--at-most", "response_tokens=20"), "needs --model"),
        (("--pass-rate", "0.1", "0.9"), "either --rollouts-of RUN, or --model and --rollouts"),
        (("--pass-rate", "0.9", "0.1", "--rollouts-of", "x"), "the smaller one first"),
        (("--rollouts-of", "x"), "--pass-rate"),
        (("--pass-rate", "0", "1", "--model", "scripted", "--rollouts", "2", "--workers", "2"), "leave out --workers"),
        (("--shard", "1/2"), "--shard needs --parts"),
        (("--pass-rate", "0", "1", "--rollouts-of", "x"), "x: no such folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_meant_is_said_and_nothing_is_written(words, said, data, tmp_path, capsys) -> None:
    with pytest.raises(SystemExit, match="1"):
        main(["data", "filter", str(data), "--output", str(tmp_path / "kept.jsonl"), *words])
    assert said in capsys.readouterr().err
    assert not (tmp_path / "kept.jsonl").exists()


def test_a_file_that_is_there_is_not_written_over(data, capsys) -> None:
    with pytest.raises(SystemExit, match="1"):
        main(["data", "filter", str(data), "--output", str(data)])
    assert "already exists" in capsys.readouterr().err


def test_shards_and_processes_keep_what_one_run_keeps(data, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(spreading, "AT_ONCE", 1)  # seven records are seven blocks
    monkeypatch.chdir(tmp_path)
    write_rollouts(Path("run"), {name: [1, 0] for name in "acdf"} | {"b": [1, 1]})
    write(Path("bench.jsonl"), [record("x.png", "ocr", "STOP", problem="<image>Read what is gone.")])
    conditions = ("--near", "6", "--faultless", "--against", "bench.jsonl", "--rollouts-of", "run")
    words = ("data.jsonl", *conditions, "--pass-rate", "0.1", "0.9", "--dropped")
    alone = run(capsys, *words, "alone.txt", "--output", "alone.jsonl", "--workers", "1")
    two = run(capsys, *words, "two.txt", "--output", "two.jsonl", "--workers", "2")
    parts = ("--output", "joined.jsonl", "--parts", "parts")
    written = [run(capsys, *words, "none.txt", *parts, "--shard", shard)["part"] for shard in ("2/3", "3/3", "1/3")]
    assert written == [f"parts/{index}-of-3.jsonl" for index in (2, 3, 1)]
    assert alone == two == run(capsys, *words, "joined.txt", *parts)
    reasons = ("cannot be read", "fault: media", "looks like one before it", "no answers", "pass rate above 0.9")
    assert alone["dropped"] == dict.fromkeys(reasons, 1)
    for suffix in ("txt", "jsonl"):
        assert len({Path(f"{name}.{suffix}").read_bytes() for name in ("alone", "two", "joined")}) == 1
    assert not Path("none.txt").exists()


def test_shards_share_the_questions_for_a_model(data, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(spreading, "AT_ONCE", 2)
    words = ("--model", "scripted", "--rollouts", "2", "--pass-rate", "0", "1", "--output", tmp_path / "kept.jsonl")
    parts = ("--parts", tmp_path / "parts")
    for shard in ("1/2", "2/2"):
        run(capsys, data, *words, *parts, "--shard", shard)
    assert run(capsys, data, *words, *parts)["dropped"] == {"no answers": 1, "cannot be read": 1}
    journals = sorted(path.parent.name for path in tmp_path.glob("*/answers.jsonl"))
    assert journals == ["kept.jsonl.1-of-2.answers", "kept.jsonl.2-of-2.answers"]  # joining asks nothing
