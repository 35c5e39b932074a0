"""The remote engine against a real HTTP server in this process that answers what a test tells it to."""

import base64
import gc
import io
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onethinker.core.errors import EngineError
from onethinker.core.frames import Clip
from onethinker.core.request import Request, SamplingParams
from onethinker.inference.openai import RemoteEngine
from tests.inference.scripted_server import Answer, completion, echo, picture, server


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


def test_content_in_parts_is_joined():
    parts = [{"type": "text", "text": "ye"}, {"type": "text", "text": "s"}]
    with server(lambda body, number: completion(parts)) as (engine, _):
        assert engine.complete([Request("x")], SamplingParams())[0].text == "yes"


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


def test_nobody_at_the_address_is_an_engine_error():
    with server(echo) as (engine, _):
        address = engine.address
    with pytest.raises(EngineError, match=r"no answer after 2 tries.*Start a server at this address"):
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
    assert (body["max_tokens"], body["temperature"], body["top_p"], body["model"]) == (9, 0.7, 0.9, "untrained")
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
    with server(echo) as (engine, seen), pytest.raises(EngineError, match="one video per request, got 2"):
        engine.complete([Request("x", (video((0.0,), 1.0), video((0.0,), 1.0)))], SamplingParams())
    assert seen.bodies == []


def test_sglang_gets_pictures_without_what_it_has_no_fields_for_and_no_videos():
    def script(body, number):
        return echo(body, number) if body else (200, {}, {"data": [{"id": "mine", "owned_by": "sglang"}]})

    with server(script) as (engine, seen), RemoteEngine.connect(engine.address) as sglang:
        params = SamplingParams(9, 0.7, logprobs=True)
        assert sglang.complete([Request("what?", (picture(),), seed=5)], params)[0].text == "what?"
        with pytest.raises(EngineError, match="SGLang cannot be sent the frames of a video"):
            sglang.complete([Request("when?", (video((0.0,), 1.0),))], params)
    [body] = seen.bodies
    messages = body.pop("messages")
    assert [part["type"] for part in messages[0]["content"]] == ["image_url", "text"]
    assert body == {
        "model": "mine",
        "max_tokens": 9,
        "temperature": 0.7,
        "top_p": 1.0,
        "seed": 5,
        "top_k": -1,
        "repetition_penalty": 1.0,
        "logprobs": True,
        "return_token_ids": True,
    }


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
