"""What commands show while they work, on stderr: bars, notes, and the rows of a training run."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from onethinker.report.progress import Progress
    from onethinker.training.session import OnStep

LINE_EVERY_S = 10.0
"""Plain lines come no closer than this, except the first, the last and those with a new alarm or a step that was not
taken.
"""
STEPS_AFTER = "ONETHINKER_STEPS_AFTER"
"""The environment variable by which `quickstart` passes a run how much follows it, in steps of this run."""


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """Yield a function of (done, total) that moves a bar with the time left, on stderr; a total may be unknown."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)


class StderrListener:
    """Reports an evaluation on stderr."""

    progress = staticmethod(progress_bar)

    def note(self, text: str) -> None:
        """Print a note."""
        print(text, file=sys.stderr)


@contextmanager
def watching(console: "Console", progress: "Progress", *, note: Callable[[], str] = str) -> "Iterator[OnStep]":
    """Yield a function that shows each row: a table drawn in place on a terminal, else plain lines without control
    codes.

    `note` gives a text that stands below the table.
    """
    if not console.is_terminal:
        yield Lines(console, progress).show
        return
    from rich.live import Live

    from onethinker.report.terminal import draw

    with Live(
        console=console, refresh_per_second=4, get_renderable=lambda: draw(progress, console.width, note())
    ) as live:

        def show(row: dict[str, Any]) -> None:
            for message in progress.add(row):
                console.print(message, style="red" if row.get("alarms") else None, markup=False, highlight=False)
            live.refresh()

        yield show


class Lines:
    """Shows rows as plain lines, not all of them where they come quickly."""

    def __init__(self, console: "Console", progress: "Progress") -> None:
        self._console, self._progress, self._last_s = console, progress, float("-inf")

    def show(self, row: dict[str, Any]) -> None:
        """Print a step record, if it is time."""
        alarms = self._progress.add(row)
        for message in alarms:
            self._print(message)
        if not self._progress.rows:
            return
        if alarms or self._progress.is_done or time.monotonic() - self._last_s >= LINE_EVERY_S:
            self._last_s = time.monotonic()
            self._print(self._progress.line())

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def say_checked(interval_s: float = LINE_EVERY_S) -> Callable[[int, int], None]:
    """Return a function that reports on stderr now and then how many media of all have been checked."""
    last_s = time.monotonic()

    def on_check(done: int, total: int) -> None:
        nonlocal last_s
        if time.monotonic() - last_s >= interval_s:
            last_s = time.monotonic()
            print(f"checked {done:,} of {total:,} media", file=sys.stderr)

    return on_check


@contextmanager
def watching_training(name: str, steps: int, folder: Path) -> "Iterator[OnStep]":
    """Yield what shows each row of a run in this process on stderr; in the other processes of a run nothing
    is shown.
    """
    from rich.console import Console

    from onethinker.report.progress import Progress
    from onethinker.training.state.run_folder import RunFolder

    if os.environ.get("RANK", "0") != "0":
        yield lambda row: None
        return
    progress = Progress(name, steps, steps_after=float(os.environ.get(STEPS_AFTER, "0")))
    with watching(Console(stderr=True), progress) as show:

        def on_step(row: dict[str, Any]) -> None:
            if not progress.rows:
                # Of a run that is taken up again; only now is what it makes again cut from its journal.
                run = RunFolder(folder)
                progress.take_up(one for one in [*run.rows(), *run.validations()] if one["step"] < row["step"])
            show(row)

        yield on_step
