"""What an evaluation keeps: an append-only journal of results beside the settings that they hold for."""

import fcntl
import json
import os
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from onethinker.clip import Clip
from onethinker.data.sample import Sample
from onethinker.errors import CheckpointError
from onethinker.files import differences, write_atomically
from onethinker.models.engine import Sampling
from onethinker.models.loading import LoadedEngine
from onethinker.tasks import find_task
from onethinker.tasks.task import Grade, Profile

RESULTS_FILE = "results.jsonl"
SETTINGS_FILE = "settings.json"
_LIBRARIES = ("onethinker", "torch", "transformers", "av", "numpy", "pillow")
_WEIGHT_EDGE_BYTES = 1 << 20


@dataclass(frozen=True)
class Result:
    """One sample's reply and grade; `grade` is None, and `error` says why, when the model could not be asked."""

    key: str
    sample_id: str
    task: str
    problem: str
    truth: str
    response: str
    grade: Grade | None
    error: str | None = None
    finish_reason: str = ""
    prompt_tokens: int = 0
    answer_tokens: int = 0


def evaluation_settings(engine: LoadedEngine, sampling: Sampling, profile: Profile) -> dict[str, Any]:
    """Return everything that decides a number besides the samples; two runs with equal settings may share a journal."""
    return {
        "model": engine.name,
        "weights": weights_digest(Path(engine.name)),
        "profile": profile,
        "sampling": asdict(sampling),
        "budget": engine.budget.model_dump(mode="json"),
        "wording": engine.wording.model_dump(mode="json"),
    }


def weights_digest(folder: Path) -> str | None:
    """Return a digest of a model folder's weights, None where there are no weight files.

    Only the first and last MiB of each file are read: training moves every weight, so that is enough to tell two apart.
    """
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    digest = blake2b(digest_size=16)
    for path in files:
        size = path.stat().st_size
        with path.open("rb") as file:
            digest.update(f"{path.name} {size}\n".encode() + file.read(_WEIGHT_EDGE_BYTES))
            file.seek(max(0, size - _WEIGHT_EDGE_BYTES))
            digest.update(file.read())
    return digest.hexdigest() if files else None


def result_key(sample: Sample, settings: dict[str, Any]) -> str:
    """Return what a result is filed under: a digest of the settings, the question, its truth and its media."""
    digest = blake2b(digest_size=16)
    asked = [settings, sample.id, sample.problem, sample.problem_type, sample.data_type, list(sample.options), sample.truth]
    digest.update(json.dumps(asked, sort_keys=True).encode())
    for media in sample.media:
        if isinstance(media, Clip):
            digest.update(media.frames.tobytes())
        else:
            digest.update(os.fsencode(media) if isinstance(media, Path) else repr(media).encode())
    return digest.hexdigest()


@contextmanager
def open_journal(folder: Path, settings: dict[str, Any]) -> Iterator[IO[bytes]]:
    """Yield the journal of an evaluation, ready to append, locked against a second process.

    A last line that a kill cut short is removed. Raises: CheckpointError: other settings, or the journal is in use.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / RESULTS_FILE).open("a+b")
    except OSError as error:
        raise CheckpointError(f"{folder}: expected a folder that can be written to: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CheckpointError(f"{file.name}: another process is evaluating into this folder; choose another --output") from error
        file.seek(0)
        content = file.read()
        _match_settings(folder, settings, is_new=not content)
        file.truncate(content.rfind(b"\n") + 1)
        yield file


def append_results(file: IO[bytes], results: Sequence[Result]) -> None:
    """Write results at the end of the journal and return when they are on the disk."""
    file.write(b"".join(json.dumps(asdict(result)).encode() + b"\n" for result in results))
    file.flush()
    os.fsync(file.fileno())


def read_results(folder: Path) -> dict[str, Result]:
    """Return the results of an evaluation folder by key, in order of first appearance; a later line replaces an earlier one.

    Raises: CheckpointError: there is no journal, or a whole line of it is damaged.
    """
    path = folder / RESULTS_FILE
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError as error:
        raise CheckpointError(f"{path}: expected the results of `onethinker evaluate`: {error.strerror}") from error
    results = {}
    for number, line in enumerate(lines, 1):
        try:
            fields = json.loads(line)
            grade = fields.pop("grade")
            result = Result(grade=grade and Grade(**{**grade, "problems": tuple(grade["problems"])}), **fields)
        except (ValueError, TypeError, KeyError) as error:
            raise CheckpointError(f"{path}, line {number}: not a result of this version: {error}") from error
        results[result.key] = result
    return results


def read_settings(folder: Path) -> dict[str, Any]:
    """Return the settings file of an evaluation: "settings" and "about" (machine, versions, date). Raises: CheckpointError."""
    path = folder / SETTINGS_FILE
    try:
        stored = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: expected the settings of an evaluation: {error}") from error
    if not isinstance(stored, dict) or not {"settings", "about"} <= stored.keys():
        raise CheckpointError(f"{path}: expected the fields 'settings' and 'about'")
    return stored


def about_this_machine() -> dict[str, Any]:
    """Return what a reader needs, besides the settings, to get the same number again."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M %Z"),
        "machine": f"{platform.system()} {platform.release()}, {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _LIBRARIES},
    }


def statistics_name(sample: Sample) -> str:
    """Return the name under which a sample's grade is averaged. Raises: DataError."""
    return find_task(sample.problem_type, sample.data_type).statistics


def _match_settings(folder: Path, settings: dict[str, Any], *, is_new: bool) -> None:
    if is_new:
        stored = {"settings": settings, "about": about_this_machine()}
        write_atomically(folder / SETTINGS_FILE, json.dumps(stored, indent=2, ensure_ascii=False))
        return
    old = read_settings(folder)["settings"]
    if changed := list(differences(old, json.loads(json.dumps(settings)))):
        listed = "\n  ".join(changed)
        raise CheckpointError(f"{folder} holds results for other settings; choose another --output, or go back to them:\n  {listed}")
