"""A program that is not ours ends with us, with the processes that it has started."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import subprocess, sys, time
deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", deaf])
open(sys.argv[1], "w").write(str(child.pid))
time.sleep(float(sys.argv[2]))
sys.exit(7)
"""
PARENT = """
import os, subprocess, sys
from onethinker.processes import keeper

keeper = subprocess.Popen([sys.executable, "-P", keeper.__file__, str(os.getpid()), *sys.argv[1:]])
print(keeper.pid, flush=True)
sys.exit(keeper.wait())
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def have_ended(*pids: int) -> bool:
    """Whether the processes have ended, within a minute."""
    for _ in range(600):
        if not any(map(is_running, pids)):
            return True
        time.sleep(0.1)
    return False


def start(folder: Path, seconds: float) -> tuple[subprocess.Popen, int, int]:
    """The parent, its keeper's process, and that of the program's own child, once it is there."""
    command = [sys.executable, "-c", PARENT, sys.executable, "-c", PROGRAM, str(folder / "child"), str(seconds)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    keeper = int(parent.stdout.readline())
    while not (folder / "child").exists() or not (folder / "child").read_text():
        time.sleep(0.05)
    return parent, keeper, int((folder / "child").read_text())


@pytest.mark.parametrize("ending", ["the parent is killed", "the keeper is asked to"])
def test_the_program_and_its_child_end(tmp_path, ending):
    parent, keeper, child = start(tmp_path, 600)
    with parent:
        if ending == "the parent is killed":
            parent.kill()
        else:
            os.kill(keeper, signal.SIGTERM)
        assert have_ended(child, keeper)


def test_a_program_that_ends_by_itself_leaves_its_status_and_no_child(tmp_path):
    parent, _, child = start(tmp_path, 0)
    with parent:
        assert parent.wait() == 7
    assert have_ended(child)
