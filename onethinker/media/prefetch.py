"""Media read ahead of who wants them, in processes of their own: a file that kills its decoder costs one sample, not
the run.

`python -m onethinker.media.prefetch PARENT` is such a process: a medium a line on stdin, its frames or its error on
stdout.
"""

import json
import math
import os
import resource
import threading
from collections import Counter, deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from onethinker.core.errors import MediaError
from onethinker.core.frames import Clip
from onethinker.core.sources import FrameFolder, MemoryFile, Source, TablePicture, TimedFrames, VideoPart
from onethinker.media.budget import ExactBudget, MediaBudget
from onethinker.media.reading import read_clip
from onethinker.processes.line_process import LineProcess, NotStartedError, ProcessLostError, serve, start_module
from onethinker.processes.pool import Pool
from onethinker.storage.strict_json import json_line

Medium = Path | Clip | Source
_PIPE_BYTES = 1 << 20
"""A wide pipe takes fewer turns between the two processes."""
MEMORY_VARIABLE = "ONETHINKER_DECODER_BYTES"
"""How a decoder process is told what memory it may use."""
MAX_OPEN_FILES = 64
"""Of a decoder with limits."""
_BUDGETS: Mapping[str, type[MediaBudget]] = {budget.__name__: budget for budget in (MediaBudget, ExactBudget)}


def default_workers() -> int:
    """Return how many processes decode when nobody says otherwise: one for two cores, since each reads a video with
    several threads.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, max(1, cores // 2))


@dataclass(frozen=True)
class DecodeLimits:
    """What one file may cost its decoder: a process that needs more is ended, and the file is an error."""

    seconds: float = math.inf
    memory_bytes: int | None = None
    """Address space of the process; None for no limit. It then also writes no file, and has few open."""


class Decoders:
    """Processes that decode, each with a thread that waits for it; one that died is replaced by the next question.

    `workers` of them decode at once; one more hands over what it has decoded meanwhile.
    """

    def __init__(self, workers: int | None = None, limits: DecodeLimits | None = None) -> None:
        self.workers = workers or default_workers()
        self._limits = limits or DecodeLimits()
        self._threads = ThreadPoolExecutor(self.workers + 1, thread_name_prefix="decoding")
        self._decoding = threading.Semaphore(self.workers)
        self._pool = Pool(self.workers + 1, partial(_start, self._limits.memory_bytes))

    def __enter__(self) -> "Decoders":
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._pool.kill()
        self._threads.shutdown()
        self._pool.close()

    def warm_up(self) -> None:
        """Start all processes now, without waiting for them."""
        self._pool.warm_up()

    def submit(self, medium: Medium, budget: MediaBudget) -> Future[Clip]:
        """Return the clip of a medium to come, or the MediaError in its place. What is in memory is read here, without
        a process.
        """
        return self._threads.submit(self._read, medium, budget)

    def _read(self, medium: Medium, budget: MediaBudget) -> Clip:
        if isinstance(medium, Clip | MemoryFile):
            return read_clip(medium, budget)
        try:
            with self._pool.lease() as process:
                reply = self._decode(process, medium, budget)
                if "error" not in reply:
                    frames = np.empty(reply["shape"], np.uint8)
                    process.receive_into(frames.data.cast("B"))
                    return _clip(reply["clip"], frames)
        except (ProcessLostError, NotStartedError) as error:
            raise MediaError(
                f"{medium if isinstance(medium, Path) else medium.name}: the process that decoded it {error}; the file"
                " may need more memory than available, or crash the decoder"
            ) from error
        raise MediaError(reply["error"])

    def _decode(self, process: LineProcess, medium: Source | Path, budget: MediaBudget) -> dict[str, Any]:
        """Return what is known of a medium's clip once it has been decoded, or why it cannot be."""
        asked = {"medium": _to_json(medium), "budget": [type(budget).__name__, budget.model_dump(mode="json")]}
        with self._decoding:
            reply: dict[str, Any] = json.loads(process.exchange(json_line(asked), self._limits.seconds))
        return reply


