"""The sampled answers of an RL run on disk: a gzipped JSONL file for each step, a line for each group of answers.

A step's file is written whole or not at all, and again by a run that goes on from before it: none is lost, none twice.
"""

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from onethinker.core.errors import CheckpointError
from onethinker.storage.atomic import write_atomically, writing
from onethinker.storage.folders import ROLLOUTS_FOLDER
from onethinker.storage.strict_json import to_json

Rollouts = dict[str, Any]
"""A line: one group."""


def write_rollouts(run: Path, step: int, groups: Sequence[Mapping[str, Any]], *, max_bytes: float) -> None:
    """Write the groups of a step; the oldest steps' files are removed where all are larger than `max_bytes`.

    That of this step is always kept. Raises: StorageError.
    """
    folder = run / ROLLOUTS_FOLDER
    lines = "".join(f"{to_json(group)}\n" for group in groups)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(_file(folder, step), gzip.compress(lines.encode(), mtime=0))
        *older, last = _files(run)
        size = last.stat().st_size
        for path in reversed(older):
            size += path.stat().st_size
            if size > max_bytes:
                path.unlink()


def drop_rollouts_after(run: Path, step: int) -> None:
    """Remove the files of later steps, which a run that goes on from this one will make again."""
    for path in _files(run):
        if path > _file(run / ROLLOUTS_FOLDER, step):
            path.unlink()


def read_rollouts(run: Path, step: int | None = None) -> Iterator[Rollouts]:
    """Yield the groups of a run in the order of its steps, or those of one step.

    Raises: CheckpointError: there are none, or a file is damaged.
    """
    if not run.is_dir():
        raise CheckpointError(f"{run}: no such folder; expected the folder of a run of `onethinker rl`")
    files = _files(run) if step is None else [path for path in (_file(run / ROLLOUTS_FOLDER, step),) if path.exists()]
    if not files:
        kept = [int(path.name[5:13]) for path in _files(run)]
        there = f"steps {kept[0]} to {kept[-1]} are kept" if kept else "set log.rollouts_mb in the recipe to keep them"
        raise CheckpointError(f"{run}: no sampled answers{f' of step {step}' if step is not None else ''}; {there}")
    for path in files:
        try:
            with gzip.open(path, "rt", encoding="utf-8") as file:
                yield from map(json.loads, file)
        except (OSError, EOFError, ValueError) as error:
            raise CheckpointError(f"{path}: damaged: {error}. Remove it to read the others") from error


def _file(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}.jsonl.gz"


def _files(run: Path) -> list[Path]:
    return sorted((run / ROLLOUTS_FOLDER).glob("step-*.jsonl.gz"))
