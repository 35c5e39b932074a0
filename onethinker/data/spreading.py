"""The same work on every block of records: in this process, in several, in shards of the files, or by Ray.

What the work makes of a block is JSON, and nothing that is kept between blocks belongs in it: that is done by who takes
the results, in the order of the files. So all ways come to the same.
"""

import json
import multiprocessing
import os
import re
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from heapq import merge
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

from onethinker.core.errors import ConfigError, DataError, OneThinkerError
from onethinker.data.formats.records import Record
from onethinker.processes.endings import end_with_parent
from onethinker.storage.atomic import differences, opened_atomically, writing
from onethinker.storage.strict_json import json_line

AT_ONCE = 1024
"""Records of a block."""
HERE_FIRST = 4
"""Blocks that are worked on in this process before others are started: small files are done sooner so."""
MOST_WORKERS = 8
_END = json_line("end")
"""The last line of a part."""
Row = tuple[Path, int, Record | DataError]
"""File, row and record; a row that is no record has its error."""
Block = list[Row]
Work = Callable[[Block], Any]
"""What is done with a block; it can be pickled."""


@dataclass(frozen=True)
class Shard:
    """One of `count` equal parts of the files, `index` from 0: every count-th block of them."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Return the shard that a user calls "2/4". Raises: ConfigError.

        >>> Shard.parse("2/4")
        Shard(index=1, count=4)
        """
        match = re.fullmatch(r"([1-9][0-9]{0,4})/([1-9][0-9]{0,4})", text)
        if match is None or int(match[1]) > int(match[2]):
            raise ConfigError(f"--shard takes PART/TOTAL, such as 2/4, got {text!r}")
        return cls(int(match[1]) - 1, int(match[2]))

    def __str__(self) -> str:
        return f"{self.index + 1}-of-{self.count}"


Opened = Callable[[Shard | None], AbstractContextManager[Work]]
"""Makes the work on a shard ready, or that of one run (None), such as by loading a model, and ends it."""


def ready(work: Work) -> Opened:
    """Return what opens work that needs nothing."""
    return lambda shard: nullcontext(work)


def blocks_of(rows: Iterable[Row], shard: Shard | None = None) -> Iterator[tuple[int, Block]]:
    """Yield the blocks of records, or those of a shard, each with its index."""
    rest, index = iter(rows), 0
    while block := list(islice(rest, AT_ONCE)):
        if shard is None or index % shard.count == shard.index:
            yield index, block
        index += 1


def default_workers() -> int:
    """Return how many processes work on large files unless somebody says."""
    return min(MOST_WORKERS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def results_of(rows: Iterable[Row], work: Work, *, workers: int = 1) -> Iterator[Any]:
    """Yield what the work makes of each block, in order, by so many processes."""
    blocks = (block for _, block in blocks_of(rows))
    yield from map(work, islice(blocks, HERE_FIRST if workers > 1 else None))
    if (first := next(blocks, None)) is None:
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(work, os.getpid())) as pool:
        waiting: deque[Future[Any]] = deque([pool.submit(_do, first)])
        try:
            for block in blocks:
                waiting.append(pool.submit(_do, block))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def write_part(rows: Iterable[Row], opened: Opened, folder: Path, shard: Shard, asked: Mapping[str, Any]) -> Path:
    """Write what the work makes of a shard into a file of a folder, whole or not at all, and return it. `asked` is what
    all parts must have in common. Raises: StorageError.
    """
    path = folder / f"{shard}.jsonl"
    with writing(path):
        folder.mkdir(parents=True, exist_ok=True)
    with opened(shard) as work, opened_atomically(path) as file:
        file.write(json_line({"shard": shard.index, "shards": shard.count, "asked": dict(asked)}))
        for index, block in blocks_of(rows, shard):
            file.write(json_line([index, work(block)]))
        file.write(_END)
    return path


def join_parts(folder: Path, asked: Mapping[str, Any]) -> Iterator[Any]:
    """Yield what all shards made of their blocks, in the order of the files. Raises: DataError: a part is missing, is
    cut short, or was made of other files or for other options.
    """
    paths = sorted(folder.glob("*-of-*.jsonl"))
    if not paths:
        raise DataError(f"{folder}: there are no parts; write them with --shard 1/2 and --shard 2/2, or more")
    if cut := [path for path in paths if not _is_whole(path)]:
        raise DataError(f"{cut[0]}: is cut short; write it again with --shard")
    parts = [_values(path) for path in paths]
    heads = [next(part) for part in parts]
    for path, head in zip(paths, heads, strict=True):
        if other := list(differences(head["asked"], to_plain(asked))):
            raise DataError(
                f"{path}: was made with other options: {'; '.join(other)}; remove it, or use the same options"
            )
    _check_complete(folder, {path.stem for path in paths}, heads[0]["shards"])
    for _, result in merge(*parts, key=lambda item: item[0]):
        yield result


def _check_complete(folder: Path, there: set[str], num_shards: int) -> None:
    wanted = [str(Shard(index, num_shards)) for index in range(num_shards)]
    if missing := [name for name in wanted if name not in there]:
        raise DataError(f"{folder}: the parts {', '.join(missing)} are missing; write them with --shard")
    if more := sorted(there - set(wanted)):
        raise DataError(f"{folder}: {', '.join(more)} belong to another number of shards; remove them")


def _values(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        yield from map(json.loads, takewhile(lambda line: line != _END, file))


def _is_whole(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(_END)))
        return file.read() == _END


def to_plain(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as they come back out of a file."""
    plain: dict[str, Any] = json.loads(json_line(dict(asked)))
    return plain


def parts_by_ray(
    read: Callable[[], Iterable[Row]], opened: Opened, folder: Path, shards: int, asked: Mapping[str, Any]
) -> None:
    """Write the parts of so many shards by the workers of a Ray cluster, which see the same files under the same names,
    and work in the folder where this process does.

    Raises: ConfigError: Ray is not installed. DataError: with what went wrong at a worker.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError("--ray needs Ray: pip install 'onethinker[ray]'") from error
    own, here = dict(asked), Path.cwd()

    def write(item: dict[str, Any]) -> dict[str, Any]:
        os.chdir(here)  # relative names mean the same there
        try:
            write_part(read(), opened, folder, Shard(int(item["id"]), shards), own)
        except OneThinkerError as error:
            return {"error": str(error)}
        return {"error": ""}

    ray.init(ignore_reinit_error=True, log_to_driver=False, configure_logging=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    done = ray.data.range(shards, override_num_blocks=shards).map(write).take_all()
    if errors := [row["error"] for row in done if row["error"]]:
        raise DataError(errors[0])


_own: list[Work] = []
"""In a worker process, what it does."""


def _begin(work: Work, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends the others
    end_with_parent(parent)
    _own[:] = [work]


def _do(block: Block) -> Any:
    return _own[0](block)
