"""A mixture has the numbers that were asked for, is the same again from its own settings, and says when it cannot."""

import json
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from onethinker.cli import main
from onethinker.core.errors import DataError
from onethinker.data.mix_settings import Input, MixSettings
from onethinker.data.quotas import share_out
from tests.data.test_statistics import write


def rows(count: int, task: str, kind: str, source: str) -> list[dict[str, Any]]:
    answer = {"ocr": "STOP", "numerical": "3"}[task]
    return [
        {
            "problem_id": f"{source}-{task}-{kind}-{n}",
            "problem": f"<{kind}>What is it, number {n}?",
            f"{kind}s": [f"media/{n}.{'png' if kind == 'image' else 'mp4'}"],
            "data_type": kind,
            "problem_type": task,
            "data_source": source,
            "answer": answer,
        }
        for n in range(count)
    ]


@pytest.fixture
def data(tmp_path) -> tuple[Path, Path]:
    one = [*rows(60, "ocr", "image", "signs"), *rows(20, "numerical", "image", "cups"), {"problem": "no task"}]
    return write(tmp_path / "one.jsonl", one), write(tmp_path / "two.jsonl", rows(20, "ocr", "video", "walks"))


def mix(capsys, *words: str | Path) -> dict[str, Any]:
    with pytest.raises(SystemExit, match="0"):
        main(["data", "mix", *map(str, words), "--json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def counted(path: Path, name: str) -> Counter[str]:
    return Counter(json.loads(line)[name] for line in path.read_text().splitlines())


def test_proportions_are_kept_by_default(data, tmp_path, capsys) -> None:
    found = mix(capsys, *data, "--output", tmp_path / "mixed.jsonl", "--total", "50")
    assert counted(tmp_path / "mixed.jsonl", "data_source") == {"signs": 30, "cups": 10, "walks": 10}
    assert (found["records"], found["unread"]) == (50, 1)
    assert len(counted(tmp_path / "mixed.jsonl", "problem_id")) == 50


CASES: dict[str, tuple[tuple[str, ...], dict[str, int]]] = {
    "balanced": (("--total", "40", "--videos", "0.5"), {"signs": 15, "cups": 5, "walks": 20}),
    "balanced, as many as can be": (("--videos", "0.5"), {"signs": 15, "cups": 5, "walks": 20}),
    "evened out": (("--total", "30", "--temperature", "1e9"), {"signs": 10, "cups": 10, "walks": 10}),
    "weighed": (("--total", "40", "--weight", "source:cups=3"), {"signs": 17, "cups": 17, "walks": 6}),
    "without a source": (("--total", "40", "--weight", "source:signs=0"), {"cups": 20, "walks": 20}),
    "counted": (("--count", "source:signs=7", "source:walks=2"), {"signs": 7, "walks": 2}),
    "counted, the rest by shares": (
        ("--total", "27", "--count", "task:numerical=7"),
        {"cups": 7, "signs": 15, "walks": 5},
    ),
    "all of what falls short": (("--total", "90", "--temperature", "1e9"), {"signs": 50, "cups": 20, "walks": 20}),
    "everything": ((), {"signs": 60, "cups": 20, "walks": 20}),
}


@pytest.mark.parametrize(("words", "numbers"), CASES.values(), ids=CASES)
def test_a_mixture_is(words, numbers, data, tmp_path, capsys) -> None:
    mix(capsys, *data, "--output", tmp_path / "mixed.jsonl", *words)
    assert counted(tmp_path / "mixed.jsonl", "data_source") == numbers


def test_records_are_repeated_only_where_that_is_allowed(data, tmp_path, capsys) -> None:
    words = ("--count", "source:walks=50", "--repeat", "3")
    mix(capsys, *data, "--output", tmp_path / "mixed.jsonl", *words)
    times = Counter(counted(tmp_path / "mixed.jsonl", "problem_id").values())
    assert times == {3: 10, 2: 10}


def test_another_seed_draws_others_and_the_same_the_same(data, tmp_path, capsys) -> None:
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        mix(capsys, *data, "--output", tmp_path / f"{name}.jsonl", "--total", "50", "--seed", seed)
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    assert (tmp_path / "a.jsonl").read_bytes() != (tmp_path / "c.jsonl").read_bytes()


def test_the_saved_settings_make_the_same_bytes_and_notice_another_input(data, tmp_path, capsys) -> None:
    words = ("--total", "40", "--videos", "0.25", "--weight", "source:cups=2", "--seed", "5")
    mix(capsys, *data, "--output", tmp_path / "a.jsonl", *words)
    saved = tmp_path / "a.jsonl.mix.toml"
    found = tomllib.loads(saved.read_text())
    assert [(one["path"], one["records"]) for one in found["inputs"]] == [("one.jsonl", 81), ("two.jsonl", 20)]
    assert found["result"]["groups"]["video / ocr / walks"] == 10
    mix(capsys, "--config", saved, "--output", tmp_path / "b.jsonl")
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    data[1].write_text(data[1].read_text() + "\n")
    with pytest.raises(SystemExit, match="1"):
        main(["data", "mix", "--config", str(saved), "--output", str(tmp_path / "c.jsonl")])
    assert "has changed since it was mixed" in capsys.readouterr().err
    assert not (tmp_path / "c.jsonl").exists()


def test_names_with_quotes_and_line_ends_come_back_from_the_settings(tmp_path) -> None:
    weights = {"source": {'a "b"\n\\ é\x7f': 2.0}}
    settings = MixSettings(inputs=(Input(path=tmp_path / "a b.jsonl"),), weights=weights, videos=0.5)
    settings.save(tmp_path / "mix.toml")
    assert MixSettings.load(tmp_path / "mix.toml") == settings


def test_media_are_found_from_the_new_file(data, tmp_path, capsys) -> None:
    mix(capsys, *data, "--output", tmp_path / "deep/mixed.jsonl", "--total", "5")
    first = json.loads((tmp_path / "deep/mixed.jsonl").read_text().splitlines()[0])
    assert first["images"][0].startswith(f"{tmp_path}/media/")


@pytest.mark.parametrize("total", range(1, 14))
def test_shares_add_up_whatever_the_total(total) -> None:
    available = {("image", name): count for name, count in (("a", 7), ("b", 5), ("c", 1))}
    quotas = share_out(available, MixSettings(inputs=(Input(path="x"),), by=("task",), total=total))
    assert sum(quotas.values()) == total
    assert all(quotas[key] <= count for key, count in available.items())


def test_more_than_there_is_cannot_be_drawn() -> None:
    with pytest.raises(DataError, match=r"total: 14 records are wanted, but there are only 13"):
        share_out({("image", "a"): 13}, MixSettings(inputs=(Input(path="x"),), by=("task",), total=14))


def test_files_of_which_nothing_can_be_read_are_not_mixed(tmp_path, capsys) -> None:
    bad = write(tmp_path / "bad.jsonl", [{"problem": "no task"}])
    with pytest.raises(SystemExit, match="1"):
        main(["data", "mix", str(bad), "--output", str(tmp_path / "mixed.jsonl")])
    assert "contains no records to mix; " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [bad]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--weight", "source:sings=2"), "did you mean 'signs'"),
        (("--weight", "tracking=2"), "--weight takes KIND:NAME=NUMBER"),
        (("--videos", "0.5", "--total", "90"), "questions about videos: 45 records are wanted, but there are only 20"),
        (("--total", "999"), "one.jsonl, row 81: 'problem_type' is missing"),
        (("--videos", "2"), "videos"),
        (("--by", "task", "--count", "source:cups=1"), "which is not in `by`"),
        (("--count", "source:cups=21"), "counts.source: 'cups': 21 records are wanted, but there are only 20"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_mixed_is_said_and_nothing_is_written(words, said, data, tmp_path, capsys) -> None:
    with pytest.raises(SystemExit, match="1"):
        main(["data", "mix", *map(str, data), "--output", str(tmp_path / "mixed.jsonl"), *words])
    assert said in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.jsonl", "two.jsonl"]
