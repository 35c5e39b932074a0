"""Several servers are asked as one: what one that is killed was working on is answered by the others."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from onethinker.core.errors import ConfigError, EngineError
from onethinker.core.request import Request, SamplingParams
from onethinker.inference.endpoint import GoneError
from onethinker.inference.fleet import FleetEngine
from onethinker.inference.least_loaded import connect_any
from onethinker.inference.loading import load_engine
from onethinker.inference.openai import RemoteEngine
from tests.inference.scripted_server import echo, server

QUESTIONS = [Request(f"question {index}") for index in range(60)]


@contextmanager
def fleet(*fatal: int, kind: str = "chat") -> Iterator[list[tuple[str, subprocess.Popen]]]:
    """Addresses and processes of servers, each gone at its request of the number given, 0 never."""
    script = Path(__file__).with_name("dying_server.py")
    started = [
        subprocess.Popen([sys.executable, "-I", script, str(each), kind], stdout=subprocess.PIPE, text=True)
        for each in fatal
    ]
    try:
        yield [(f"http://127.0.0.1:{int(process.stdout.readline())}/v1", process) for process in started]
    finally:
        for process in started:
            process.kill()
            process.communicate()


def addresses_of(servers) -> str:
    return ",".join(address for address, _ in servers)


def test_a_server_that_is_killed_among_three_loses_nothing():
    with fleet(0) as [(alone, _)], RemoteEngine(alone, "said-model") as engine:
        expected = [each.text for each in engine.complete(QUESTIONS, SamplingParams())]
    with fleet(0, 7, 0) as servers, load_engine(addresses_of(servers)) as engine:
        assert engine.name == "said-model on several servers"
        assert engine.max_in_flight == 3 * 32
        assert [each.text for each in engine.complete(QUESTIONS, SamplingParams())] == expected
        assert servers[1][1].wait() == 9, "it was killed while it worked"
        counts = [httpx.get(f"{servers[index][0]}/models").json()["asked"] for index in (0, 2)]
    assert sum(counts) >= len(QUESTIONS) - 6
    assert min(counts) >= 20, "the others share its work"


def test_requests_go_to_the_server_with_the_fewest():
    def slow(body, number):
        time.sleep(0.5)
        return echo(body, number)

    with server(slow) as (first, seen_first), server(echo) as (second, seen_second):
        engine = FleetEngine([first, second])
        try:
            for number in range(4):
                engine.submit(Request(f"slow or quick {number}"), SamplingParams())
            engine.complete([Request("which?")], SamplingParams())
        finally:
            engine.close()
    assert len(seen_first.bodies) <= 3
    assert len(seen_second.bodies) >= 2


def test_what_a_server_refuses_is_not_asked_elsewhere():
    refuses = lambda body, number: (400, {}, {"error": {"message": "too long"}})  # noqa: E731
    with server(refuses) as (first, _), server(echo) as (second, seen):
        engine = FleetEngine([first, second])
        try:
            with pytest.raises(EngineError, match="too long"):
                engine.complete([Request("?")], SamplingParams())
        finally:
            engine.close()
    assert seen.bodies == []


def test_all_gone_is_an_error_that_says_so():
    said = r"none of 2 servers answers; the last error: .*no answer after 2 tries"
    with (
        fleet(1, 1) as servers,
        load_engine(addresses_of(servers)) as engine,
        pytest.raises(EngineError, match=said),
    ):
        engine.complete([Request("?")], SamplingParams())


def test_servers_of_different_models_and_addresses_given_twice_are_refused():
    with (
        server(lambda *_: (200, {}, {"data": [{"id": "other"}]})) as (other, _),
        fleet(0) as servers,
        pytest.raises(EngineError, match="these serve other, said-model"),
    ):
        load_engine(f"{addresses_of(servers)},{other.address}")
    with pytest.raises(ConfigError, match="listed more than once"):
        load_engine("http://h:1/v1,http://h:1/v1")


def test_a_server_that_comes_back_is_asked_again(monkeypatch):
    monkeypatch.setattr("onethinker.inference.least_loaded.REST_S", 0.05)
    script = lambda body, number: (503, {}, {}) if number < 3 else echo(body, number)  # noqa: E731
    with server(script) as (first, seen):
        engine = FleetEngine([first], patience_s=30)
        try:
            assert engine.complete([Request("back?")], SamplingParams())[0].text == "back?"
        finally:
            engine.close()
    assert len(seen.bodies) == 4


def test_servers_that_hang_longer_than_they_rest_end_a_request(monkeypatch):
    monkeypatch.setattr("onethinker.inference.least_loaded.REST_S", 0.05)

    def hang(body, number):
        time.sleep(2)
        return echo(body, number)

    with server(hang) as (first, seen_first), server(hang) as (second, seen_second):
        hurried = [replace(each, timeout_s=0.3, max_tries=1) for each in (first, second)]
        with FleetEngine(hurried) as engine:
            waiting = engine.submit(QUESTIONS[0], SamplingParams())
            with pytest.raises(EngineError, match="none of 2 servers answers"):
                waiting.result(timeout=20)
        assert (len(seen_first.bodies), len(seen_second.bodies)) == (1, 1)


def test_a_fleet_begins_with_the_server_that_answers_and_refuses_when_none_does(monkeypatch):
    monkeypatch.setattr("onethinker.inference.least_loaded.LEAST_PATIENCE_S", 0.0)
    dead = "http://127.0.0.1:1/v1"
    with server(lambda body, number: (200, {}, {"data": [{"id": "model"}]})) as (engine, _):
        whole = FleetEngine.connect([dead, f"{engine.address}/"], patience_s=5)
        assert [(each.address, each.model) for each in whole.servers] == [(dead, "model"), (engine.address, "model")]
        whole.close()
    with pytest.raises(EngineError, match="none of 2 servers answers, after 0 s of waiting; the last try"):
        FleetEngine.connect([dead, f"{dead}/other"])


def test_servers_that_start_later_are_waited_for_which_is_said_once(caplog):
    asked: list[str] = []

    def connect(address: str) -> RemoteEngine:
        asked.append(address)
        if len(asked) < 6:
            raise GoneError("not yet")
        return RemoteEngine(address, "model")

    found = connect_any(["http://a/v1", "http://b/v1"], connect, patience_s=60)
    assert [*found] == ["http://b/v1"]
    assert caplog.text.count("none of 2 servers answers: waiting, for up to 60 s, for http://a/v1, http://b/v1") == 1


def test_the_one_server_of_a_model_is_waited_for_like_several_and_is_named_where_it_stays_away(monkeypatch, caplog):
    replies = iter([(503, {}, {})] * 3)
    listed = (200, {}, {"data": [{"id": "model"}]})
    with server(lambda body, number: next(replies, listed)) as (engine, _), load_engine(engine.address) as connected:
        assert connected.name == f"model at {engine.address}"
    assert caplog.text.count(f"{engine.address} does not answer: waiting, for up to 10 s") == 1
    monkeypatch.setattr("onethinker.inference.least_loaded.LEAST_PATIENCE_S", 0.0)
    with pytest.raises(EngineError) as said:
        load_engine("http://127.0.0.1:9/v1")
    assert "http://127.0.0.1:9/v1 does not answer, after 0 s of waiting" in str(said.value)
    assert "Start a server at this address, or give the address of a running one" in str(said.value)


def test_a_page_of_the_web_is_no_server_and_is_not_waited_for():
    with (
        server(lambda body, number: (200, {}, b"<html>")) as (page, _),
        pytest.raises(EngineError, match="no answer after 2 tries; the last one gave expected JSON"),
    ):
        load_engine(page.address)
