"""Media read ahead of who wants them, in processes of their own: a file that kills its decoder costs one sample, not
the run.

`python -m onethinker.media.prefetch PARENT` is such a process: a medium a line on stdin, its frames or its error on
stdout.
"""

import fcntl
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
from PIL import Image

from onethinker.core.errors import MediaError
from onethinker.core.frames import Clip
from onethinker.core.sources import FrameFolder, Source, TablePicture
from onethinker.media.budget import ExactBudget, MediaBudget
from onethinker.media.reading import read_clip
from onethinker.processes.endings import end_with_parent
from onethinker.storage.strict_json import json_line

Medium = Path | Clip | Source
_PIPE_BYTES = 1 << 20
"""A wide pipe takes fewer turns between the two processes."""
_BUDGETS: Mapping[str, type[MediaBudget]] = {budget.__name__: budget for budget in (MediaBudget, ExactBudget)}


def default_workers() -> int:
    """Return how many processes decode when nobody says otherwise: one for two cores, since each reads a video with
    several threads.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, max(1, cores // 2))


class Decoders:
    """Processes that decode, each with a thread that waits for it; one that died is replaced by the next question.

    `workers` of them decode at once; one more hands over what it has decoded meanwhile.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or default_workers()
        self._threads = ThreadPoolExecutor(self.workers + 1, thread_name_prefix="decoding")
        self._free = threading.Semaphore(self.workers)
        self._idle = deque[_Process]()
        self._processes: list[_Process] = []
        self._starting = threading.Lock()
        self._closed = False

    def __enter__(self) -> "Decoders":
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

    def warm_up(self) -> None:
        """Start all processes now, without waiting for them: they load what they need while something else is loaded
        here.
        """
        self._idle.extend(self._start() for _ in range(self.workers + 1 - len(self._processes)))

    def submit(self, medium: Medium, budget: MediaBudget) -> Future[Clip]:
        """Return the clip of a medium to come, or the MediaError in its place. Clips in memory are sized here, without
        a process.
        """
        return self._threads.submit(self._read, medium, budget)

    def _read(self, medium: Medium, budget: MediaBudget) -> Clip:
        if isinstance(medium, Clip):
            return read_clip(medium, budget)
        with self._starting:
            process = self._idle.popleft() if self._idle else None
        process = process or self._start()
        try:
            with self._free:
                about = process.decode(medium, budget)
            return process.receive(medium, about)
        finally:
            if process.is_running():
                self._idle.append(process)

    def _start(self) -> "_Process":
        with self._starting:
            if self._closed:
                raise MediaError("nobody waits for this medium any more")
            self._processes.append(_Process())
            return self._processes[-1]


def read_ahead(
    wanted: Sequence[Sequence[Medium]], budget: MediaBudget, decoders: Decoders, *, room: int | None = None
) -> Generator[tuple[Clip, ...] | MediaError, None, None]:
    """Yield the clips of each sample, in order, while the next ones are being decoded; an error in place of what cannot
    be read.

    At most `room` clips are held that were not yielded yet or are wanted again. A medium that several samples want is
    decoded once, if they come closer together than that. The first sample has all processors to itself, so that it is
    there soon.
    """
    room = room or 2 * decoders.workers
    wants = Counter(medium for media in wanted for medium in set(media))
    rest = deque(wanted)
    held: dict[Medium, Future[Clip]] = {}
    under_way: deque[Sequence[Medium]] = deque()

    def start(media: Sequence[Medium]) -> None:
        held.update({medium: decoders.submit(medium, budget) for medium in dict.fromkeys(media) if medium not in held})

    try:
        while rest or under_way:
            if not under_way:
                under_way.append(rest.popleft())
                held = {
                    medium: held[medium] for medium in under_way[0] if medium in held
                }  # the others are wanted much later
            media = under_way.popleft()
            start(media)
            clips = _finished(held, media)
            wants.subtract(set(media))
            for medium in media:
                if not wants[medium]:
                    held.pop(medium, None)
            while rest and len(held) < room:
                under_way.append(rest.popleft())
                start(under_way[-1])
            yield clips
            del clips
    finally:
        for future in held.values():
            future.cancel()


