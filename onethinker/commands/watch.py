"""`onethinker watch`: how a training run goes, wherever it runs."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from onethinker.core.errors import CheckpointError
from onethinker.storage.strict_json import to_json

if TYPE_CHECKING:
    from rich.console import Console

    from onethinker.report.terminal import Progress

LOOK_EVERY_S = 1.0


def watch(run: Annotated[Path, tyro.conf.Positional], *, json: bool = False) -> None:
    """Show how a training run goes, each step as it comes, until its last one; Ctrl-C stops watching, not the run.

    On a terminal that is a table drawn in place, elsewhere plain lines. A finished run is shown once.

    Args:
        run: Folder of `onethinker sft` or `onethinker rl`, on this machine or on a disk that it shares.
        json: Print the journal's last row as one JSON object and leave.
    """
    from rich.console import Console

    journal = Journal.open(run)
    if json:
        _print_last(journal)
        return
    _follow(journal, Console())


@dataclass
class Journal:
    """The journal of a run that may still grow, or be cut and grow again; reading starts where it stopped."""

    path: Path
    steps: int
    first_byte: int = 0
    inode: int = 0

    @classmethod
    def open(cls, folder: Path) -> "Journal":
        """Return the journal of a run, which may have no row yet. Raises: CheckpointError: there is no run."""
        from onethinker.training.metrics.records import JOURNAL_FILE

        recipe = folder / "recipe.json"
        try:
            return cls(folder / JOURNAL_FILE, int(json.loads(recipe.read_bytes())["steps"]))
        except FileNotFoundError as error:
            raise CheckpointError(
                f"{folder}: expected the folder of a training run, with a recipe.json in it"
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{recipe}: not the recipe of a training run: {error}") from error

    def new_rows(self) -> list[dict[str, Any]]:
        """Return the whole rows since the last call. Raises: CheckpointError: the journal cannot be read."""
        from onethinker.training.metrics.records import read_rows

        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            status = self.path.stat()
            if status.st_ino != self.inode or status.st_size < self.first_byte:
                self.first_byte, self.inode = 0, status.st_ino
            file.seek(self.first_byte)
            whole, newline, _ = file.read().rpartition(b"\n")
        self.first_byte += len(whole) + len(newline)
        return read_rows(whole, self.path)

    @property
    def age_s(self) -> float:
        """Seconds since the last row was written; 0 without any."""
        return max(0.0, time.time() - self.path.stat().st_mtime) if self.path.exists() else 0.0


def _print_last(journal: Journal) -> None:
    rows = journal.new_rows()
    if not rows:
        raise CheckpointError(f"{journal.path}: the run has not finished a step yet")
    print(to_json(rows[-1]))


def _follow(journal: Journal, console: "Console") -> None:
    from onethinker.commands.console import watching
    from onethinker.report.terminal import Progress, draw

    rows = journal.new_rows()
    progress = Progress(_name(journal, rows), journal.steps, rows)
    if progress.is_done:
        console.print(draw(progress, console.width))
        return
    with watching(console, progress, note=lambda: _note(journal, progress)) as show:
        for row in rows[-1:]:
            show(row)
        while not progress.is_done:
            time.sleep(LOOK_EVERY_S)
            for row in journal.new_rows():
                progress.name = _name(journal, [row])
                show(row)


def _name(journal: Journal, rows: list[dict[str, Any]]) -> str:
    stage = str(rows[-1].get("stage", "run")).upper() if rows else "run"
    return f"{stage} {journal.path.parent.name}"


def _note(journal: Journal, progress: "Progress") -> str:
    """Return how old the last row is, and that nothing comes any more where it is much older than a step is long."""
    from onethinker.training.metrics.records import in_words

    if not progress.rows:
        return "no step is done yet"
    is_late = journal.age_s > 60 + 5 * progress.seconds_a_step
    return f"last step {in_words(journal.age_s)} ago{'; does the run still go on?' if is_late else ''}"
