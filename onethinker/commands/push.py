"""`onethinker push`: a trained model to the Hugging Face hub."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import tyro


def push(
    source: tyro.conf.Positional[Path],
    repo: tyro.conf.Positional[str],
    *,
    license: str,
    public: bool = False,
    results: tuple[Path, ...] = (),
    dtype: Literal["float32", "bfloat16"] | None = None,
    resumable: bool = False,
    dry_run: bool = False,
) -> None:
    """Write a run's model as `onethinker export` does, and upload just that to the Hugging Face hub, privately.

    Every file is named with its size before the first byte goes. `hf auth login` or the variable HF_TOKEN says who may
    write there; HF_ENDPOINT is another hub.

    Args:
        source: Folder of a run (its finished model, else its newest complete checkpoint), of one checkpoint, or of a
            model.
        repo: Where it goes, as OWNER/NAME; made if it is not there.
        license: License in the model card, as the hub calls it, such as apache-2.0; it must be one that the base model
            and the data allow.
        public: Everyone may read it. Without this a repository that is public already is refused.
        results: Folders of `onethinker evaluate` whose scores the card shows.
        dtype: Dtype of the weights; by default as they were trained.
        resumable: Upload also what the run needs to go on elsewhere (--resume-from of sft, dpo and rl): its newest
            checkpoint, the best one, recipe, journal and starts, which name paths and this machine. Refused while it
            trains.
        dry_run: Name the files, and send nothing.
    """
    from onethinker.report.hub_push import check_repo, files_of, say_files, upload
    from onethinker.report.model_export import export_model
    from onethinker.storage.folders import HUB_RUN_FOLDER
    from onethinker.training.state.resuming import resumable_files

    resumed = resumable_files(source) if resumable else []
    check_repo(repo, public=public, ask=not dry_run)
    with TemporaryDirectory(prefix="onethinker-push-") as parent:
        folder = Path(parent) / repo.partition("/")[2]
        export_model(source, folder, results=results, dtype=dtype, license_id=license)
        files = files_of(folder)
        files |= {f"{HUB_RUN_FOLDER}/{file.as_posix()}": source / file for file in resumed}
        for line in say_files(files, repo, public=public):
            print(line)
        if not dry_run:
            print(upload(files, repo, public=public))
