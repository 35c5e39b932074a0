"""How a training run goes, for a terminal: a table of its last step records."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from onethinker.report.progress import Progress, Row, alarm_line, value_of
from onethinker.report.sparkline import sparkline
from onethinker.report.terminal_validation import validation_table

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

WIDE = 100
"""From so many columns on, the table shows more of each task."""
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


def draw(progress: Progress, width: int, note: str = "") -> "RenderableType":
    """Return what the terminal shows of a run, for so many columns."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [_head(progress, width)]
    if not progress.rows:
        return Group(*parts, Text(note or "no step is finished yet", style="dim"))
    row = progress.rows[-1]
    parts.append(_numbers(progress, width))
    if row.get("tasks"):
        parts.append(_tasks(progress, width))
    if progress.validations:
        parts.append(validation_table(progress.validations, 6 if width < WIDE else 16))
    parts.append(_phases(row, width))
    for bad in row.get("bad_steps", ()):
        parts.append(Text(f"! update skipped: {bad['text']}", style="bold red"))
    for alarm in row.get("alarms", ()):
        parts.append(Text(f"! {alarm_line(alarm)}", style="bold red"))
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
        ("preferred", "preference_accuracy", ".1%"),
        ("margin", "margin", ".3g"),
        ("KL", "kl", ".4f"),
        ("entropy", "entropy", ".3f"),
        ("clipped", "clip_fraction", ".1%"),
        ("grad", "grad_norm", ".3g"),
        ("rate", "learning_rate", ".2g"),
    )
    for label, name, form in fields:
        value = value_of(row, name)
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
        cells = [_cell(value_of(row, name, task), form) for _, name, form in columns]
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
