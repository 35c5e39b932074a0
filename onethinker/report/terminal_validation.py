"""Validations of a training run, for a terminal."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from onethinker.report.sparkline import sparkline

if TYPE_CHECKING:
    from rich.table import Table

Row = Mapping[str, Any]
"""A row of the journal with the stage "validation"."""


def validation_line(row: Row) -> str:
    """Return a validation in one line: the score that the recipe has chosen, and what it means for the run."""
    score = row.get("score") or {}
    found = "no score, because a sample has no answer"
    if "mean" in score:
        found = f"{score['name']} {score['mean']:.3f} ({score['low']:.3f} to {score['high']:.3f})"
    best = row.get("best_step")
    standing = "" if best is None else ", the best" if best == row["step"] else f"; the best was after step {best}"
    ends = "; the run ends, because validation.patience is reached" if row.get("ends_run") else ""
    return f"validation after step {row['step']}: {found}{standing}{ends}"


def validation_table(validations: Sequence[Row], bars: int) -> "Table":
    """Return the last of at least one validation: the score that the recipe has chosen and the accuracies, with
    intervals and trends of so many bars.
    """
    from rich.table import Table
    from rich.text import Text

    last = validations[-1]
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim", pad_edge=False)
    table.add_column(f"validation, step {last['step']}", no_wrap=True, overflow="ellipsis", max_width=26)
    for heading in ("score", "95 %"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    curves = {"accuracy, all tasks": [row["accuracy"] for row in validations]}
    chosen = (last.get("score") or {}).get("name", "accuracy")
    if chosen != "accuracy" and chosen not in last["tasks"]:
        curves = {chosen: [_chosen(row, chosen) for row in validations]} | curves
    for task in last["tasks"]:
        curves[task] = [row["tasks"].get(task, {}).get("accuracy") for row in validations]
    for name, found in curves.items():
        mean, interval = ("–", "") if not found[-1] else (f"{found[-1]['mean']:.3f}", _interval(found[-1]))
        trend = sparkline([each["mean"] for each in found if each], bars)
        table.add_row(Text(name), mean, interval, Text(trend, style="cyan"))
    return table


def _chosen(row: Row, name: str) -> Mapping[str, float] | None:
    """Return the score of this name that chose in a validation; None where another did, or a sample has no answer."""
    score = row.get("score") or {}
    return score if score.get("name") == name and "mean" in score else None


def _interval(found: Mapping[str, float]) -> str:
    return f"{found['low']:.2f}–{found['high']:.2f}"
