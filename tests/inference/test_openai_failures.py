"""Servers that fail: what is tried again and for how long, and what is an error at once."""

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from onethinker.core.errors import EngineError
from onethinker.core.request import Request, SamplingParams
from tests.inference.scripted_server import Answer, completion, echo, picture, server


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_failure_that_may_pass_is_tried_again(status: int):
    with server(lambda body, number: echo(body, number) if number == 2 else (status, {}, {"message": "busy"})) as (
        engine,
        seen,
    ):
        assert engine.complete([Request("again")], SamplingParams())[0].text == "again"
    assert len(seen.bodies) == 3


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_in_seconds_is_honoured(status: int):
    with server(lambda body, number: echo(body, number) if number else (status, {"Retry-After": "1"}, {})) as (
        engine,
        seen,
    ):
        engine.complete([Request("later")], SamplingParams())
    assert seen.at_s[1] - seen.at_s[0] >= 1


def test_retry_after_as_a_date_is_honoured():
    def script(body: dict[str, Any], number: int) -> Answer:
        later = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
        return echo(body, number) if number else (503, {"Retry-After": later}, {})

    with server(script) as (engine, seen):
        engine.complete([Request("later")], SamplingParams())
    assert seen.at_s[1] - seen.at_s[0] >= 0.9  # an HTTP date has whole seconds: up to one is cut off


def test_a_pause_longer_than_two_minutes_is_an_error_at_once():
    with (
        server(lambda body, number: (429, {"Retry-After": "3600"}, {})) as (engine, seen),
        pytest.raises(EngineError, match="asks to wait 3600 s"),
    ):
        engine.complete([Request("never")], SamplingParams())
    assert len(seen.bodies) == 1


def test_it_gives_up_with_the_last_reason():
    with (
        server(lambda body, number: (503, {}, {"error": {"message": "no workers"}})) as (engine, seen),
        pytest.raises(EngineError, match=r"no answer after 3 tries.*status 503: no workers"),
    ):
        engine.complete([Request("x")], SamplingParams())
    assert len(seen.bodies) == 3


def usage(**counts: Any) -> Answer:
    status, headers, body = completion("yes")
    return status, headers, {**body, "usage": {**body["usage"], **counts}}


