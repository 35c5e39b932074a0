"""What a run leaves on disk: a journal that only grows and checkpoints that are whole or absent."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from onethinker.errors import CheckpointError
from onethinker.files import differences, write_atomically
from onethinker.training.advantages import EmaState, Moments

KEPT_CHECKPOINTS = 2
"""Older ones are removed, after a newer one is whole."""


@dataclass(frozen=True)
class Progress:
    """All that a run needs besides weights and optimizer: nothing else is random or remembered.

    `step` counts finished steps, `cursor` the prompts drawn so far (RL), `ema` holds the moving averages of rewards.
    """

    step: int = 0
    cursor: int = 0
    ema: EmaState = field(default_factory=dict)


@dataclass(frozen=True)
class RunFolder:
    """The files of one run: `recipe.json`, `journal.jsonl`, `checkpoints/step-…`, `model/`."""

    path: Path

    @property
    def journal(self) -> Path:
        """One JSON object a step."""
        return self.path / "journal.jsonl"

    @property
    def model(self) -> Path:
        """The finished model, an ordinary Hugging Face folder."""
        return self.path / "model"

    def checkpoints(self) -> list[Path]:
        """Return the whole checkpoints, oldest first."""
        return sorted(path for path in (self.path / "checkpoints").glob("step-*") if path.suffix != ".partial")

    def check(self, recipe: Mapping[str, Any]) -> None:
        """Do nothing where there is no run with a checkpoint yet, or one of this recipe.

        Raises: CheckpointError: the folder holds a run of another recipe (the text shows each difference), or is no folder.
        """
        file = self.path / "recipe.json"
        try:
            before = json.loads(file.read_text()) if file.exists() else recipe
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{file}: expected the recipe of a run: {error}") from error
        different = sorted(differences(before, recipe))
        if different and self.checkpoints():
            raise CheckpointError(
                f"{self.path} holds a run of another recipe. Give another folder, or the same settings: {'; '.join(different)}"
            )

    def begin(self, recipe: Mapping[str, Any], step: int) -> None:
        """Make the folder and its recipe, and drop the journal's rows of steps after the checkpoint: they will be made again.

        Raises: CheckpointError: the folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path / "recipe.json", json.dumps(recipe, indent=2) + "\n")
            kept = [row for row in self.rows() if row["step"] <= step]
            write_atomically(self.journal, "".join(json.dumps(row) + "\n" for row in kept))
        except OSError as error:
            raise CheckpointError(f"{self.path}: a run cannot be written there: {error}") from error

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a row to the journal; it is on disk when this returns."""
        with self.journal.open("a") as file:
            file.write(json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def rows(self) -> list[dict[str, Any]]:
        """Return the journal's whole rows; a last row that a crash cut short is left out."""
        if not self.journal.exists():
            return []
        try:
            lines = self.journal.read_text().splitlines(keepends=True)
            rows = [json.loads(line) for line in lines if line.endswith("\n")]
            return [{**row, "step": int(row["step"])} for row in rows]
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{self.journal}: damaged inside, not only at its end: {error}") from error

    def begin_checkpoint(self, step: int) -> Path:
        """Return an empty folder to fill; it counts only once `finish_checkpoint` has named it."""
        partial = self.path / "checkpoints" / f"step-{step:08d}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        return partial

    def finish_checkpoint(self, partial: Path) -> None:
        """Give a filled folder its name, and then remove the checkpoints that are older than the last two."""
        sync_tree(partial)
        final = partial.with_suffix("")
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        sync_folder(final.parent)
        for old in self.checkpoints()[:-KEPT_CHECKPOINTS]:
            shutil.rmtree(old)


def save_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module, path: Path) -> None:
    """Write the optimizer's tensors under the names of their parameters."""
    tensors = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{name}/{key}"] = value.detach().cpu().contiguous()
    save_file(tensors, path)


def load_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module, path: Path) -> None:
    """Read what `save_optimizer` wrote. Raises: CheckpointError: the file misses a parameter or is damaged."""
    try:
        tensors = load_file(path)
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                state = {key: tensors[f"{name}/{key}"] for key in ("step", "exp_avg", "exp_avg_sq")}
                optimizer.state[parameter] = {key: value.to(parameter.device) for key, value in state.items()}
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not the optimizer of this model: {error}") from error


def save_progress(progress: Progress, path: Path) -> None:
    """Write the small state of a run as JSON; floats are written so that they read back bit for bit."""
    ema = {task: [moments.m1, moments.m2] for task, moments in progress.ema.items()}
    write_atomically(path, json.dumps({"step": progress.step, "cursor": progress.cursor, "ema": ema}, indent=2) + "\n")


def load_progress(path: Path) -> Progress:
    """Read what `save_progress` wrote. Raises: CheckpointError: the file is damaged."""
    try:
        state = json.loads(path.read_text())
        return Progress(int(state["step"]), int(state["cursor"]), {task: Moments(*pair) for task, pair in state["ema"].items()})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not the progress of a run: {error}") from error


def sync_tree(folder: Path) -> None:
    """Bring every file below a folder to the disk itself."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Bring a folder's list of names to the disk itself."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
