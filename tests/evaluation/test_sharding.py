"""An evaluation on several servers and in several shards is the evaluation that one server and one run make."""

import httpx
import pytest
from PIL import Image

from onethinker.cli import main
from onethinker.core.sample import Sample
from onethinker.data.formats.released import write_samples
from onethinker.evaluation.results import read_results
from tests.inference.test_fleet import addresses_of, fleet


@pytest.fixture
def data(tmp_path):
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.png")
    samples = [
        Sample(f"q{index}", f"What is written, of {index}?", "ocr", "image", (tmp_path / "a.png",), str(index))
        for index in range(14)
    ]
    write_samples(tmp_path / "samples.jsonl", samples)
    return tmp_path / "samples.jsonl"


def evaluate(data, output, model, *more) -> int:
    given = ["evaluate", "--data", data, "--output", output, "--model", model, "--patience", 5, *more]
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, given)))
    return ended.value.code


def test_shards_join_to_the_bytes_of_one_run_and_nothing_is_asked_twice(tmp_path, data):
    with fleet(0) as [(address, _)]:
        assert evaluate(data, tmp_path / "one", address) == 0
        for shard in ("2/3", "3/3", "1/3"):
            assert evaluate(data, tmp_path / "joined", address, "--stage", "answer", "--shard", shard) == 0
        assert evaluate(data, tmp_path / "joined", address) == 0
        assert httpx.get(f"{address}/models").json()["asked"] == 2 * 14
    results = [(tmp_path / name / "results.jsonl").read_bytes() for name in ("one", "joined")]
    assert results[0] == results[1]
    answers = [sorted((tmp_path / name / "answers.jsonl").read_text().splitlines()) for name in ("one", "joined")]
    assert answers[0] == answers[1]
    assert len(answers[0]) == 14


def test_what_a_shard_did_not_answer_is_asked_by_the_run_that_joins(tmp_path, data):
    with fleet(0) as [(address, _)]:
        assert evaluate(data, tmp_path / "joined", address, "--stage", "answer", "--shard", "1/2") == 0
        assert evaluate(data, tmp_path / "joined", address) == 0
        assert httpx.get(f"{address}/models").json()["asked"] == 14
    assert len(read_results(tmp_path / "joined")) == 14


def test_a_shard_asked_by_other_settings_is_refused(tmp_path, data, capsys):
    with fleet(0) as [(address, _)]:
        for shard, tokens in (("1/2", 64), ("2/2", 65)):
            shard_of = ("--stage", "answer", "--shard", shard, "--max-new-tokens", tokens)
            assert evaluate(data, tmp_path / "joined", address, *shard_of) == 0
        assert evaluate(data, tmp_path / "joined", address, "--stage", "score") == 1
    assert "max_new_tokens" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--shard", "1/2"], "add --stage answer"),
        (["--shard", "3/2", "--stage", "answer"], "--shard takes PART/TOTAL"),
    ],
)
def test_shards_that_cannot_be_are_refused(tmp_path, data, capsys, flags, named):
    assert evaluate(data, tmp_path / "out", "scripted", *flags) == 1
    assert named in capsys.readouterr().err


def test_an_evaluation_whose_server_is_killed_ends_like_one_whose_servers_live(tmp_path, data):
    for name, fatal in (("all live", (0, 0, 0)), ("one dies", (0, 3, 0))):
        with fleet(*fatal) as servers:
            assert evaluate(data, tmp_path / name, addresses_of(servers)) == 0
            assert (servers[1][1].poll() is None) == (name == "all live")
    first, second = ((tmp_path / name / "results.jsonl").read_bytes() for name in ("all live", "one dies"))
    assert first == second
