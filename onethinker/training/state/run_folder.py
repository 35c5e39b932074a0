"""The one store of a training run: here its recipe, starts, journal and checkpoints are read and written."""

import json
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from onethinker.core.errors import CheckpointError
from onethinker.storage.atomic import differences, remove, sync_folder, write_atomically
from onethinker.storage.folders import (
    JOURNAL_FILE,
    MODEL_FOLDER,
    RECIPE_FILE,
    STARTS_FILE,
    VALIDATION,
    VALIDATION_FOLDER,
)
from onethinker.storage.jsonl_log import LogReader, append_to_log, read_log, write_log
from onethinker.storage.strict_json import to_json
from onethinker.training.state import lock
from onethinker.training.state.checkpoint import KEPT_CHECKPOINTS, Checkpoints, damage_in_words
from onethinker.training.state.provenance import Digests, changed_files

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run; `storage/folders.py` says what lies in it."""

    path: Path

    @property
    def recipe_file(self) -> Path:
        """The settings of the run."""
        return self.path / RECIPE_FILE

    @property
    def journal(self) -> Path:
        """One JSON object a step."""
        return self.path / JOURNAL_FILE

    @property
    def starts(self) -> Path:
        """One JSON object each time the run was begun or taken up again: after which step, what had changed, digests,
        the machine.
        """
        return self.path / STARTS_FILE

    @property
    def model(self) -> Path:
        """The finished model, an ordinary Hugging Face folder."""
        return self.path / MODEL_FOLDER

    @property
    def checkpoints(self) -> Checkpoints:
        """The checkpoints of the run."""
        return Checkpoints(self.path)

    def recipe(self) -> dict[str, Any] | None:
        """Return the settings of the run, None where there are none. Raises: CheckpointError: the file is damaged."""
        if not self.recipe_file.exists():
            return None
        try:
            recipe: dict[str, Any] = json.loads(self.recipe_file.read_bytes())
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{self.recipe_file}: cannot be read as the recipe of a training run: {error}"
            ) from error
        return recipe

    def rows(self) -> list[dict[str, Any]]:
        """Return the journal's whole rows of steps, one a step in their order; [] without a journal.

        Raises: CheckpointError: the journal is damaged.
        """
        return self._rows_by_step(is_validation=False)

    def validations(self) -> list[dict[str, Any]]:
        """Return the journal's rows of validations, as `rows` returns those of steps. Raises: CheckpointError."""
        return self._rows_by_step(is_validation=True)

    def all_rows(self) -> list[dict[str, Any]]:
        """Return `rows` and `validations` by their steps, a step's row before its validation."""
        return sorted([*self.rows(), *self.validations()], key=lambda row: int(row["step"]))

    def _rows_by_step(self, *, is_validation: bool) -> list[dict[str, Any]]:
        rows = read_log(self.journal, _row)
        by_step = {row["step"]: row for row in rows if (row.get("stage") == VALIDATION) == is_validation}
        return [by_step[step] for step in sorted(by_step)]

    def validation(self, step: int) -> Path:
        """Return the folder of the evaluation after a step."""
        return self.path / VALIDATION_FOLDER / f"step-{step:08d}"

    def follow(self) -> LogReader[dict[str, Any]]:
        """Return a reader of the journal of a run that may go on meanwhile."""
        return LogReader(self.journal, _row)

    def check(self, recipe: Mapping[str, Any], *, free: Collection[str] = (), allow_changes: bool = False) -> list[str]:
        """Return each setting of the recipe that differs from the run's, as "name: old → new"; none where there is no
        checkpoint yet.

        Settings and whole groups of them in `free` may differ; others only if changes are allowed.

        Raises: CheckpointError: the folder holds a run of another recipe (the text shows each difference), or is no
        folder.
        """
        before = self.recipe() or recipe
        different = sorted(differences(before, recipe)) if self.checkpoints.all() else []
        refused = [change for change in different if not _groups_of(change.partition(":")[0]) & set(free)]
        if refused and not allow_changes:
            raise CheckpointError(
                f"{self.path} holds a run with other settings. Choose another --output, use the same settings, or add"
                f" --allow-changes to continue with the new ones: {'; '.join(refused)}"
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
        for row in self._starts() if self.checkpoints.all() else []:
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
            "the data or model of the run has changed since it began. Restore it, or add --allow-changes to continue"
            " with the new one",
        )

    def check_records(self, step: int, *, allow_changes: bool = False) -> list[str]:
        """Return which of the run's own records are missing although it has come to this step; none where there is no
        checkpoint yet.

        Rows of the journal are lost once and for all: to go on without them is allowed once.

        Raises: CheckpointError: something is missing, and changes are not allowed.
        """
        if not self.checkpoints.all():
            return []
        lost = [f"{path.name}: is gone" for path in (self.recipe_file, self.starts) if not path.exists()]
        steps = sorted(set(range(1, step + 1)) - {row["step"] for row in self.rows()})
        rows = f"{self.journal.name}: lacks the rows of {_spans(steps)}"
        if steps and not any(rows in start["changed"] for start in self._starts()):
            lost.append(rows)
        return self._allowed(
            lost,
            allow_changes,
            "files or journal rows of the run are missing. Restore them from a copy, or add --allow-changes to"
            " continue without them",
        )

    def changes_since(self, step: int) -> list[str]:
        """Return what has changed at the starts after the checkpoint of a step was written, oldest first: a start that
        came to no checkpoint has made its settings those of the run, but not those of the checkpoint.
        """
        since = list(takewhile(lambda start: start["step"] >= step, reversed(self._starts())))
        return [change for start in reversed(since) for change in start["changed"]]

    def _allowed(self, changed: list[str], allow_changes: bool, what: str) -> list[str]:
        if changed and not allow_changes:
            raise CheckpointError(f"{self.path}: {what}: {'; '.join(changed)}")
        return changed

    def _starts(self) -> list[dict[str, Any]]:
        return read_log(self.starts, dict)

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
        self._warn(step, changed, torn or {})
        try:
            self.checkpoints.folder.mkdir(parents=True, exist_ok=True)
            lock.hold(self.path)
            # First of all, so that no change goes on without its record; a kill from here on can only record it twice.
            damage = {path.name: problem for path, problem in (torn or {}).items()}
            start = {"step": step, "changed": list(changed), "torn": damage, **(about or {})}
            append_to_log(self.starts, [start])
            self.checkpoints.put_aside(torn or ())
            for leftover in self.path.glob(".*.partial"):
                remove(leftover)
            self.checkpoints.tidy(recipe.get("keep", KEPT_CHECKPOINTS))
            write_atomically(self.recipe_file, to_json(recipe, indent=2) + "\n")
            write_log(self.journal, [row for row in self.all_rows() if row["step"] <= step])
            sync_folder(self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            raise CheckpointError(f"{self.path}: the run cannot write to this folder: {error}") from error

    def _warn(self, step: int, changed: Sequence[str], torn: Mapping[Path, str]) -> None:
        start = f"{self.path}: resuming after step {step}"
        if torn:
            _log.warning("%s, because newer checkpoints are damaged: %s", start, damage_in_words(torn))
        if changed:
            _log.warning("%s with changes: %s", start, "; ".join(changed))

    def check_free(self) -> None:
        """Do nothing where no other process trains into the folder. Raises: CheckpointError: one does."""
        lock.check_free(self.path)

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a row to the journal; it is on disk when this returns. Raises: CheckpointError: it cannot be written."""
        try:
            append_to_log(self.journal, [record])
        except OSError as error:
            raise CheckpointError(
                f"{self.journal}: step {record['step']} cannot be written: {error.strerror}. Fix this and run the same"
                " command again: it resumes from the last checkpoint"
            ) from error

    @contextmanager
    def writing_model(self) -> Iterator[Path]:
        """Yield the folder of the finished model, to be written by `save_model`. Raises: CheckpointError: it cannot
        be.
        """
        try:
            yield self.model
        except (OSError, SafetensorError) as error:
            raise CheckpointError(
                f"{self.model}: the finished model cannot be written: {error}. Fix this and run the same command again:"
                f" the model is written from {self.checkpoints.all()[-1].name}"
            ) from error


def _row(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "step": int(fields["step"])}


def _groups_of(name: str) -> set[str]:
    """Return a dotted name and those of the groups that it is in."""
    parts = name.split(".")
    return {".".join(parts[:count]) for count in range(1, len(parts) + 1)}


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
