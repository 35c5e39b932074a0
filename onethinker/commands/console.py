"""What commands show while they work, on stderr: bars, notes, and the rows of a training run."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from onethinker.core.durations import in_words

if TYPE_CHECKING:
    from rich.console import Console

    from onethinker.report.progress import Progress
    from onethinker.training.session import OnStep

LINE_EVERY_S = 10.0
"""Plain lines come no closer than this, except the first, the last and those with a new alarm or a step that was not
taken.
"""
NOTE_EVERY_S = 1.0
"""What stands below the table of a terminal changes no faster than this."""
STEPS_AFTER = "ONETHINKER_STEPS_AFTER"
"""The environment variable by which `quickstart` passes a run how much follows it, in steps of this run."""


class MoveBar(Protocol):
    """Moves a bar, or prints a line, and may say something else beside it."""

    def __call__(self, done: int, total: int | None, what: str | None = None, /) -> None:
        """Show how many of how many are done."""


@contextmanager
def progress_bar(what: str) -> Iterator[MoveBar]:
    """Yield a function of (done, total) that shows on stderr how far some work is and the time left: by a bar on a
    terminal, else by a line now and then. A total may be unknown; a third argument stands in place of `what`.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield say_left(what)
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(what, total=None)

        def show(done: int, total: int | None, now: str | None = None, /) -> None:
            progress.update(bar, completed=done, total=total, description=now)

        yield show
        if progress.tasks[bar].total is None:
            progress.update(bar, total=progress.tasks[bar].completed)


def _print_line(line: str) -> None:
    print(line, file=sys.stderr)


def say_left(what: str, interval_s: float = LINE_EVERY_S, write: Callable[[str], None] = _print_line) -> MoveBar:
    """Return a function of (done, total) that writes now and then, on stderr if nothing else is said, how far some work
    is, and the time left at its pace so far; what was done at the first call was done before. A third argument stands
    in place of `what`.
    """
    began_s = last_s = time.monotonic()
    before: int | None = None

    def show(done: int, total: int | None, now: str | None = None, /) -> None:
        nonlocal before, last_s
        before, now_s = done if before is None else before, time.monotonic()
        if now_s - last_s < interval_s:
            return
        last_s = now_s
        reached = f"{now or what}: {done:,}" + (f" of {total:,}" if total else "")
        left_s = (now_s - began_s) / (done - before) * (total - done) if total and done > before else 0.0
        write(f"{reached}, about {in_words(left_s)} left" if left_s else reached)

    return show


class Asking:
    """How far a validation is, with the time left: `note` is the line below the table of a terminal; elsewhere it is
    printed now and then.
    """

    def __init__(self) -> None:
        self.note = ""

    def __call__(self, what: str) -> Callable[[int, int], None]:
        """Return what hears how many samples have been asked, of how many."""
        from rich.console import Console

        if not Console(stderr=True).is_terminal:
            return say_left(what, LINE_EVERY_S)
        self._write(what)
        say = say_left(what, NOTE_EVERY_S, self._write)

        def hear(done: int, total: int) -> None:
            say(done, total)
            if done >= total:
                self._write("")

        return hear

    def _write(self, line: str) -> None:
        self.note = line


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
def watching_training(
    name: str, steps: int, folder: Path, *, is_validated: bool = False, note: Callable[[], str] = str
) -> "Iterator[OnStep]":
    """Yield what shows each row of a run in this process on stderr, a validated one until its last validation; in the
    other processes of a run nothing is shown. `note` gives a text that stands below the table of a terminal.
    """
    from rich.console import Console

    from onethinker.report.progress import Progress
    from onethinker.training.state.run_folder import RunFolder

    if os.environ.get("RANK", "0") != "0":
        yield lambda row: None
        return
    steps_after = float(os.environ.get(STEPS_AFTER, "0"))
    progress = Progress(name, steps, steps_after=steps_after, is_validated=is_validated)
    with watching(Console(stderr=True), progress, note=note) as show:

        def on_step(row: dict[str, Any]) -> None:
            if not progress.rows:
                # Of a run that is taken up again; only now is what it makes again cut from its journal.
                run = RunFolder(folder)
                progress.steps = int((run.recipe() or {}).get("steps", steps))  # of epochs they are known only now
                progress.take_up(one for one in [*run.rows(), *run.validations()] if one["step"] < row["step"])
            show(row)

        yield on_step
