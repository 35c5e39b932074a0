import fcntl
import os
import signal
import subprocess
import sys

import pytest

from onethinker.storage.atomic import differences, folder_atomically, opened_atomically, write_atomically


def test_a_file_is_replaced_whole_and_nothing_else_is_left(tmp_path):
    write_atomically(tmp_path / "a.txt", "old")
    write_atomically(tmp_path / "a.txt", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_bytes() == b"new"


def test_a_write_that_fails_keeps_the_old_content(tmp_path):
    write_atomically(tmp_path / "a.txt", "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(tmp_path / "a.txt", "\ud800")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


KILLED = """
import os, signal, sys
from pathlib import Path
from onethinker.storage.atomic import folder_atomically, opened_atomically
writer, path = sys.argv[1:]
with globals()[writer](Path(path)) as half:
    (half / "a").touch() if writer == "folder_atomically" else half.write(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("writer", [opened_atomically, folder_atomically])
def test_what_a_killed_process_left_half_written_is_removed_by_the_next_that_writes_it(writer, tmp_path):
    for name in ("out", "out.2"):
        killed = subprocess.run([sys.executable, "-c", KILLED, writer.__name__, str(tmp_path / name)], check=False)
        assert killed.returncode == -signal.SIGKILL
    half, other = sorted(tmp_path.iterdir(), key=lambda path: len(path.name))
    with writer(tmp_path / "out"):
        assert not half.exists()
    assert sorted(tmp_path.iterdir()) == [other, tmp_path / "out"]  # of "out.2", which nobody has written again


RENAMED = """
import fcntl, os, sys
from pathlib import Path
from onethinker.storage.atomic import folder_atomically, opened_atomically

def at_event(event, arguments):
    if event == "os.rename":
        try:
            fcntl.flock(os.open(arguments[0], os.O_RDONLY), fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            print("locked")

sys.addaudithook(at_event)
with globals()[sys.argv[1]](Path(sys.argv[2])):
    pass
"""


@pytest.mark.parametrize("writer", [opened_atomically, folder_atomically])
def test_it_is_locked_until_it_has_its_name(writer, tmp_path):
    command = [sys.executable, "-c", RENAMED, writer.__name__, str(tmp_path / "out")]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "locked\n"
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_what_another_process_is_writing_stays(tmp_path):
    elsewhere = tmp_path / ".out.999999999.partial"  # there is no such process here: it is on another machine
    with elsewhere.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        here = tmp_path / f".out.{os.getppid()}.partial"
        here.touch()
        write_atomically(tmp_path / "out", "mine")
        assert sorted(tmp_path.iterdir()) == sorted([elsewhere, here, tmp_path / "out"])


def test_every_difference_is_named_also_those_of_absent_settings():
    assert list(differences({"a": 1, "b": {"c": 2}}, {"b": {"c": 3}, "d": 4})) == [
        "a: 1 → None",
        "b.c: 2 → 3",
        "d: None → 4",
    ]
