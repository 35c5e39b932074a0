"""What a run needs to go on elsewhere: which of its files, and the same files from the hub."""

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from onethinker.core.errors import CheckpointError, ConfigError, EngineError
from onethinker.families.hub import HUB_ID, REVISION, download
from onethinker.storage.atomic import check_writable, writing
from onethinker.storage.folders import (
    CHECKPOINTS_FOLDER,
    HUB_RUN_FOLDER,
    JOURNAL_FILE,
    LEFT_OUT_FILE,
    RECIPE_FILE,
    STARTS_FILE,
    TRACKERS_FILE,
)
from onethinker.training.state import lock
from onethinker.training.state.checkpoint import Checkpoints

_RECORDS = (RECIPE_FILE, STARTS_FILE, JOURNAL_FILE, LEFT_OUT_FILE, TRACKERS_FILE)
_FETCHED = [f"{HUB_RUN_FOLDER}/{name}" for name in (*_RECORDS, f"{CHECKPOINTS_FOLDER}/step-*")]


def resumable_files(run: Path) -> list[Path]:
    """Return the files from which a run goes on, relative to its folder: its records, its newest whole checkpoint and
    the best one.

    Raises: CheckpointError: it is no run, has saved no whole checkpoint, or a process trains into it.
    """
    lock.check_free(run)
    checkpoints = Checkpoints(run)
    start = checkpoints.find_start().checkpoint
    if start is None or not (run / RECIPE_FILE).is_file():
        raise CheckpointError(f"{run}: not the folder of a run that has saved a checkpoint; name that folder")
    best = checkpoints.best
    folders = {start, *(path for path in checkpoints.all() if path.resolve() == best)}
    records = [run / name for name in _RECORDS if (run / name).is_file()]
    saved = [path for folder in sorted(folders) for path in sorted(folder.rglob("*")) if path.is_file()]
    return [path.relative_to(run) for path in (*records, *saved)]


def fetch_run(source: str, run: Path) -> None:
    """Fill the folder of a run with what `onethinker push --resumable` sent to the hub, completely or not at all; a
    run that has a checkpoint goes on from that, and nothing is asked of the hub.

    Raises: ConfigError: `source` is no name of the hub, something else lies in the folder, or it cannot be written.
    EngineError: there is no such run on the hub. StorageError: it could not be written.
    """
    if not (HUB_ID.fullmatch(source) or REVISION.fullmatch(source)):
        raise ConfigError(f"--resume-from {source}: expected a run on the hub, OWNER/NAME or OWNER/NAME@REVISION")
    if Checkpoints(run).all():
        return
    check_writable(run, "folder", flag="--output")
    is_new = not run.exists()
    # What a killed fetch left is removed when the run begins.
    if not is_new and set(run.iterdir()) - set(run.glob(".*.partial")):
        raise ConfigError(f"--output {run}: is not empty and has no checkpoint; --resume-from needs a new folder")
    try:
        _fetch(source, run)
    finally:
        if is_new:
            with suppress(OSError):  # it is not empty: the run is there
                run.rmdir()


def _fetch(source: str, run: Path) -> None:
    """Download a run into a folder inside its own, which may be a mount or the current one, and move it from there,
    the checkpoints last.
    """
    with writing(run):
        run.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=run, prefix=".fetched-", suffix=".partial") as partial:
            download(source, allow_patterns=_FETCHED, local_dir=partial)
            fetched = Path(partial) / HUB_RUN_FOLDER
            if not (fetched / RECIPE_FILE).is_file() or not Checkpoints(fetched).all():
                raise EngineError(
                    f"--resume-from {source}: has no run to resume; upload one with `onethinker push --resumable`"
                )
            Checkpoints(run).folder.mkdir()  # fails where another process has fetched meanwhile
            for name in (*_RECORDS, CHECKPOINTS_FOLDER):
                if (fetched / name).exists():
                    (fetched / name).rename(run / name)
