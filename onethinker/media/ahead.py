"""Media read ahead of who wants them, in processes of their own: a file that kills its decoder costs one sample, not the run.

`python -m onethinker.media.ahead` is such a process: a medium a line on stdin, its frames or its error on stdout.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter, deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np

from onethinker.clip import Clip
from onethinker.errors import MediaError
from onethinker.media.budget import ExactBudget, MediaBudget
from onethinker.media.reading import read_clip
from onethinker.media.sources import FrameFolder, Source, TablePicture

Medium = Path | Clip | Source
_BUDGETS: Mapping[str, type[MediaBudget]] = {budget.__name__: budget for budget in (MediaBudget, ExactBudget)}


def default_workers() -> int:
    """Return how many processes decode when nobody says otherwise: one a core that this process may use, 8 at most."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, cores)


def read_ahead(
    wanted: Sequence[Sequence[Medium]], budget: MediaBudget, *, workers: int | None = None, room: int | None = None
) -> Generator[tuple[Clip, ...] | MediaError, None, None]:
    """Yield the clips of each sample, in order, while the next ones are being decoded; an error in place of what cannot be read.

    At most `room` clips are held that were not yielded yet or are wanted again. A medium that several samples want is decoded
    once, if they come closer together than that. Clips in memory are sized here; nothing is started for them alone.
    """
    workers = workers or default_workers()
    room = room or 2 * workers
    wants = Counter(medium for media in wanted for medium in set(media))
    under_way: deque[Sequence[Medium]] = deque()
    rest = deque(wanted)
    with _Decoders(budget, min(workers, len(wants) or 1)) as decoders:
        while rest or under_way:
            while rest and (not under_way or len(decoders.held) < room):
                if len(decoders.held) >= room:
                    decoders.held.clear()
                under_way.append(rest.popleft())
                decoders.start(under_way[-1])
            media = under_way.popleft()
            clips = decoders.finish(media)
            for medium in set(media):
                wants[medium] -= 1
                if not wants[medium]:
                    decoders.held.pop(medium, None)
            yield clips
            del clips


class _Decoders:
    """A thread for each process, which asks it for one medium after the other; a process that died is replaced by the next question."""

    def __init__(self, budget: MediaBudget, workers: int) -> None:
        self.held: dict[Medium, Future[Clip]] = {}
        self._budget, self._own = budget, threading.local()
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="decoding")
        self._processes: list[_Process] = []
        self._starting = threading.Lock()
        self._closed = False

    def __enter__(self) -> "_Decoders":
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._starting:
            self._closed = True
            for process in self._processes:
                process.kill()  # the thread that waits for it sees its output end
        self._threads.shutdown()
        for process in self._processes:
            process.close()

    def start(self, media: Sequence[Medium]) -> None:
        """Have media decoded that are not held."""
        for medium in media:
            if medium not in self.held:
                self.held[medium] = self._threads.submit(self._read, medium)

    def finish(self, media: Sequence[Medium]) -> tuple[Clip, ...] | MediaError:
        """Return the clips of media, once they are all there, or the first error."""
        self.start(media)
        try:
            return tuple([self.held[medium].result() for medium in media])
        except MediaError as error:
            return error

    def _read(self, medium: Medium) -> Clip:
        if isinstance(medium, Clip):
            return read_clip(medium, self._budget)
        process: _Process | None = getattr(self._own, "process", None)
        if process is None or not process.is_running():
            process = self._own.process = self._start()
        return process.read(medium, self._budget)

    def _start(self) -> "_Process":
        with self._starting:
            if self._closed:
                raise MediaError("nobody waits for this medium any more")
            self._processes.append(_Process())
            return self._processes[-1]


class _Process:
    """One process that decodes; it ends with its input, so also when this process is killed."""

    def __init__(self) -> None:
        # Its own session, so that Ctrl-C reaches this process alone.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "onethinker.media.ahead"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )

    def is_running(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        """Kill the process, wait for its end and close the pipes; nothing may be reading from it."""
        self._process.kill()
        with suppress(BrokenPipeError):
            self._process.communicate()

    def read(self, medium: Source | Path, budget: MediaBudget) -> Clip:
        """Return a medium's clip. Raises: MediaError: it cannot be read, or the process died over it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"medium": _to_json(medium), "budget": [type(budget).__name__, budget.model_dump(mode="json")]}
        line = json.dumps(asked).encode() + b"\n"
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
            reply = json.loads(self._process.stdout.readline() or "null")
            if reply is not None and "error" in reply:
                raise MediaError(reply["error"])
            if reply is not None:
                frames = np.empty(reply["shape"], np.uint8)
                if _read_into(self._process.stdout, frames.data.cast("B")):
                    return _clip(reply["clip"], frames)
        except (BrokenPipeError, ValueError):  # it ended before it had read the question, or within the first line of its reply
            pass
        status = self._process.wait()
        how = f"was killed by signal {-status}" if status < 0 else f"left with {status}"
        name = medium if isinstance(medium, Path) else medium.name
        raise MediaError(f"{name}: the process that decoded it {how}; the file may need more memory than there is, or break the decoder")


def _read_into(pipe: IO[bytes], buffer: memoryview) -> bool:
    """Fill a buffer out of a pipe; False when the pipe ends before that."""
    filled = 0
    while filled < len(buffer):
        count = pipe.readinto(buffer[filled:])  # type: ignore[attr-defined]
        if not count:
            return False
        filled += count
    return True


def _to_json(medium: Source | Path) -> dict[str, Any]:
    if isinstance(medium, Path):
        return {"path": str(medium)}
    fields = asdict(medium)
    return {name: str(value) if isinstance(value, Path) else value for name, value in fields.items()}


def _from_json(fields: dict[str, Any]) -> Source | Path:
    if "path" in fields:
        return Path(fields["path"])
    if "folder" in fields:
        return FrameFolder(Path(fields["folder"]), tuple(fields["names"]), fields["fps"])
    return TablePicture(**{**fields, "table": Path(fields["table"])})


def _about(clip: Clip) -> dict[str, Any]:
    return {name: getattr(clip, name) for name in ("kind", "times_s", "indices", "source_width", "source_height", "duration_s", "name")}


def _clip(about: dict[str, Any], frames: np.ndarray[Any, np.dtype[np.uint8]]) -> Clip:
    return Clip(**{**about, "times_s": tuple(about["times_s"]), "indices": tuple(about["indices"])}, frames=frames)


def serve() -> None:
    """Decode what stdin names, a line each, until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with ExitStack() as stack, suppress(BrokenPipeError):  # whoever asked is gone
        out = stack.enter_context(os.fdopen(os.dup(1), "wb"))
        os.dup2(2, 1)  # nothing that a library prints may look like a reply
        for line in sys.stdin.buffer:
            asked = json.loads(line)
            kind, budget = asked["budget"]
            try:
                clip = read_clip(_from_json(asked["medium"]), _BUDGETS[kind].model_validate(budget))
            except MediaError as error:
                out.write(json.dumps({"error": str(error)}).encode() + b"\n")
            else:
                out.write(json.dumps({"shape": clip.frames.shape, "clip": _about(clip)}).encode() + b"\n")
                out.write(np.ascontiguousarray(clip.frames).data)
            out.flush()


if __name__ == "__main__":
    serve()
