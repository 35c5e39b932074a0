import importlib
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import threading
import time

import pytest

from onethinker.core.errors import AnswerError
from onethinker.tasks import all_tasks, grade_response
from onethinker.tasks.math.sandbox import MathSandbox
from onethinker.tasks.mathematics import LONGEST, Mathematics

PAIRS = [
    (r"\frac12", "0.5", 1),
    (r"2\sqrt{3}", r"$2\sqrt{3}$", 1),
    ("1+x", "x+1", 1),
    (r"\{1,2\}", r"\{2,1\}", 1),
    ("(1,2)", "(2,1)", 0),
    (r"50\%", "0.5", 1),
    ("1,000", "1000", 1),
    ("1/2", "0.5", 1),
    ("x=4", "4", 1),
    (r"\boxed{4}", "4", 1),
    (r"90^\circ", "90", 1),
    ("-4", "4", 0),
    (r"\sqrt{12}", r"2\sqrt{3}", 1),
    (r"\text{yes}", "no", 0),
    ("", "4", 0),
]
IDENTICAL = ["x+1", r"\text{isosceles}", "(1,2)", "yes", "$$x + 1$$", "9**9**9**9", "{", "答", "a" * LONGEST]
HOSTILE = [
    "9**9**9**9",
    "9^{9^{9^{9}}}",
    "10000000!",
    "((1000000!)!)!",
    "(" * 900 + "1" + ")" * 900,
    "(x+1)^{99999}",
    r"\frac{" * 300,
]


@pytest.fixture(scope="module")
def task():
    task = Mathematics()
    yield task
    task.sandbox.close()


def verdicts(task) -> list[float]:
    try:
        return [task.score(answer, truth, "paper").accuracy for answer, truth, _ in PAIRS]
    finally:
        task.sandbox.close()


CHILD = """
def send_verdicts(task, pairs, pipe):
    pipe.send([task.score(answer, truth, "paper").accuracy for answer, truth, _ in pairs])
    task.sandbox.close()
"""


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(("answer", "truth", "right"), PAIRS)
def test_equal_expressions_are_right(task, answer, truth, right):
    assert task.score(answer, truth, "paper").accuracy == right


@pytest.mark.parametrize("text", IDENTICAL, ids=lambda text: text[:20])
def test_identical_texts_are_always_right(task, text):
    assert task.score(task.parse(text), task.parse(text), "release").accuracy == 1


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:20])
def test_hostile_texts_are_wrong_within_seconds_and_grading_goes_on(task, text):
    task.score("1", "2", "paper")
    start = time.perf_counter()
    grade = grade_response(f"<think>so</think><answer>{text}</answer>", "4", task=task)
    assert grade.accuracy == 0
    assert time.perf_counter() - start < 15  # 5 s are allowed, and other tests share the cores
    assert task.score(r"\frac{1}{2}", "0.5", "paper").accuracy == 1


def test_three_thousand_parentheses_are_refused_unread(task):
    with pytest.raises(AnswerError, match="6001 characters"):
        task.parse("(" * 3000 + "1" + ")" * 3000)


def test_code_in_an_answer_does_not_run(task, tmp_path):
    trace = tmp_path / "trace"
    assert task.score(f"__import__('os').system('touch {trace}')", "4", "paper").accuracy == 0
    assert not trace.exists()


def test_verdicts_are_equal_in_a_thread_and_in_daemonic_processes_of_every_kind(tmp_path, monkeypatch):
    (tmp_path / "grading_child.py").write_text(CHILD)
    monkeypatch.syspath_prepend(tmp_path)
    child = importlib.import_module("grading_child")
    expected = [float(right) for *_, right in PAIRS]
    assert verdicts(Mathematics()) == expected
    found = []
    thread = threading.Thread(target=lambda: found.append(verdicts(Mathematics())))
    thread.start()
    thread.join()
    for method in ("spawn", "fork"):
        context = multiprocessing.get_context(method)
        ours, theirs = context.Pipe()
        process = context.Process(target=child.send_verdicts, args=(Mathematics(), PAIRS, theirs), daemon=True)
        process.start()
        assert ours.poll(60)
        found.append(ours.recv())
        process.join()
        ours.close()
        theirs.close()
    assert found == [expected] * 3


