"""The remote engine against a real HTTP server in this process that answers what a test tells it to."""

import base64
import gc
import io
import json
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onethinker.core.errors import EngineError
from onethinker.core.frames import Clip
from onethinker.core.request import Request, SamplingParams
from onethinker.inference.openai import RemoteEngine

Answer = tuple[int, dict[str, str], Any]


@dataclass
class Seen:
    """What the server was asked, and how many requests it worked on at the same time."""

    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    at_s: list[float] = field(default_factory=list)
    now: int = 0
    most: int = 0


def completion(text: Any, finish_reason: str = "stop", **message: Any) -> Answer:
    choice = {"message": {"role": "assistant", "content": text, **message}, "finish_reason": finish_reason}
    return 200, {}, {"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}


def echo(body: dict[str, Any], number: int) -> Answer:
    return completion(body["messages"][-1]["content"][-1]["text"])


@contextmanager
def server(script: Callable[[dict[str, Any], int], Answer]) -> Iterator[tuple[RemoteEngine, Seen]]:
    """Serve `script(body, number of requests before)` and yield an engine for it with short pauses, and what was
    seen.
    """
    seen, lock = Seen(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(*script({}, 0))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(seen.bodies)
                seen.bodies.append(body)
                seen.keys.append(self.headers.get("Authorization"))
                seen.at_s.append(time.monotonic())
                seen.now += 1
                seen.most = max(seen.most, seen.now)
            answer = script(body, number)
            with lock:
                seen.now -= 1
            self.reply(*answer)

        def reply(self, status: int, headers: dict[str, str], body: Any) -> None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                if value:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128

    http = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        address = f"http://127.0.0.1:{http.server_port}/v1"
        with RemoteEngine(address, "tiny", max_tries=3, first_wait_s=0.01) as engine:
            yield engine, seen
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def picture(height: int = 32, width: int = 64) -> Clip:
    frames = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
    return Clip("image", frames, (0.0,), (0,), width, height, 0.0, "picture")


def video(times_s: tuple[float, ...], duration_s: float) -> Clip:
    frames = np.random.default_rng(1).integers(0, 256, (len(times_s), 32, 32, 3), dtype=np.uint8)
    return Clip("video", frames, times_s, tuple(range(len(times_s))), 32, 32, duration_s, "video")


def decoded(base64_png: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(base64_png))))


def test_replies_keep_the_order_of_the_requests_though_later_ones_are_answered_first():
    def slow_first(body: dict[str, Any], number: int) -> Answer:
        time.sleep(0.3 if body["messages"][-1]["content"][-1]["text"] == "0" else 0)
        return echo(body, number)

    with server(slow_first) as (engine, _):
        replies = engine.complete([Request(str(n)) for n in range(20)], SamplingParams())
    assert [reply.text for reply in replies] == [str(n) for n in range(20)]
    assert (replies[0].prompt_tokens, replies[0].completion_tokens, replies[0].finish_reason) == (7, 3, "stop")


def test_many_requests_are_in_flight_at_once_but_never_more_than_the_bound():
    def slow(body: dict[str, Any], number: int) -> Answer:
        time.sleep(0.1)
        return echo(body, number)

    with server(slow) as (engine, seen):
        started = time.monotonic()
        with replace(engine, max_in_flight=8) as bounded:
            bounded.complete([Request(str(n)) for n in range(32)], SamplingParams())
        seconds = time.monotonic() - started
    assert 5 <= seen.most <= 8
    assert seconds < 32 * 0.1


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
        pytest.raises(EngineError, match="pause of 3600 s"),
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


