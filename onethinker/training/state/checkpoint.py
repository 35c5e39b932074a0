"""Checkpoints: whole or absent, known by the digests of their files, and no more of them than are needed."""

import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from onethinker.core.errors import CheckpointError
from onethinker.storage.atomic import digest_file, grant_as, remove, sync_folder, sync_tree
from onethinker.storage.folders import BEST_LINK, CHECKPOINTS_FOLDER, MANIFEST_FILE
from onethinker.storage.strict_json import to_json

if TYPE_CHECKING:
    from torch import nn

KEPT_CHECKPOINTS = 2
"""Older ones are removed, after a newer one is whole, unless a recipe says otherwise."""
Keep = int | str
"""Which checkpoints are kept: a number of latest ones, "all", or besides the latest ones "every 500" steps."""
SMALL_FILES_BYTES = 2**24
"""Room for tokenizer, settings and the journal until the next checkpoint."""


@dataclass(frozen=True)
class Start:
    """Where a run goes on: its newest whole checkpoint, or None for the beginning; `torn` says what is wrong with each
    newer one.
    """

    checkpoint: Path | None
    torn: Mapping[Path, str]


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of the run in a folder."""

    run: Path

    @property
    def folder(self) -> Path:
        """Where they lie."""
        return self.run / CHECKPOINTS_FOLDER

    def all(self) -> list[Path]:
        """Return the finished checkpoints, oldest first."""
        return sorted(self.folder.glob("step-" + "[0-9]" * 8))

    @property
    def best(self) -> Path | None:
        """The checkpoint that a validation has found to be the best; None where there is none."""
        target = self._best.resolve()
        return target if self._best.is_symlink() and target.is_dir() else None

    @property
    def _best(self) -> Path:
        return self.folder / BEST_LINK

    def name_best(self, step: int | None) -> None:
        """Let `best` point to the checkpoint of a step; to nothing where there is none."""
        target = self.folder / f"step-{step:08d}" if step is not None else None
        if target is None or not target.is_dir():
            self._best.unlink(missing_ok=True)
        elif self.best != target.resolve():
            fresh = self.folder / f"{BEST_LINK}.partial"
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(target.name)
            fresh.rename(self._best)
            sync_folder(self.folder)

    def find_start(self) -> Start:
        """Return the newest checkpoint whose files are all as they were written; every byte of it is read.

        Raises: CheckpointError: there are checkpoints and none of them is whole.
        """
        torn: dict[Path, str] = {}
        for checkpoint in reversed(self.all()):
            problem = find_damage(checkpoint)
            if problem is None:
                return Start(checkpoint, torn)
            torn[checkpoint] = problem
        if torn:
            raise CheckpointError(
                f"{self.run}: all checkpoints are damaged ({damage_in_words(torn)}). Restore the files from a copy, or"
                f" remove {self.folder} to train from the beginning"
            )
        return Start(None, torn)

    def check_free_space(self, size: int, saves: int, *, keep: Keep = KEPT_CHECKPOINTS) -> None:
        """Do nothing where `saves` more checkpoints of `size` bytes fit onto the disk, old ones being removed for
        new ones as `keep` says.

        Raises: CheckpointError: they do not; the text has the bytes that are missing.
        """
        count = min(saves, keep + 1 - len(self.all())) if isinstance(keep, int) else saves
        missing = self._missing_space(size * count)
        if missing:
            raise CheckpointError(
                f"{self.run}: not enough disk space for {count} checkpoints of {_megabytes(size)}: {missing}"
            )

    @contextmanager
    def writing(self, step: int, *, size: int, keep: Keep = KEPT_CHECKPOINTS) -> Iterator[Path]:
        """Yield an empty folder to fill; when the block ends it is the newest checkpoint, and those that are not to be
        kept are removed.

        `size` is the number of bytes that it will take. A block that fails leaves the older checkpoints as they were.

        Raises: CheckpointError: there is not enough space, with the bytes that are missing, or the folder cannot be
        written.
        """
        partial = self.folder / f"step-{step:08d}.partial"
        try:
            remove(partial)
            if self._missing_space(size):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            partial.mkdir(parents=True)
            yield partial
            write_manifest(partial)
            grant_as(partial / MANIFEST_FILE)
            sync_tree(partial)
            # A folder of this name can only be the work of another process: renaming fails then, and takes nothing
            # away.
            partial.rename(partial.with_suffix(""))
            sync_folder(partial.parent)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(partial, ignore_errors=True)
            last = self.all()[-1:]
            raise CheckpointError(
                f"{self.run}: step {step} cannot be saved:"
                f" {'; '.join(filter(None, (str(error), self._missing_space(size))))}. Fix this and run the same"
                f" command again: it resumes from {last[0].name if last else 'the beginning'}"
            ) from error
        self.tidy(keep)
        for torn in partial.parent.glob("*.torn"):
            remove(torn)

    def put_aside(self, torn: Iterable[Path]) -> None:
        """Rename damaged checkpoints to `….torn`, in place of what was put aside under that name before."""
        for path in torn:
            remove(path.with_suffix(".torn"))
            path.rename(path.with_suffix(".torn"))

    def tidy(self, keep: Keep = KEPT_CHECKPOINTS) -> None:
        """Remove checkpoints that newer ones have replaced, and what is left of half-written and half-removed ones; the
        best one stays.
        """
        for old in self._replaced(keep):
            # Under its own name a folder that is half removed would look like a checkpoint.
            old.rename(old.with_suffix(".partial"))
        for leftover in self.folder.glob("*.partial"):
            remove(leftover)

    def _replaced(self, keep: Keep) -> list[Path]:
        """Return the checkpoints that are no longer to be kept."""
        if keep == "all":
            return []
        every = int(keep.partition(" ")[2]) if isinstance(keep, str) else None
        older = self.all()[: -(keep if isinstance(keep, int) else KEPT_CHECKPOINTS)]
        return [path for path in older if path.resolve() != self.best and (every is None or step_of(path) % every)]

    def _missing_space(self, size: int) -> str:
        """Return what to say where so many bytes do not fit, else nothing."""
        parent = next(folder for folder in (self.run, *self.run.absolute().parents) if folder.exists())
        free = shutil.disk_usage(parent).free
        return (
            f"{_megabytes(size)} are needed, {_megabytes(free)} are free, {_megabytes(size - free)} are missing"
            if size > free
            else ""
        )


def step_of(checkpoint: Path) -> int:
    """Return the step of a checkpoint's folder.

    >>> step_of(Path("checkpoints/step-00000012"))
    12
    """
    return int(checkpoint.name.partition("-")[2])


def check_keep(keep: Keep) -> Keep:
    """Return a rule of which checkpoints are kept. Raises: ValueError: it is none.

    >>> check_keep(2), check_keep("all"), check_keep("every 500")
    (2, 'all', 'every 500')
    """
    word, _, count = str(keep).partition(" ")
    if keep == "all" or (isinstance(keep, int) and keep >= 1):
        return keep
    if isinstance(keep, str) and word == "every" and count.isdigit() and int(count):
        return keep
    raise ValueError(
        f'must be a number of 1 or more, "all", or "every" and a number of steps ("every 500"), got {keep!r}'
    )


def write_manifest(checkpoint: Path) -> None:
    """Write the sizes and contents of all files that a checkpoint holds into one more file."""
    files = {str(path.relative_to(checkpoint)): path for path in sorted(checkpoint.rglob("*")) if path.is_file()}
    with ThreadPoolExecutor() as threads:
        digests = threads.map(digest_file, files.values())
    listed = {
        name: {"bytes": path.stat().st_size, "sha256": digest}
        for (name, path), digest in zip(files.items(), digests, strict=True)
    }
    (checkpoint / MANIFEST_FILE).write_text(to_json({"files": listed}, indent=2) + "\n")


def find_damage(checkpoint: Path) -> str | None:
    """Return the first file of a checkpoint that is not as it was written, with what is wrong, or None when all are."""
    try:
        listed = {
            checkpoint / name: file
            for name, file in json.loads((checkpoint / MANIFEST_FILE).read_text())["files"].items()
        }
        for path, file in listed.items():
            if path.stat().st_size != file["bytes"]:
                return f"{path.relative_to(checkpoint)} has {path.stat().st_size} bytes of {file['bytes']}"
        with ThreadPoolExecutor() as threads:
            digests = threads.map(digest_file, listed)
        for (path, file), digest in zip(listed.items(), digests, strict=True):
            if digest != file["sha256"]:
                return f"{path.relative_to(checkpoint)} does not have the content that was written"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{error}" if isinstance(error, OSError) else f"{MANIFEST_FILE} is not a list of files ({error})"
    return None


def checkpoint_bytes(saved: "Iterable[nn.Parameter]", state: float) -> int:
    """Return about how large a checkpoint of these parameters is, with so many bytes of the optimizer and small
    files.
    """
    return SMALL_FILES_BYTES + int(state) + sum(parameter.nbytes for parameter in saved)


def damage_in_words(torn: Mapping[Path, str]) -> str:
    """Return what is wrong with each damaged checkpoint."""
    return "; ".join(f"{path.name}: {problem}" for path, problem in torn.items())


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
