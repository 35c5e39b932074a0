"""A teacher behaves in forty ways, to each record in its own: each is scored once, and nothing is paid twice."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onethinker.core.request import SamplingParams
from onethinker.data.check import read_rows
from onethinker.data.spreading import blocks_of
from onethinker.evaluation.annotating import Annotator, Rules, write_annotated
from onethinker.evaluation.tries import open_tries
from onethinker.inference.openai import RemoteEngine
from tests.data.test_statistics import record, smooth, write
from tests.inference.scripted_server import Answer, completion, server

RIGHT = "<think>I see three cups.</think><answer>3</answer>"
TIMEOUT_S = 2.0
Behaviour = Callable[[int], Answer]
"""What a server does when it is asked for the first time (0), the second time, …"""


def first(*answers: Answer) -> Behaviour:
    """These answers first, and the right one from then on."""
    return lambda asked: answers[asked] if asked < len(answers) else completion(RIGHT)


def always(answer: Answer) -> Behaviour:
    return lambda asked: answer


def slow(seconds: float, asked_at: int = 0) -> Behaviour:
    def answer(asked: int) -> Answer:
        time.sleep(seconds if asked == asked_at else 0)
        return completion(RIGHT)

    return answer


def without(name: str) -> Answer:
    status, headers, body = completion(RIGHT)
    return status, headers, {key: value for key, value in body.items() if key != name}


def changed(**fields: Any) -> Answer:
    status, headers, body = completion(RIGHT)
    return status, headers, {**body, **fields}


def failed(status: int, **headers: str) -> Answer:
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, {"error": {"message": "no"}}


WHOLE = json.dumps(completion(RIGHT)[2]).encode()
CHUNKED = {"Transfer-Encoding": "chunked", "Content-Length": ""}
TWO_CHOICES = [completion(RIGHT)[2]["choices"][0], completion("<think>No.</think><answer>9</answer>")[2]["choices"][0]]

KEPT: dict[str, tuple[Behaviour, int]] = {
    "right at once": (first(), 1),
    "429": (first(failed(429)), 2),
    "429 and Retry-After 0": (first(failed(429, Retry_After="0")), 2),
    "429 and Retry-After as a date": (first(failed(429, Retry_After="Sun, 29 Nov 2020 10:00:00 GMT")), 2),
    "429 twice": (first(failed(429), failed(429)), 3),
    "500": (first(failed(500)), 2),
    "502": (first((502, {"Content-Type": "text/html"}, b"<html>bad gateway</html>")), 2),
    "503 while it starts": (first(failed(503), failed(503)), 3),
    "504": (first(failed(504)), 2),
    "408 and 425": (first(failed(408), failed(425)), 3),
    "a time-out": (slow(2 * TIMEOUT_S), 2),
    "slow, and in time": (slow(TIMEOUT_S / 4), 1),
    "JSON cut short": (first((200, {}, WHOLE[:40])), 2),
    "a body that breaks off": (first((200, {"Content-Length": "9999"}, WHOLE)), 2),
    "chunks that break off": (first((200, CHUNKED, b"5\r\nabc")), 2),
    "whole chunks": (always((200, CHUNKED, b"%x\r\n%s\r\n0\r\n\r\n" % (len(WHOLE), WHOLE))), 1),
    "a page with status 200": (first((200, {"Content-Type": "text/html"}, b"<html>hello</html>")), 2),
    "an empty body": (first((200, {}, b"")), 2),
    "a list": (first((200, {}, [1])), 2),
    "no choices": (first(changed(choices=[])), 2),
    "no usage": (first(without("usage")), 2),
    "tokens below 0": (first(changed(usage={"prompt_tokens": -1, "completion_tokens": 3})), 2),
    "content null": (first(completion(None)), 2),
    "an answer that has not ended": (first(completion(RIGHT, None)), 2),  # type: ignore[arg-type]
    "two choices, the first counts": (always(changed(choices=TWO_CHOICES)), 1),
    "reasoning in a field of its own": (always(completion("<answer>3</answer>", reasoning="I see three.")), 1),
    "reasoning_content": (always(completion("<answer>3</answer>", reasoning_content="I see three.")), 1),
    "a think block that the template opened": (always(completion(RIGHT.removeprefix("<think>"))), 1),
    "content in pieces": (always(completion([{"type": "text", "text": RIGHT[:9]}, {"text": RIGHT[9:]}])), 1),
    "further fields": (always(changed(id="same for all", service_tier=None)), 1),
    "wrong, then right": (first(completion("<think>Four?</think><answer>4</answer>")), 2),
}
REFUSED: dict[str, tuple[Behaviour, str]] = {
    "always wrong": (always(completion("<think>Four.</think><answer>4</answer>")), "accuracy below 0.7"),
    "an empty text": (always(completion("")), "accuracy below 0.7"),
    "cut off by its length": (always(completion("<think>I see", "length")), "the answer was cut off"),
    "no reasoning": (always(completion("<think></think><answer>3</answer>")), "no reasoning"),
    "no think block": (always(completion("<answer>3</answer>")), "the form of the answer"),
    "500 for ever": (always(failed(500)), "no answer"),
    "400": (always(failed(400)), "no answer"),
    "a redirect": (always((307, {"Location": "/elsewhere"}, b"")), "no answer"),
    "filtered": (always(completion(RIGHT, "content_filter")), "no answer"),
    "broken for ever": (always((200, {}, WHOLE[:40])), "no answer"),
    "Retry-After of an hour": (always(failed(429, Retry_After="3600")), "no answer"),
}
NAMES = sorted({*KEPT, *REFUSED}, key=lambda name: name[::-1])
"""Those that fail for good stand among the others: eight failures in a row end a command."""


class Annotation:
    """What a run left behind, and how often the server was asked about each record."""

    def __init__(self, folder: Path) -> None:
        smooth(0).save(folder / "0.png")
        rows = [record("0.png", "numerical", "3", problem_id=n, problem=f"<image>{n}?") for n in range(len(NAMES))]
        self.data, self.folder = write(folder / "rl.jsonl", rows), folder
        self.asked, self.lock = Counter[str](), threading.Lock()
        with server(self.answer) as (engine, _):
            self.first = self.run(engine.address, "first")
            self.asked_first = self.asked.copy()
            self.second = self.run(engine.address, "second")

    def answer(self, body: dict[str, Any], _: int) -> Answer:
        text = next(part["text"] for part in body["messages"][-1]["content"] if part["type"] == "text")
        name = NAMES[int(text.partition("?")[0])]
        with self.lock:
            count = self.asked[name]
            self.asked[name] += 1
        return (KEPT.get(name) or REFUSED[name])[0](count)

    def run(self, address: str, name: str) -> dict[str, list[str]]:
        """Annotate, and return for each record why it was refused, "" where it was kept, as often as it was written."""
        kept, refused = self.folder / name / "kept.jsonl", self.folder / name / "refused.jsonl"
        engine = RemoteEngine(address, "teacher", max_tries=3, first_wait_s=0.01, timeout_s=TIMEOUT_S)
        with engine, open_tries(engine, self.folder / "answers", SamplingParams(64, 1.0)) as tries:
            work = Annotator(tries, Rules(tries=2), kept.parent, refused.parent)
            write_annotated((work(block) for _, block in blocks_of(read_rows([self.data]))), kept, refused)
        found: dict[str, list[str]] = {name: [] for name in NAMES}
        for path in (kept, refused):
            for own in map(json.loads, path.read_text().splitlines()):
                found[NAMES[own["problem_id"]]].append(own["refused"]["reason"] if "refused" in own else "")
        return found


@pytest.fixture(scope="module")
def annotation(tmp_path_factory) -> Annotation:
    return Annotation(tmp_path_factory.mktemp("servers"))


def test_there_are_forty_behaviours_and_each_record_is_scored_once(annotation) -> None:
    assert len(NAMES) >= 40
    assert {name: len(reasons) for name, reasons in annotation.first.items()} == dict.fromkeys(NAMES, 1)
    lines = [json.loads(line) for line in (annotation.folder / "answers/answers.jsonl").read_text().splitlines()]
    answered = Counter(line["key"] for line in lines if line["error"] is None)
    assert set(answered.values()) == {1}


@pytest.mark.parametrize("name", KEPT)
def test_a_right_answer_is_kept_however_it_came(name, annotation) -> None:
    assert annotation.first[name] == [""]
    assert annotation.asked_first[name] == KEPT[name][1]


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_answer_to_learn_from_has_its_reason(name, annotation) -> None:
    assert annotation.first[name] == [REFUSED[name][1]]


def test_a_second_command_asks_only_what_was_never_answered(annotation) -> None:
    assert annotation.second == annotation.first
    again = {name for name in NAMES if annotation.asked[name] > annotation.asked_first[name]}
    assert again == {name for name, (_, reason) in REFUSED.items() if reason == "no answer"}
