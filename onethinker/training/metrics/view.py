"""What a rule of an alarm looks at, and what a rule is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

FIRST_STEPS = 10
"""Steps at the beginning of a run that later ones are compared with."""
LONG_WINDOW = 50
"""Steps over which a loss that hardly moves is averaged."""
Rows = Sequence[Mapping[str, Any]]
"""Rows of the journal, or of one task in it (`TaskRow` as the journal holds it), oldest first."""
BACK = "or go back to an earlier checkpoint"
"""The end of many an advice."""


@dataclass(frozen=True)
class View:
    """What a rule looks at: the last rows of a run or of one task, the first rows of the run, and its recipe."""

    history: Rows
    first: Rows
    recipe: Any

    @property
    def settings(self) -> Any:
        """From where on something is a sign."""
        return self.recipe.log.alarms

    @property
    def rows(self) -> Rows:
        """The last `window` rows."""
        return self.history[-self.settings.window :]

    @property
    def before(self) -> Rows:
        """The `window` rows before these; fewer at the beginning."""
        return self.history[-2 * self.settings.window : -self.settings.window]

    def sum(self, name: str) -> Any:
        """Return the sum of a field over the rows, or of the lengths of a list."""
        return sum(len(row[name]) if isinstance(row[name], list) else row[name] for row in self.rows)

    def mean(self, name: str) -> float | None:
        """Return the mean of a field over the rows that have it, or None where fewer than half have."""
        values = [row[name] for row in self.rows if row.get(name) is not None]
        return fmean(values) if 2 * len(values) >= len(self.rows) else None

    def task_mean(self, name: str) -> float:
        """Return the mean of a field of a task over all its groups."""
        return group_mean(self.rows, name)

    def drawn(self) -> int:
        """Return how many samples the steps have used or dropped."""
        if "tasks" not in self.rows[-1]:
            return int(self.recipe.batch_size * len(self.rows))
        return int(self.sum("groups") + self.sum("dropped_groups") + self.sum("surplus_groups"))


def group_mean(rows: Rows, name: str) -> float:
    """Return the mean of a field over all groups of the rows."""
    return float(sum(row[name] * row["groups"] for row in rows) / sum(row["groups"] for row in rows))


Finds = Callable[[View], str | None]
"""Says what is seen where a sign is, None where there is none."""


@dataclass(frozen=True)
class Rule:
    """A sign by its name, how it is found, and what to do then."""

    name: str
    finds: Finds
    advice: str
