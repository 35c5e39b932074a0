"""RL sampled by two real vLLM servers, with the tiny model in the box, pictures and clips: `make test-cluster`.

ONETHINKER_VLLM_ENV is the environment with vLLM that `cluster/vllm/serve_cpu.sh` makes.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
import torch

from onethinker.core.request import SamplingParams
from onethinker.data.synthetic import make_sample
from onethinker.families.built_in import WEIGHTS
from onethinker.families.registry import family_of
from onethinker.inference.encode import build_request
from onethinker.rl.in_process import sample_answers
from onethinker.rl.loop import train_rl
from onethinker.rl.remote import RemoteSampler, group_request, read_answers
from onethinker.rl.sampler import RolloutRequest
from onethinker.storage.rollouts import read_rollouts
from onethinker.training.config import RlRecipe

ENV = os.environ.get("ONETHINKER_VLLM_ENV")
SERVE = Path(__file__).parents[2] / "cluster/vllm/serve_cpu.sh"
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not ENV, reason="needs real servers: `make test-cluster`"),
]
STEPS, KILLED_IN = 20, 11
QUESTIONS = 100
GREEDY = SamplingParams(max_new_tokens=96, temperature=0.0)
LORA = {"rank": 4, "parts": ["language"]}
KINDS = {
    "whole weights": {"optimizer": {"learning_rate": 1e-4, "warmup_steps": 0}},
    "adapters": {"lora": LORA, "optimizer": {"learning_rate": 2e-3, "warmup_steps": 0}},
}


class Server:
    """A vLLM of its own process group."""

    def __init__(self, log: Path, flags: list[str]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log, self.address = log, f"http://127.0.0.1:{self.port}/v1"
        command = ["bash", str(SERVE), str(ENV), str(WEIGHTS), str(self.port), *flags]
        with log.open("wb") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)

    def wait(self) -> None:
        for _ in range(600):
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            try:
                if httpx.get(f"http://127.0.0.1:{self.port}/health", timeout=5).is_success:
                    return
            except httpx.RequestError:
                time.sleep(1)
        raise AssertionError(f"not ready after ten minutes: {self.log.read_text()[-3000:]}")

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@contextmanager
def two_servers(folder: Path, kind: str):
    flags = ["--enable-lora", "--max-lora-rank", "8"] if kind == "adapters" else []
    with ExitStack() as stack:
        servers = [Server(folder / f"server-{index}.log", flags) for index in range(2)]
        for server in servers:
            stack.callback(server.kill)
        for server in servers:
            server.wait()
        yield servers


@pytest.fixture(scope="module", params=list(KINDS))
def fleet(request, tmp_path_factory):
    """Two servers of the tiny model, and what kind of weights they are sent."""
    with two_servers(tmp_path_factory.mktemp("servers"), request.param) as servers:
        yield request.param, servers


def settings_of(kind: str, servers: list[Server], **changes) -> dict:
    return {
        "model": "tiny",
        "max_row_tokens": 1024,
        "data": {"world": "things", "seed": 4},
        "rollout": {
            "generation_batch_size": 8,
            "group_size": 4,
            "max_new_tokens": 96,
            "max_refills": 0,
            "engine": "vllm",
            "endpoints": [server.address for server in servers],
            "patience_s": 300,
        },
        "grading": {"workers": 0},
        "loss": {"kl_coefficient": 0},
        "log": {"rollouts_mb": 100},
        **KINDS[kind],
        **changes,
    }


def toml(settings: dict) -> str:
    """The settings as dotted keys; lists, numbers and plain words are spelled as in JSON."""
    flat = {
        f"{name}.{key}" if key else name: inner
        for name, value in settings.items()
        for key, inner in (value.items() if isinstance(value, dict) else [("", value)])
    }
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in flat.items())


def rows_of(run: Path) -> list[dict]:
    lines = (run / "journal.jsonl").read_text().splitlines() if (run / "journal.jsonl").exists() else []
    return [json.loads(line) for line in lines]


def prompts_of(run: Path, step: int) -> list[str]:
    return [group["id"] for group in read_rollouts(run, step)]


class Asker:
    """Asks servers and the model in training the same questions, greedily; pictures and clips in turn."""

    def __init__(self, sampler: RemoteSampler) -> None:
        self.sampler, self.session = sampler, sampler.session
        data = self.session.data
        samples = [make_sample(11, index, world="things", split="test") for index in range(QUESTIONS)]
        self.kinds = Counter(sample.data_type for sample in samples)
        requests = [build_request(sample, data.prompt_template, data.budget) for sample in samples]
        self.asked = [RolloutRequest(*pair) for pair in zip(requests, data.prompts(requests), strict=True)]
        self.forbidden = family_of(self.session.model).media_tokens(self.session.model.config)

    def at_servers(self, addresses: list[str]) -> list[tuple[int, ...]]:
        servers = [server for server in self.sampler.fleet.servers if server.address in addresses]
        weights, futures = self.sampler.weights, []
        for index, asked in enumerate(self.asked):
            server = servers[index % len(servers)]
            body = partial(
                group_request,
                asked,
                GREEDY,
                group_size=1,
                forbidden=self.forbidden,
                model=weights.route.model_name(server.model, weights.version),
                frames_per_token=server.budget.frames_per_token,
            )
            read = partial(read_answers, asked=asked, group_size=1, where=server.address)
            futures.append(server.submit_body(body, read))
        return [future.result()[0].ids for future in futures]

    def here(self) -> list[tuple[int, ...]]:
        answers = []
        with self.session.precision():
            for first in range(0, QUESTIONS, 20):
                some = [asked.prompt for asked in self.asked[first : first + 20]]
                groups = sample_answers(
                    self.session.model,
                    some,
                    torch.zeros(len(some), 1, GREEDY.max_new_tokens),
                    temperature=0.0,
                    end_token=self.session.processor.tokenizer.eos_token_id,
                    forbidden_tokens=self.forbidden,
                )
                answers += [tuple(group[0].ids.tolist()) for group in groups]
        return answers


class Killing:
    """The fleet's sampler, which kills a server while a step is sampled."""

    def __init__(self, session, server: Server) -> None:
        self.sampler, self.server = RemoteSampler.open(session), server
        self.asker = Asker(self.sampler)

    def begin(self, *args):
        if self.sampler.session.progress.step + 1 == KILLED_IN:
            threading.Timer(0.3, self.server.kill).start()
        return self.sampler.begin(*args)

    def load_weights(self, version: int) -> None:
        self.sampler.load_weights(version)

    def close(self) -> None:
        self.sampler.close()


