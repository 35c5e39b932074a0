"""What an evaluation keeps: a journal of answers, the results that are graded out of it, and the settings that both
hold for.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import blake2b
from io import FileIO
from pathlib import Path
from typing import Any, TypeVar

from onethinker.core.errors import CheckpointError
from onethinker.core.frames import Clip
from onethinker.core.request import SamplingParams
from onethinker.core.sample import Masks, Sample
from onethinker.core.sources import Source
from onethinker.inference.loading import LoadedEngine
from onethinker.processes.machine import about_this_machine
from onethinker.storage.atomic import append, differences, write_atomically, writing
from onethinker.storage.hashing import Digests
from onethinker.storage.strict_json import json_line, to_json
from onethinker.tasks.grading import Grade

ANSWERS_FILE = "answers.jsonl"
"""What the model said, a line an answer, in the order in which they came; only ever appended to."""
RESULTS_FILE = "results.jsonl"
"""Answers with their grades, a line a sample, in the samples' order; written anew by every scoring."""
SETTINGS_FILE = "settings.json"
MEDIA_FILE = "media.json"
"""Digests of the media's files, so that they are read for that once."""
_WEIGHT_EDGE_BYTES = 1 << 20
T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """What a model said about a sample; where `error` says why it could not be asked, there is nothing that counts as
    an answer.
    """

    key: str
    sample_id: str
    text: str = ""
    finish_reason: str = ""
    prompt_tokens: int = 0
    answer_tokens: int = 0
    error: str | None = None


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
    options: tuple[str, ...] = ()


def evaluation_settings(engine: LoadedEngine, sampling: SamplingParams) -> dict[str, Any]:
    """Return everything that decides an answer besides the sample; runs that ask and grade with equal settings may
    share a journal.
    """
    return {
        "model": engine.name,
        "weights": weights_digest(Path(engine.name)),
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


def result_key(sample: Sample, settings: Mapping[str, Any], digests: Digests | None = None) -> str:
    """Return what an answer is filed under: a digest of the settings, the question, its truth (masks too) and what its
    media hold.

    Media and files of masks count by their bytes, not by where they lie. `digests` remembers those of files.
    """
    digests = digests or Digests()
    asked = [
        settings,
        sample.id,
        sample.problem,
        sample.problem_type,
        sample.data_type,
        list(sample.options),
        sample.truth,
    ]
    media = [digests.of(medium) for medium in sample.media]
    truth = [_masks(sample.masks, digests), sample.resolution, list(sample.frame_boxes.items())]
    content = to_json([*asked, truth, media], sort_keys=True)
    return blake2b(content.encode(), digest_size=16).hexdigest()


def media_and_masks(sample: Sample) -> list[Path | Clip | Source]:
    """Return everything outside its record that decides a sample's answer or grade."""
    return [*sample.media, *(sample.masks.files if sample.masks is not None else ())]


def _masks(masks: Masks | None, digests: Digests) -> object:
    """Return what decides the worth of masks; files of them count by their bytes."""
    if masks is None:
        return None
    marks = {
        key: [digests.of_file(mark) if isinstance(mark, Path) else mark for mark in frame]
        for key, frame in masks.frames.items()
    }
    return [list(marks.items()), masks.fps, masks.objects]


@contextmanager
def open_run(folder: Path, settings: Mapping[str, Any]) -> Iterator[FileIO]:
    """Yield the journal of answers of an evaluation, ready to append; while it is open no other process can work in the
    folder.

    A judge may join later, since no answer depends on it.

    Raises: CheckpointError: other settings, or the folder is in use. StorageError: it cannot be written to.
    """
    with open_journal(folder / ANSWERS_FILE) as journal:
        _match_settings(folder, settings, is_new=journal.tell() == 0)
        yield journal


@contextmanager
def open_journal(path: Path) -> Iterator[FileIO]:
    """Yield a file of JSON lines, ready to append, locked against a second process; a last line that a kill cut short
    is removed.

    Raises: CheckpointError: it is in use. StorageError: it cannot be written to.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b", buffering=0)  # what could not be written is not tried again when it is closed
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CheckpointError(
                f"{path}: another process is evaluating into this folder; choose another --output"
            ) from error
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.seek(0, os.SEEK_END)
        yield file


def append_records(journal: FileIO, records: Sequence[Any]) -> None:
    """Write dataclasses at the end of a journal, a line each, and return when they are on the disk. Raises:
    StorageError.
    """
    append(journal, _lines(records))


def _lines(records: Sequence[Any]) -> bytes:
    return b"".join(json_line(asdict(record)) for record in records)


def read_records(path: Path, make: Callable[[dict[str, Any]], T]) -> list[T]:
    """Return what `make` makes of every whole line of a journal. Raises: CheckpointError: there is no journal, or a
    line is damaged.
    """
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError as error:
        raise CheckpointError(f"{path}: expected what `onethinker evaluate` writes: {error.strerror}") from error
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(make(json.loads(line)))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CheckpointError(f"{path}, line {number}: not written by this version: {error}") from error
    return records


def read_answers(folder: Path) -> dict[str, Answer]:
    """Return the answers of an evaluation folder by key: the last line that is an answer, else the last that says why
    there is none.

    Raises: CheckpointError: there is no journal, or a whole line of it is damaged.
    """
    answers: dict[str, Answer] = {}
    for answer in read_records(folder / ANSWERS_FILE, lambda fields: Answer(**fields)):
        if answer.error is None or answer.key not in answers or answers[answer.key].error is not None:
            answers[answer.key] = answer
    return answers


def write_results(folder: Path, results: Sequence[Result]) -> None:
    """Write the results of an evaluation, whole or not at all."""
    write_atomically(folder / RESULTS_FILE, _lines(results))


def read_results(folder: Path) -> dict[str, Result]:
    """Return the results of an evaluation folder by key, in the samples' order. Raises: CheckpointError: there are
    none, or damaged.
    """
    return {result.key: result for result in read_records(folder / RESULTS_FILE, _result)}


def _result(fields: dict[str, Any]) -> Result:
    grade = fields.pop("grade")
    options = tuple(fields.pop("options", ()))
    return Result(grade=grade and Grade(**grade), options=options, **fields)


def read_settings(folder: Path) -> dict[str, Any]:
    """Return the settings file of an evaluation: "settings" and "about" (machine, versions, date). Raises:
    CheckpointError.
    """
    path = folder / SETTINGS_FILE
    try:
        stored = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: expected the settings of an evaluation: {error}") from error
    if not isinstance(stored, dict) or not {"settings", "about"} <= stored.keys():
        raise CheckpointError(f"{path}: expected the fields 'settings' and 'about'")
    return stored


def _match_settings(folder: Path, settings: Mapping[str, Any], *, is_new: bool) -> None:
    if is_new:
        stored = {"settings": settings, "about": about_this_machine()}
        write_atomically(folder / SETTINGS_FILE, to_json(stored, indent=2, ensure_ascii=False))
        return
    stored = read_settings(folder)
    old, is_first_judge = stored["settings"], "judge" in settings and "judge" not in stored["settings"]
    if is_first_judge:
        old = {**old, "judge": settings["judge"]}
    if changed := list(differences(old, json.loads(to_json(settings)))):
        listed = "\n  ".join(changed)
        raise CheckpointError(
            f"{folder} holds results for other settings; choose another --output, or go back to them:\n  {listed}"
        )
    if is_first_judge:
        write_atomically(
            folder / SETTINGS_FILE,
            to_json({**stored, "settings": old}, indent=2, ensure_ascii=False),
        )
