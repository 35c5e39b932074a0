"""The processes of this machine that train together: started, watched, and ended together, with one reason; several
machines meet by `nodes.py`.

`python -m onethinker.commands.ranks PARENT DESCRIPTOR COMMAND …` is one of them.
"""

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from onethinker.commands.dispatch import BROKEN_PIPE, describe, dispatch
from onethinker.commands.nodes import AGAIN, Meeting
from onethinker.core.errors import ConfigError, OneThinkerError
from onethinker.processes.endings import SECONDS, WORKER_SECONDS, Ended, end_with_parent, ending_on_signals
from onethinker.storage.strict_json import json_line

LOOK_EVERY_S = 0.05
GATHER_S = 0.5
"""What one process dies of, others that wait for it notice: so long all are listened to before the reason is chosen."""
NO_REASON = 9
LONGEST_REPORT = 20_000
LAUNCHERS_OWN = ("TORCHELASTIC_", "GROUP_", "ROLE_", "MASTER_", "OMP_")
"""Variables by which torch's launcher, below accelerate's, speaks to its own processes."""


@dataclass
class Rank:
    """One of the processes, and the descriptor on which it reports why it failed."""

    index: int
    process: subprocess.Popen[bytes]
    reports: int
    report: bytes = field(default=b"")

    def listen(self) -> None:
        """Read what the process has reported since the last call."""
        with suppress(BlockingIOError):
            while piece := os.read(self.reports, 65536):
                self.report += piece

    @property
    def is_done(self) -> bool:
        """Whether the process has done its work."""
        return self.process.poll() == 0

    @property
    def has_failed(self) -> bool:
        """Whether the process has reported a failure, or has ended without reporting one."""
        self.listen()
        return bool(self.report) or self.process.poll() not in (None, 0)

    def reason(self) -> tuple[int, str, str]:
        """Return how far the reason is from the cause (lower is closer), the reason, and the traceback."""
        code = self.process.poll()
        if self.report.endswith(b"\n"):
            kind, text = json.loads(self.report)
            return (
                (1, text, "")
                if kind == "error"
                else (2, f"rank {self.index} failed; its traceback is printed above", text)
            )
        signal_number = -code if code is not None and code < 0 else (code or 0) - 128
        if signal_number not in signal.valid_signals():
            return 3, f"rank {self.index} exited with code {code}", ""
        name = signal.Signals(signal_number).name
        memory = ", which is what the system does when memory runs out" if name == "SIGKILL" else ""
        again = "Run the same command again: it resumes from the last checkpoint"
        return 0, f"rank {self.index} (process {self.process.pid}) was killed by {name}{memory}. {again}", ""


def run_ranks(arguments: Sequence[str], count: int, environment: Mapping[str, str], meeting: Meeting) -> None:
    """Run a command line of ours in `count` processes of this node that torch connects, with those of other nodes;
    return when all have done it.

    However this ends, they have ended before.

    Raises: OneThinkerError: one has failed; the text is its own, or names the signal that killed it, or the other node.
    """
    ranks: list[Rank] = []
    try:
        for index in range(count):
            place = meeting.environment(index, count)
            ranks.append(_start(int(place["RANK"]), arguments, {**environment, **place}))
        while not any(rank.has_failed for rank in ranks) and not meeting.another_failed():
            if all(rank.is_done for rank in ranks):
                if meeting.finish():
                    return
                break
            time.sleep(LOOK_EVERY_S)
        time.sleep(GATHER_S)
        failed = [rank for rank in ranks if rank.has_failed]
        if any(rank.process.poll() == BROKEN_PIPE for rank in failed):
            raise BrokenPipeError
        raise OneThinkerError(_reason(failed, meeting))
    finally:
        _end(ranks)


def _reason(failed: Sequence[Rank], meeting: Meeting) -> str:
    """Return why the run fails, of all nodes' reasons the one that is closest to the cause."""
    level, own, trace = min((rank.reason() for rank in failed), default=(NO_REASON, "", ""))
    if failed:
        meeting.tell((level, own))
    if meeting.nodes.count > 1:
        time.sleep(GATHER_S)
    others = [(other, f"node {node}: {text}") for node, (other, text) in meeting.reasons()]
    if others and min(others)[0] < level:
        return min(others)[1]
    sys.stderr.write(trace)
    return own or f"another node has failed without reporting a reason; {AGAIN}"


def _start(index: int, arguments: Sequence[str], environment: Mapping[str, str]) -> Rank:
    # In our process group: what a terminal sends, Ctrl-C, Ctrl-Z or its end, reaches all.
    reports, report = os.pipe()
    os.set_blocking(reports, False)
    command = [sys.executable, "-m", "onethinker.commands.ranks", str(os.getpid()), str(report), *arguments]
    process = subprocess.Popen(command, env=dict(environment), pass_fds=[report], stdin=subprocess.DEVNULL)
    os.close(report)
    return Rank(index, process, reports)


def _end(ranks: Sequence[Rank]) -> None:
    """End all processes that still run, in order if they can, and wait for them."""
    for rank in ranks:
        rank.process.terminate()
    deadline = time.monotonic() + WORKER_SECONDS + 1
    for rank in ranks:
        with suppress(subprocess.TimeoutExpired):
            rank.process.wait(max(0.0, deadline - time.monotonic()))
        rank.process.kill()
        rank.process.wait()
        os.close(rank.reports)


def accelerate_environment(config: Path) -> dict[str, str]:
    """Return the variables by which accelerate's launcher tells processes what a config file of it sets.

    Raises: ConfigError: the launcher does not accept the file.
    """
    show = [sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))"]
    launcher = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--config_file",
        str(config),
        "--num_processes",
        "1",
    ]
    found = subprocess.run(
        # Port 0 is any free one: two runs may start at the same moment.
        [*launcher, "--num_machines", "1", "--main_process_port", "0", "--no_python", *show],
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode:
        reported = found.stderr.strip().splitlines() or [f"it exited with code {found.returncode}"]
        raise ConfigError(f"--accelerate-config {config}: accelerate's launcher does not accept it: {reported[-1]}")
    variables: dict[str, str] = json.loads(found.stdout.splitlines()[-1])
    changed = {name: value for name, value in variables.items() if os.environ.get(name) != value}
    return {name: value for name, value in changed.items() if not name.startswith(LAUNCHERS_OWN)}


def serve() -> None:
    """Be one of the processes: run a command line, and report what went wrong to the process that has started
    this one.
    """
    parent, descriptor, *arguments = sys.argv[1:]
    end_with_parent(int(parent))
    with ending_on_signals(WORKER_SECONDS) as ended:
        code, report = 1, []
        try:
            code = dispatch(arguments)
            sys.stdout.flush()
        except BrokenPipeError:
            code = BROKEN_PIPE
        except (
            Exception,
            Ended,
        ) as error:  # whatever it is, the parent shows it, unless another process reports its cause
            text = describe(error)
            report = ["crash", traceback.format_exc()[-LONGEST_REPORT:]] if text is None else ["error", text]
        with suppress(Ended, BrokenPipeError):  # nobody listens any more
            if report and not ended:
                os.write(int(descriptor), json_line(report))
                # If this one left first, those that wait for it would fail too, each with a traceback.
                time.sleep(SECONDS)
    if code or ended:
        # Threads of torch and of trackers may still wait for processes that are gone.
        os._exit(ended[0].exit_code if ended else code)


if __name__ == "__main__":
    serve()