BROKEN: dict[str, Answer] = {
    "gzip in name only": (200, {"Content-Encoding": "gzip"}, completion("yes")[2]),
    "an unknown charset": (200, {"Content-Type": "application/json; charset=hex"}, b"\xff"),
    "another charset": (
        200,
        {"Content-Type": "application/json; charset=utf-8"},
        json.dumps({"a": "é"}).encode("utf-16"),
    ),
    "a page": (200, {"Content-Type": "text/html"}, b"<html>bad gateway</html>"),
    "nothing": (200, {}, b""),
    "JSON 100,000 deep": (200, {}, b"[" * 100_000 + b"]" * 100_000),
    "JSON 3,000 deep": (200, {}, b'{"choices":' + b"[" * 3_000 + b"]" * 3_000 + b"}"),
    "an error 100,000 deep": (500, {}, b'{"error":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "a number of 10,000 digits": (200, {}, b"1" * 10_000),
    "a list": (200, {}, [1]),
    "no choices": (200, {}, {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}),
    "null": completion(None),
    "a reason null": completion("yes", None),
    "usage in words": usage(prompt_tokens="abc"),
    "usage NaN": (200, {}, json.dumps(usage(prompt_tokens=float("nan"))[2]).encode()),
    "usage infinite": (200, {}, json.dumps(usage(prompt_tokens=7)[2]).replace("7", "1e999").encode()),
    "usage below 0": usage(completion_tokens=-1),
    "usage beyond all": usage(completion_tokens=10**30),
    "usage null": (200, {}, {**completion("yes")[2], "usage": None}),
    "a body that breaks off": (200, {"Content-Length": "9999"}, b'{"choices":'),
    "a body that is cut": (200, {"Content-Length": "9"}, completion("yes")[2]),
    "chunks that break off": (200, {"Transfer-Encoding": "chunked", "Content-Length": ""}, b"5\r\nabc"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_reply_is_asked_again(kind: str):
    with server(lambda body, number: BROKEN[kind] if number < 2 else completion("yes")) as (engine, seen):
        assert engine.complete([Request("x")], SamplingParams())[0].text == "yes"
    assert len(seen.bodies) == 3


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_replies_for_ever_are_an_engine_error(kind: str):
    with (
        server(lambda body, number: BROKEN[kind]) as (engine, seen),
        replace(engine, patience_s=60) as patient,
        pytest.raises(EngineError, match="no answer after 3 tries; the last one gave"),
    ):
        patient.complete([Request("x")], SamplingParams())
    assert len(seen.bodies) == 3


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_server_that_sends_us_on_is_named_with_the_place_and_not_followed(status: int):
    with (
        server(lambda body, number: (status, {"Location": "/v1/chat/completions"}, b"")) as (engine, seen),
        pytest.raises(EngineError, match="redirects to /v1/chat/completions"),
    ):
        engine.complete([Request("x")], SamplingParams())
    assert len(seen.bodies) == 1


def test_a_server_that_is_gone_for_a_while_is_waited_for():
    with (
        server(lambda body, number: echo(body, number) if number >= 6 else (503, {}, b"")) as (engine, seen),
        replace(engine, patience_s=60) as patient,
    ):
        assert patient.complete([Request("x")], SamplingParams())[0].text == "x"
    assert len(seen.bodies) == 7


def test_patience_with_a_server_that_stays_gone_ends():
    started = time.monotonic()
    with (
        server(lambda body, number: (503, {}, b"")) as (engine, seen),
        replace(engine, patience_s=0.5) as patient,
        pytest.raises(EngineError, match=r"no answer after [0-9]+ tries in 0\.5 s; the last one gave status 503"),
    ):
        patient.complete([Request("x")], SamplingParams())
    assert 0.5 <= time.monotonic() - started < 20
    assert len(seen.bodies) > 3


def test_a_server_that_hangs_is_asked_twice_whatever_the_patience():
    def hang(body: dict[str, Any], number: int) -> Answer:
        time.sleep(0.6)
        return echo(body, number)

    with (
        server(hang) as (engine, seen),
        replace(engine, timeout_s=0.2, patience_s=60) as hasty,
        pytest.raises(EngineError, match=r"hangs: 2 requests got no answer within 0\.2 s"),
    ):
        hasty.complete([Request("x")], SamplingParams())
    assert len(seen.bodies) == 2


def test_a_slow_answer_times_out_and_is_tried_again():
    def script(body: dict[str, Any], number: int) -> Answer:
        time.sleep(0.5 if number == 0 else 0)
        return echo(body, number)

    with server(script) as (engine, seen), replace(engine, timeout_s=0.2) as hasty:
        assert hasty.complete([Request("x")], SamplingParams())[0].text == "x"
    assert len(seen.bodies) == 2


def test_one_request_that_fails_for_good_ends_the_batch_with_the_servers_words():
    def script(body: dict[str, Any], number: int) -> Answer:
        bad = body["messages"][-1]["content"][-1]["text"] == "3"
        return (400, {}, {"error": {"message": "prompt too long"}}) if bad else echo(body, number)

    with server(script) as (engine, _), pytest.raises(EngineError, match="status 400: prompt too long"):
        engine.complete([Request(str(n)) for n in range(8)], SamplingParams())


def test_a_server_that_refuses_media_settings_is_explained_with_the_flag():
    words = (
        "Per-request mm_processor_kwargs are disabled by default. Start the server with --trust-request-mm-kwargs only"
        " when …"
    )
    with (
        server(lambda body, number: (400, {}, {"error": {"message": words}})) as (engine, _),
        pytest.raises(EngineError, match="Start vLLM with --trust-request-mm-kwargs"),
    ):
        engine.complete([Request("x", (picture(),))], SamplingParams())


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((200, {}, b"<html>"), "expected JSON"),
        ((200, {}, [1]), "expected a JSON object"),
        ((200, {}, {"choices": []}), "expected a chat completion with usage"),
        (
            completion(None),
            "expected a message with 'content', 'reasoning' or 'reasoning_content', got .*'content': None",
        ),
        (completion(None, reasoning_content=""), "expected a message with 'content'"),
        (completion(7), "expected a message with 'content'"),
        (
            (200, {}, {"choices": [{"message": None, "finish_reason": "stop"}], "usage": {}}),
            "expected a chat completion with usage",
        ),
        (completion("x", "content_filter"), "content_filter"),
        ((404, {}, {"message": "no such model"}), "status 404: no such model"),
        ((401, {}, {}), "ONETHINKER_API_KEY"),
    ],
    ids=[
        "html",
        "list",
        "no choices",
        "no text",
        "empty reasoning",
        "a number",
        "no message",
        "filtered",
        "unknown model",
        "no key",
    ],
)
def test_what_is_no_answer_is_an_engine_error_and_never_an_empty_text(answer: Answer, reason: str):
    with server(lambda body, number: answer) as (engine, _), pytest.raises(EngineError, match=reason):
        engine.complete([Request("x")], SamplingParams())
