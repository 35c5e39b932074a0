"""How a training run goes, for a terminal: its last step records, messages about them, and a table."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from onethinker.core.durations import in_words

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

KEPT_ROWS = 200
"""Rows that a view looks back on."""
WIDE = 100
"""From so many columns on, the table shows more of each task."""
MEASURED_STEPS = 10
"""Steps after which the time of everything is estimated."""
BARS = "▁▂▃▄▅▆▇█"
Row = Mapping[str, Any]
"""A row of the journal; what an older one does not have is shown as a dash."""
COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("reward", "reward", ".3f"),
    ("acc.", "accuracy", ".3f"),
    ("form", "format", ".2f"),
    ("sigma", "sigma", ".3f"),
    ("KL", "kl", ".4f"),
    ("tokens", "answer_tokens", ".0f"),
    ("cut", "truncated_answers", ".0f"),
    ("dropped", "dropped_groups", ".0f"),
)
"""What the table shows of each task: heading, field of the journal, form."""
WIDE_COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("|A|", "mean_abs_advantage", ".2f"),
    ("pull", "logp_gradient_fraction", ".0%"),
    ("entropy", "entropy", ".2f"),
)
"""What it shows besides where the screen is wide."""


class Progress:
    """The last rows of a run that has so many steps; `add` takes the next one, also one that is done again."""

    def __init__(self, name: str, steps: int, rows: Iterable[Row] = (), *, steps_after: float = 0.0) -> None:
        self.name, self.steps, self.steps_after = name, steps, steps_after
        rows = list(rows)
        self.unread = sum(unread_samples(row) for row in rows)
        """Samples that could not be read and were replaced, in all steps."""
        # Replaced, not changed, because another thread draws it.
        self.rows: tuple[Row, ...] = tuple(rows)[-KEPT_ROWS:]

    def add(self, row: Row) -> list[str]:
        """Take a row and return messages about bad steps, of alarms that begin with it, and once of the time
        that all will take.
        """
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
        messages += [f"step {row['step']} was not learned from: {bad['text']}" for bad in row.get("bad_steps", ())]
        messages += [
            f"alarm from step {row['step']} on: {_alarm(alarm)}"
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
            f"all stages will take about {total} on this machine, measured over {len(self.rows) - 1} steps; stopped,"
            " they can be resumed"
        )

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self.rows[-1]["step"]) if self.rows else 0

    @property
    def is_done(self) -> bool:
        """Whether the last step is done."""
        return self.step >= self.steps

    def values(self, name: str, task: str | None = None) -> list[float]:
        """Return a field's values in the rows that have it: the row's own, a task's, or the mean over tasks."""
        return [value for row in self.rows if (value := _value(row, name, task)) is not None]

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
            f", {in_words(self.seconds_a_step * (self.steps - self.step + self.steps_after))} of all stages"
            if self.steps_after
            else ""
        )
        return f"{in_words(self.seconds_a_step * (self.steps - self.step))} left{total}"

    def line(self) -> str:
        """Return the last row in one line."""
        row = self.rows[-1]
        parts = [f"{self.name} step {self.step}/{self.steps}"]
        for name in ("loss", "reward", "accuracy"):
            value = _value(row, name)
            parts += [f"{name} {value:.3f}"] if value is not None else []
        parts += [f"alarms {len(row['alarms'])}"] if row.get("alarms") else []
        parts += [f"unread {self.unread}"] if self.unread else []
        return "  ".join([*parts, f"{self.seconds_a_step:.1f} s a step", self.left])


def unread_samples(row: Row) -> int:
    """Return how many samples could not be read in a step, and were replaced."""
    return len(row.get("skipped_samples", ()))


def _value(row: Row, name: str, task: str | None = None) -> float | None:
    """Return a field of a row, of one of its tasks, or its mean over tasks where the row itself has no such field."""
    if task is not None:
        found = row.get("tasks", {}).get(task, {}).get(name)
        return None if found is None else float(found)
    if row.get(name) is not None:
        return float(row[name])
    values = [values[name] for values in row.get("tasks", {}).values() if values.get(name) is not None]
    return sum(values) / len(values) if values else None


def _alarm(alarm: Mapping[str, str]) -> str:
    task = f" ({alarm['task']})" if alarm["task"] else ""
    return f"{alarm['name']}{task}: {alarm['text']}"


def sparkline(values: Sequence[float], width: int) -> str:
    """Return a row of bars, at most `width`, each the mean of neighbours; the lowest is the lowest bar. Nothing without
    values.

    >>> sparkline([0, 1, 2, 3], 4), sparkline([0, 0, 7, 7], 2), sparkline([5], 4)
    ('▁▃▆█', '▁█', '▁')
    """
    if not values:
        return ""
    count = min(width, len(values))
    edges = [round(index * len(values) / count) for index in range(count + 1)]
    means = [sum(values[first:last]) / (last - first) for first, last in pairwise(edges)]
    low, high = min(means), max(means)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((mean - low) * scale)] for mean in means)


