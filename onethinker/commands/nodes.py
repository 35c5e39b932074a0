"""The machines, called nodes, that a run spans: how their launchers meet, what they must agree on, and how the failure
of one ends all.

Each node runs the same command with its own `--node-rank`. Node 0 keeps a small store at `--main-address` and
`--main-port`, through which the launchers speak to each other and torch connects the processes.
"""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onethinker.core.errors import ConfigError, OneThinkerError
from onethinker.storage.atomic import differences
from onethinker.storage.strict_json import to_json

if TYPE_CHECKING:
    from onethinker.commands.options import TrainingOptions

DEFAULT_PORT = 29500
WAIT_S = 600.0
"""How long a node waits for the others."""
LOOK_S = 0.2
BEAT_S = 1.0
MISSED_BEATS = 60
"""After so many looks in a row without a sign of life a node counts as lost."""
LEAVE_S = 5.0
"""How long node 0 keeps the store open for the others to read why the run failed."""

Reason = tuple[int, str]
"""How far a reason is from the cause (lower is closer), and its text."""


@dataclass(frozen=True)
class Nodes:
    """How many nodes there are, which one this is, and where node 0 listens; port 0 is any free one."""

    count: int = 1
    rank: int = 0
    address: str = "127.0.0.1"
    port: int = 0


ONE_NODE = Nodes()


def read_nodes(options: "TrainingOptions") -> Nodes:
    """Return the nodes that the flags ask for. Raises: ConfigError: the flags do not go together."""
    if options.nodes < 1:
        raise ConfigError(f"--nodes must be at least 1, got {options.nodes}")
    flags = {
        "--node-rank": options.node_rank,
        "--main-address": options.main_address,
        "--main-port": options.main_port,
    }
    given = [flag for flag, value in flags.items() if value is not None]
    if given and (options.nodes == 1 or options.dry_run):
        wanted = "a dry run takes only --nodes" if options.dry_run else "give --nodes, the number of machines"
        raise ConfigError(f"{', '.join(given)}: only for a run that spans several nodes; {wanted}")
    if options.nodes == 1 or options.dry_run:
        return Nodes(options.nodes)
    if options.node_rank is None or options.main_address is None:
        missing = [flag for flag in ("--node-rank", "--main-address") if flags[flag] is None]
        raise ConfigError(f"--nodes {options.nodes} needs {' and '.join(missing)} on each node")
    if not 0 <= options.node_rank < options.nodes:
        raise ConfigError(
            f"--node-rank {options.node_rank}: must be from 0 to {options.nodes - 1} with --nodes {options.nodes}"
        )
    port = DEFAULT_PORT if options.main_port is None else options.main_port
    if not 0 < port < 2**16:
        raise ConfigError(f"--main-port {port}: must be from 1 to 65535")
    if "LOCAL_RANK" in os.environ:
        raise ConfigError(
            "--nodes: this process was started by another launcher (such as torchrun), which already sets the nodes;"
            " leave out --nodes"
        )
    return Nodes(options.nodes, options.node_rank, options.main_address, port)


