"""How work ends that was not to end so: clients that leave, decoders that crash, a server that is told to stop."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection

import httpx
import pytest

from onethinker.inference.openai import RemoteEngine
from onethinker.serving.web import bind
from tests.serving.served import Patient, data_url, events, png, serving

BODY = {"question": "How many balls?", "media": [data_url(png())]}
CLIENT = {"trust_env": False, "timeout": 60}
WITHIN_S = 5.0  # five times what is promised: other tests share the cores


def leave(served, engine, body) -> None:
    """Ask, and hang up once the engine works on it."""
    connection = HTTPConnection(served.address.removeprefix("http://"))
    connection.request("POST", "/v1/ask", json.dumps(body), {"Content-Type": "application/json"})
    assert engine.began.wait(60)
    connection.close()


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_a_client_that_leaves_stops_the_work_soon_and_frees_its_place(tmp_path, stream):
    engine = Patient()
    with serving(engine, tmp_path / "uploads") as served:
        leave(served, engine, {**BODY, "stream": stream})
        assert engine.gave_up.wait(WITHIN_S)
        deadline = time.monotonic() + WITHIN_S
        while served.answering.slots and time.monotonic() < deadline:
            time.sleep(0.02)
        assert served.answering.slots == set()
        assert served.uploads() == []


def test_a_client_that_leaves_also_stops_the_server_behind_ours(tmp_path):
    engine = Patient()
    with (
        serving(engine, tmp_path / "behind") as behind,
        serving(RemoteEngine.connect(f"{behind.address}/v1"), tmp_path / "front") as front,
    ):
        leave(front, engine, {**BODY, "stream": True})
        assert engine.gave_up.wait(WITHIN_S)


def test_a_crash_of_the_decoder_is_an_error_of_its_request_twenty_times_of_twenty(client, served):
    pool = served.answering.decoders._pool
    with ThreadPoolExecutor(1) as other:
        for _ in range(20):
            pool.warm_up()
            idle, pids = len(pool._idle), pool.pids
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            asked = other.submit(client.post, "/v1/ask", files={"media": png()}, data={"question": "How many?"})
            while len(pool._idle) == idle:
                time.sleep(0.01)
            time.sleep(0.05)  # the question is with a process that cannot answer any more
            for pid in pids:
                os.kill(pid, signal.SIGSEGV)
                os.kill(pid, signal.SIGCONT)
            assert asked.result().status_code == 422
            assert "decoded" in asked.result().json()["error"]["message"]
            assert client.get("/health").status_code == 200
    assert client.post("/v1/ask", files={"media": png()}, data={"question": "How many?"}).status_code == 200
    assert served.uploads() == []


@contextmanager
def command(tmp_path, *options: str):
    """`onethinker serve` as a process that listens, and its address."""
    words = [sys.executable, "-m", "onethinker", "serve", "--port", "0", *options]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "TRANSFORMERS_VERBOSITY": "error"}
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            address = next(line.split()[-1] for line in process.stderr if "listens on" in line)
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                try:
                    assert httpx.get(f"{address}/health", **CLIENT).json()["status"] == "ok"
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
            yield process, address
        finally:
            process.kill()


def test_sigterm_ends_the_command_with_zero_and_leaves_nothing(tmp_path):
    with command(tmp_path, "--model", "scripted") as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert list(tmp_path.iterdir()) == []


def test_sigterm_lets_what_is_in_flight_end_and_takes_nothing_new(tmp_path):
    with (
        command(tmp_path, "--model", "untrained") as (process, address),
        httpx.Client(base_url=address, **CLIENT) as client,
    ):
        began, texts = threading.Event(), []

        def listen() -> None:
            body = {**BODY, "stream": True, "max_new_tokens": 60}
            with client.stream("POST", "/v1/ask", json=body) as reply:
                for text in reply.iter_text():
                    texts.append(text)
                    if "event: " in text:
                        began.set()

        asking = threading.Thread(target=listen)
        asking.start()
        assert began.wait(60)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert process.poll() is None
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{address}/health", **CLIENT)
        asking.join(60)
        name, reply = events("".join(texts))[-1]
        assert name == "done"
        assert json.loads(reply)["usage"]["completion_tokens"] > 0
        assert process.wait(30) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_reply_is_sent_at_once_and_not_after_the_acknowledgement_of_its_head():
    with bind("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
