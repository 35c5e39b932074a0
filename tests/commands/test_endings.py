"""Real signals, and SIGKILL of the parent: all that a command has started ends within 10 s, quietly, and the same
command goes on.
"""

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from onethinker.data.synthetic import write_dataset
from onethinker.processes.endings import ending_on_signals

ENDS_WITHIN_S = 20.0  # twice what is promised: other tests share the cores
STARTS_WITHIN_S = 300.0
SMALL_SFT = ("save_every=1", "batch_size=2", "max_row_tokens=256", "optimizer.kind=adamw")
SMALL_RL = (
    "rollout.generation_batch_size=2",
    "rollout.min_accuracy=-1",
    "rollout.max_new_tokens=8",
    "rollout.group_size=2",
)
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGKILL: -signal.SIGKILL}


def running(mark: str) -> list[int]:
    """Return the processes that carry a mark in their environment; one that has ended and was not waited for has
    none.
    """
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def await_(what: Callable[[], object], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def listen() -> None:
    # A background shell, such as CI's, has its children ignore Ctrl-C, and nohup SIGHUP; a terminal's do not.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@dataclass
class Command:
    """A command of ours in a process of its own, and all that it starts."""

    arguments: Sequence[str]
    stderr: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    process: subprocess.Popen = field(init=False)

    def start(self, setup: Callable[[], object] = listen) -> "Command":
        with self.stderr.open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "onethinker", *self.arguments],
                stdout=subprocess.DEVNULL,
                stderr=said,
                env={**os.environ, "TEST_MARK": self.mark, "OMP_NUM_THREADS": "1"},
                preexec_fn=setup,
            )
        return self

    def said(self) -> str:
        return self.stderr.read_text(errors="replace")

    def await_(self, what: Callable[[], object]) -> None:
        """Wait until something is so while the command runs."""
        assert await_(lambda: what() or self.process.poll() is not None, STARTS_WITHIN_S)
        assert self.process.poll() is None, self.said()

    def end_by(self, number: int) -> None:
        """Send a signal and see that all processes end in time, quietly."""
        deadline = time.monotonic() + ENDS_WITHIN_S
        self.process.send_signal(number)
        code = self.process.wait(timeout=ENDS_WITHIN_S)
        assert await_(lambda: not running(self.mark), deadline - time.monotonic()), running(self.mark)
        assert "Traceback" not in self.said()
        assert "Warning" not in self.said()
        assert code == CODES[number]
        if number != signal.SIGKILL:
            assert self.said().count("error: ") == 1

    def close(self) -> None:
        for pid in running(self.mark):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def command(tmp_path):
    """Starts commands, and leaves none behind."""
    started: list[Command] = []

    def start(*arguments: object, setup: Callable[[], object] = listen) -> Command:
        started.append(Command([str(argument) for argument in arguments], tmp_path / f"stderr{len(started)}"))
        return started[-1].start(setup)

    yield start
    for one in started:
        one.close()


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def sft(folder: Path) -> tuple[list, Path]:
    return [
        "sft",
        "tiny_sft",
        "--output",
        folder / "run",
        "--processes",
        "2",
        "--set",
        "steps=500",
        *SMALL_SFT,
    ], folder / "run/journal.jsonl"


def sharded_sft(folder: Path) -> tuple[list, Path]:
    arguments, journal = sft(folder)
    return [*arguments[:4], "--accelerate-config", "fsdp2", *arguments[4:]], journal


def rl(folder: Path) -> tuple[list, Path]:
    settings = ("model=untrained", "steps=500", "save_every=1", "grading.workers=2", *SMALL_RL)
    return ["rl", "tiny_rl", "--output", folder / "run", "--set", *settings], folder / "run/journal.jsonl"


def rl_of_two(folder: Path) -> tuple[list, Path]:
    arguments, journal = rl(folder)
    return [*arguments[:4], "--processes", "2", *arguments[4:]], journal


def quickstart(folder: Path) -> tuple[list, Path]:
    arguments = ["quickstart", "--output", folder / "run", "--processes", "2", "--num-samples", "11"]
    return [*arguments, "--set-rl", "steps=500", "save_every=1", *SMALL_RL], folder / "run/rl/journal.jsonl"


