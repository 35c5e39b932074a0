"""What people type after `onethinker ask`, and what is asked then."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onethinker.cli import main
from onethinker.commands.asked import Opening, gather, parse_seconds, read_questions, split_words
from onethinker.core.errors import DataError, MediaError
from onethinker.core.sources import MemoryFile, VideoPart
from onethinker.media.writing import write_video

NUMBER = "<think>One, two.</think><answer>2</answer>"


@pytest.fixture
def album(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with three pictures and a text, which is the working folder."""
    for index, name in enumerate(["a.png", "b.jpg", "c d.png"]):
        Image.fromarray(np.full((64, 96, 3), 60 * index, np.uint8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


@pytest.mark.parametrize(
    ("words", "media", "question"),
    [
        (["a.png", "Where is the cat?"], ("a.png",), "Where is the cat?"),
        (["a.png", "b.jpg", "Which is older?"], ("a.png", "b.jpg"), "Which is older?"),
        (["a.png", "c d.png"], ("a.png", "c d.png"), None),
        (["nowhere.png"], ("nowhere.png",), None),
        (["a.png", "What is in b.jpg?"], ("a.png",), "What is in b.jpg?"),
        (["-", "cat"], ("-",), "cat"),
        (["https://host/a.png", "cat"], ("https://host/a.png",), "cat"),
        (["cat"], (), "cat"),
        (["a.png", "why " * 2000], ("a.png",), "why " * 2000),
        ([], (), None),
    ],
)
def test_the_last_word_is_the_question_unless_it_is_a_medium(
    album: Path, words: list[str], media: tuple[str, ...], question: str | None
) -> None:
    assert split_words(words) == (media, question)


def questions_about(*words: str, each: bool = False) -> list[tuple[str, ...]]:
    items = gather(words, [{"question": "What?"}], Opening(), each=each, defaults={})
    return [tuple(str(medium) for medium in item.media) for item in items]


def test_files_are_asked_about_together_folders_and_patterns_one_by_one(album: Path) -> None:
    assert questions_about("a.png", "b.jpg") == [("a.png", "b.jpg")]
    assert questions_about("a.png", "b.jpg", each=True) == [("a.png",), ("b.jpg",)]
    assert questions_about("*.png") == [("a.png",), ("c d.png",)]
    assert questions_about(str(album)) == [(str(album / name),) for name in ("a.png", "b.jpg", "c d.png")]


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("*.mov", "no file matches"),
        ("https://host/a.png", "only with --allow-remote"),
        ("empty", "no picture or video in this folder"),
    ],
)
def test_words_without_media_are_errors(album: Path, word: str, reason: str) -> None:
    (album / "empty").mkdir()
    with pytest.raises(MediaError, match=reason):
        Opening().open(word)


def test_standard_input_is_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"bytes")))
    assert Opening().open("-") == ([MemoryFile(b"bytes", "standard input")], False)


def test_a_part_of_a_video_goes_with_every_file() -> None:
    assert Opening((12.5, None)).open("a.mp4") == ([VideoPart(Path("a.mp4"), 12.5, None)], False)


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("12.5", 12.5), ("30s", 30), ("1:05", 65), ("1:02:03.5", 3723.5)]
)
def test_seconds_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-3", "1:75", "1:2:3:4", "1:-2", "nan:1", "nan", "inf"])
def test_other_times_are_errors(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected seconds|could not convert|invalid literal"):
        parse_seconds(text)


def test_every_wrong_row_of_a_file_of_questions_is_named(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text('{"question": "a?"}\n{"question": 3}\n\nnonsense\n{"question": "b?", "colour": 1}\n')
    with pytest.raises(DataError, match=r"row 2: 'question' must be.*row 4: .*row 5: unknown field 'colour'"):
        read_questions(path)


def test_many_answers_are_a_json_line_each_with_drawings_in_a_folder(album: Path, serve, capsys) -> None:
    address, _ = serve('<think>There.</think><answer>{"boxes": [100, 200, 300, 400]}</answer>')
    task = ("--task", "spatial grounding", "--model", address)
    assert run("ask", "*.png", "Where is it?", *task, "--draw", "drawn") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["media"] for line in lines] == [["a.png"], ["c d.png"]]
    assert all(line["problems"] == [] for line in lines)
    assert sorted(path.name for path in (album / "drawn").iterdir()) == ["0000_a.png", "0001_c d.png"]


def test_a_file_of_questions_is_answered_line_by_line_with_its_ids(album: Path, serve, capsys) -> None:
    address, asked = serve(NUMBER)
    rows = [
        {"id": "q1", "question": "How many cats?", "media": "a.png", "task": "numerical"},
        {"id": "q2", "question": "How many dogs?", "media": ["a.png", "b.jpg"], "task": "numerical"},
    ]
    folder = album / "sub"
    folder.mkdir()
    for name in ("a.png", "b.jpg"):
        (folder / name).write_bytes((album / name).read_bytes())
    (folder / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert run("ask", "--questions", "sub/questions.jsonl", "--model", address) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["id"], line["answer"]) for line in lines] == [("q1", 2), ("q2", 2)]
    assert sorted(len(request["messages"][-1]["content"]) for request in asked) == [2, 3]