def _finished(held: Mapping[Medium, Future[Clip]], media: Sequence[Medium]) -> tuple[Clip, ...] | MediaError:
    """Return the clips of media once they are all there, or the first error."""
    try:
        return tuple([held[medium].result() for medium in media])
    except MediaError as error:
        return error


class _Process:
    """One process that decodes; it ends with its input, or in the middle of a file when this process is killed."""

    def __init__(self) -> None:
        # Its own group, so that Ctrl-C reaches this process alone.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "onethinker.media.prefetch", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,
        )
        if hasattr(fcntl, "F_SETPIPE_SZ") and self._process.stdout is not None:
            with suppress(OSError):  # more than this user may have
                fcntl.fcntl(self._process.stdout.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def is_running(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        """Kill the process, wait for its end and close the pipes; nothing may be reading from it."""
        self._process.kill()
        with suppress(BrokenPipeError):
            self._process.communicate()

    def decode(self, medium: Source | Path, budget: MediaBudget) -> dict[str, Any]:
        """Return what is known of a medium's clip once it has been decoded, for `receive`. Raises: MediaError: it
        cannot be read.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"medium": _to_json(medium), "budget": [type(budget).__name__, budget.model_dump(mode="json")]}
        try:
            self._process.stdin.write(json_line(asked))
            self._process.stdin.flush()
            reply: dict[str, Any] = json.loads(self._process.stdout.readline())
        except (
            BrokenPipeError,
            ValueError,
        ) as error:  # it ended before it had read the question, or answered with a whole line
            raise self._death(medium) from error
        if "error" in reply:
            raise MediaError(reply["error"])
        return reply

    def receive(self, medium: Source | Path, reply: dict[str, Any]) -> Clip:
        """Return the clip that has been decoded. Raises: MediaError: the process died meanwhile."""
        assert self._process.stdout is not None
        frames = np.empty(reply["shape"], np.uint8)
        if not _read_into(self._process.stdout, frames.data.cast("B")):
            raise self._death(medium)
        return _clip(reply["clip"], frames)

    def _death(self, medium: Source | Path) -> MediaError:
        status = self._process.wait()
        how = f"was killed by signal {-status}" if status < 0 else f"left with {status}"
        name = medium if isinstance(medium, Path) else medium.name
        return MediaError(
            f"{name}: the process that decoded it {how}; the file may need more memory than there is, or break the"
            " decoder"
        )


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
    return {
        name: getattr(clip, name)
        for name in ("kind", "times_s", "indices", "source_width", "source_height", "duration_s", "name")
    }


def _clip(about: dict[str, Any], frames: np.ndarray[Any, np.dtype[np.uint8]]) -> Clip:
    return Clip(**{**about, "times_s": tuple(about["times_s"]), "indices": tuple(about["indices"])}, frames=frames)


def serve() -> None:
    """Decode what stdin names, a line each, until it closes or the process of the number in the command line ends."""
    end_with_parent(int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Image.init()  # its formats load now, not with the first file
    with suppress(BrokenPipeError), ExitStack() as stack:  # whoever asked is gone; closing writes once more
        out = stack.enter_context(os.fdopen(os.dup(1), "wb"))
        os.dup2(2, 1)  # nothing that a library prints may look like a reply
        for line in sys.stdin.buffer:
            asked = json.loads(line)
            kind, budget = asked["budget"]
            try:
                clip = read_clip(_from_json(asked["medium"]), _BUDGETS[kind].model_validate(budget))
            except MediaError as error:
                out.write(json_line({"error": str(error)}))
            else:
                out.write(json_line({"shape": clip.frames.shape, "clip": _about(clip)}))
                out.write(np.ascontiguousarray(clip.frames).data)
            out.flush()


if __name__ == "__main__":
    serve()
