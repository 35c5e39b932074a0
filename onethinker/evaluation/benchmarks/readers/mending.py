"""The odd rows of the released evaluation files, brought to the form of the others where it is certain what they mean.

docs/benchmarks.md says for each kind what the release's scripts make of it, and why it is read as it is here.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from onethinker.core.errors import AnswerError, DataError
from onethinker.core.grammar import answer_text, read_json, show
from onethinker.core.values import Faults
from onethinker.data.formats.fields import has
from onethinker.data.formats.records import Record
from onethinker.data.formats.released import read_task
from onethinker.storage.strict_json import to_json
from onethinker.tasks import Task

_FREE_FORM = re.compile(r"free[ _-]?form", re.I)
_FRACTION = re.compile(
    r"(?P<sign>[+-]?)(?:\\d?frac\{(?P<a>[0-9]+)\}\{(?P<b>[0-9]+)\}|(?P<c>[0-9]+)\s*/\s*(?P<d>[0-9]+))"
)
_TIMES = ("temporal grounding", "spatial-temporal grounding")
_TUBE = "spatial-temporal grounding"


@dataclass(frozen=True)
class Mended:
    """A record as it is read, and what was changed in it."""

    record: Record
    changes: tuple[str, ...]


def mend(record: Record) -> Mended:
    """Return a released record in the form of the others. Raises: DataError: nothing of its truth can be used."""
    changes = Faults()
    record = dict(record)
    if _FREE_FORM.fullmatch(str(record.get("problem_type")).strip()):
        changes.add(f"'problem_type' {show(record['problem_type'])} is read as 'open-ended'")
        record["problem_type"] = "open-ended"
    _mend_masks(record, changes)
    name = "solution" if has(record, "solution") else "answer"
    if isinstance(record.get(name), str | int | float):
        text = str(record[name])
        inside = answer_text(text)
        task = read_task({"data_type": "video" if record.get("videos") else "image", **record})
        if (mended := _truth((text if inside is None else inside).strip(), task, changes)) is not None:
            record[name] = mended
    return Mended(record, tuple(changes.texts))


def _mend_masks(record: Record, changes: Faults) -> None:
    """Leave out masks of frames that the record does not name: nothing says when they are."""
    output = record.get("segmentation_output")
    if not isinstance(output, dict) or not isinstance(output.get("frames"), list):
        return
    named, masks = set(map(str, output["frames"])), output.get("segmentation_rle")
    if isinstance(masks, dict) and (unknown := [key for key in masks if key not in named]):
        changes.add(f"'segmentation_rle' has masks of frames that are not in 'frames', left out: {show(unknown)}")
        kept = {key: mask for key, mask in masks.items() if key in named}
        record["segmentation_output"] = {**output, "segmentation_rle": kept}


def _truth(text: str, task: Task[Any], changes: Faults) -> str | None:
    """Return a truth in its task's exact form, and note in `changes` what is changed; None where it is left as it is.

    Raises: DataError: nothing of it can be used.
    """
    if task.problem_type in ("numerical", "regression"):
        return _as_decimal(text, changes)
    write = _WRITERS.get(task.problem_type)
    if write is None or not text:
        return None
    faults = Faults()
    try:
        completed = _completed(text, task.problem_type, faults)
        answer = task.read(completed, (), faults)
        if not faults.texts:
            return completed if completed != text else None
        mended = write(task, answer)
    except AnswerError as error:
        why = "; ".join(dict.fromkeys([str(error), *faults.texts]))
        if task.problem_type == "segmentation":
            changes.add(f"the reference answer is taken from the masks, because 'solution' cannot be used: {why}")
            return ""
        raise DataError(f"'solution' is not an answer to {task.problem_type!r}: {why}") from error
    for fault in faults.texts:
        changes.add(f"'solution': {fault}")
    return mended


def _as_decimal(text: str, changes: Faults) -> str | None:
    match = _FRACTION.fullmatch(text.strip("$ "))
    above, below = (match["a"] or match["c"], int(match["b"] or match["d"])) if match is not None else ("", 0)
    if match is None or not below:
        return None
    value = f"{match['sign']}{int(above) / below:.10g}"
    changes.add(f"the fraction {show(text)} is read as {value}")
    return value


def _completed(text: str, problem_type: str, faults: Faults) -> str:
    """Return a truth with its time from start to end, and with boxes in a list under the seconds that they stand
    for, the first for round(start).
    """
    value = read_json(text)
    if problem_type not in _TIMES or not isinstance(value, dict):
        return text
    time, boxes = value.get("time"), value.get("boxes")
    if not isinstance(time, list) or [type(second) in (int, float) for second in time] != [True, True]:
        return text
    if time[0] > time[1]:
        faults.add(f"'time' runs backwards: {show(time)} is read from the smaller to the larger second")
        time = time[::-1]
    if problem_type == _TUBE and isinstance(boxes, list):
        first = round(time[0])
        boxes = {str(first + index): box for index, box in enumerate(boxes) if box is not None}
    return to_json(value | {"time": time} | ({} if boxes is None else {"boxes": boxes}))


def _write_tube(task: Task[Any], answer: Any) -> str:
    if answer.span is None or not answer.boxes:
        raise AnswerError("it needs a time, and a box at a second of it")
    return to_json({"time": [*answer.span], "boxes": {str(key): [*box] for key, box in answer.boxes.items()}})


def _write_selection(task: Task[Any], answer: Any) -> str:
    raise AnswerError("it is not exact")


_WRITERS: dict[str, Callable[[Task[Any], Any], str]] = {
    "temporal grounding": lambda task, answer: to_json({"time": [*answer]}),
    "spatial grounding": lambda task, answer: to_json({"boxes": [*answer]}),
    "spatial-temporal grounding": _write_tube,
    "tracking": lambda task, answer: to_json({"boxes": {str(key + 1): [*box] for key, box in answer.boxes.items()}}),
    "segmentation": _write_selection,
}
"""How a truth of a problem type that could be used is written anew."""
