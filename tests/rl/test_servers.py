"""Servers of vLLM that a run starts itself, against a program that speaks vLLM's routes."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from onethinker.core.errors import ConfigError, EngineError
from onethinker.rl.loop import train_rl
from onethinker.rl.servers import command_of
from onethinker.training.config import RlRecipe
from onethinker.training.rl_settings import VllmSettings
from tests.rl.test_remote import recipe_of, rows_of

PROGRAM = [sys.executable, "-m", "tests.rl.vllm_program"]


@pytest.fixture
def port() -> int:
    """The first of two free ports."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def own(port: int, **settings) -> dict:
    return {
        "endpoints": (),
        "patience_s": 200,
        "vllm": {"command": PROGRAM, "gpus_per_server": 0, "port": port, **settings},
    }


def listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def test_a_run_starts_its_servers_asks_them_and_ends_them(tmp_path, taught, port):
    recipe = recipe_of(taught, rollout=own(port, servers=2, arguments=["--seed", "7"]))
    asked = []
    train_rl(recipe, tmp_path / "run", on_step=lambda row: asked.append(listens(port) and listens(port + 1)))
    assert asked == [True] * 3
    assert all(row["engine_difference"]["max"] < 1e-4 for row in rows_of(tmp_path / "run"))
    logs = [(tmp_path / f"run/servers/server-{index}.log").read_text() for index in (1, 2)]
    assert [f"--port {port + index}" in log for index, log in enumerate(logs)] == [True, True]
    assert all("--dtype float32 --max-model-len 512 --trust-request-mm-kwargs --seed 7" in log for log in logs)
    assert not listens(port)
    assert not listens(port + 1)


def test_a_server_that_ends_is_an_error_with_its_last_words(tmp_path, taught, port):
    recipe = recipe_of(taught, rollout=own(port, arguments=["--broken"]))
    with pytest.raises(EngineError, match=r"exited with code 1; .*server-1.log ends with\n(?s:.*)no such model"):
        train_rl(recipe, tmp_path / "run")


def test_a_run_whose_own_servers_have_all_died_ends_at_once(tmp_path, taught, port):
    recipe = recipe_of(taught, rollout=own(port))

    def kill(_: object) -> None:
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (folder / "cmdline").read_bytes().split(b"\0")
                if b"tests.rl.vllm_program" in words and str(port).encode() in words:
                    os.kill(int(folder.name), signal.SIGKILL)

    with pytest.raises(EngineError, match=r"all 1 servers have ended; .*server-1.log ends with"):
        train_rl(recipe, tmp_path / "run", on_step=kill)


def test_a_server_sees_neither_our_packages_nor_how_our_processes_meet(tmp_path, taught, port, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/of/the/user")
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    with pytest.raises(EngineError, match="path /of/the/user store None"):
        train_rl(recipe_of(taught, rollout=own(port, arguments=["--broken"])), tmp_path / "run")


def test_what_cannot_be_started_is_said_before_anything_is(tmp_path, taught, port):
    with pytest.raises(ConfigError, match="there is no program 'no-vllm'"):
        train_rl(recipe_of(taught, rollout=own(port, command=["no-vllm"])), tmp_path / "a")
    with pytest.raises(ConfigError, match="2 servers of 4 GPUs each need 8 GPUs, but besides the 1"):
        train_rl(recipe_of(taught, rollout=own(port, servers=2, gpus_per_server=4)), tmp_path / "b")
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(ConfigError, match=f"port {port} cannot be used"):
            train_rl(recipe_of(taught, rollout=own(port)), tmp_path / "c")


def test_a_signal_while_servers_start_ends_them_too(tmp_path, taught, port):
    never = tmp_path / "vllm"
    never.write_text(
        f"#!{sys.executable}\nimport socket, time\none = socket.create_server(('127.0.0.1', {port}))\ntime.sleep(600)"
    )
    never.chmod(0o755)
    words = ["rl", "tiny_rl", "--output", str(tmp_path / "run"), "--set", "model=tiny", "rollout.engine=vllm"]
    words += [f'rollout.vllm={{command=["{never}"],gpus_per_server=0,port={port}}}']
    with subprocess.Popen([sys.executable, "-m", "onethinker", *words], stderr=subprocess.PIPE, text=True) as run:
        while not listens(port) and run.poll() is None:
            time.sleep(0.2)
        run.send_signal(signal.SIGTERM)
        assert run.wait() == 128 + signal.SIGTERM, run.stderr.read()
    for _ in range(100):
        if not listens(port):
            break
        time.sleep(0.1)
    assert not listens(port)


def test_the_command_serves_as_the_recipe_trains():
    settings = VllmSettings(command=["v"], gpus_per_server=2)
    recipe = RlRecipe(model="tiny", lora={"rank": 12, "parts": ["language"]}, rollout={"temperature": 0.7})
    command = " ".join(command_of(recipe, settings, 8001))
    assert command.startswith("v serve /")
    assert "--tensor-parallel-size 2 --enable-lora --max-lora-rank 16" in command
    assert "--logprobs-mode processed_logprobs" in command
    with pytest.raises(ValueError, match="set only one of the two"):
        RlRecipe(rollout={"engine": "vllm", "endpoints": ["http://a:1/v1"], "vllm": {}})
