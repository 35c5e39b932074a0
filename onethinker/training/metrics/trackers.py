"""The journal's numbers, told to tensorboard, wandb or trackio by accelerate; every step once, however often a run is
taken up again.
"""

import json
import re
import secrets
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onethinker.core.errors import CheckpointError, ConfigError
from onethinker.storage.atomic import write_atomically
from onethinker.storage.folders import TRACKERS_FILE, VALIDATION
from onethinker.storage.strict_json import to_json
from onethinker.training.metrics.records import derived_scalars, scalars
from onethinker.training.metrics.settings import LogSettings

if TYPE_CHECKING:
    from accelerate import Accelerator


_VALIDATIONS = " validations"
"""Behind the name of a tracker: the last validation that it has been told."""


def check_trackers(settings: LogSettings) -> None:
    """Do nothing where every tracker of the recipe is installed. Raises: ConfigError: with the line to type."""
    missing = [name for name in settings.trackers if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"log.trackers: {', '.join(missing)} is not installed: pip install 'onethinker[{','.join(missing)}]'"
        )


@dataclass(frozen=True)
class Told:
    """The name of a run at its trackers, and the last step that each of them has been told."""

    name: str
    steps: Mapping[str, int]


class Trackers:
    """The trackers of a run, in its main process."""

    def __init__(
        self, accelerator: "Accelerator", settings: LogSettings, folder: Path, *, recipe: Mapping[str, Any], step: int
    ) -> None:
        """Connect to the trackers as the run that they know already, or as a new one where the run begins (`step` 0).

        Raises: CheckpointError: what the run keeps of its trackers is damaged. ConfigError: a tracker cannot be used.
        """
        self._accelerator, self._file = accelerator, folder / TRACKERS_FILE
        told = _read(self._file) if step else None
        told = told or Told(f"{re.sub(r'[^a-zA-Z0-9_.-]', '-', folder.resolve().name)}-{secrets.token_hex(4)}", {})
        # Tensorboard can forget the steps that will be made again; the others keep the points that they have, which are
        # the same.
        purged = {name: min(step, told.steps[name]) for name in told.steps if name.startswith("tensorboard")}
        self.told = replace(told, steps={**told.steps, **purged})
        connect: dict[str, dict[str, Any]] = {
            "tensorboard": {"purge_step": step + 1},
            "wandb": {
                "id": told.name,
                "name": told.name,
                "resume": "allow",
                "config": dict(recipe),
                "dir": str(folder),
            },
            "trackio": {"name": told.name, "resume": "allow", "config": dict(recipe), "embed": False},
        }
        try:
            # What the packages say on the way is no result of a command.
            with redirect_stdout(sys.stderr):
                accelerator.init_trackers(settings.project, init_kwargs=connect)
        except Exception as error:  # a tracker's package raises what it likes: no key, no network, no room
            raise ConfigError(f"log.trackers: {', '.join(settings.trackers)} cannot be used: {error}") from error

    def log(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Log to each tracker those of the journal's rows that it does not have yet."""
        for record in records:
            step, is_step = int(record["step"]), record.get("stage") != VALIDATION
            names = {
                f"{tracker.name}{'' if is_step else _VALIDATIONS}": tracker for tracker in self._accelerator.trackers
            }
            nothing, prefix = (0, "") if is_step else (-1, "validation/")
            new = {name: tracker for name, tracker in names.items() if step > self.told.steps.get(name, nothing)}
            for tracker in new.values():
                tracker.log(scalars(record, prefix) | (derived_scalars(record) if is_step else {}), step=step)
            if new:
                self.told = replace(self.told, steps={**self.told.steps, **dict.fromkeys(new, step)})
                write_atomically(self._file, to_json({"name": self.told.name, "steps": self.told.steps}) + "\n")

    def finish(self) -> None:
        """Send what is still buffered."""
        # Not `end_training`, which also ends the exchange between the processes.
        with redirect_stdout(sys.stderr):
            for tracker in self._accelerator.trackers:
                tracker.finish()


def _read(file: Path) -> Told | None:
    try:
        kept = json.loads(file.read_text())
        return Told(str(kept["name"]), {tracker: int(step) for tracker, step in kept["steps"].items()})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{file}: cannot be read as the record of what was sent to the trackers: {error}; remove it to send them"
            " everything again"
        ) from error