class Meeting:
    """What the launchers of all nodes tell each other while their processes train."""

    def __init__(self, nodes: Nodes, store: Any) -> None:
        self.nodes, self._store = nodes, store
        self._next_beat, self._seen, self._missed = 0.0, [0] * nodes.count, [0] * nodes.count

    def environment(self, index: int, processes: int) -> dict[str, str]:
        """Return the variables that tell process `index` of this node its place among all, in the words of torchrun."""
        return {
            "MASTER_ADDR": self.nodes.address,
            "MASTER_PORT": str(self._store.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
            "WORLD_SIZE": str(self.nodes.count * processes),
            "LOCAL_WORLD_SIZE": str(processes),
            "RANK": str(self.nodes.rank * processes + index),
            "LOCAL_RANK": str(index),
            "GROUP_RANK": str(self.nodes.rank),
        }

    def another_failed(self) -> bool:
        """Whether another node has failed, after a sign of life of this one. Raises: OneThinkerError: one is lost."""
        if self.nodes.count == 1 or time.monotonic() < self._next_beat:
            return False
        self._next_beat = time.monotonic() + BEAT_S
        with self._reaching():
            self._store.add(f"beat/{self.nodes.rank}", 1)
            if self._store.add("failures", 0):
                return True
            for node in range(self.nodes.count) if self.nodes.rank == 0 else ():
                beat = self._store.add(f"beat/{node}", 0)
                self._missed[node] = 0 if beat != self._seen[node] else self._missed[node] + 1
                self._seen[node] = beat
                if self._missed[node] > MISSED_BEATS:
                    raise OneThinkerError(f"node {node} has not responded for {MISSED_BEATS} s; {AGAIN}")
        return False

    def tell(self, reason: Reason) -> None:
        """Let the other nodes know why this one has failed."""
        with suppress(OneThinkerError), self._reaching():
            self._store.set(f"reason/{self.nodes.rank}", to_json(reason))
            self._store.add("failures", 1)

    def reasons(self) -> Iterator[tuple[int, Reason]]:
        """Yield the other nodes that have failed, each with its reason."""
        with suppress(OneThinkerError), self._reaching():
            for node in range(self.nodes.count):
                if node != self.nodes.rank and self._store.check([f"reason/{node}"]):
                    level, text = json.loads(self._store.get(f"reason/{node}"))
                    yield node, (level, text)

    def finish(self) -> bool:
        """Return True when the processes of all nodes have done their work, False when another node has failed."""
        if self.nodes.count == 1:
            return True
        with self._reaching():
            self._store.add("done", 1)
            if self.nodes.rank:
                return True
            while self._store.add("done", 0) < self.nodes.count:
                if self.another_failed():
                    return False
                time.sleep(LOOK_S)
        return True

    def leave(self) -> None:
        """Let node 0 close the store when all others have left, or after a few seconds."""
        with suppress(OneThinkerError), self._reaching():
            self._store.add("left", 1)
            deadline = time.monotonic() + LEAVE_S
            while self.nodes.rank == 0 and self._store.add("left", 0) < self.nodes.count:
                if time.monotonic() > deadline:
                    return
                time.sleep(LOOK_S)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Make the loss of the store, which ends with node 0, an error of ours."""
        from torch.distributed import DistError

        try:
            yield
        except DistError as error:
            raise OneThinkerError(f"node 0 at {self.nodes.address} can no longer be reached; {AGAIN}") from error


AGAIN = "start the same command again on all nodes: it resumes from the last checkpoint"


@contextmanager
def meeting_of(
    nodes: Nodes, agreed: dict[str, Any], output: Path | None, *, wait_s: float = WAIT_S
) -> Iterator[Meeting]:
    """Yield the meeting of all nodes when each has come, `agreed` is the same on each, and all see one `output`.

    `agreed` holds by name what must not differ, such as the number of processes.

    Raises: OneThinkerError: a node does not come, or they do not agree; with the same words on each.
    """
    store = _open_store(nodes, wait_s)
    meeting = Meeting(nodes, store)
    try:
        if nodes.count > 1:
            _agree(nodes, store, agreed, output, wait_s)
        yield meeting
    finally:
        if nodes.count > 1:
            meeting.leave()


def _open_store(nodes: Nodes, wait_s: float) -> Any:
    from torch.distributed import DistNetworkError, TCPStore  # type: ignore[attr-defined]

    if nodes.rank:
        _wait(
            lambda: _answers(nodes),
            wait_s,
            f"node 0 does not answer at {nodes.address}:{nodes.port} after {wait_s:g} s; is it",
        )
    try:
        # Here, and not in the first process, so that no other program can take the port before the first process does.
        return TCPStore(
            nodes.address,
            nodes.port,
            is_master=nodes.rank == 0,
            wait_for_workers=False,
            timeout=timedelta(seconds=max(30.0, wait_s)),
        )
    except DistNetworkError as error:
        raise ConfigError(
            f"--main-port {nodes.port}: node 0 cannot listen on this port, because --main-address is not this machine"
            f" or another program uses the port: {str(error).splitlines()[0]}"
        ) from error


def _answers(nodes: Nodes) -> bool:
    try:
        socket.create_connection((nodes.address, nodes.port), timeout=5).close()
    except socket.gaierror as error:
        raise ConfigError(
            f"--main-address {nodes.address}: this host name cannot be resolved: {error.strerror}"
        ) from error
    except OSError:
        return False
    return True


def _wait(ready: Callable[[], bool], wait_s: float, text: str) -> None:
    """Return when something is ready. Raises: OneThinkerError: it is not after so many seconds."""
    deadline = time.monotonic() + wait_s
    while not ready():
        if time.monotonic() > deadline:
            raise OneThinkerError(f"{text} started, and can this node reach it?")
        time.sleep(LOOK_S)


def _agree(nodes: Nodes, store: Any, agreed: dict[str, Any], output: Path | None, wait_s: float) -> None:
    if store.add(f"came/{nodes.rank}", 1) > 1:
        raise ConfigError(f"--node-rank {nodes.rank}: another launcher already has this rank; give each node its own")
    if nodes.rank == 0:
        with _marker(output) as marker:
            store.set("marker", marker.name if marker else "")
            verdict = _judge(nodes, store, agreed, wait_s)
        store.set("verdict", verdict)
    else:
        _wait(lambda: bool(store.check(["marker"])), wait_s, "node 0 has not joined; is it")
        name = store.get("marker").decode()
        sees = output is None or (_existing(output) / name).exists()
        store.set(f"node/{nodes.rank}", to_json({"sees": sees, "agreed": agreed}))
        _wait(lambda: bool(store.check(["verdict"])), wait_s, "not all nodes have joined; is each")
        verdict = store.get("verdict").decode()
    if verdict:
        raise ConfigError(verdict)


def _judge(nodes: Nodes, store: Any, agreed: dict[str, Any], wait_s: float) -> str:
    """Return what the nodes do not agree on, in words; nothing where they do."""
    others = range(1, nodes.count)
    deadline = time.monotonic() + wait_s
    while missing := [str(node) for node in others if not store.check([f"node/{node}"])]:
        if time.monotonic() > deadline:
            return (
                f"of {nodes.count} nodes these have not joined after {wait_s:g} s: {', '.join(missing)}; start the same"
                " command on each"
            )
        time.sleep(LOOK_S)
    for node in others:
        told = json.loads(store.get(f"node/{node}"))
        if differing := list(differences(json.loads(to_json(agreed)), told["agreed"])):
            return f"node {node} was started with other settings than node 0: {', '.join(differing[:3])}"
        if not told["sees"]:
            return f"node {node} does not see node 0's --output folder: it must be on a disk that all nodes share"
    return ""


@contextmanager
def _marker(output: Path | None) -> Iterator[Path | None]:
    """Yield an empty file where the run's folder is or will be, which other nodes look for; it is gone afterwards."""
    if output is None:
        yield None
        return
    marker = _existing(output) / f".onethinker-{socket.gethostname()}-{os.getpid()}"
    marker.touch()
    try:
        yield marker
    finally:
        marker.unlink(missing_ok=True)


def _existing(path: Path) -> Path:
    """Return the folder itself, or the nearest above it that there is."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.is_dir())
