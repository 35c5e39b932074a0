"""Stages of a command, one after the other: how long each took, how long all that are left will take."""

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from onethinker.core.durations import in_words
from onethinker.core.errors import ConfigError
from onethinker.storage.atomic import write_atomically
from onethinker.storage.strict_json import to_json

if TYPE_CHECKING:
    from onethinker.commands.training import Stage

T = TypeVar("T")


@dataclass(frozen=True)
class Cost:
    """What a stage takes where the reference was measured; `steps` are those of training, 0 where its time says nothing
    of the others.
    """

    steps: int
    seconds: float


@dataclass
class Stages:
    """Runs the stages one after the other, reports each on stderr, and keeps the cost of each over several starts."""

    summary: Path
    seconds: dict[str, float]
    peak_memory_mb: dict[str, float]
    costs: dict[str, Cost]
    started: int = 0

    @classmethod
    def open(cls, summary: Path, costs: dict[str, Cost]) -> "Stages":
        """Make the folder of `summary`, or read there the times of an earlier start. Raises: ConfigError."""
        output = summary.parent
        try:
            output.mkdir(parents=True, exist_ok=True)
            before = json.loads(summary.read_text()) if summary.exists() else {"seconds": {}, "peak_memory_mb": {}}
            return cls(summary, dict(before["seconds"]), dict(before["peak_memory_mb"]), costs)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{output}: cannot be used as the folder of the stages: {error}") from error

    def train(self, name: str, stage: "Stage", recipe: str, settings: tuple[str, ...], processes: int) -> None:
        """Train a recipe with `settings` in place of its own, into the folder `name` beside the summary."""
        from onethinker.commands.options import TrainingOptions
        from onethinker.commands.training import launch

        output = self.summary.parent / name
        options = TrainingOptions(recipe=recipe, output=output, set=settings, processes=processes)
        self.run(name, lambda: launch(stage, options, steps_after=self.steps_after(name)))

    def run(self, name: str, work: Callable[[], T]) -> T:
        """Return what the work returns; its time and the highest memory so far are on disk when this returns."""
        self.started += 1
        left_s = self.left_s()
        left = f", about {in_words(left_s)} left for all stages" if left_s and name not in self.seconds else ""
        print(f"[{self.started}] {name}{left}", file=sys.stderr)
        began = time.perf_counter()
        result = work()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began
        for who, which in (
            ("this process", resource.RUSAGE_SELF),
            ("largest training process", resource.RUSAGE_CHILDREN),
        ):
            used_mb = resource.getrusage(which).ru_maxrss / 1024
            self.peak_memory_mb[who] = max(used_mb, self.peak_memory_mb.get(who, 0.0))
        write_atomically(
            self.summary,
            to_json({"seconds": self.seconds, "peak_memory_mb": self.peak_memory_mb}, indent=2) + "\n",
        )
        return result

    def left_s(self) -> float:
        """Return how long the remaining stages will take, from the time of those done here; 0 before any training."""
        done = [name for name, cost in self.costs.items() if name in self.seconds and cost.steps]
        reference_s = sum(self.costs[name].seconds for name in done)
        remaining_s = sum(cost.seconds for name, cost in self.costs.items() if name not in self.seconds)
        return remaining_s * sum(self.seconds[name] for name in done) / reference_s if reference_s else 0.0

    def steps_after(self, name: str) -> float:
        """Return the length of all stages still to come after this one, in steps of this one."""
        cost = self.costs[name]
        later = [other.seconds for key, other in self.costs.items() if key != name and key not in self.seconds]
        return sum(later) * cost.steps / cost.seconds
