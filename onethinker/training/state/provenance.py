"""What a run is made from besides its recipe: data files and models, known by their content, and the machine of each
start.
"""

import platform
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from onethinker.core.errors import CheckpointError
from onethinker.families.built_in import UNTRAINED, folder_of
from onethinker.families.folder import ADAPTER_SETTINGS_FILE, base_of, read_settings
from onethinker.families.hub import HUB_ID, at_hand
from onethinker.processes.machine import about_this_machine
from onethinker.storage.atomic import digest_file

Digests = Mapping[str, str]
"""The SHA-256 of each file, by its path, or by its name where it belongs to a model."""
_OF_A_MODEL = frozenset({".safetensors", ".bin", ".json", ".jinja", ".txt", ".model"})
"""Endings of the files that decide what a model says; a README may change."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


def digest_data(files: Iterable[Path]) -> Digests:
    """Return the digests of sample files, not of the media that they name. Raises: CheckpointError: one cannot be
    read.
    """
    return _digests({str(path): path for path in files})


def digest_model(model: str) -> Digests:
    """Return the digests of a model's files, of adapters also those of the model below them; an untrained model has
    none: its seed decides.

    All weights of a folder are read, several files at once. Those of the hub are named by their digest
    where the hub's cache lies; one that is not in the cache gives none.

    Raises: CheckpointError: a file cannot be read. EngineError: nothing says which model is below the adapters.
    """
    from huggingface_hub import try_to_load_from_cache

    if model in UNTRAINED:
        return {}
    model = at_hand(model)
    folder = folder_of(model)
    below: Digests = {}
    if not folder.is_dir() and HUB_ID.fullmatch(model):
        cached = try_to_load_from_cache(model, "config.json")
        if not isinstance(cached, str):
            return {}
        folder = Path(cached).parent
    elif (folder / ADAPTER_SETTINGS_FILE).is_file():
        below = {
            f"base/{name}": digest for name, digest in digest_model(base_of(folder, read_settings(folder))).items()
        }
    files = sorted(folder.glob("*")) if folder.is_dir() else []
    return {**below, **_digests({path.name: path for path in files if path.is_file() and path.suffix in _OF_A_MODEL})}


def changed_files(before: Digests, now: Digests) -> list[str]:
    """Return what happened to each file that is not as it was.

    >>> changed_files({"a.jsonl": "12", "b.jsonl": "34"}, {"a.jsonl": "56"})
    ['a.jsonl: has another content', 'b.jsonl: is gone']
    """
    happened = {name: "is gone" if name not in now else "is new" for name in before.keys() ^ now.keys()}
    happened |= {name: "has another content" for name in before.keys() & now.keys() if before[name] != now[name]}
    return [f"{name}: {what}" for name, what in sorted(happened.items())]


def about_start(processes: int) -> dict[str, Any]:
    """Return what a reader of the run needs to know of a start: command, versions, machine, and how many processes
    trained.
    """
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {"processes": processes, "host": platform.node(), "cpu": _cpu(), "gpus": gpus, **about_this_machine()}


def _digests(files: Mapping[str, Path]) -> Digests:
    try:
        with ThreadPoolExecutor() as threads:
            return dict(zip(files, threads.map(_known_or_read, files.values()), strict=True))
    except OSError as error:
        raise CheckpointError(f"a data or model file of the run cannot be read completely: {error}") from error


def _known_or_read(path: Path) -> str:
    """Return a file's digest; weights in the hub's cache are links to files that are named by it."""
    target = path.resolve()
    return target.name if target.parent.name == "blobs" and _SHA256.fullmatch(target.name) else digest_file(path)


def _cpu() -> str:
    """Return what the processor calls itself, or its kind where the system does not say."""
    try:
        names = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        names = []
    return names[0] if names else platform.machine()
