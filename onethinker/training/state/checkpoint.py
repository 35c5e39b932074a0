"""What a run leaves on disk: a journal that only grows and checkpoints that are whole or absent."""

import errno
import fcntl
import json
import logging
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from onethinker.core.errors import CheckpointError
from onethinker.storage.atomic import differences, digest_file, grant_as, sync_folder, sync_tree, write_atomically
from onethinker.storage.strict_json import to_json
from onethinker.training.metrics.records import read_line
from onethinker.training.state.ema import EmaState, Moments
from onethinker.training.state.provenance import Digests, changed_files

if TYPE_CHECKING:
    from torch import nn

KEPT_CHECKPOINTS = 2
"""Older ones are removed, after a newer one is whole."""
MANIFEST_FILE = "manifest.json"
"""The file of a checkpoint that says how large its other files are and what is in them (SHA-256)."""

SMALL_FILES_BYTES = 2**24
"""Room for tokenizer, settings and the journal until the next checkpoint."""

_held: dict[Path, int] = {}
"""The lock files, open, that this process holds until it ends; the system gives them up however it ends."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Streak:
    """How many optimizer steps in a row, up to now, were bad, and the last step of the run in which one was taken (0:
    none).
    """

    bad: int = 0
    last_good_step: int = 0


@dataclass(frozen=True)
class Progress:
    """All that a run needs besides weights and optimizer: nothing else is random or remembered.

    `step` counts finished steps, `cursor` the samples drawn so far, `ema` holds the moving averages of rewards (RL),
    `skipped` counts the samples that could not be read, `streak` the optimizer steps in a row that could not be taken.
    """

    step: int = 0
    cursor: int = 0
    ema: EmaState = field(default_factory=dict)
    skipped: int = 0
    streak: Streak = field(default_factory=Streak)


@dataclass(frozen=True)
class Start:
    """Where a run goes on: its newest whole checkpoint, or None for the beginning; `torn` says what is wrong with each
    newer one.
    """

    checkpoint: Path | None
    torn: Mapping[Path, str]


@dataclass(frozen=True)
class RunFolder:
    """The files of one run: `recipe.json`, `starts.jsonl`, `journal.jsonl`, `checkpoints/step-…`, `model/`, and `lock`
    with its process.
    """

    path: Path

    @property
    def journal(self) -> Path:
        """One JSON object a step."""
        return self.path / "journal.jsonl"

    @property
    def starts(self) -> Path:
        """One JSON object each time the run was begun or taken up again: after which step, what had changed, digests,
        the machine.
        """
        return self.path / "starts.jsonl"

    @property
    def model(self) -> Path:
        """The finished model, an ordinary Hugging Face folder."""
        return self.path / "model"

    def checkpoints(self) -> list[Path]:
        """Return the finished checkpoints, oldest first."""
        return sorted((self.path / "checkpoints").glob("step-" + "[0-9]" * 8))

    def check(self, recipe: Mapping[str, Any], *, free: Collection[str] = (), allow_changes: bool = False) -> list[str]:
        """Return each setting of the recipe that differs from the run's, as "name: old → new"; none where there is no
        checkpoint yet.

        Settings and whole groups of them in `free` may differ; others only if changes are allowed.

        Raises: CheckpointError: the folder holds a run of another recipe (the text shows each difference), or is no
        folder.
        """
        file = self.path / "recipe.json"
        try:
            before = json.loads(file.read_text()) if file.exists() else recipe
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{file}: expected the recipe of a run: {error}") from error
        different = sorted(differences(before, recipe)) if self.checkpoints() else []
        refused = [change for change in different if not _groups_of(change.partition(":")[0]) & set(free)]
        if refused and not allow_changes:
            raise CheckpointError(
                f"{self.path} holds a run of another recipe. Give another folder, the same settings, or --allow-changes"
                f" to go on with the new ones: {'; '.join(refused)}"
            )
        return different

    def check_inputs(self, inputs: Mapping[str, Digests], *, allow_changes: bool = False) -> list[str]:
        """Return what has changed in each group of files since the last start, as "name: what"; nothing where there is
        no checkpoint yet.

        A group of which nothing is there now (a model that was removed, or is not in the hub's cache) will not be read,
        and is not compared.

        Raises: CheckpointError: something has, and changes are not allowed.
        """
        before: dict[str, Digests] = {}
        for row in self._starts() if self.checkpoints() else []:
            before |= {group: files for group, files in row.get("inputs", {}).items() if files}
        changed = [
            change
            for group, files in inputs.items()
            if files and group in before
            for change in changed_files(before[group], files)
        ]
        return self._allowed(
            changed,
            allow_changes,
            "what the run learns from is not what it was. Put it back, or give --allow-changes to go on with it",
        )

    def check_records(self, step: int, *, allow_changes: bool = False) -> list[str]:
        """Return which of the run's own records are missing although it has come to this step; none where there is no
        checkpoint yet.

        Rows of the journal are lost once and for all: to go on without them is allowed once.

        Raises: CheckpointError: something is missing, and changes are not allowed.
        """
        if not self.checkpoints():
            return []
        lost = [f"{path.name}: is gone" for path in (self.path / "recipe.json", self.starts) if not path.exists()]
        steps = sorted(set(range(1, step + 1)) - {row["step"] for row in self.rows()})
        rows = f"{self.journal.name}: lacks the rows of {_spans(steps)}"
        if steps and not any(rows in start["changed"] for start in self._starts()):
            lost.append(rows)
        return self._allowed(
            lost,
            allow_changes,
            "records of the run are missing. Put them back from a copy, or give --allow-changes to go on without",
        )

    def _allowed(self, changed: list[str], allow_changes: bool, what: str) -> list[str]:
        if changed and not allow_changes:
            raise CheckpointError(f"{self.path}: {what}: {'; '.join(changed)}")
        return changed

    def _starts(self) -> list[dict[str, Any]]:
        """Return the whole rows of `starts.jsonl`; a last row that a crash cut short is left out."""
        lines = self.starts.read_text().splitlines(keepends=True) if self.starts.exists() else []
        try:
            return [json.loads(line) for line in lines if line.endswith("\n")]
        except ValueError as error:
            raise CheckpointError(f"{self.starts}: damaged inside, not only at its end: {error}") from error

    def find_start(self) -> Start:
        """Return the newest checkpoint whose files are all as they were written; every byte of it is read.

        Raises: CheckpointError: there are checkpoints and none of them is whole.
        """
        torn: dict[Path, str] = {}
        for checkpoint in reversed(self.checkpoints()):
            problem = find_damage(checkpoint)
            if problem is None:
                return Start(checkpoint, torn)
            torn[checkpoint] = problem
        if torn:
            raise CheckpointError(
                f"{self.path}: no checkpoint is whole ({_list(torn)}). Put the files back from a copy, or remove "
                f"{self.path / 'checkpoints'} to train from the beginning"
            )
        return Start(None, torn)

    def begin(
        self,
        recipe: Mapping[str, Any],
        step: int,
        *,
        changed: Sequence[str] = (),
        torn: Mapping[Path, str] | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        """Make the folder and its recipe, and drop the journal's rows of steps after the checkpoint: they will be made
        again.

        `about` is what else `starts.jsonl` says of this start.
        Torn checkpoints are put aside as `….torn`, and what a killed process left half-written is removed. Until this
        process ends no other can begin here.

        Raises: CheckpointError: the folder cannot be written, or another process trains into it.
        """
        if torn:
            _log.warning(
                "%s: going on after step %d, because newer checkpoints are damaged: %s", self.path, step, _list(torn)
            )
        if changed:
            _log.warning("%s: going on after step %d with changes: %s", self.path, step, "; ".join(changed))
        try:
            (self.path / "checkpoints").mkdir(parents=True, exist_ok=True)
            self._lock()
            # First of all, so that no change goes on without its record; a kill from here on can only record it twice.
            _cut_torn_row(self.starts)
            damage = {path.name: problem for path, problem in (torn or {}).items()}
            _append(self.starts, {"step": step, "changed": list(changed), "torn": damage, **(about or {})})
            for path in torn or {}:
                _remove(path.with_suffix(".torn"))
                path.rename(path.with_suffix(".torn"))
            for leftover in self.path.glob(".*.partial"):
                _remove(leftover)
            self._tidy()
            write_atomically(self.path / "recipe.json", to_json(recipe, indent=2) + "\n")
            kept = [row for row in self.rows() if row["step"] <= step]
            write_atomically(self.journal, "".join(to_json(row) + "\n" for row in kept))
            sync_folder(self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            raise CheckpointError(f"{self.path}: a run cannot be written there: {error}") from error

    def check_free(self) -> None:
        """Do nothing where no other process trains into the folder. Raises: CheckpointError: one does."""
        path = (self.path / "lock").resolve()
        if path in _held or not path.exists():
            return
        file = os.open(path, os.O_RDWR)
        try:
            self._hold(file)
        finally:
            os.close(file)

    def _lock(self) -> None:
        path = (self.path / "lock").resolve()
        if path in _held:
            return
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            self._hold(file)
        except CheckpointError:
            os.close(file)
            raise
        os.truncate(file, 0)
        os.write(file, f"{os.getpid()}\n".encode())
        _held[path] = file

    def _hold(self, file: int) -> None:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            holder = f"process {os.read(file, 20).decode().strip() or 'unknown'}"
            raise CheckpointError(
                f"{self.path}: {holder} is training into this folder; wait for it, or choose another --output"
            ) from error

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a row to the journal; it is on disk when this returns. Raises: CheckpointError: it cannot be written."""
        try:
            _append(self.journal, record)
        except OSError as error:
            raise CheckpointError(
                f"{self.journal}: step {record['step']} cannot be written: {error}. Run the same command again when it"
                " can: it goes on from the last checkpoint"
            ) from error

    def rows(self) -> list[dict[str, Any]]:
        """Return the journal's whole rows; a last row that a crash cut short is left out."""
        if not self.journal.exists():
            return []
        try:
            lines = self.journal.read_text().splitlines(keepends=True)
            rows = [read_line(line) for line in lines if line.endswith("\n")]
            return [{**row, "step": int(row["step"])} for row in rows]
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{self.journal}: damaged inside, not only at its end: {error}") from error

    def check_room(self, size: int, saves: int) -> None:
        """Do nothing where `saves` more checkpoints of `size` bytes fit onto the disk, old ones making room for new
        ones.

        Raises: CheckpointError: they do not; the text has the bytes that are missing.
        """
        count = min(saves, KEPT_CHECKPOINTS + 1 - len(self.checkpoints()))
        missing = self._missing_room(size * count)
        if missing:
            raise CheckpointError(
                f"{self.path}: there is no room for {count} checkpoints of {_megabytes(size)}: {missing}"
            )

    @contextmanager
    def writing(self, step: int, *, size: int) -> Iterator[Path]:
        """Yield an empty folder to fill; when the block ends it is the newest checkpoint, and all but the last two are
        removed.

        `size` is the number of bytes that it will take. A block that fails leaves the older checkpoints as they were.

        Raises: CheckpointError: there is not enough room, with the bytes that are missing, or the folder cannot be
        written.
        """
        partial = self.path / "checkpoints" / f"step-{step:08d}.partial"
        try:
            _remove(partial)
            if self._missing_room(size):
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
            last = self.checkpoints()[-1:]
            raise CheckpointError(
                f"{self.path}: step {step} cannot be saved:"
                f" {'; '.join(filter(None, (str(error), self._missing_room(size))))}. Make this possible and run the"
                f" same command again: it goes on from {last[0].name if last else 'the beginning'}"
            ) from error
        self._tidy()
        for torn in partial.parent.glob("*.torn"):
            _remove(torn)

    @contextmanager
    def writing_model(self) -> Iterator[Path]:
        """Yield the folder of the finished model, to be written by `save_model`. Raises: CheckpointError: it cannot
        be.
        """
        try:
            yield self.model
        except (OSError, SafetensorError) as error:
            raise CheckpointError(
                f"{self.model}: the finished model cannot be written: {error}. Make this possible and run the same"
                f" command again: it is made from {self.checkpoints()[-1].name}"
            ) from error

    def _missing_room(self, size: int) -> str:
        """Return what to say where so many bytes do not fit, else nothing."""
        parent = next(folder for folder in (self.path, *self.path.absolute().parents) if folder.exists())
        free = shutil.disk_usage(parent).free
        return (
            f"{_megabytes(size)} are needed, {_megabytes(free)} are free, {_megabytes(size - free)} are missing"
            if size > free
            else ""
        )

    def _tidy(self) -> None:
        """Remove checkpoints that newer ones have replaced, and what is left of half-written and half-removed ones."""
        for old in self.checkpoints()[:-KEPT_CHECKPOINTS]:
            # Under its own name a folder that is half removed would look like a checkpoint.
            old.rename(old.with_suffix(".partial"))
        for leftover in (self.path / "checkpoints").glob("*.partial"):
            _remove(leftover)


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
                return f"{path.relative_to(checkpoint)} has another content than was written"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{error}" if isinstance(error, OSError) else f"{MANIFEST_FILE} is no list of files ({error})"
    return None


def save_progress(progress: Progress, path: Path) -> None:
    """Write the small state of a run as JSON; floats are written so that they read back bit for bit."""
    ema = {task: [moments.m1, moments.m2] for task, moments in progress.ema.items()}
    state = {
        "step": progress.step,
        "cursor": progress.cursor,
        "ema": ema,
        "skipped": progress.skipped,
        "streak": asdict(progress.streak),
    }
    write_atomically(path, to_json(state, indent=2) + "\n")


def load_progress(path: Path) -> Progress:
    """Read what `save_progress` wrote. Raises: CheckpointError: the file is damaged."""
    try:
        state = json.loads(path.read_text())
        ema = {task: Moments(*pair) for task, pair in state["ema"].items()}
        step = int(state["step"])
        streak = Streak(**state.get("streak", {"last_good_step": step}))
        return Progress(step, int(state["cursor"]), ema, int(state["skipped"]), streak)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not the progress of a run: {error}") from error


def checkpoint_bytes(saved: "Iterable[nn.Parameter]") -> int:
    """Return about how large a checkpoint of these parameters is: with two moving averages of each one that is trained,
    and small files.
    """
    return SMALL_FILES_BYTES + sum(parameter.nbytes * (3 if parameter.requires_grad else 1) for parameter in saved)


def _groups_of(name: str) -> set[str]:
    """Return a dotted name and those of the groups that it is in."""
    parts = name.split(".")
    return {".".join(parts[:count]) for count in range(1, len(parts) + 1)}


def _append(path: Path, record: Mapping[str, Any]) -> None:
    """Add a line of JSON to a file; it is on disk when this returns."""
    with path.open("a") as file:
        file.write(to_json(record) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _cut_torn_row(path: Path) -> None:
    """Remove what a crash left of a last line, so that the next one does not go on where it ends."""
    content = path.read_bytes() if path.exists() else b""
    if not content.endswith(b"\n") and content:
        os.truncate(path, content.rfind(b"\n") + 1)


def _remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it; nothing where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _spans(steps: Sequence[int]) -> str:
    """Return rising numbers of steps in words.

    >>> _spans([2, 3, 4, 7])
    'steps 2 to 4, 7'
    """
    spans: list[list[int]] = []
    for step in steps:
        if spans and step == spans[-1][1] + 1:
            spans[-1][1] = step
        else:
            spans.append([step, step])
    return f"steps {', '.join(str(first) if first == last else f'{first} to {last}' for first, last in spans)}"


def _list(torn: Mapping[Path, str]) -> str:
    return "; ".join(f"{path.name}: {problem}" for path, problem in torn.items())


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