def draw(progress: Progress, width: int, note: str = "") -> "RenderableType":
    """Return what the terminal shows of a run, for so many columns."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [_head(progress, width)]
    if not progress.rows:
        return Group(*parts, Text(note or "no step is done yet", style="dim"))
    row = progress.rows[-1]
    parts.append(_numbers(progress, width))
    if row.get("tasks"):
        parts.append(_tasks(progress, width))
    parts.append(_phases(row, width))
    for bad in row.get("bad_steps", ()):
        parts.append(Text(f"! not learned from: {bad['text']}", style="bold red"))
    for alarm in row.get("alarms", ()):
        parts.append(Text(f"! {_alarm(alarm)}", style="bold red"))
    if progress.unread:
        parts.append(
            Text(
                f"{progress.unread} samples could not be read and were replaced: skipped_samples in the journal",
                style="yellow",
            )
        )
    if note:
        parts.append(Text(note, style="dim"))
    return Group(*parts)


def _head(progress: Progress, width: int) -> "Table":
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    bar = ProgressBar(
        total=progress.steps, completed=min(progress.step, progress.steps), width=max(10, min(40, width - 50))
    )
    pace = f"{progress.seconds_a_step:.1f} s a step" if progress.rows else ""
    grid.add_row(
        f"[bold]{progress.name}[/]",
        f"step {progress.step} of {progress.steps}",
        bar,
        progress.left if progress.rows else "",
        pace,
    )
    return grid


def _flow(pieces: Sequence["Text"], width: int) -> "Text":
    """Return pieces one after the other, each of them unbroken where it fits."""
    from rich.text import Text

    text, used = Text(), 0
    for piece in pieces:
        if used:
            text.append("  " if used + 2 + piece.cell_len <= width else "\n")
            used = used + 2 if used + 2 + piece.cell_len <= width else 0
        text.append_text(piece)
        used += piece.cell_len
    return text


def _numbers(progress: Progress, width: int) -> "Text":
    from rich.text import Text

    row, pieces = progress.rows[-1], []
    trend = "reward" if row.get("tasks") else "loss"
    fields = (
        ("reward", "reward", ".3f"),
        ("accuracy", "accuracy", ".3f"),
        ("loss", "loss", ".4f"),
        ("KL", "kl", ".4f"),
        ("entropy", "entropy", ".3f"),
        ("clipped", "clip_fraction", ".1%"),
        ("grad", "grad_norm", ".3g"),
        ("rate", "learning_rate", ".2g"),
    )
    for label, name, form in fields:
        value = _value(row, name)
        if value is None:
            continue
        piece = Text(f"{label} ", style="dim", end="")
        piece.append(f"{value:{form}}", style="not dim")
        if name == trend:
            piece.append(f" {sparkline(progress.values(name), 24 if width < WIDE else 40)}", style="not dim cyan")
        pieces.append(piece)
    return _flow(pieces, width)


def _tasks(progress: Progress, width: int) -> "Table":
    """Return every task with its last numbers, faint where the last step did not have it."""
    from rich.table import Table
    from rich.text import Text

    columns, task_width, trend_width = (COLUMNS, 19, 6) if width < WIDE else ((*COLUMNS, *WIDE_COLUMNS), 26, 16)
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("task", no_wrap=True, overflow="ellipsis", max_width=task_width)
    for heading, _, _ in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    newest = progress.rows[-1]
    alarmed = {alarm["task"] for alarm in newest.get("alarms", ())}
    last = {task: row for row in progress.rows for task in row.get("tasks", {})}
    for task, row in sorted(last.items()):
        cells = [_cell(_value(row, name, task), form) for _, name, form in columns]
        trend = Text(sparkline(progress.values("reward", task), trend_width), style="cyan")
        style = "red" if task in alarmed else "" if row is newest else "dim"
        table.add_row(Text(task), *cells, trend, style=style)
    return table


def _cell(value: float | None, form: str) -> str:
    return "–" if value is None else f"{value:{form}}"


def _phases(row: Row, width: int) -> "Text":
    from rich.text import Text

    parts = []
    for phase, seconds in row.get("seconds_by_phase", {}).items():
        tokens = row.get("tokens_by_phase", {}).get(phase)
        parts.append(f"{phase} {seconds:.2f} s{f' {tokens:,} tokens' if tokens else ''}")
    shared = sum(row.get("shared_prompt_tokens", {}).values())
    parts += [f"shared {shared:,} prompt tokens"] if shared else []
    return _flow([Text(each, style="dim") for each in parts], width)
