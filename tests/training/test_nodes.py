"""Two nodes on this machine, each a launcher of its own, against one process: the same weights, or one clear reason."""

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from safetensors.torch import load_file

from onethinker.commands.dispatch import dispatch
from onethinker.commands.nodes import Nodes, meeting_of
from onethinker.core.errors import ConfigError, OneThinkerError
from onethinker.training.config import SftRecipe
from onethinker.training.metrics.records import scalars
from onethinker.training.sft import train_sft
from onethinker.training.state.run_folder import RunFolder

SETTINGS = ["steps=2", "batch_size=6", "max_row_tokens=256"]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def node(output: Path, rank: int, port: int, *flags: str, settings: list[str]) -> subprocess.Popen[str]:
    place = ["--nodes", "2", "--node-rank", str(rank), "--main-address", "localhost", "--main-port", str(port)]
    command = [sys.executable, "-m", "onethinker", "sft", "tiny_sft", "--output", str(output), *place, *flags]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*command, "--set", *settings], **pipes)


def ends(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, said = process.communicate(timeout=500)
    return process.returncode, said


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "flags",
    [
        pytest.param((), id="whole"),
        # Starting four processes takes a while, and the road is the same.
        pytest.param(("--accelerate-config", "fsdp2_full"), id="sharded", marks=pytest.mark.long),
        pytest.param(("--processes", "2", "--accelerate-config", "fsdp2_hybrid"), id="hybrid", marks=pytest.mark.long),
    ],
)
def test_two_nodes_equal_one_process(tmp_path, flags):
    settings = [*SETTINGS, 'optimizer.kind="adamw"']
    one, two, port = tmp_path / "one", tmp_path / "two", free_port()
    train_sft(SftRecipe.load("tiny_sft", settings), one)
    nodes = [node(two, rank, port, *flags, settings=settings) for rank in (1, 0)]
    for process in nodes:
        code, said = ends(process)
        assert code == 0, said
    expected, found = (load_file(folder / "model/model.safetensors") for folder in (one, two))
    assert max(float((expected[name] - found[name]).abs().mean()) for name in expected) < 1e-5
    rows = [RunFolder(folder).rows() for folder in (one, two)]
    assert [scalars(row["tokens_by_phase"]) for row in rows[0]] == [scalars(row["tokens_by_phase"]) for row in rows[1]]
    for name in ("loss", "grad_norm"):
        assert [row[name] for row in rows[0]] == pytest.approx([row[name] for row in rows[1]], rel=1e-3, abs=1e-6)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["one", "two"]


@pytest.mark.timeout(900)
def test_a_killed_process_ends_both_nodes_with_its_reason_and_the_run_resumes_on_one(tmp_path):
    port = free_port()
    settings = ["steps=400", "batch_size=2", "save_every=2", "max_row_tokens=256"]
    nodes = [node(tmp_path / "run", rank, port, settings=settings) for rank in (0, 1)]
    checkpoints = tmp_path / "run/checkpoints"
    deadline = time.monotonic() + 400
    while not list(checkpoints.glob("step-*")):
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in nodes), [ends(process) for process in nodes]
        time.sleep(0.1)
    [child] = Path(f"/proc/{nodes[1].pid}/task/{nodes[1].pid}/children").read_text().split()
    os.kill(int(child), signal.SIGKILL)
    said = [ends(process) for process in nodes]
    assert [code for code, _ in said] == [1, 1]
    assert "rank 1 (process" in said[1][1]
    assert "was killed by SIGKILL" in said[1][1]
    assert "node 1: rank 1 (process" in said[0][1]
    done = max(int(folder.name[5:]) for folder in checkpoints.glob("step-*"))
    train_sft(SftRecipe.load("tiny_sft", [*settings, f"steps={done + 2}"]), tmp_path / "run", allow_changes=True)
    steps = [row["step"] for row in RunFolder(tmp_path / "run").rows()]
    assert steps == list(range(steps[0], steps[0] + len(steps)))


