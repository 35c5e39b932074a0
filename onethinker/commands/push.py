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
    """Upload a run's model, as `onethinker export` writes it, to the Hugging Face hub.

    The repository is private unless --public is set. Every file is listed with its size before anything is uploaded.
    Log in with `hf auth login` or set HF_TOKEN; HF_ENDPOINT selects another hub.

    Args:
        source: Folder of a run (its finished model, otherwise its newest complete checkpoint), of one checkpoint, or of
            a model.
        repo: Target repository, as OWNER/NAME; created if it does not exist.
        license: License for the model card, in the hub's spelling, such as apache-2.0; it must be one that the base
            model and the data allow.
        public: Make it readable by everyone. Without this flag, uploading to a public repository is refused.
        results: Folders of `onethinker evaluate` whose scores the model card shows.
        dtype: Dtype of the weights; by default as they were trained.
        resumable: Also upload what is needed to resume the run elsewhere (--resume-from of sft, dpo and rl): its newest
            and its best checkpoint, recipe, journal and starts. These name paths and this machine. Refused while the
            run is training.
        dry_run: List the files, and upload nothing.
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
