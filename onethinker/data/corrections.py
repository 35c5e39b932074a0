"""Answers of a model with the truth that a person wrote beside them, as records to learn from."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from onethinker.core.errors import DataError
from onethinker.core.grammar import answer_text, show
from onethinker.core.sample import Sample
from onethinker.core.suffixes import PICTURE_SUFFIXES
from onethinker.data.formats.clips import clipped
from onethinker.data.formats.records import Record, read_records
from onethinker.data.formats.released import check_answer
from onethinker.storage.strict_json import to_json
from onethinker.tasks import find_task, grade_response, task_of
from onethinker.tasks.pixels import response_from_px
from onethinker.tasks.places import FrameSize

SHOWN = 5
"""Wrong rows that an error names."""
Find = Callable[[str], Sample | None]
"""Returns the sample that was asked about by its id, None where there is none."""


@dataclass
class Corrected:
    """The samples with their truths, and how many rows there were, were not corrected, and had a right answer."""

    samples: dict[str, Sample] = field(default_factory=dict)
    rows: int = 0
    without_truth: int = 0
    right: Counter[str] = field(default_factory=Counter)


def read_corrections(
    file: Path, find: Find | None, corrected: Corrected, *, source: str, least: float, answer_only: bool
) -> None:
    """Add the samples of a JSONL file of answers with a "truth" each; of an id that comes again the last row counts.

    Rows are what `onethinker ask` and `evaluate` write: the sample is found by its id, or is made of question, task,
    media and options. A response to learn from is, where there is one, the person's own ("response" beside the "text"
    of the model), else the model's where its accuracy is at least `least` and its form whole; with `answer_only` others
    get the truth without reasoning.

    Raises: DataError: names every wrong row and field.
    """
    wrong: list[str] = []
    for row, record in read_records(file):
        corrected.rows += 1
        if record.get("truth") in (None, "", {}, []):
            corrected.without_truth += 1
            continue
        try:
            sample = _sample(record, file, row, find, source)
        except DataError as error:
            wrong.append(f"{file}, row {row}: {error}")
            continue
        said = response_from_px(said_text(record), task_of(sample), said_frame_px(record))
        is_right = _is_right(said, sample, least)
        corrected.right[task_of(sample).key] += is_right
        response = _own_response(record) or (said if is_right else None)
        if response is None and answer_only:
            response = f"<think></think><answer>{sample.truth}</answer>"
        corrected.samples.pop(sample.id, None)
        corrected.samples[sample.id] = replace(sample, response=response)
    if wrong:
        more = f"\nand {len(wrong) - SHOWN:,} more" if wrong[SHOWN:] else ""
        raise DataError("\n".join(wrong[:SHOWN]) + more)


def _sample(record: Record, file: Path, row: int, find: Find | None, source: str) -> Sample:
    """Return the sample that a row is about, with the truth that a person wrote. Raises: DataError."""
    sample = asked_sample(record, file, row, find, source=source)
    truth = _truth(record["truth"])
    check_answer(truth, task_of(sample), sample.options, what="'truth'")
    return replace(sample, truth=truth)


def asked_sample(record: Record, file: Path, row: int, find: Find | None, *, source: str = "") -> Sample:
    """Return the sample that an answer of `ask` or `evaluate` is about: found by its id, or made of what the row says.

    Raises: DataError: names the field.
    """
    name = record.get("sample_id", record.get("id", record.get("problem_id")))
    known = find(str(name)) if find is not None and name is not None else None
    if known is not None:
        return replace(known, source=known.source or source)
    if "media" in record:
        return _made(record, file, f"{file.stem}-{row}" if name is None else str(name), source)
    if find is not None:
        raise DataError(f"'id' {show(name)} does not match any sample in --data")
    raise DataError("there is no 'media'; name the file of samples that was asked about with --data")


def _made(record: Record, file: Path, name: str, source: str) -> Sample:
    """Return the sample that a line of `onethinker ask` is about. Raises: DataError: names the field."""
    files = [_found(path, file) for path in _listed(record["media"])]
    videos = [path for path in files if path.suffix.lower() not in PICTURE_SUFFIXES]
    question = record.get("question", record.get("problem"))
    if not isinstance(question, str) or not question.strip():
        raise DataError(f"'question' must be a text, got {show(question)}")
    data_type: Literal["image", "video"] = "video" if videos else "image"
    kind = record.get("task", record.get("problem_type"))
    if not isinstance(kind, str):
        raise DataError(f"'task' must be one of `onethinker tasks`, got {show(kind)}")
    task = find_task(kind.partition("/")[0], data_type)
    options = record.get("options") or []
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
        raise DataError(f"'options' must be a list of texts, got {show(options)}")
    media = clipped(record, videos, files)
    return Sample(name, question, task.problem_type, data_type, media, options=tuple(options), source=source)


def _listed(value: object) -> list[str]:
    paths = [value] if isinstance(value, str) else value
    if not isinstance(paths, list) or not paths or not all(isinstance(path, str) for path in paths):
        raise DataError(f"'media' must be a path or a list of paths, got {show(value)}")
    return paths


def _found(name: str, file: Path) -> Path:
    """Return where a medium is: as it was named, or beside the file."""
    places = list(dict.fromkeys([Path(name).absolute(), (file.parent / name).absolute()]))
    for path in places:
        if path.is_file():
            return path
    raise DataError(f"'media': there is no file {', nor '.join(map(str, places))}")


def _truth(value: object) -> str:
    """Return the inside of an answer block: of a text, or of what JSON holds."""
    if not isinstance(value, str):
        return to_json(value, ensure_ascii=False)
    inside = answer_text(value)
    return value.strip() if inside is None else inside


def said_text(record: Mapping[str, Any]) -> str:
    """Return the model's own text: "text" of `ask`, "response" of `evaluate`."""
    text = record.get("text", record.get("response"))
    return text if isinstance(text, str) else ""


def said_frame_px(record: Mapping[str, Any]) -> FrameSize | None:
    """Return the size of the frames in whose pixels that text counts places, None for thousandths."""
    size = record.get("frame_px")
    has_size = isinstance(size, list) and [type(side) for side in size] == [int, int] and min(size) > 0
    return (size[0], size[1]) if size and has_size else None


def _own_response(record: Mapping[str, Any]) -> str | None:
    """Return the response that a person wrote beside the model's text."""
    own = record.get("response") if "text" in record else None
    return own if isinstance(own, str) and own.strip() else None


def _is_right(said: str, sample: Sample, least: float) -> bool:
    grade = grade_response(said, sample.truth, task=task_of(sample), options=sample.options)
    return grade.format == 1 and grade.accuracy >= least


def samples_by_id(samples: Iterator[Sample]) -> Find:
    """Return what finds samples by their ids."""
    known = {sample.id: sample for sample in samples}
    return known.get
