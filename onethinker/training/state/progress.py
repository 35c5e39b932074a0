"""The small state of a run: all that it needs besides weights and optimizer."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from onethinker.core.errors import CheckpointError
from onethinker.storage.atomic import write_atomically
from onethinker.storage.strict_json import to_json


@dataclass(frozen=True)
class Moments:
    """Moving averages of a task's rewards and of their squares."""

    m1: float
    m2: float

    @property
    def sigma(self) -> float:
        """The standard deviation that the averages stand for; 0 when rounding makes the variance negative.

        >>> Moments(0.5, 0.5).sigma
        0.5
        """
        return math.sqrt(max(0.0, self.m2 - self.m1**2))


EmaState = Mapping[str, Moments]
"""Moments by task task key ("tracking", "segmentation/video", …)."""


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


def save_progress(progress: Progress, path: Path) -> None:
    """Write the small state of a run as JSON; floats are written so that they read back bit for bit."""
    state = asdict(progress) | {"ema": {task: [moments.m1, moments.m2] for task, moments in progress.ema.items()}}
    write_atomically(path, to_json(state, indent=2) + "\n")


def load_progress(path: Path) -> Progress:
    """Read what `save_progress` wrote. Raises: CheckpointError: the file is damaged."""
    try:
        state = json.loads(path.read_text())
        ema = {task: Moments(*pair) for task, pair in state["ema"].items()}
        streak = Streak(**state["streak"])
        return Progress(int(state["step"]), int(state["cursor"]), ema, int(state["skipped"]), streak)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: cannot be read as the progress of a run: {error}") from error
