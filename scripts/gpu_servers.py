"""For `make check-gpu`: a vLLM on the GPU of the run samples for it, and has the weights of each step.

ONETHINKER_VLLM is its program; `vllm` on the PATH is taken too.
"""

import os
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from checking import left_s, need

from onethinker.processes import keeper
from onethinker.rl.loop import train_rl
from onethinker.rl.servers import command_of
from onethinker.training.config import RlRecipe
from onethinker.training.rl_settings import VllmSettings

ON_GPU = ("--gpu-memory-utilization", "0.3", "--enforce-eager")
STARTS_WITHIN_S = 150.0
APART = 0.05
"""Nats by which what the server says of its tokens may differ in the mean: other kernels round otherwise."""


def served(
    folder: Path, *, device: str = "cuda", arguments: Sequence[str] = ON_GPU, data: dict[str, Any] | None = None
) -> str:
    """RL sampled by a vLLM on the same GPU, which reads the weights of each step from /dev/shm in bfloat16."""
    program = shutil.which(os.environ.get("ONETHINKER_VLLM", "vllm"))
    need(program is not None, "vLLM in an environment of its own: ONETHINKER_VLLM=/path/to/bin/vllm make check-gpu")
    need(device == "cpu" or left_s() > STARTS_WITHIN_S, f"{STARTS_WITHIN_S:.0f} more seconds than were left")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    recipe = recipe_of(f"http://127.0.0.1:{port}/v1", data or {"problem_types": ["multiple choice"]})
    settings = VllmSettings(command=(str(program),), arguments=tuple(arguments))
    began = time.monotonic()
    with running(command_of(recipe, settings, port), port, folder / "vllm.log"):
        started_s = time.monotonic() - began
        return f"started in {started_s:.0f} s; {sampled(folder / 'run', recipe)}"


def recipe_of(address: str, data: dict[str, Any]) -> RlRecipe:
    """Return three steps of RL of the model in the box, sampled by a server."""
    rollout = {
        "generation_batch_size": 8,
        "group_size": 4,
        "max_new_tokens": 64,
        "min_accuracy": -1,
        "max_accuracy": 2,
        "max_refills": 0,
        "engine": "vllm",
        "endpoints": [address],
        "patience_s": 60,
    }
    return RlRecipe(
        model="tiny",
        dtype="mixed",
        steps=3,
        max_row_tokens=2048,
        data=data,
        rollout=rollout,
        grading={"workers": 0},
        loss={"kl_coefficient": 0},
        optimizer={"learning_rate": 1e-4, "warmup_steps": 0},
    )


@contextmanager
def running(command: list[str], port: int, log: Path) -> Iterator[None]:
    """Run a server while this is open, from when it answers. Raises: AssertionError: it ended, or does not answer."""
    process = keeper.start(command, log, environment=os.environ | {"VLLM_SERVER_DEV_MODE": "1"})
    until = time.monotonic() + STARTS_WITHIN_S
    try:
        while not _answers(port):
            assert process.poll() is None, f"vLLM ended: {keeper.last_words(log)}"
            assert time.monotonic() < until, f"vLLM did not answer in {STARTS_WITHIN_S:.0f} s: {keeper.last_words(log)}"
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).is_success
    except httpx.RequestError:
        return False


def sampled(run: Path, recipe: RlRecipe) -> str:
    """Train, and return what the server says of the tokens of each step against the model in training."""
    rows: list[dict[str, Any]] = []
    train_rl(recipe, run, on_step=rows.append)
    versions = [row["answers_by_version"] for row in rows]
    answers = recipe.rollout.generation_batch_size * recipe.rollout.group_size
    assert versions == [{str(step): answers} for step in range(recipe.steps)], f"answers by version {versions}"
    apart = [row["engine_difference"] for row in rows]
    assert all(each["mean"] < APART for each in apart), f"apart by {apart}"
    said = ", ".join(f"{each['mean']:.1g} (at most {each['max']:.1g})" for each in apart)
    return f"log-probabilities by step apart by {said} nats"
