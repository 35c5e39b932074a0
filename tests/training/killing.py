"""Runs training in forks of one warm process and kills them with SIGKILL at a named place or time: the driver of
`test_kills.py`.

`python tests/training/killing.py` reads one order a line on stdin and answers with one line on stdout. A fork starts in
milliseconds, because torch and transformers are loaded once. Every place where the run passes has a name: what it calls
("before rollout", "after optimizer step") and every change that it makes in its folder ("before rename
checkpoints/step-00000001.partial").
"""

import builtins
import contextlib
import functools
import importlib
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

WRITING = re.compile(r"[wax+]")
MARK = "ONETHINKER_KILLED_RUN"
"""The environment of every process that a run starts says so."""
HALF = "half "
"""A kill at "half NAME" leaves the first half of that file behind, which a call that writes it at once never does by
itself.
"""


@dataclass(frozen=True)
class Order:
    """One run in one fork. It is killed at the `passage`-th time at `place`, or after so many seconds, or not at all.

    `seed` is put into every global generator, which a run must not depend on. At the `passage`-th time at `fill_at` the
    disk under the folder is filled up but for some bytes; no file may grow beyond `file_limit` bytes. Of several
    processes the first is the one that is killed and speaks.
    """

    number: int
    stage: str
    recipe: dict[str, Any]
    folder: str
    place: str | None = None
    passage: int = 1
    after_s: float | None = None
    seed: int = 0
    fill_at: str | None = None
    fill_but_bytes: int = 0
    file_limit: int | None = None
    allow_changes: bool = False
    processes: int = 1


