"""A model to a repository of the Hugging Face hub: what goes there, and only that."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onethinker.core.errors import ConfigError, EngineError
from onethinker.families.hub import HUB_ID, unreachable
from onethinker.storage.folders import HUB_RUN_FOLDER


def check_repo(repo: str, *, public: bool, ask: bool = True) -> None:
    """Do nothing where a model can be pushed to this repository, as far as the hub says before anything is sent.

    Raises: ConfigError: the name is none, or the repository is public and that was not asked for. EngineError: nobody
    is logged in, or the hub does not answer.
    """
    if not HUB_ID.fullmatch(repo):
        raise ConfigError(f'expected a repository as OWNER/NAME, such as "my-lab/my-thinker", got {repo!r}')
    if not ask:
        return
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import RepositoryNotFoundError

    if get_token() is None:
        raise EngineError("not logged in to the hub: run `hf auth login`, or set HF_TOKEN")
    try:
        is_private = _asked(lambda: HfApi().repo_info(repo).private, repo)
    except RepositoryNotFoundError:
        return
    if not is_private and not public:
        raise ConfigError(
            f"{repo} is public, so everyone could read what is uploaded; add --public, or choose another name"
        )


def files_of(folder: Path) -> dict[str, Path]:
    """Return the files of a folder by their names in a repository."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in found}


def say_files(files: Mapping[str, Path], repo: str, *, public: bool) -> list[str]:
    """Return what goes where, a file a line."""
    sizes = [path.stat().st_size for path in files.values()]
    who = "public: everyone may read it" if public else "private"
    lines = [f"{repo} ({who}): {len(files)} files, {sum(sizes):,} bytes"]
    return lines + [f"  {size:>16,}  {name}" for name, size in zip(files, sizes, strict=True)]


def upload(files: Mapping[str, Path], repo: str, *, public: bool) -> str:
    """Make the repository if it is not there, upload the files in one commit, and return its address. A run takes the
    place of one that was there.

    Raises: EngineError.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    hub = HfApi()
    _asked(lambda: hub.create_repo(repo, private=not public, exist_ok=True), repo)
    operations: list[Any] = [CommitOperationAdd(name, path) for name, path in files.items()]
    if any(map(_is_of_a_run, files)):
        before = _asked(lambda: hub.list_repo_files(repo), repo)
        operations += [CommitOperationDelete(name) for name in before if _is_of_a_run(name) and name not in files]
    commit = _asked(lambda: hub.create_commit(repo, operations, commit_message="Upload by onethinker push"), repo)
    return str(commit.commit_url)


def _is_of_a_run(name: str) -> bool:
    return name.startswith(f"{HUB_RUN_FOLDER}/")


def _asked(ask: Any, repo: str) -> Any:
    """Return what the hub answers. Raises: EngineError: it refuses, or is not there; RepositoryNotFoundError."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    try:
        return ask()
    except RepositoryNotFoundError:
        raise
    except HfHubHTTPError as error:
        raise EngineError(
            f"{repo}: the hub at {constants.ENDPOINT} refused the request: {str(error).strip()[:300]}"
        ) from error
    except unreachable() as error:
        raise EngineError(f"{repo}: the hub at {constants.ENDPOINT} cannot be reached: {error}") from error