def evaluate(folder: Path) -> tuple[list, Path]:
    data = folder / "data"
    if not data.exists():
        write_dataset(data, num_samples=200, split="test")
    arguments = [
        "evaluate",
        "--model",
        "untrained",
        "--data",
        data / "samples.jsonl",
        "--output",
        folder / "run",
        "--batch-size",
        "1",
    ]
    return [*arguments, "--max-new-tokens", "64"], folder / "run/answers.jsonl"


ALL = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL)
LONG = pytest.mark.long  # each start of a command imports torch, several times for several processes


@pytest.mark.parametrize(
    ("make", "numbers", "helpers"),
    [
        pytest.param(sft, (signal.SIGTERM, signal.SIGKILL), 2, id="sft"),
        pytest.param(sft, (*ALL, signal.SIGTERM), 2, id="sft, all signals", marks=LONG),
        pytest.param(sharded_sft, (signal.SIGTERM, signal.SIGKILL), 2, id="sft with FSDP2", marks=LONG),
        pytest.param(rl, (signal.SIGINT,), 2, id="rl"),
        pytest.param(rl, (*ALL, signal.SIGTERM), 2, id="rl, all signals", marks=LONG),
        pytest.param(rl_of_two, (*ALL, signal.SIGTERM), 6, id="rl of two processes", marks=LONG),
        pytest.param(quickstart, (signal.SIGTERM,), 2, id="quickstart"),
        pytest.param(quickstart, (*ALL, signal.SIGTERM), 2, id="quickstart, all signals", marks=LONG),
        pytest.param(evaluate, (signal.SIGHUP,), 2, id="evaluate"),
        pytest.param(evaluate, (*ALL, signal.SIGTERM), 2, id="evaluate, all signals", marks=LONG),
    ],
)
@pytest.mark.timeout(900)
def test_all_processes_of_a_command_end_with_it_and_the_same_command_goes_on(command, tmp_path, make, numbers, helpers):
    arguments, journal = make(tmp_path)
    for number in numbers:
        before = lines(journal)
        one = command(*arguments)
        # The journal is cut back to the checkpoint when a run is taken up, by a row at most here, and grows again.
        one.await_(lambda before=before: lines(journal) > before)
        assert len(running(one.mark)) > helpers
        one.end_by(number)
    first = [json.loads(line).get("step") for line in journal.read_text().splitlines() if line.endswith("}")]
    assert first == list(range(1, len(first) + 1)) or journal.name == "answers.jsonl"


def test_a_grade_that_is_interrupted_leaves_no_process_and_no_file(command, tmp_path):
    hard = {"problem_type": "math", "data_type": "image", "problem": "?", "answer": "<answer>1</answer>"}
    endless = {
        **hard,
        "response": (
            "<think>.</think><answer>$\\sum_{n=1}^{\\infty} \\frac{\\sin(n^3)}{n^{\\sqrt{2}} + 10^{10^{10}}}$</answer>"
        ),
    }
    (tmp_path / "answers.jsonl").write_text(
        "".join(json.dumps({**endless, "problem": str(number)}) + "\n" for number in range(3000))
    )
    for number in (signal.SIGTERM, signal.SIGKILL):
        one = command("grade", "--input", tmp_path / "answers.jsonl", "--output", tmp_path / "graded.jsonl")
        one.await_(lambda one=one: len(running(one.mark)) > 1)
        one.end_by(number)
        assert not (tmp_path / "graded.jsonl").exists()


def ranks(mark: str) -> dict[str, int]:
    """Return the training processes by their rank."""
    found = {}
    for pid in running(mark):
        variables = dict(
            part.split("=", 1) for part in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in part
        )
        if "RANK" in variables:
            found[variables["RANK"]] = pid
    return found


def test_a_training_process_that_is_killed_is_named_in_one_line_and_takes_the_others_along(command, tmp_path):
    arguments, journal = sft(tmp_path)
    one = command(*arguments)
    one.await_(lambda: lines(journal))
    os.kill(ranks(one.mark)["1"], signal.SIGKILL)
    assert one.process.wait(timeout=ENDS_WITHIN_S) == 1
    assert running(one.mark) == []
    [line] = [line for line in one.said().splitlines() if line.startswith("error: ")]
    assert "rank 1" in line
    assert "SIGKILL" in line
    assert "the same command" in line
    assert "Traceback" not in one.said()