def test_content_in_parts_is_joined():
    parts = [{"type": "text", "text": "ye"}, {"type": "text", "text": "s"}]
    with server(lambda body, number: completion(parts)) as (engine, _):
        assert engine.complete([Request("x")], SamplingParams())[0].text == "yes"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_server_that_sends_us_on_is_named_with_the_place_and_not_followed(status: int):
    with (
        server(lambda body, number: (status, {"Location": "/v1/chat/completions"}, b"")) as (engine, seen),
        pytest.raises(EngineError, match="sends us on to /v1/chat/completions"),
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
        pytest.raises(EngineError, match=r"hangs: 2 times no answer within 0\.2 s"),
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


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (completion("<answer>2</answer>", reasoning_content="Two."), "<think>Two.</think><answer>2</answer>"),
        (completion("<answer>2</answer>", reasoning="Two."), "<think>Two.</think><answer>2</answer>"),
        (completion("\n\n<answer>2</answer>", reasoning="\nTwo.\n"), "<think>\nTwo.\n</think>\n\n<answer>2</answer>"),
        (
            completion("<answer>2</answer>", reasoning="Two.", reasoning_content="Two."),
            "<think>Two.</think><answer>2</answer>",
        ),
        (
            completion("<answer>2</answer>", reasoning=None, reasoning_content="Two."),
            "<think>Two.</think><answer>2</answer>",
        ),
        (completion(None, "length", reasoning_content="Two, or"), "<think>Two, or"),
        (completion("", "length", reasoning="Two, or"), "<think>Two, or"),
        (completion("Two.</think><answer>2</answer>"), "<think>Two.</think><answer>2</answer>"),
        (completion("<think>Two.</think><answer>2</answer>"), "<think>Two.</think><answer>2</answer>"),
        (
            completion("<think>Two.</think><answer>2</answer>", reasoning="Two."),
            "<think>Two.</think><answer>2</answer>",
        ),
        (completion("<answer>2</answer>", reasoning_content=None), "<answer>2</answer>"),
        (
            completion([{"type": "text", "text": "<answer>"}, {"type": "text", "text": "2</answer>"}]),
            "<answer>2</answer>",
        ),
        (completion(""), ""),
    ],
    ids=[
        "reasoning_content",
        "reasoning",
        "white space kept",
        "both once",
        "one of them null",
        "cut while thinking",
        "cut while thinking, empty content",
        "the template opened it",
        "in the content",
        "in the content and apart",
        "null",
        "in parts",
        "nothing said",
    ],
)
def test_the_reasoning_that_a_server_keeps_apart_is_the_think_block_again(answer: Answer, text: str):
    with server(lambda body, number: answer) as (engine, _):
        [reply] = engine.complete([Request("How many?")], SamplingParams())
    assert reply.text == text


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
            "the reply broke off after 1 events",
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


def test_nobody_at_the_address_is_an_engine_error():
    with server(echo) as (engine, _):
        address = engine.address
    with pytest.raises(EngineError, match=r"no answer after 2 tries.*Is the server up"):
        RemoteEngine.connect(address)


def test_an_address_that_is_none_is_an_engine_error():
    with pytest.raises(EngineError, match="not an address"):
        RemoteEngine.connect("http://[::1/v1")


def test_the_model_is_the_first_that_the_server_lists():
    with server(lambda body, number: (200, {}, {"data": [{"id": "OneThinker-8B"}]})) as (engine, _):
        connected = RemoteEngine.connect(engine.address + "/")
    assert connected.model == "OneThinker-8B"
    assert connected.name == f"OneThinker-8B at {engine.address}"


def test_a_server_without_models_is_an_engine_error():
    with (
        server(lambda body, number: (200, {}, {"data": []})) as (engine, _),
        pytest.raises(EngineError, match="expected a list of models"),
    ):
        RemoteEngine.connect(engine.address)


def test_the_key_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ONETHINKER_API_KEY", "s3cret")
    with server(lambda body, number: (403, {}, {})) as (engine, seen), pytest.raises(EngineError) as raised:
        engine.complete([Request("x")], SamplingParams())
    assert seen.keys == ["Bearer s3cret"]
    assert "s3cret" not in repr(engine) + str(raised.value)


def test_sampling_travels_and_equal_requests_get_their_own_seeds():
    with server(echo) as (engine, seen):
        engine.complete(
            [Request("x", system="be brief")] * 3, SamplingParams(max_new_tokens=9, temperature=0.7, top_p=0.9, seed=5)
        )
    assert sorted(body["seed"] for body in seen.bodies) == [5, 6, 7]
    body = seen.bodies[0]
    assert (body["max_tokens"], body["temperature"], body["top_p"], body["model"]) == (9, 0.7, 0.9, "tiny")
    assert body["messages"][0] == {"role": "system", "content": "be brief"}
    assert "media_io_kwargs" not in body
    assert "mm_processor_kwargs" not in body