class Places:
    """Counts the places that a run passes, and acts at the one in the order."""

    def __init__(self, order: Order) -> None:
        self.order, self.root = order, str(Path(order.folder).resolve())
        self.passed: list[str] = []
        self.times: Counter[str] = Counter()

    def __call__(self, place: str) -> None:
        """Take note of a place."""
        self.passed.append(place)
        self.times[place] += 1
        if (place, self.times[place]) == (self.order.fill_at, self.order.passage):
            _fill_disk(Path(self.order.folder).parent, self.order.fill_but_bytes)
        if self.due(place):
            os.kill(os.getpid(), signal.SIGKILL)

    def due(self, place: str) -> bool:
        """Return whether the order is to kill here and now."""
        return place == self.order.place and self.times[place] == self.order.passage

    def name(self, path: object) -> str | None:
        """Return a path of the run without the numbers of processes, or None for one that is outside."""
        if not isinstance(path, str | bytes | os.PathLike):
            return None
        whole = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 (Path.resolve would go through what is watched)
        if whole != self.root and not whole.startswith(self.root + os.sep):
            return None
        return re.sub(r"\.\d+\.partial$", ".partial", os.path.relpath(whole, self.root))

    def wrap(self, owner: Any, attribute: str, place: str) -> None:
        """Pass "before" and "after" a function."""
        inner = getattr(owner, attribute)

        @functools.wraps(inner)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self(f"before {place}")
            result = inner(*args, **kwargs)
            self(f"after {place}")
            return result

        setattr(owner, attribute, wrapped)

    def wrap_change(self, attribute: str) -> None:
        """Pass "before" and "after" a change of the folder by a function of `os` whose first argument is a path."""
        inner = getattr(os, attribute)

        @functools.wraps(inner)
        def wrapped(path: Any, *args: Any, **kwargs: Any) -> Any:
            # With dir_fd a path is only a name: shutil.rmtree inside a folder, whose own name comes last.
            name = self.name(path) if kwargs.get("dir_fd") is None else f"…/{os.fsdecode(path)}"
            if name:
                self(f"before {attribute} {name}")
            result = inner(path, *args, **kwargs)
            if name:
                self(f"after {attribute} {name}")
            return result

        setattr(os, attribute, wrapped)

    def wrap_fsync(self) -> None:
        """Pass "before" and "after" a file or folder of the run is brought to the disk."""
        inner = os.fsync

        @functools.wraps(inner)
        def wrapped(descriptor: int) -> None:
            name = self.name(os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: PTH115
            self(f"before fsync {name}")
            inner(descriptor)
            self(f"after fsync {name}")

        os.fsync = wrapped

    def wrap_open(self, owner: Any) -> None:
        """Pass "before" a file of the folder is opened to be written."""
        inner = owner.open

        @functools.wraps(inner)
        def wrapped(path: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            name = self.name(path) if WRITING.search(mode) else None
            if name:
                self(f"before write {name}")
            return inner(path, mode, *args, **kwargs)

        owner.open = wrapped

    def wrap_save_file(self, owner: Any, attribute: str) -> None:
        """Pass "before", "half" and "after" a file of tensors is written."""
        inner = getattr(owner, attribute)

        @functools.wraps(inner)
        def wrapped(tensors: Any, path: Any, *args: Any, **kwargs: Any) -> None:
            name = self.name(path)
            self(f"before write {name}")
            inner(tensors, path, *args, **kwargs)
            half = f"{HALF}{name}"
            if half == self.order.place:
                os.truncate(path, os.path.getsize(path) // 2)  # noqa: PTH202
                self(half)
            self(f"after write {name}")

        setattr(owner, attribute, wrapped)

    def wrap_append(self, owner: Any, attribute: str) -> None:
        """Pass "half journal row" with a row that is cut in the middle."""
        inner = getattr(owner, attribute)

        @functools.wraps(inner)
        def wrapped(path: Path, records: Any) -> None:
            half = f"{HALF}{path.name}"
            self.times[half] += 1
            if self.due(half):
                line = json.dumps(records[0])
                with path.open("a") as file:
                    file.write(line[: len(line) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            inner(path, records)

        setattr(owner, attribute, wrapped)


def watch(order: Order) -> Places:
    """Put names on all places that a run passes."""
    import torch
    from transformers import modeling_utils

    from onethinker.rewards import grader as rewards
    from onethinker.rl import in_process
    from onethinker.rl import loop as rl
    from onethinker.training import session
    from onethinker.training.state import run_folder

    places = Places(order)
    places.wrap(in_process, "sample_answers", "rollout")
    places.wrap(rewards.Grader, "submit", "grading")
    places.wrap(rewards.Grading, "result", "reward")
    places.wrap(rl, "compute_advantages", "averages")
    places.wrap(torch.Tensor, "backward", "backward")
    places.wrap(torch.optim.AdamW, "step", "optimizer step")
    places.wrap(run_folder.RunFolder, "append", "journal row")
    places.wrap_fsync()
    places.wrap_append(run_folder, "append_to_log")
    for module, name in ((session, "save_file"), (modeling_utils, "safe_save_file")):
        places.wrap_save_file(module, name)
    for name in ("rename", "replace", "unlink", "rmdir", "mkdir"):
        places.wrap_change(name)
    for module in (builtins, io):
        places.wrap_open(module)
    return places


def train(order: Order) -> list[str]:
    """Run a stage and return the places that it passed."""
    import numpy as np
    import torch

    from onethinker.rl.loop import train_rl
    from onethinker.training.config import RlRecipe, SftRecipe
    from onethinker.training.sft import train_sft

    torch.manual_seed(order.seed)
    np.random.seed(order.seed)
    random.seed(order.seed)
    places = watch(order)
    if order.file_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order.file_limit, order.file_limit))
    if order.after_s is not None:
        timer = threading.Timer(order.after_s, os.kill, (os.getpid(), signal.SIGKILL))
        timer.daemon = True
        timer.start()
    stages: dict[str, Any] = {"sft": (train_sft, SftRecipe), "rl": (train_rl, RlRecipe)}
    start, recipe = stages[order.stage]
    start(recipe.model_validate(order.recipe), Path(order.folder), allow_changes=order.allow_changes)
    return places.passed


def run_in_fork(order: Order) -> dict[str, Any]:
    """Return how a run in a child of its own session ended: its signal or 0, its error, where it passed, processes it
    left behind.
    """
    began, others = time.perf_counter(), []
    if order.processes > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        os.environ |= {"WORLD_SIZE": str(order.processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        for rank in range(1, order.processes):
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            others.append(os.fork())
            if not others[-1]:
                train(replace(order, place=None, after_s=None))
                os._exit(0)
        os.environ |= {"RANK": "0", "LOCAL_RANK": "0"}
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.setsid()
        os.environ[MARK] = str(os.getpid())
        os.close(reading)
        os.dup2(2, 1)
        news: dict[str, Any]
        try:
            news = {"error": "", "passed": train(order)}
        except BaseException as error:  # whatever ended the run is what the test wants to see
            news = {"error": f"{type(error).__name__}: {error}", "passed": []}
        with os.fdopen(writing, "w") as pipe:
            pipe.write(json.dumps(news))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    for other in others:
        os.waitpid(other, 0)
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        os.environ.pop(name, None)
    seconds = time.perf_counter() - began
    news = json.loads(text) if text else {"error": "", "passed": []}
    killed_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return {"number": order.number, "signal": killed_by, "seconds": seconds, "left_behind": _left_behind(child), **news}


def _left_behind(run: int) -> list[int]:
    """Return the processes that a run has left, after they had ten seconds to end; they are ended then."""
    for _ in range(100):
        left = [process for process in _processes() if _belongs(process, run)]
        if not left:
            return []
        time.sleep(0.1)
    for process in left:
        os.kill(process, signal.SIGKILL)
    return left


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _belongs(process: int, run: int) -> bool:
    """Return whether a process is of the run's session, or has its mark from it and one of its own."""
    try:
        return os.getsid(process) == run or f"{MARK}={run}\0".encode() in Path(f"/proc/{process}/environ").read_bytes()
    except OSError:
        return False


def _fill_disk(folder: Path, left: int) -> None:
    """Leave only so many bytes on a small disk of its own."""
    free = shutil.disk_usage(folder).free
    assert free <= 2**28, f"{folder} is no small disk"
    with (folder / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(2**12))
    os.truncate(folder / "filler", (folder / "filler").stat().st_size - left)


def main() -> None:
    """Load everything that a run loads, and then work off orders until stdin ends."""
    import torch
    import transformers
    from transformers.utils.logging import disable_progress_bar

    for name in ("rl.loop", "training.sft", "inference.local", "inference.encode", "data.synthetic"):
        importlib.import_module(f"onethinker.{name}")
    importlib.import_module("transformers.models.qwen3_vl.modeling_qwen3_vl")
    assert transformers.AutoProcessor, "transformers loads its parts on first use"
    torch.set_num_threads(1)
    disable_progress_bar()
    for line in sys.stdin:
        print(json.dumps(run_in_fork(Order(**json.loads(line)))), flush=True)


if __name__ == "__main__":
    main()