def test_a_damaged_file_among_many_is_named_at_once_and_fails_alone(album: Path, serve, capsys) -> None:
    address, _ = serve(NUMBER)
    (album / "d.png").write_text("no picture")
    assert run("ask", "*.png", "How many?", "--task", "numerical", "--model", address) == 1
    said = capsys.readouterr()
    assert said.err.startswith("note: d.png: ")
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert [(line["media"], line["answer"]) for line in lines] == [(["a.png"], 2), (["c d.png"], 2), (["d.png"], None)]
    assert "d.png" in lines[2]["problems"][0]


@pytest.mark.parametrize(
    "words",
    [("d.png", "How many?"), ("d.png", "a.png", "How many?"), ("*.png", "How many?", "--strict-media")],
    ids=["alone", "in one question", "strict"],
)
def test_a_damaged_file_that_leaves_nothing_to_ask_is_refused_before_anything_is_asked(
    album: Path, serve, capsys, words: tuple[str, ...]
) -> None:
    address, asked = serve(NUMBER)
    (album / "d.png").write_text("no picture")
    assert run("ask", *words, "--task", "numerical", "--model", address) == 1
    assert "d.png" in capsys.readouterr().err
    assert not [request for request in asked if request.get("messages")]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("a.png",), "give a question"),
        (("What?",), "has no media"),
        (("a.png", "What?", "--questions", "notes.txt"), "not both"),
        (("a.png", "What?", "--from", "noon"), "--from"),
        (("*.png", "What?", "--draw", "out.png"), "drawn into a folder"),
    ],
    ids=["no question", "no media", "two questions", "time", "one drawing of many"],
)
def test_what_cannot_be_asked_is_said_at_once(
    album: Path, monkeypatch: pytest.MonkeyPatch, capsys, arguments: tuple[str, ...], reason: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert run("ask", *arguments, "--model", "untrained") == 1
    assert reason.replace(" ", "") in "".join(capsys.readouterr().err.split())


class Terminal(io.StringIO):
    """What somebody types, a line after the other."""

    def isatty(self) -> bool:
        return True


def test_questions_typed_one_after_the_other_follow_each_other(album: Path, monkeypatch, serve, capsys) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("How many?\nWhat colour are they?\n\n"))
    address, asked = serve(NUMBER)
    assert run("ask", "a.png", "--model", address) == 0
    assert [message["role"] for message in asked[1]["messages"]] == ["user", "assistant", "user"]
    assert asked[1]["messages"][1]["content"] == "<answer>2</answer>"
    assert "task: numerical, guessed" in capsys.readouterr().err


def test_lines_about_parts_of_videos_name_the_file_and_its_clips(album: Path, serve, capsys) -> None:
    address, _ = serve(NUMBER)
    write_video(album / "c.mp4", np.zeros((30, 48, 64, 3), np.uint8), fps=10)
    rows = [
        {"question": "How many?", "media": "c.mp4", "from": 1, "to": 2},
        {"question": "How many?", "media": "c.mp4", "from": "0:01"},
        {"question": "How many?", "media": "c.mp4"},
    ]
    (album / "questions.jsonl").write_text("\n".join(json.dumps({**row, "task": "numerical"}) for row in rows))
    assert run("ask", "--questions", "questions.jsonl", "--model", address) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {Path(*line["media"]) for line in lines} == {Path("c.mp4")}
    assert [line.get("clips") for line in lines] == [[[1.0, 2.0]], [[1.0, None]], None]