def test_a_trainer_that_is_killed_goes_on_at_the_same_step_with_the_same_prompts(tmp_path, fleet):
    kind, servers = fleet
    run, recipe = tmp_path / "run", tmp_path / "recipe.toml"
    recipe.write_text(toml(settings_of(kind, servers, steps=6, save_every=2)))
    command = [sys.executable, "-m", "onethinker", "rl", str(recipe), "--output", str(run)]
    with (tmp_path / "first.log").open("wb") as log:
        first = subprocess.Popen(command, stderr=log, stdout=log)
        while first.poll() is None and len(rows_of(run)) < 3:
            time.sleep(0.2)
        first.kill()
        assert first.wait() == -signal.SIGKILL, (tmp_path / "first.log").read_text()[-3000:]
    before = {row["step"]: prompts_of(run, row["step"]) for row in rows_of(run)}
    assert max(before) >= 3
    subprocess.run(command, check=True, timeout=1800)
    rows = rows_of(run)
    print(f"\n{kind}: killed after step {max(before)}, went on to step {len(rows)}")
    assert [row["step"] for row in rows] == list(range(1, 7))
    assert {step: prompts_of(run, step) for step in before} == before
    ids = [prompt for row in rows for prompt in prompts_of(run, row["step"])]
    assert len(ids) == len(set(ids)) == 6 * 8, "every prompt once"
    assert all(row["engine_difference"]["max"] < 1e-3 for row in rows)


def test_with_a_lag_each_batch_is_answered_by_the_weights_before_the_last_update(tmp_path, fleet):
    kind, servers = fleet
    settings = settings_of(kind, servers, steps=6)
    settings["rollout"] |= {"lag": 1}
    train_rl(RlRecipe(**settings), tmp_path / "run")
    rows = rows_of(tmp_path / "run")
    print(f"\n{kind}, lag 1: answers by version {[row['answers_by_version'] for row in rows]}")
    answers = 8 * 4
    assert [row["answers_by_version"] for row in rows] == [{str(max(0, n - 1)): answers} for n in range(6)]
    assert rows[0]["engine_difference"]["max"] < 1e-3
    assert all(row["engine_difference"]["max"] > rows[0]["engine_difference"]["max"] for row in rows[1:])
    assert all(row["ratio"] == pytest.approx(1, abs=1e-3) for row in rows if row["updates"])


def test_20_steps_by_two_servers_of_which_one_is_killed(tmp_path, fleet, caplog):
    kind, servers = fleet
    opened: list[Killing] = []
    first: list[list[tuple[int, ...]]] = []
    same: dict[int, int] = {}

    def open_sampler(session):
        opened.append(Killing(session, servers[0]))
        first.append(opened[0].asker.here())
        return opened[0]

    def compare(row):
        asker = opened[0].asker
        theirs = asker.at_servers([server.address for server in servers if server.process.poll() is None])
        ours = asker.here()
        same[row["step"]] = sum(one == other for one, other in zip(theirs, ours, strict=True))
        unmoved = sum(one == other for one, other in zip(theirs, first[0], strict=True))
        apart = row["engine_difference"]
        print(
            f"{kind}, step {row['step']}: {row['seconds']:.1f} s, {same[row['step']]} of {QUESTIONS} greedy answers"
            f" equal ({unmoved} those of the start), difference mean {apart['mean']:.1e}, max {apart['max']:.1e}"
        )

    recipe = RlRecipe(**settings_of(kind, servers, steps=STEPS))
    print(f"\n{kind}")
    train_rl(recipe, tmp_path / "run", on_step=compare, open_sampler=open_sampler)
    rows = rows_of(tmp_path / "run")
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert sum(row["updates"] for row in rows) >= STEPS * 3 // 4
    assert set(opened[0].asker.kinds) == {"image", "video"}
    groups = list(read_rollouts(tmp_path / "run"))
    assert {group["data_type"] for group in groups} == {"image", "video"}
    # The step whose server was killed has as many groups and answers as the others.
    assert Counter(group["step"] for group in groups) == dict.fromkeys(range(1, STEPS + 1), 8)
    assert {len(group["answers"]) for group in groups} == {4}
    assert servers[0].process.poll() is not None
    assert f"{servers[0].address} does not answer" in caplog.text
    assert min(same.values()) >= 95
    assert all(row["engine_difference"]["max"] < 1e-3 for row in rows)