def test_a_picture_arrives_pixel_for_pixel_before_the_text():
    clip = picture()
    with server(echo) as (engine, seen):
        engine.complete([Request("what?", (clip,))], SamplingParams())
    image, text = seen.bodies[0]["messages"][0]["content"]
    head, _, data = image["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64"
    assert np.array_equal(decoded(data), clip.frames[0])
    assert text == {"type": "text", "text": "what?"}
    assert seen.bodies[0]["mm_processor_kwargs"] == {"do_resize": False}
    assert "media_io_kwargs" not in seen.bodies[0]


def test_a_video_arrives_pixel_for_pixel_with_its_true_times():
    clip = video((0.0, 0.033, 1.5, 199.967), 200.0)
    with server(echo) as (engine, seen):
        engine.complete([Request("when?", (clip,))], SamplingParams())
    url = seen.bodies[0]["messages"][0]["content"][0]["video_url"]["url"]
    head, *frames = url.split(",")
    assert head == "data:video/jpeg;base64"
    assert np.array_equal(np.stack([decoded(frame) for frame in frames]), clip.frames)
    times = seen.bodies[0]["media_io_kwargs"]["video"]
    assert [index / times["fps"] for index in times["frames_indices"]] == [0.0, 0.033, 1.5, 199.967]
    assert (times["total_num_frames"], times["duration"], times["num_frames"], times["do_sample_frames"]) == (
        200_000,
        200.0,
        -1,
        False,
    )


@pytest.mark.parametrize("num_frames", [1, 3])
def test_an_odd_number_of_frames_ends_with_the_last_one_twice(num_frames: int):
    clip = video(tuple(float(n) for n in range(num_frames)), num_frames)
    with server(echo) as (engine, seen):
        engine.complete([Request("x", (clip,))], SamplingParams())
    frames = seen.bodies[0]["messages"][0]["content"][0]["video_url"]["url"].split(",")[1:]
    indices = seen.bodies[0]["media_io_kwargs"]["video"]["frames_indices"]
    assert len(frames) == len(indices) == num_frames + 1
    assert frames[-1] == frames[-2]
    assert indices[-1] == indices[-2] == (num_frames - 1) * 1000


def test_two_videos_in_a_request_are_refused_because_their_times_cannot_both_travel():
    with server(echo) as (engine, seen), pytest.raises(EngineError, match="one video a request, got 2"):
        engine.complete([Request("x", (video((0.0,), 1.0), video((0.0,), 1.0)))], SamplingParams())
    assert seen.bodies == []


def test_it_answers_inside_a_running_event_loop_as_in_a_notebook():
    import asyncio

    async def cell(engine: RemoteEngine) -> str:
        return engine.complete([Request("hello")], SamplingParams())[0].text

    with server(echo) as (engine, _):
        assert asyncio.run(cell(engine)) == "hello"


def test_one_engine_answers_from_several_threads():
    with server(echo) as (engine, _), ThreadPoolExecutor(4) as pool:
        texts = list(pool.map(lambda n: engine.complete([Request(str(n))], SamplingParams())[0].text, range(8)))
    assert texts == [str(n) for n in range(8)]


def test_leaving_at_any_moment_drops_what_is_in_flight_without_a_word(monkeypatch):
    unheard: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda said: unheard.append(str(said.exc_value)))
    rng = random.Random(0)
    with server(echo) as (engine, _):
        named = replace(engine, address=engine.address.replace("127.0.0.1", "localhost"))  # a name takes a look-up more
        for _ in range(80):
            with named:
                in_flight = [named.submit(Request("hi"), SamplingParams()) for _ in range(4)]
                time.sleep(rng.uniform(0, 0.03))
            assert all(future.done() for future in in_flight)
    gc.collect()
    assert not unheard
