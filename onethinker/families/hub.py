"""Models on the Hugging Face hub: what their ids look like, and whether one can be had."""

import re
from typing import Any

from onethinker.core.errors import EngineError
from onethinker.core.sources import home_path
from onethinker.storage.folders import HUB_RUN_FOLDER

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
REVISION = re.compile(rf"({HUB_ID.pattern})@([\w./-]+)")
"""A model of the hub at a branch, a tag or a commit, such as "owner/name@v1"."""
OF_A_MODEL = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")


def at_hand(model: str) -> str:
    """Return the folder of a model of the hub at a revision, downloaded where it is not here; other names as they are.

    Raises: EngineError: the hub has no such model or revision for us, or cannot be reached.
    """
    found = None if home_path(model).exists() else REVISION.fullmatch(model)
    if found is None:
        return model
    return download(model, allow_patterns=list(OF_A_MODEL), ignore_patterns=[f"{HUB_RUN_FOLDER}/*"])


def download(source: str, **which: Any) -> str:
    """Return the folder of a repository of the hub, "owner/name" or "owner/name@revision", with the files that are
    wanted; `which` says them as `snapshot_download` takes it.

    Raises: EngineError: the hub has no such repository or revision for us, or cannot be reached.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    repo, _, revision = source.partition("@")
    try:
        return str(snapshot_download(repo, revision=revision or None, **which))
    except RevisionNotFoundError as error:
        raise EngineError(f"{source}: the hub has {repo}, but no branch, tag or commit {revision!r}") from error
    except RepositoryNotFoundError as error:
        raise EngineError(
            f"{source}: the hub at {constants.ENDPOINT} has no such model, or you may not see it; log in with `hf auth"
            " login`"
        ) from error
    except unreachable() as error:
        raise EngineError(f"{source}: cannot be downloaded from the hub at {constants.ENDPOINT}: {error}") from error


def unreachable() -> tuple[type[Exception], ...]:
    """Return what huggingface_hub raises where the hub cannot be reached: what its own error is derived from, the error
    of its HTTP client (httpx2, and httpx in older versions) and OSError.
    """
    from huggingface_hub.errors import HfHubHTTPError

    return HfHubHTTPError.__bases__


def hub_answers(model: str) -> bool:
    """Return whether the hub has the model; False when it cannot be reached but the model was downloaded before.

    Asked first and once, because transformers asks a hub that is not there for every file, six times each: minutes.

    Raises: EngineError: the hub has no such model for us, or it cannot be reached and the model is not here either.
    """
    import httpx
    from huggingface_hub import constants, get_token, try_to_load_from_cache

    cached = isinstance(try_to_load_from_cache(model, "config.json"), str)
    if not constants.is_offline_mode():
        token = get_token()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            response = httpx.head(f"{constants.ENDPOINT}/{model}/resolve/main/config.json", headers=headers, timeout=10)
        except httpx.TransportError:
            pass
        else:
            if response.status_code in (401, 403, 404):
                raise EngineError(
                    f"{model}: no such folder here, and no such model on the hub. Check the spelling; for a private or"
                    " gated model accept its terms and log in with `hf auth login`"
                )
            return True
    if not cached:
        raise EngineError(
            f"{model}: no such folder here, and the hub at {constants.ENDPOINT} cannot be reached. Check the path and"
            " the network, or give a folder with the model"
        )
    return False
