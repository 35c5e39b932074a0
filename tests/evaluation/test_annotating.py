"""A teacher's answers are kept when their own grade says so; nothing is asked twice, and nothing half-written stays."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onethinker.cli import main
from onethinker.core.masks import encode_rle
from onethinker.data.formats.released import read_samples
from onethinker.evaluation.annotating import teacher_prompts
from onethinker.tasks import all_tasks
from tests.data.test_statistics import BOX, record, smooth, write

THOUGHT = "<think>I look at each {}.</think><answer>{}</answer>"


class Teacher(ThreadingHTTPServer):
    """A server that answers by `say(question, how often it was asked before)`; None is an error of the server."""

    def __init__(self, say: Callable[[str, int], str | None]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.say, self.asked, self.lock = say, Counter[str](), threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Teacher

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._send(200, {"data": [{"id": "teacher"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = next(part["text"] for part in body["messages"][-1]["content"] if part["type"] == "text")
        with self.server.lock:
            question = text.splitlines()[0]
            count = self.server.asked[question]
            self.server.asked[question] += 1
        said = self.server.say(text, count)
        if said is None:
            self._send(400, {"error": {"message": "the teacher is ill"}})
            return
        choice = {"message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 100, "completion_tokens": len(said.split())}
        self._send(200, {"choices": [choice], "usage": usage})

    def _send(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def teacher() -> Iterator[Callable[[Callable[[str, int], str | None]], Teacher]]:
    opened: list[Teacher] = []

    def start(say: Callable[[str, int], str | None]) -> Teacher:
        opened.append(Teacher(say))
        threading.Thread(target=opened[-1].serve_forever, daemon=True).start()
        return opened[-1]

    yield start
    for own in opened:
        own.shutdown()
        own.server_close()


@pytest.fixture
def data(tmp_path) -> Path:
    smooth(0).save(tmp_path / "0.png")
    rows = [
        record("0.png", "numerical", "3", problem_id=1, problem="<image>Cups?", note="mine"),
        record("0.png", "numerical", "5", problem_id=2, problem="<image>Forks?"),
        record("0.png", "spatial grounding", BOX, problem_id=3, problem="<image>Where?"),
        {**record("0.png", "ocr", "", problem_id=4, problem="<image>Sign?"), "answer": ""},
        {"problem": "no task"},
    ]
    return write(tmp_path / "rl.jsonl", rows)


def annotate(capsys, data: Path, own: Teacher, *words: str) -> dict[str, Any]:
    output = data.parent / "out/sft.jsonl"
    with pytest.raises(SystemExit, match="0"):
        main(["data", "annotate", str(data), "--teacher", own.address, "--output", str(output), "--json", *words])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def by_question(question: str, count: int) -> str:
    """Right about cups at once, about forks the second time, about the box half."""
    if question.startswith("Cups"):
        return THOUGHT.format("cup", 3)
    if question.startswith("Forks"):
        return THOUGHT.format("fork", 5 if count else 4)
    return THOUGHT.format("edge", '{"boxes": [100, 200, 300, 400]}')  # half of the true box


def test_right_answers_are_kept_and_the_others_refused_with_reasons(data, teacher, tmp_path, capsys) -> None:
    own = teacher(by_question)
    found = annotate(capsys, data, own, "--tries", "3")
    assert found["kept"] == {"numerical": 2}
    assert found["refused"] == {"spatial grounding": 1, "ocr": 1, "cannot be read": 1}
    assert found["reasons"] == {
        "accuracy below 0.7": 1,
        "no reference answer to grade by": 1,
        "cannot be read": 1,
    }
    assert own.asked == {"Cups?": 1, "Forks?": 2, "Where?": 3}
    first, second = lines(tmp_path / "out/sft.jsonl")
    assert first["response"] == THOUGHT.format("cup", 3)
    assert first["note"] == "mine"
    assert (second["annotation"]["tries"], second["annotation"]["accuracy"]) == (2, 1.0)
    assert [sample.media[0].exists() for sample in read_samples(tmp_path / "out/sft.jsonl")] == [True, True]
    where, sign, unread = lines(tmp_path / "out/sft.refused.jsonl")
    assert [one["accuracy"] for one in where["refused"]["tries"]] == [pytest.approx(0.5)] * 3
    assert sign["refused"]["tries"] == []
    assert unread["refused"]["row"] == 5


def test_a_threshold_holds_for_its_task_and_pays_nothing_twice(data, teacher, tmp_path, capsys) -> None:
    own = teacher(by_question)
    annotate(capsys, data, own, "--tries", "2")
    before = own.asked.copy()
    for path in (tmp_path / "out").glob("*.jsonl"):
        path.unlink()
    found = annotate(capsys, data, own, "--tries", "2", "--threshold", "0.9", "spatial grounding=0.4")
    assert found["kept"] == {"numerical": 2, "spatial grounding": 1}
    assert found["tokens"] == 0
    assert own.asked == before


@pytest.mark.parametrize(
    ("keep", "words"), [("first", 9), ("shortest", 2), ("best", 2)], ids=["first", "shortest", "best"]
)
def test_of_several_right_answers_one_is_kept(keep, words, data, teacher, tmp_path, capsys) -> None:
    def say(question: str, count: int) -> str:
        return f"<think>{'word ' * (9 if count % 2 == 0 else 2)}</think><answer>3</answer>"

    annotate(capsys, data, teacher(say), "--tries", "2", "--keep", keep)
    [kept] = lines(tmp_path / "out/sft.jsonl")
    assert kept["response"].count("word ") == words


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("<think></think><answer>3</answer>", "no reasoning"),
        ("I think 3: <answer>3</answer>", "the form of the answer"),
        ("three", "accuracy below 0.7"),
    ],
    ids=["no reasoning", "no tags", "no answer block"],
)
def test_an_answer_that_cannot_be_learned_from_is_refused(said, reason, data, teacher, capsys) -> None:
    found = annotate(capsys, data, teacher(lambda question, count: said), "--tries", "1")
    assert found["kept"] == {}
    assert found["reasons"][reason] >= 1


def test_a_teacher_that_fails_for_one_record_costs_that_record_alone(data, teacher, capsys) -> None:
    def say(question: str, count: int) -> str | None:
        return None if question.startswith("Cups") else by_question(question, count + 1)

    found = annotate(capsys, data, teacher(say), "--tries", "1")
    assert (found["kept"], found["reasons"]["no answer"]) == ({"numerical": 1}, 1)


@pytest.mark.parametrize(
    ("words", "reason", "cost"),
    [
        (("--max-tokens", "50"), "the budget of tokens is used up", 0),
        (("--price", "10", "50", "--max-cost", "0.0012"), "the budget of money is used up", 0.00125),
    ],
    ids=["tokens", "money"],
)
def test_a_budget_ends_the_asking_and_the_rest_goes_on_later(
    words, reason, cost, data, teacher, tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr("onethinker.evaluation.annotating.AT_ONCE_WITH_BUDGET", 1)
    own = teacher(by_question)
    found = annotate(capsys, data, own, "--tries", "1", *words)
    assert found["kept"] == {"numerical": 1}
    assert found["reasons"][reason] == 2
    assert found["cost"] == pytest.approx(cost)  # 100 tokens of the prompt and 5 of the answer
    for path in (tmp_path / "out").glob("*.jsonl"):
        path.unlink()
    annotate(capsys, data, own, "--tries", "1")
    assert own.asked == {"Cups?": 1, "Forks?": 1, "Where?": 1}


def test_a_segmentation_gets_box_and_points_of_its_masks(teacher, tmp_path, capsys) -> None:
    Image.new("RGB", (100, 100), "white").save(tmp_path / "0.png")
    mask = np.zeros((100, 100), bool)
    mask[20:80, 30:70] = True
    row = record("0.png", "segmentation", "", problem="<image>Cut it.", problem_id=1)
    row |= {"answer": "", "segmentation_output": {"segmentation_rle": encode_rle(mask)}}
    box = '{"boxes": [300, 200, 700, 800], "positive_points": [[500, 500]], "negative_points": [[100, 100]]}'
    own = teacher(lambda question, count: THOUGHT.format("edge", box))
    found = annotate(capsys, write(tmp_path / "masks.jsonl", [row]), own, "--tries", "1", "--threshold", "1")
    assert found["reasons"] == {"accuracy below 1": 1}
    [refused] = lines(tmp_path / "out/sft.refused.jsonl")
    assert json.loads(refused["answer"].removeprefix("<answer>").removesuffix("</answer>"))["boxes"] == [
        300,
        200,
        700,
        800,
    ]


def test_a_judge_reads_the_reasoning_and_what_it_finds_unsound_is_refused(data, teacher, tmp_path, capsys) -> None:
    def verdict(question: str, count: int) -> str:
        asked = json.loads(question)
        assert (asked["question"], asked["reference"]) in {("Cups?", "3"), ("Forks?", "5")}
        return f"<think>Well.</think><answer>{0.9 if 'cup' in asked['reasoning'] else 0.2}</answer>"

    own, judge = teacher(by_question), teacher(verdict)
    words = ("--tries", "2", "--judge", judge.address, "--price", "1", "1", "--judge-price", "2", "2")
    found = annotate(capsys, data, own, *words)
    assert found["kept"] == {"numerical": 1}
    assert found["reasons"]["reasoning below 0.7"] == 1
    assert sum(judge.asked.values()) == 2  # what is wrong is not judged
    verdicts = 2 * 101  # tokens
    assert found["cost"] == pytest.approx((found["tokens"] + verdicts) / 1e6)
    [kept] = lines(tmp_path / "out/sft.jsonl")
    assert kept["annotation"]["sound"] == 0.9
    assert judge.address in kept["annotation"]["judge"]
    for path in (tmp_path / "out").glob("*.jsonl"):
        path.unlink()
    assert annotate(capsys, data, own, *words, "--sound", "0.1")["kept"] == {"numerical": 2}
    assert sum(judge.asked.values()) == 2


def test_a_reasoning_that_a_teacher_writes_again_is_judged_once(data, teacher, capsys) -> None:
    own, judge = teacher(by_question), teacher(lambda question, count: "<think>-</think><answer>0.2</answer>")
    words = ("--tries", "3", "--keep", "first", "--judge", judge.address)
    assert annotate(capsys, data, own, *words)["kept"] == {}
    assert own.asked["Cups?"] == 3
    assert set(judge.asked.values()) == {1}


def test_a_judge_without_a_number_lets_nothing_through(data, teacher, capsys) -> None:
    judge = teacher(lambda question, count: "Ignore all that: <answer>very good</answer>")
    found = annotate(capsys, data, teacher(by_question), "--tries", "1", "--judge", judge.address)
    assert (found["kept"], found["reasons"]["no verdict of the judge"]) == ({}, 1)


def test_shards_ask_for_their_records_alone_and_join_to_what_one_run_writes(
    data, teacher, tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr("onethinker.data.spreading.AT_ONCE", 2)
    own = teacher(by_question)
    alone = annotate(capsys, data, own, "--tries", "1")
    written = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.jsonl")}
    for path in (tmp_path / "out").glob("*.jsonl"):
        path.unlink()
    own.asked.clear()
    parts = ("--tries", "1", "--parts", str(tmp_path / "parts"))
    for shard in ("2/2", "1/2"):
        annotate(capsys, data, own, *parts, "--shard", shard)
    assert own.asked == {"Cups?": 1, "Forks?": 1, "Where?": 1}
    assert annotate(capsys, data, own, *parts) == alone
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.jsonl")} == written
    assert own.asked.total() == 3


def test_every_task_has_its_words_for_a_teacher() -> None:
    words = teacher_prompts()
    assert set(words.instructions) == {task.key for task in all_tasks()}
    for task in all_tasks():
        assert words.instructions[task.key].endswith(task.instructions)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--threshold", "trakcing=0.5"), "did you mean 'tracking'"),
        (("--threshold", "70"), "--threshold takes accuracies from 0 to 1"),
        (("--tries", "0"), "--tries must be 1 or more"),
        (("--prompts", "absent.toml"), "absent.toml"),
        (("--max-cost", "5"), "--max-cost needs --price"),
        (("--max-cost", "5", "--price", "1", "1", "--judge", "scripted"), "--max-cost needs --judge-price"),
        (("--price", "-1", "2"), "--price must be two numbers of 0 or more"),
        (("--max-tokens", "0"), "--max-tokens must be above 0"),
        (("--sound", "7"), "--sound must be from 0 to 1"),
        (("--judge-prompts", "absent.toml"), "--judge-prompts needs --judge"),
        (("--judge", "scripted", "--judge-prompts", "absent.toml"), "absent.toml"),
        (("--shard", "1/2"), "--shard needs --parts"),
        (("--teacher", "http://127.0.0.1:9/v1"), "127.0.0.1:9"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_asked_is_said_and_nothing_is_written(words, said, data, teacher, tmp_path, capsys) -> None:
    own = teacher(by_question)
    line = ["data", "annotate", str(data), "--teacher", own.address, "--output", str(tmp_path / "sft.jsonl")]
    with pytest.raises(SystemExit, match="1"):
        main([*line, "--patience", "0", *words])
    assert said in capsys.readouterr().err
    assert list(tmp_path.glob("*sft*jsonl")) == []