def meet(nodes: Nodes, agreed: dict, output: Path | None) -> str:
    try:
        with meeting_of(nodes, agreed, output, wait_s=20):
            return "met"
    except OneThinkerError as error:
        return str(error)


def meet_in_threads(agreed: list[dict], outputs: list[Path | None]) -> list[str]:
    """Return what each node, a thread of its own, is told."""
    port = free_port()
    with ThreadPoolExecutor(len(agreed)) as pool:
        told = [
            pool.submit(meet, Nodes(len(agreed), rank, "localhost", port), *what)
            for rank, what in enumerate(zip(agreed, outputs, strict=True))
        ]
        return [one.result() for one in told]


def test_nodes_that_were_started_otherwise_are_refused_with_the_same_words():
    asked = [{"--processes": 1, "model": {"steps": 2}}, {"--processes": 2, "model": {"steps": 3}}]
    for text in meet_in_threads(asked, [None, None]):
        assert text == "node 1 was started with other settings than node 0: --processes: 1 → 2, model.steps: 2 → 3"


def test_nodes_meet_where_all_see_the_folder_and_are_refused_where_one_does_not(tmp_path):
    (tmp_path / "there").mkdir()
    shared, other = tmp_path / "there/run", tmp_path / "run"
    assert meet_in_threads([{}] * 3, [shared] * 3) == ["met"] * 3
    for text in meet_in_threads([{}] * 3, [shared, shared, other]):
        assert text.startswith("node 2 does not see node 0's --output folder")
    assert [file.name for file in tmp_path.rglob("*")] == ["there"]


def test_a_node_that_does_not_come_is_named(tmp_path):
    with (
        pytest.raises(ConfigError, match=r"of 3 nodes these have not joined after 0.5 s: 1, 2"),
        meeting_of(Nodes(3, 0, "127.0.0.1", free_port()), {}, None, wait_s=0.5),
    ):
        pass
    port = free_port()
    with (
        pytest.raises(OneThinkerError, match=f"node 0 does not answer at 127.0.0.1:{port} after 0.5 s"),
        meeting_of(Nodes(2, 1, "127.0.0.1", port), {}, None, wait_s=0.5),
    ):
        pass


PLACE = ("--node-rank", "0", "--main-address", "localhost")


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--nodes", "0"), "--nodes must be at least 1"),
        (("--node-rank", "0"), "--node-rank: only for a run that spans several nodes; give --nodes"),
        (("--nodes", "2"), "--nodes 2 needs --node-rank and --main-address on each node"),
        (("--nodes", "2", "--node-rank", "0"), "--nodes 2 needs --main-address on each node"),
        (("--nodes", "2", "--node-rank", "2", "--main-address", "localhost"), "must be from 0 to 1"),
        (("--nodes", "2", *PLACE, "--main-port", "70000"), "must be from 1 to 65535"),
        (
            ("--nodes", "2", *PLACE, "--resume-from", "a/b@v1"),
            "hf download a/b --revision v1 --include 'run/.' --local",
        ),
        (("--nodes", "2", *PLACE, "--dry-run"), "a dry run takes only --nodes"),
        (("--nodes", "9", *PLACE), "a batch of 8 is smaller than the 9 processes"),
    ],
)
def test_flags_that_do_not_go_together_are_refused_in_one_line(tmp_path, flags, reason):
    command = ["sft", "tiny_sft", "--output", str(tmp_path / "run"), *flags, "--set", "batch_size=8"]
    with pytest.raises(ConfigError, match=reason) as raised:
        dispatch(command)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_under_another_launcher_nodes_are_its_business(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(ConfigError, match="this process was started by another launcher"):
        dispatch(["sft", "tiny_sft", "--output", str(tmp_path / "run"), "--nodes", "2", *PLACE])
    with pytest.raises(ConfigError, match="--resume-from does not work with several nodes or another launcher"):
        dispatch(["sft", "tiny_sft", "--output", str(tmp_path / "run"), "--resume-from", "a/b"])