def _start(memory_bytes: int | None) -> LineProcess:
    limited = {} if memory_bytes is None else {MEMORY_VARIABLE: str(memory_bytes)}
    process = start_module("onethinker.media.prefetch", environment=limited)
    process.widen(_PIPE_BYTES)
    return process


def read_ahead(
    wanted: Sequence[Sequence[Medium]], budget: MediaBudget, decoders: Decoders, *, capacity: int | None = None
) -> Generator[tuple[Clip, ...] | MediaError, None, None]:
    """Yield the clips of each sample, in order, or the error of a sample whose media cannot be read; the next samples
    are decoded meanwhile.

    At most `capacity` clips are held that were not yielded yet or are needed again. A medium that several samples need
    is decoded once, if they come closer together than that. The first sample has all decoders to itself: it is ready
    sooner.
    """
    capacity = capacity or 2 * decoders.workers
    wants = Counter(medium for media in wanted for medium in set(media))
    rest = deque(wanted)
    held: dict[Medium, Future[Clip]] = {}
    in_flight: deque[Sequence[Medium]] = deque()

    def start(media: Sequence[Medium]) -> None:
        held.update({medium: decoders.submit(medium, budget) for medium in dict.fromkeys(media) if medium not in held})

    try:
        while rest or in_flight:
            if not in_flight:
                in_flight.append(rest.popleft())
                # What else is held is needed much later.
                held = {medium: held[medium] for medium in in_flight[0] if medium in held}
            media = in_flight.popleft()
            start(media)
            clips = _finished(held, media)
            wants.subtract(set(media))
            held = {medium: future for medium, future in held.items() if wants[medium] or medium not in media}
            while rest and len(held) < capacity:
                in_flight.append(rest.popleft())
                start(in_flight[-1])
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


def _to_json(medium: Source | Path) -> dict[str, Any]:
    if isinstance(medium, Path):
        return {"path": str(medium)}
    fields = asdict(medium)
    return {name: str(value) if isinstance(value, Path) else value for name, value in fields.items()}


def _from_json(fields: dict[str, Any]) -> Source | Path:
    if "start_s" in fields:
        return VideoPart(Path(fields["path"]), fields["start_s"], fields["end_s"])
    if "path" in fields:
        return Path(fields["path"])
    if "times_s" in fields:
        return TimedFrames(
            Path(fields["folder"]), tuple(fields["names"]), tuple(fields["times_s"]), fields["duration_s"]
        )
    if "folder" in fields:
        return FrameFolder(Path(fields["folder"]), tuple(fields["names"]), fields["fps"])
    return TablePicture(**{**fields, "table": Path(fields["table"])})


def _about(clip: Clip) -> dict[str, Any]:
    return {
        name: getattr(clip, name)
        for name in ("kind", "times_s", "indices", "source_width", "source_height", "duration_s", "name", "problems")
    }


def _clip(about: dict[str, Any], frames: np.ndarray[Any, np.dtype[np.uint8]]) -> Clip:
    rows = {name: tuple(about[name]) for name in ("times_s", "indices", "problems")}
    return Clip(**{**about, **rows}, frames=frames)


def _answer(asked: dict[str, Any]) -> Iterator[bytes | memoryview]:
    kind, budget = asked["budget"]
    try:
        clip = read_clip(_from_json(asked["medium"]), _BUDGETS[kind].model_validate(budget))
    except MediaError as error:
        yield json_line({"error": str(error)})
        return
    yield json_line({"shape": clip.frames.shape, "clip": _about(clip)})
    yield np.ascontiguousarray(clip.frames).data


def _limit_itself() -> None:
    """Take from this process what a hostile file could use: more memory than was said, files to write, many open
    ones.
    """
    if memory := os.environ.get(MEMORY_VARIABLE):
        for kind, most in (
            (resource.RLIMIT_AS, int(memory)),
            (resource.RLIMIT_FSIZE, 0),
            (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
            (resource.RLIMIT_CORE, 0),
        ):
            resource.setrlimit(kind, (most, most))


if __name__ == "__main__":
    _limit_itself()
    Image.init()  # its formats load now, not with the first file
    serve(_answer)
