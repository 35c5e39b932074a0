"""How far a training run is: its last step records, and messages about them."""

from collections.abc import Iterable, Mapping
from statistics import fmean, median
from typing import Any

from onethinker.core.durations import in_words
from onethinker.report.terminal_validation import validation_line
from onethinker.storage.folders import VALIDATION

KEPT_ROWS = 200
"""Rows that a view looks back on."""
MEASURED_STEPS = 10
"""Steps after which the time of everything is estimated."""
Row = Mapping[str, Any]
"""A row of the journal; what an older one does not have is shown as a dash."""


class Progress:
    """The last rows of a run that has so many steps; `add` takes the next one, also one that is done again."""

    def __init__(
        self,
        name: str,
        steps: int,
        rows: Iterable[Row] = (),
        *,
        steps_after: float = 0.0,
        is_validated: bool = False,
    ) -> None:
        self.name, self.steps, self.steps_after, self.is_validated = name, steps, steps_after, is_validated
        self.take_up(rows)

    def take_up(self, rows: Iterable[Row]) -> None:
        """Begin with the rows that a journal has already."""
        rows = list(rows)
        steps = [row for row in rows if not _is_validation(row)]
        self.unread = sum(map(unread_samples, steps))
        """Samples that could not be read and were replaced, in all steps."""
        # Replaced, not changed, because another thread draws it.
        self.rows: tuple[Row, ...] = tuple(steps)[-KEPT_ROWS:]
        self.validations = tuple(row for row in rows if _is_validation(row))
        """What the model could do on samples that it does not learn from, oldest first."""

    def add(self, row: Row) -> list[str]:
        """Take a row and return messages: of bad steps, of alarms that begin with it, of a validation, and once of the
        time that all will take.
        """
        if _is_validation(row):
            self.validations = (*(one for one in self.validations if one["step"] < row["step"]), row)
            return [validation_line(row)]
        earlier = [one for one in self.rows if one["step"] < row["step"]]
        unread = self.unread - sum(unread_samples(one) for one in self.rows if one["step"] >= row["step"])
        self.unread = unread + unread_samples(row)
        before = {(alarm["name"], alarm["task"]) for alarm in earlier[-1].get("alarms", ())} if earlier else set()
        self.rows = (*earlier, row)[-KEPT_ROWS:]
        messages = []
        if self.unread > unread and (not unread or self.unread.bit_length() > unread.bit_length()):
            # Reported for the first, and each time there are twice as many: all of them are in the journal.
            last = row["skipped_samples"][-1]
            many = (
                f"{self.unread} sample{'s' * (self.unread > 1)} could not be read by step {row['step']} and were"
                " replaced"
            )
            messages = [f"{many}; the last, {last['id']}: {last['reason']}"]
        messages += [f"step {row['step']} skipped its update: {bad['text']}" for bad in row.get("bad_steps", ())]
        messages += [
            f"alarm from step {row['step']} on: {alarm_line(alarm)}"
            for alarm in row.get("alarms", ())
            if (alarm["name"], alarm["task"]) not in before
        ]
        return messages + ([self.forecast()] if self.steps_after and row["step"] == MEASURED_STEPS else [])

    def forecast(self) -> str:
        """Return how long the run and all that follows it will take, from its first steps, of which the first is
        slower.
        """
        step_s = median(float(row.get("seconds", 0.0)) for row in self.rows[1:])
        total = in_words(step_s * (self.steps + self.steps_after))
        return (
            f"all stages together will take about {total} on this machine, estimated from {len(self.rows) - 1} steps;"
            " they can be stopped and resumed"
        )

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self.rows[-1]["step"]) if self.rows else 0

    @property
    def is_done(self) -> bool:
        """Whether nothing comes any more."""
        last = self.validations[-1] if self.validations else {"step": -1}
        return bool(last.get("ends_run")) or (
            self.step >= self.steps and (not self.is_validated or last["step"] >= self.steps)
        )

    def values(self, name: str, task: str | None = None) -> list[float]:
        """Return a field's values in the rows that have it: the row's own, a task's, or the mean over tasks."""
        return [value for row in self.rows if (value := value_of(row, name, task)) is not None]

    @property
    def seconds_a_step(self) -> float:
        """Mean time of the last steps with what they save, in seconds; 0 before the first."""
        seconds = [
            row.get("seconds", 0.0) + row.get("seconds_by_phase", {}).get("checkpoint", 0.0) for row in self.rows
        ]
        return fmean(seconds[-20:]) if seconds else 0.0

    @property
    def left(self) -> str:
        """How long the remaining steps will take, in words."""
        if self.is_done:
            return "done"
        total = (
            f", {in_words(self.seconds_a_step * (self.steps - self.step + self.steps_after))} for all stages"
            if self.steps_after
            else ""
        )
        return f"{in_words(self.seconds_a_step * (self.steps - self.step))} left{total}"

    def line(self) -> str:
        """Return the last row in one line."""
        row = self.rows[-1]
        parts = [f"{self.name} step {self.step}/{self.steps}"]
        for name in ("loss", "reward", "accuracy"):
            value = value_of(row, name)
            parts += [f"{name} {value:.3f}"] if value is not None else []
        score = (self.validations[-1].get("score") or {}) if self.validations else {}
        parts += [f"validation {score['name']} {score['mean']:.3f}"] if "mean" in score else []
        parts += [f"alarms {len(row['alarms'])}"] if row.get("alarms") else []
        parts += [f"unread {self.unread}"] if self.unread else []
        return "  ".join([*parts, f"{self.seconds_a_step:.1f} s a step", self.left])


def unread_samples(row: Row) -> int:
    """Return how many samples could not be read in a step, and were replaced."""
    return len(row.get("skipped_samples", ()))


def _is_validation(row: Row) -> bool:
    return row.get("stage") == VALIDATION


def value_of(row: Row, name: str, task: str | None = None) -> float | None:
    """Return a field of a row, of one of its tasks, or its mean over tasks where the row itself has no such field."""
    if task is not None:
        found = row.get("tasks", {}).get(task, {}).get(name)
        return None if found is None else float(found)
    if row.get(name) is not None:
        return float(row[name])
    values = [values[name] for values in row.get("tasks", {}).values() if values.get(name) is not None]
    return sum(values) / len(values) if values else None


def alarm_line(alarm: Mapping[str, str]) -> str:
    """Return an alarm in one line."""
    task = f" ({alarm['task']})" if alarm["task"] else ""
    return f"{alarm['name']}{task}: {alarm['text']}"
