"""What an evaluation keeps: a journal of answers, the results that are graded out of it, and the settings that both
hold for.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from onethinker.core.errors import CheckpointError
from onethinker.core.frames import Clip
from onethinker.core.request import SamplingParams
from onethinker.core.sample import Masks, Sample
from onethinker.core.sources import Source
from onethinker.families.built_in import folder_of
from onethinker.inference.engine import Engine
from onethinker.processes.machine import about_this_machine
from onethinker.storage.atomic import differences, write_atomically
from onethinker.storage.folders import ANSWERS_FILE, RESULTS_FILE, SETTINGS_FILE, UNUSABLE_FILE
from onethinker.storage.hashing import Digests
from onethinker.storage.jsonl_log import Log, open_log, read_log, write_log
from onethinker.storage.strict_json import to_json
from onethinker.tasks import Grade, Reader, ReadingMode

_WEIGHT_EDGE_BYTES = 1 << 20
JOINING = ("judge", "rewards")
"""Settings that answers which were graded without may be graded with: no answer depends on them."""


@dataclass(frozen=True)
class Answer:
    """What a model answered about a sample; with `error`, why it could not be asked, and then nothing is an answer."""

    key: str
    sample_id: str
    text: str = ""
    finish_reason: str = ""
    prompt_tokens: int = 0
    answer_tokens: int = 0
    error: str | None = None
    frame_px: tuple[int, int] | None = None
    """Width and height of the frames that the model was shown."""
    media_problems: tuple[str, ...] = ()
    """What is damaged or missing in the sample's media, each with its file."""


@dataclass(frozen=True)
class Result:
    """One sample's reply and grade; `grade` is None, and `error` says why, when the model could not be asked.

    `frame_px` is the size of the frames in whose pixels the reply is read, None for thousandths. `group` is the
    sample's: results of one group are averaged first where a metric says so. `media_problems` name what is damaged or
    missing in the media.
    """

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
    reading: ReadingMode = "strict"
    frame_px: tuple[int, int] | None = None
    group: str = ""
    media_problems: tuple[str, ...] = ()

    @property
    def reader(self) -> Reader:
        """How the reply is read."""
        frame_px = self.frame_px and (self.frame_px[0], self.frame_px[1])
        return Reader(self.reading, frame_px, self.finish_reason == "length")


def evaluation_settings(engine: Engine, sampling: SamplingParams, *, strict_media: bool = False) -> dict[str, Any]:
    """Return everything that decides an answer besides the sample; runs that ask and grade with equal settings may
    share a journal.
    """
    return {
        "model": engine.name,
        "weights": engine.weights or weights_digest(folder_of(engine.name)),
        "sampling": {name: value for name, value in asdict(sampling).items() if name != "logprobs"},
        "budget": engine.budget.model_dump(mode="json"),
        "prompt_template": engine.prompt_template.model_dump(mode="json"),
        **({"quantization": engine.quantization} if engine.quantization else {}),
        **({"strict_media": True} if strict_media else {}),
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
        *([sample.system, [astuple(turn) for turn in sample.earlier], sample.shown] if sample.is_conversation else ()),
        sample.problem_type,
        sample.data_type,
        list(sample.options),
        sample.truth,
    ]
    media = [digests.of(medium) for medium in sample.media]
    truth: list[object] = [_masks(sample.masks, digests), sample.resolution, list(sample.frame_boxes.items())]
    truth += [more for more in (sample.answers, sample.questions) if more]
    truth += [list(sample.first_box)] if sample.first_box is not None else []
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
def open_run(folder: Path, settings: Mapping[str, Any]) -> Iterator[Log]:
    """Yield the log of answers of an evaluation; while it is open no other process can work in the folder.

    A judge and the rewards of a recipe may join later, since no answer depends on them.

    Raises: CheckpointError: other settings, or the folder is in use. StorageError: it cannot be written to.
    """
    with open_log(folder / ANSWERS_FILE) as log:
        _match_settings(folder, settings, is_new=log.is_empty)
        yield log


def read_answers(folder: Path) -> dict[str, Answer]:
    """Return the answers of an evaluation folder by key: the last line that is an answer, else the last that says why
    there is none.

    Raises: CheckpointError: a complete line is damaged.
    """
    answers: dict[str, Answer] = {}
    for answer in read_log(folder / ANSWERS_FILE, answer_from):
        if answer.error is None or answer.key not in answers or answers[answer.key].error is not None:
            answers[answer.key] = answer
    return answers


def answer_from(fields: dict[str, Any]) -> Answer:
    """Return the answer in a line of the journal."""
    return Answer(**{**fields, "media_problems": tuple(fields.get("media_problems", ()))})


def write_results(folder: Path, results: Sequence[Result]) -> None:
    """Write the results of an evaluation, whole or not at all."""
    write_log(folder / RESULTS_FILE, results)


def read_results(folder: Path) -> dict[str, Result]:
    """Return the results of an evaluation folder by key, in the samples' order. Raises: CheckpointError: there are
    none, or damaged.
    """
    path = folder / RESULTS_FILE
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; expected a file that `onethinker evaluate` writes")
    return {result.key: result for result in read_log(path, _result)}


def _result(fields: dict[str, Any]) -> Result:
    grade = fields.pop("grade")
    rows: dict[str, Any] = {name: tuple(fields.pop(name, ())) for name in ("options", "media_problems")}
    return Result(grade=grade and Grade(**grade), **rows, **fields)


def write_unusable(folder: Path, rows: Sequence[str]) -> None:
    """Write which rows of a benchmark cannot be used, each with the reason."""
    if rows:
        write_atomically(folder / UNUSABLE_FILE, to_json(rows, indent=2, ensure_ascii=False))
    else:
        (folder / UNUSABLE_FILE).unlink(missing_ok=True)


def read_unusable(folder: Path) -> tuple[str, ...]:
    """Return which rows of a benchmark cannot be used. Raises: CheckpointError: the file of them is damaged."""
    path = folder / UNUSABLE_FILE
    try:
        rows = json.loads(path.read_bytes())
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: expected a list of rows: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, str) for row in rows):
        raise CheckpointError(f"{path}: expected a list of rows")
    return tuple(rows)


def missing_rows(unusable: Sequence[str], results: Sequence[Result]) -> tuple[str, ...]:
    """Return all rows that are in no number, each with the reason: those that cannot be used, and the samples without a
    grade.
    """
    return (*unusable, *(f"{result.sample_id}: {result.error}" for result in results if result.grade is None))


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
    # Folders of versions with one reader do not name it.
    one_reader = {"reading": "strict", "coordinates": "thousandths"}
    old = {**{name: one_reader[name] for name in one_reader if name in settings}, **stored["settings"]}
    joined = {name: settings[name] for name in JOINING if name in settings and name not in stored["settings"]}
    old = {**old, **joined}
    if changed := list(differences(old, json.loads(to_json(settings)))):
        listed = "\n  ".join(changed)
        raise CheckpointError(
            f"{folder} holds results for other settings; choose another --output, or use the old settings:\n  {listed}"
        )
    if joined:
        write_atomically(
            folder / SETTINGS_FILE,
            to_json({**stored, "settings": old}, indent=2, ensure_ascii=False),
        )
