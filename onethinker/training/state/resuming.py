"""What a run needs to go on elsewhere: which of its files, and the same files from the hub."""

from pathlib import Path

from onethinker.core.errors import CheckpointError, ConfigError, EngineError
from onethinker.families.hub import HUB_ID, REVISION, download
from onethinker.storage.atomic import remove
from onethinker.storage.folders import (
    HUB_RUN_FOLDER,
    JOURNAL_FILE,
    LEFT_OUT_FILE,
    RECIPE_FILE,
    STARTS_FILE,
    TRACKERS_FILE,
)
from onethinker.training.state.checkpoint import Checkpoints

_RECORDS = (RECIPE_FILE, STARTS_FILE, JOURNAL_FILE, LEFT_OUT_FILE, TRACKERS_FILE)


def resumable_files(run: Path) -> list[Path]:
    """Return the files from which a run goes on, relative to its folder: its records, its newest whole checkpoint and
    the best one.

    Raises: CheckpointError: it is no run, or has saved no whole checkpoint.
    """
    run = run.resolve()
    checkpoints = Checkpoints(run)
    start = checkpoints.find_start().checkpoint
    if start is None or not (run / RECIPE_FILE).is_file():
        raise CheckpointError(f"{run}: expected the folder of a run that has saved a checkpoint")
    folders = {start, checkpoints.best or start}
    records = [run / name for name in _RECORDS if (run / name).is_file()]
    saved = [path for folder in sorted(folders) for path in sorted(folder.rglob("*")) if path.is_file()]
    return [path.relative_to(run) for path in (*records, *saved)]


def fetch_run(source: str, run: Path) -> None:
    """Fill the folder of a run with what `onethinker push --resumable` sent to the hub, completely or not at all; a
    run that has a checkpoint goes on from that, and nothing is asked of the hub.

    Raises: ConfigError: `source` is no name of the hub, or something else lies in the folder. EngineError: there is no
    such run on the hub.
    """
    if not (HUB_ID.fullmatch(source) or REVISION.fullmatch(source)):
        raise ConfigError(f"--resume-from {source}: expected a run on the hub, OWNER/NAME or OWNER/NAME@REVISION")
    if Checkpoints(run).all():
        return
    if run.exists() and any(run.iterdir()):
        raise ConfigError(f"--output {run}: holds something, and no checkpoint; --resume-from needs a new folder")
    run.parent.mkdir(parents=True, exist_ok=True)
    partial = run.with_name(f"{run.name}.partial")
    download(source, allow_patterns=[f"{HUB_RUN_FOLDER}/*"], local_dir=partial)
    fetched = partial / HUB_RUN_FOLDER
    if not (fetched / RECIPE_FILE).is_file():
        remove(partial)
        raise EngineError(
            f"--resume-from {source}: holds no run to go on with; `onethinker push --resumable` sends one"
        )
    if run.exists():
        run.rmdir()
    fetched.rename(run)
    remove(partial)
