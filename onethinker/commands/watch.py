"""`onethinker watch`: how a training run goes, wherever it runs."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from onethinker.core.errors import CheckpointError
from onethinker.storage.atomic import check_writable
from onethinker.storage.folders import RECIPE_FILE, REPORT_FILE, VALIDATION
from onethinker.storage.strict_json import to_json

if TYPE_CHECKING:
    from rich.console import Console

    from onethinker.report.progress import Progress
    from onethinker.storage.jsonl_log import LogReader

LOOK_EVERY_S = 1.0
PAGE_EVERY_S = 20.0
"""How often the page of a run is written anew."""


def watch(run: Annotated[Path, tyro.conf.Positional], *, json: bool = False, html: bool = False) -> None:
    """Show the progress of a training run, step by step, until its last one; Ctrl-C stops watching, not the run.

    On a terminal this is a table that is updated in place, elsewhere plain lines. A finished run is shown once.

    Args:
        run: Folder of `onethinker sft`, `dpo` or `rl`, on this machine or on a shared disk.
        json: Print the journal's last step record as one JSON object and exit.
        html: Also keep report.html in the run's folder up to date: one page with all curves, alarms, validations and
            sampled answers. An open browser reloads it.
    """
    from rich.console import Console

    watched = Watched.open(run)
    if json:
        print(to_json(watched.last_row()))
        return
    page = Page(run, Console(stderr=True)) if html else None
    if page is not None:
        check_writable(page.file, "file", flag="--html")
    _follow(watched, Console(), page)
    if page is not None:
        page.write(reload_s=None)
        print(page.file)


@dataclass(frozen=True)
class Watched:
    """A run that may still be training."""

    name: str
    journal: "LogReader[dict[str, Any]]"
    steps: int
    is_validated: bool

    @classmethod
    def open(cls, path: Path) -> "Watched":
        """Return a run, which may have no row yet. Raises: CheckpointError: there is no run."""
        from onethinker.training.state.run_folder import RunFolder

        folder = RunFolder(path)
        recipe = folder.recipe()
        if recipe is None:
            raise CheckpointError(
                f"{path}: not the folder of a training run, it has no {RECIPE_FILE}; name that of a run"
            )
        try:
            return cls(path.name, folder.follow(), int(recipe["steps"]), bool(recipe.get("validation")))
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{folder.recipe_file}: cannot be read as the recipe of a training run: {error}"
            ) from error

    def last_row(self) -> dict[str, Any]:
        """Return the journal's row of the last step. Raises: CheckpointError: there is none, or it is damaged."""
        rows = [row for row in self.journal.read_new() if row.get("stage") != VALIDATION]
        if not rows:
            raise CheckpointError(f"{self.journal.path}: the run has not finished a step yet")
        return rows[-1]

    @property
    def age_s(self) -> float:
        """Seconds since the last row was written; 0 without any."""
        path = self.journal.path
        return max(0.0, time.time() - path.stat().st_mtime) if path.exists() else 0.0


@dataclass
class Page:
    """The page of a run, which is written anew while the run goes on, but not all the time."""

    run: Path
    console: "Console"
    written_s: float = float("-inf")

    @property
    def file(self) -> Path:
        """Where it is."""
        return self.run / REPORT_FILE

    def update(self) -> None:
        """Write it, if that was not done lately."""
        if time.monotonic() - self.written_s >= PAGE_EVERY_S:
            self.write(reload_s=round(PAGE_EVERY_S))

    def write(self, *, reload_s: int | None) -> None:
        """Write it; a browser that shows it loads it again after so many seconds. Raises: CheckpointError,
        StorageError.
        """
        from onethinker.evaluation.runs import load_runs
        from onethinker.report.page import write_report

        is_first = self.written_s == float("-inf")
        write_report(self.file, load_runs([self.run]), title=self.run.resolve().name, reload_s=reload_s)
        self.written_s = time.monotonic()
        if is_first and reload_s is not None:
            self.console.print(f"{self.file} is kept up to date: open it in a browser", markup=False, highlight=False)


def _follow(watched: Watched, console: "Console", page: Page | None = None) -> None:
    from onethinker.commands.console import watching
    from onethinker.report.progress import Progress
    from onethinker.report.terminal import draw

    rows = watched.journal.read_new()
    progress = Progress(_name(watched, rows), watched.steps, rows, is_validated=watched.is_validated)
    if progress.is_done:
        console.print(draw(progress, console.width))
        return
    with watching(console, progress, note=lambda: _note(watched, progress)) as show:
        for row in rows[-1:]:
            show(row)
        while not progress.is_done:
            time.sleep(LOOK_EVERY_S)
            if page is not None and progress.rows:
                page.update()
            for row in watched.journal.read_new():
                progress.name = _name(watched, [row]) if row.get("stage") != VALIDATION else progress.name
                show(row)


def _name(watched: Watched, rows: list[dict[str, Any]]) -> str:
    stages = [str(row.get("stage", "run")).upper() for row in rows if row.get("stage") != VALIDATION]
    return f"{stages[-1] if stages else 'run'} {watched.name}"


def _note(watched: Watched, progress: "Progress") -> str:
    """Return how old the last row is, and that nothing comes any more where it is much older than a step is long."""
    from onethinker.core.durations import in_words

    if not progress.rows:
        return "no step is finished yet"
    is_late = watched.age_s > 60 + 5 * progress.seconds_a_step
    return f"last step {in_words(watched.age_s)} ago{'; is the run still training?' if is_late else ''}"
