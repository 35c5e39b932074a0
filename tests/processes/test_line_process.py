import sys

import pytest

from onethinker.processes.line_process import LineProcess, NotStartedError, ProcessLostError, TooSlowError
from onethinker.processes.pool import Pool

ECHO = """
import os, sys, time
os.write(1, b"ready\\n")
for line in sys.stdin.buffer:
    word = line.split()[0]
    if word == b"die": os._exit(3)
    if word == b"sleep": time.sleep(60)
    os.write(1, b"said " + line + b"\\x00\\n" * 100_000 if word == b"bytes" else b"said " + line)
"""


def start(code: str = ECHO) -> LineProcess:
    return LineProcess(["-c", code], environment={}, quiet=True)


@pytest.fixture
def pool():
    pool = Pool(1, start)
    yield pool
    pool.close()


def test_what_follows_a_line_is_read_apart_from_it_whatever_is_in_it(pool: Pool) -> None:
    found = bytearray(200_000)
    with pool.lease() as process:
        assert process.exchange(b"bytes\n") == b"said bytes\n"
        process.receive_into(memoryview(found))
        assert process.exchange(b"more\n") == b"said more\n"
    assert found == b"\x00\n" * 100_000


def test_a_process_serves_one_question_after_the_other_until_one_fails(pool: Pool) -> None:
    for _ in range(2):
        with pool.lease() as process:
            assert process.exchange(b"a\n") == b"said a\n"
    (first,) = pool.pids
    with pytest.raises(ProcessLostError, match="exited with code 3"), pool.lease() as process:
        process.exchange(b"die\n")
    with pytest.raises(TooSlowError), pool.lease() as process:
        process.exchange(b"sleep\n", 0.2)
    assert first not in pool.pids
    with pool.lease() as process:
        assert process.exchange(b"b\n") == b"said b\n"
    assert len(pool.pids) == 1


def test_a_process_that_leaves_before_it_listens_says_how_to_see_why() -> None:
    pool = Pool(1, lambda: start("raise SystemExit(7)"))
    said = rf"did not start \(exited with code 7\); to see why: {sys.executable} -P -c"
    with pytest.raises(NotStartedError, match=said), pool.lease():
        pass
    assert pool.pids == []


def test_a_closed_pool_starts_nothing(pool: Pool) -> None:
    pool.kill()
    with pytest.raises(ProcessLostError), pool.lease():
        pass
    assert pool.pids == []
