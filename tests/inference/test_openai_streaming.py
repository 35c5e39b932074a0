"""Answers that a server streams: pieces that add up to the completion, and streams that go wrong."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from onethinker.core.errors import EngineError
from onethinker.core.request import Request, SamplingParams
from tests.inference.scripted_server import Answer, completion, echo, server


def streamed(*events: Any) -> Answer:
    lines = [event if isinstance(event, bytes) else b"data: " + json.dumps(event).encode() for event in events]
    return 200, {"Content-Type": "text/event-stream; charset=utf-8"}, b"\n\n".join([*lines, b""])


def chunk(finish_reason: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"delta": delta, "finish_reason": finish_reason}]}


USAGE = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
DONE = b"data: [DONE]"


@pytest.mark.parametrize(
    ("answer", "pieces"),
    [
        (
            streamed(chunk(role="assistant", content=""), chunk(content="a "), chunk("stop", content="b"), USAGE, DONE),
            ["a ", "b"],
        ),
        (
            streamed(chunk(reasoning_content="Two"), chunk(reasoning_content="."), chunk("stop", content="2"), USAGE),
            ["<think>Two", ".", "</think>2"],
        ),
        (
            streamed(chunk(reasoning="Two", reasoning_content="Two"), chunk("stop", content="2"), USAGE),
            ["<think>Two", "</think>2"],
        ),
        (streamed(b": a comment", chunk("length", content="禁止"), {**chunk(), **USAGE}, DONE), ["禁止"]),
        (completion("all at once"), ["all at once"]),
    ],
    ids=["content", "reasoning apart", "reasoning twice", "comment and length", "a server that does not stream"],
)
def test_a_streamed_answer_comes_in_pieces_that_add_up_to_the_completion(answer: Answer, pieces: list[str]):
    with server(lambda body, number: answer) as (engine, seen):
        stream, got = engine.stream(Request("?"), SamplingParams()), list[str]()

        def hear() -> Iterator[str]:
            ended.append((yield from stream))

        ended: list[Any] = []
        got.extend(hear())
    assert got == pieces
    assert ended[0].text == "".join(pieces)
    assert (ended[0].prompt_tokens, ended[0].completion_tokens) == (7, 3)
    assert seen.bodies[0]["stream"] is True
    assert seen.bodies[0]["stream_options"] == {"include_usage": True}


def test_an_answer_that_nobody_listens_to_is_not_streamed():
    with server(echo) as (engine, seen):
        engine.complete([Request("?")], SamplingParams())
    assert "stream" not in seen.bodies[0]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (streamed(chunk(content="a"), {"error": {"message": "no memory left"}}), "no memory left"),
        (streamed(chunk(content="a"), b"data: <html>"), "expected an event of a streamed reply, got <html>"),
        (streamed(chunk(content="a"), b"data: 7"), "expected an event of a streamed reply, got 7"),
        (streamed(chunk(content="a"), USAGE), "expected a chat completion that has ended"),
        (streamed(chunk("stop"), USAGE), "expected a message with"),
        (
            (200, {"Content-Type": "text/event-stream", "Content-Length": "9999"}, streamed(chunk(content="a"))[2]),
            "the streamed reply broke off after 1 events",
        ),
    ],
    ids=["error", "no JSON", "no object", "no end", "no text", "cut"],
)
def test_a_stream_that_goes_wrong_is_an_engine_error_and_not_asked_again(answer: Answer, reason: str):
    with server(lambda body, number: answer) as (engine, seen), pytest.raises(EngineError, match=reason):
        list(engine.stream(Request("?"), SamplingParams()))
    assert len(seen.bodies) == 1


def test_a_stream_that_does_not_begin_is_asked_again():
    def busy_once(body: dict[str, Any], number: int) -> Answer:
        return streamed(chunk("stop", content="yes"), USAGE) if number else (503, {}, {"message": "busy"})

    with server(busy_once) as (engine, seen):
        assert list(engine.stream(Request("?"), SamplingParams())) == ["yes"]
    assert len(seen.bodies) == 2