def small_files() -> None:
    listen()
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))


def test_the_reason_of_several_processes_is_said_once_and_without_a_traceback(command, tmp_path):
    arguments, _ = sft(tmp_path)
    one = command(*arguments, setup=small_files)
    assert one.process.wait(timeout=STARTS_WITHIN_S) == 1
    assert running(one.mark) == []
    [line] = [line for line in one.said().splitlines() if "rror" in line]
    assert line.startswith("error: ")
    assert "File too large" in line
    assert "resumes from the beginning" in line


@LONG
def test_a_mistake_in_several_processes_shows_one_traceback(command, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "nonsense")
    arguments, _ = sft(tmp_path)
    one = command(*arguments)
    assert one.process.wait(timeout=STARTS_WITHIN_S) == 1
    assert one.said().count("Traceback (most recent call last)") == 1
    assert one.said().splitlines()[-1].startswith("error: rank ")


def test_what_a_terminal_ignores_stays_ignored(command, tmp_path):
    """As nohup has it: the end of the terminal is not the end of the command."""
    arguments = ("data", "synthetic", "--output", tmp_path / "scenes", "--num-samples", "1000000")
    one = command(*arguments, setup=partial(signal.signal, signal.SIGHUP, signal.SIG_IGN))
    one.await_(lambda: any(tmp_path.rglob("*.png")))
    one.process.send_signal(signal.SIGHUP)
    reached = len(list(tmp_path.rglob("*.png")))
    one.await_(lambda: len(list(tmp_path.rglob("*.png"))) > reached)
    one.end_by(signal.SIGTERM)
    assert not (tmp_path / "scenes").exists()


BUSY = "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"
"""Minutes in which Python runs no handler."""


def test_a_main_thread_that_does_not_listen_is_ended_all_the_same():
    code = (
        "import hashlib\nfrom onethinker.processes.endings import ending_on_signals\nwith ending_on_signals(0.5):\n   "
        f" print(flush=True)\n    {BUSY}"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as busy:
        busy.stdout.readline()
        time.sleep(0.5)  # now it is inside
        busy.terminate()
        assert busy.wait(timeout=ENDS_WITHIN_S) == 143


def test_a_worker_in_the_middle_of_its_work_ends_with_its_parent():
    child = (
        "import hashlib, sys; from onethinker.processes.endings import end_with_parent;"
        f" end_with_parent(int(sys.argv[1])); {BUSY}"
    )
    code = (
        "import os, subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}, str(os.getpid())])\n"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    mark = uuid.uuid4().hex
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, "TEST_MARK": mark}
    ) as parent:
        pid = int(parent.stdout.readline())
        time.sleep(1)
        assert pid in running(mark)
        parent.kill()
    assert await_(lambda: pid not in running(mark), ENDS_WITHIN_S)


def test_signals_are_as_they_were_after_the_block():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with ending_on_signals(1.0) as ended:
        assert signal.getsignal(signal.SIGTERM) not in before
    assert ended == []
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


@pytest.mark.long  # two whole runs of two processes each
@pytest.mark.timeout(900)
def test_a_run_that_was_ended_by_signals_is_the_run_that_never_was(command, tmp_path):
    digests = []
    for name in ("whole", "ended"):
        journal = tmp_path / name / "journal.jsonl"
        arguments = [
            "sft",
            "tiny_sft",
            "--output",
            tmp_path / name,
            "--processes",
            "2",
            "--set",
            "steps=40",
            *SMALL_SFT,
            "save_every=3",
        ]
        for number in (signal.SIGTERM, signal.SIGHUP) if name == "ended" else ():
            one, before = command(*arguments), lines(journal)
            one.await_(lambda journal=journal, before=before: lines(journal) > before + 3)
            one.end_by(number)
        assert command(*arguments).process.wait(timeout=300) == 0
        digests.append(hashlib.sha256((tmp_path / name / "model/model.safetensors").read_bytes()).hexdigest())
    assert digests[0] == digests[1]
