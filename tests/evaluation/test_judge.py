"""The judge against a real HTTP server in this process that answers what a test tells it to."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from onethinker.core.errors import CheckpointError, EngineError
from onethinker.core.sample import Sample
from onethinker.evaluation.config import EvaluationConfig
from onethinker.evaluation.metrics import score_tasks
from onethinker.evaluation.results import read_settings
from onethinker.evaluation.runner import open_judge
from onethinker.evaluation.stages import score
from onethinker.inference.scripted import ScriptedEngine
from onethinker.rewards.config import JudgeSettings
from onethinker.rewards.judge import Judge, Question
from onethinker.storage.folders import JUDGE_FILE
from onethinker.tasks.template import PromptTemplate
from tests.evaluation.asking import evaluate

Script = Callable[[dict[str, str]], tuple[int, Any]]


def verdict(score: object, **more: object) -> tuple[int, Any]:
    message = {"role": "assistant", "content": json.dumps({"score": score})}
    return 200, {
        "choices": [{"message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 7},
        **more,
    }


def by_colour(asked: dict[str, str]) -> tuple[int, Any]:
    return verdict(1.0 if "red" in asked["answer"] else 0.25)


@contextmanager
def server(script: Script = by_colour) -> Iterator[tuple[JudgeSettings, list[dict[str, str]]]]:
    asked: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(json.loads(body["messages"][1]["content"]))
            status, reply = script(asked[-1])
            data = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            return None

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{http.server_address[1]}/v1"
        yield JudgeSettings(address=address, model="sage", max_tries=2, first_wait_s=0.01), asked
        http.shutdown()
        thread.join()


RED, BLUE = (
    Question("What colour?", "A red ball.", "It is red."),
    Question("What colour?", "A red ball.", "It is blue."),
)


def test_every_answer_is_judged_once_and_remembered_over_runs(tmp_path):
    with server() as (settings, asked):
        judge = Judge(settings, tmp_path / JUDGE_FILE)
        assert [verdict.score for verdict in judge.score([RED, BLUE, RED])] == [1.0, 0.25, 1.0]
        assert [verdict.score for verdict in judge.score([BLUE])] == [0.25]
        again = Judge(settings, tmp_path / JUDGE_FILE)
        assert [verdict.score for verdict in again.score([BLUE, RED])] == [0.25, 1.0]
    assert len(asked) == 2
    assert judge.cost() == "judge sage: 2 answers judged for 200 tokens read and 14 written, 2 remembered"
    assert again.cost() == "judge sage: 0 answers judged for 0 tokens read and 0 written, 2 remembered"


def test_another_model_or_another_answer_is_another_question(tmp_path):
    with server() as (settings, asked):
        Judge(settings, tmp_path / JUDGE_FILE).score([RED])
        Judge(settings.model_copy(update={"model": "fool"}), tmp_path / JUDGE_FILE).score([RED])
        Judge(settings, tmp_path / JUDGE_FILE).score([Question(RED.question, "A blue ball.", RED.answer)])
    assert len(asked) == 3


def test_a_memory_that_a_kill_cut_short_keeps_all_whole_lines(tmp_path):
    cache = tmp_path / JUDGE_FILE
    with server() as (settings, asked):
        Judge(settings, cache).score([RED])
        Judge(settings, cache).score([BLUE])
        cache.write_bytes(cache.read_bytes()[:-10])
        judge = Judge(settings, cache)
        judge.score([RED, BLUE])
    assert len(asked) == 3
    assert len(cache.read_bytes().splitlines()) == 2
    cache.write_bytes(b'{"key": 1}\n' + cache.read_bytes())
    with pytest.raises(CheckpointError, match=r"judge\.jsonl, line 1"):
        Judge(settings, cache)


@pytest.mark.parametrize(
    "answer",
    [(500, {}), verdict(7), verdict("good"), (200, {"choices": []}), (401, {})],
    ids=["error", "7", "word", "none", "key"],
)
def test_a_judge_that_says_nothing_usable_is_an_error_and_not_remembered(tmp_path, answer, monkeypatch):
    monkeypatch.setattr("onethinker.inference.least_loaded.LEAST_PATIENCE_S", 0.0)
    with server(lambda _: answer) as (settings, _):
        judge = Judge(settings, tmp_path / JUDGE_FILE)
        [said] = judge.score([RED])
        assert isinstance(said, EngineError)
        with pytest.raises(EngineError, match="a test request to judge sage failed"):
            judge.try_out()
    assert not (tmp_path / JUDGE_FILE).exists()


def test_a_judge_that_is_gone_for_a_while_is_waited_for_at_the_start_too_and_that_is_said(tmp_path, caplog):
    replies = iter([(503, {})] * 4)
    with server(lambda asked: next(replies, None) or by_colour(asked)) as (settings, asked):
        judge = Judge(settings, tmp_path / JUDGE_FILE)
        judge.try_out()
        assert f"{settings.address} does not answer: waiting, for up to 10 s" in caplog.text
        replies = iter([(503, {})] * 4)
        patient = Judge(settings.model_copy(update={"patience_s": 60.0}), tmp_path / JUDGE_FILE)
        [said] = patient.score([RED])
    assert said.score == 1.0
    assert len(asked) == 10
    assert f"{settings.address} does not answer (status 503: {{}}): waiting, for up to 60 s" in caplog.text


def test_evaluate_asks_the_judge_as_patiently_as_the_model(tmp_path):
    given = {"asking": {"patience": 7.0, "timeout": 9.0}}
    with server() as (settings, _):
        grading = {"judge": settings.address, "judge_model": "sage"}
        judge = open_judge(EvaluationConfig.model_validate({**given, "grading": grading}), tmp_path)
    assert (judge.settings.patience_s, judge.settings.timeout_s) == (7.0, 9.0)


def test_a_server_that_does_not_count_costs_nothing_that_is_known(tmp_path):
    with server(lambda _: verdict(1, usage=None)) as (settings, _):
        judge = Judge(settings, tmp_path / JUDGE_FILE)
        judge.score([RED])
    assert (judge.asked, judge.prompt_tokens) == (1, 0)


def said(text: str) -> str:
    return f"<think>x</think><answer>{text}</answer>"


SAMPLES = [
    *(Sample(name, name, "open-ended", "image", (), truth="A red ball.") for name in ("right", "wrong", "silent")),
    Sample("number", "number", "numerical", "image", (), truth="4"),
]
TEXTS = {"right": said("It is red."), "wrong": said("It is blue."), "silent": "I do not know.", "number": said("4")}
ENGINE = ScriptedEngine(lambda request: TEXTS[request.text], prompt_template=PromptTemplate(template="{question}"))


def run(judge: Judge, output: Path) -> dict[str, Any]:
    return {result.sample_id: result for result in evaluate(ENGINE, SAMPLES, output=output, judge=judge)}


def test_the_judges_score_is_the_accuracy_of_free_text_and_of_nothing_else(tmp_path):
    with server() as (settings, asked):
        results = run(Judge(settings, tmp_path / JUDGE_FILE), tmp_path / "run")
    grades = {name: result.grade for name, result in results.items()}
    assert {name: grade.accuracy for name, grade in grades.items()} == {
        "right": 1.0,
        "wrong": 0.25,
        "silent": 0.0,
        "number": 1.0,
    }
    assert [grades[name].metrics["judge"] for name in ("right", "wrong", "silent")] == [1.0, 0.25, 0.0]
    assert "0.25 of 1 by judge sage" in grades["wrong"].problems["accuracy"]
    assert "judge" not in grades["number"].metrics
    assert sorted(item["answer"] for item in asked) == ["It is blue.", "It is red."]
    [free, _] = score_tasks(results.values())
    assert free.metrics["judge"].mean == pytest.approx(1.25 / 3)
    assert read_settings(tmp_path / "run")["settings"]["judge"]["model"] == "sage"


def test_a_judge_that_fails_leaves_no_grade_and_the_next_run_asks_again(tmp_path):
    with server(lambda asked: (400, {}) if "blue" in asked["answer"] else verdict(1)) as (settings, _):
        results = run(Judge(settings, tmp_path / JUDGE_FILE), tmp_path / "run")
    assert results["wrong"].grade is None
    assert "judge sage" in results["wrong"].error
    assert results["right"].grade.accuracy == 1
    with server() as (settings, asked):
        healed = run(Judge(settings, tmp_path / JUDGE_FILE), tmp_path / "run")
    assert healed["wrong"].grade.accuracy == 0.25
    assert [item["answer"] for item in asked] == ["It is blue."]


def test_a_judge_may_join_later_and_no_answer_is_asked_for_again(tmp_path):
    before = evaluate(ENGINE, SAMPLES, output=tmp_path / "run")
    with server() as (settings, asked):
        after = score(SAMPLES, output=tmp_path / "run", judge=Judge(settings, tmp_path / JUDGE_FILE))
    assert [result.key for result in after] == [result.key for result in before]
    assert [result.grade.accuracy for result in after] == [1.0, 0.25, 0.0, 1.0]
    assert sorted(item["answer"] for item in asked) == ["It is blue.", "It is red."]
    assert read_settings(tmp_path / "run")["settings"]["judge"]["model"] == "sage"
    with pytest.raises(CheckpointError, match="judge"):
        score(SAMPLES, output=tmp_path / "run")


def test_a_run_with_a_judge_is_not_continued_without_one(tmp_path):
    with server() as (settings, _):
        run(Judge(settings, tmp_path / JUDGE_FILE), tmp_path / "run")
    with pytest.raises(CheckpointError, match="judge"):
        evaluate(ENGINE, SAMPLES, output=tmp_path / "run")