def test_a_fork_does_not_talk_to_its_parents_process(task):
    task.score("1", "2", "paper")
    pid = os.fork()
    if pid == 0:
        right = task.score(r"\frac{1}{4}", "0.25", "paper").accuracy == 1
        task.sandbox.close()
        os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert task.score(r"\frac{1}{8}", "0.125", "paper").accuracy == 1


def test_a_process_that_dies_while_idle_is_replaced_unseen(task):
    task.score("1", "3", "paper")
    os.kill(task.sandbox.pids[0], signal.SIGKILL)
    time.sleep(0.1)
    assert task.score(r"\frac{3}{4}", "0.75", "paper").accuracy == 1


def test_memory_is_limited():
    sandbox = MathSandbox(memory_bytes=500 * 1024**2)
    equal, _ = sandbox.compare("4", "10^{10^{9}}")
    assert not equal
    assert sandbox.compare("0.5", r"\frac{1}{2}") == (True, None)
    sandbox.close()


def test_the_limit_is_processor_time_first():
    sandbox = MathSandbox(seconds=60, processor_seconds=0.2)
    assert sandbox.compare("4", "9^{9^{9^{9}}}") == (
        False,
        "too hard to compare: no verdict within 0.2 s of the processor",
    )
    assert sandbox.compare("0.5", r"\frac{1}{2}") == (True, None)
    os.kill(sandbox.pids[0], signal.SIGSTOP)  # as if the processor were elsewhere for a while
    threading.Timer(1, os.kill, (sandbox.pids[0], signal.SIGCONT)).start()
    assert sandbox.compare("0.25", r"\frac{1}{4}") == (True, None)
    sandbox.close()


def test_a_process_that_is_killed_while_it_starts_is_replaced():
    sandbox = MathSandbox()
    sandbox._pool.warm_up()
    (pid,) = sandbox.pids
    os.kill(pid, signal.SIGSTOP)  # before it listens
    threading.Timer(0.5, os.kill, (pid, signal.SIGKILL)).start()
    assert sandbox.compare("0.5", r"\frac{1}{2}") == (True, None)
    assert sandbox.pids[0] != pid
    sandbox.close()


def test_no_process_is_left_behind():
    sandbox = MathSandbox(seconds=0.2)
    pids = set()
    for number in range(5):
        assert sandbox.compare("4", "2" * number + "9^{9^{9^{9}}}") == (
            False,
            "too hard to compare: no verdict within 0.2 s",
        )
        pids.add(sandbox.pids[0])
    del sandbox
    assert len(pids) == 5
    assert not any(map(is_running, pids))


def test_the_process_ends_with_a_parent_that_is_killed():
    code = (
        "import os, sys; from onethinker.tasks.math.sandbox import MathSandbox; s = MathSandbox(); s.compare('1', '2');"
        " print(s.pids[0], flush=True); s.compare('4', '9^{9^{9^{9}}}')"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    time.sleep(0.3)
    parent.kill()
    parent.communicate()
    for _ in range(150):
        if (
            not is_running(pid)
            or "Z" in subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout
        ):
            return
        time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the worker outlived its parent by 15 s")


def test_a_warm_comparison_takes_milliseconds(task):
    task.score("1", "2", "paper")
    times = []
    for number in range(100):
        start = time.perf_counter()
        task.score(f"{number}.5", f"{number + 1}", "paper")
        times.append(time.perf_counter() - start)
    assert statistics.median(times) < 0.02  # 2 ms alone; the test machine is shared


def test_reward_and_metrics_of_one_answer_cost_its_time_once():
    (task,) = (task for task in all_tasks() if task.problem_type == "math")
    sandbox = MathSandbox(seconds=0.5)
    start = time.perf_counter()
    for _ in range(20):
        sandbox.compare("4", "9^{9^{9^{9}}}")
    assert time.perf_counter() - start < 5
    sandbox.close()
    assert grade_response("", "4", task=task).metrics == {"accuracy": 0}
