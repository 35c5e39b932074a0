"""Samples out of records in the released forms, and back."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from onethinker.core.errors import AnswerError, DataError
from onethinker.core.grammar import answer_text, show
from onethinker.core.request import Turn
from onethinker.core.sample import Sample
from onethinker.core.sources import FileMedium, VideoPart
from onethinker.core.suffixes import PICTURE_SUFFIXES
from onethinker.data.formats.clips import clipped, read_first_box
from onethinker.data.formats.conversation import place_in_turns
from onethinker.data.formats.fields import (
    READ,
    check_names_and_texts,
    has,
    read_id,
    read_options,
    read_text,
)
from onethinker.data.formats.foreign import check_ours
from onethinker.data.formats.forms import Parts, place_media, read_form
from onethinker.data.formats.masks import FIELDS as MASK_FIELDS
from onethinker.data.formats.masks import mask_fields, read_masks, read_resolution
from onethinker.data.formats.records import Record, read_records, write_records
from onethinker.tasks import Task, find_task

RELEASED_NAMES = {"ocr": "OCR"}
"""Problem types that the released files, and programs that read them, spell with capitals."""
_LETTERED = tuple(re.compile(rf"(?:^|\s)[(\[]?{letter}[)\].:：、）．]", re.MULTILINE) for letter in "AB")


def read_samples(path: Path, media_root: Path | None = None, *, leave_out: Collection[int] = ()) -> Iterator[Sample]:
    """Yield the samples of a file in order; media paths are relative to `media_root`, by default the file's own folder.

    Rows to leave out are not looked at.

    Whether the media exist is found out when they are opened. A record without "problem_id" is called by file and row.

    Raises: DataError: names the file, the row (from 1) and the field.
    """
    root = path.parent if media_root is None else media_root
    for row, record in read_records(path):
        if row in leave_out:
            continue
        try:
            yield sample_from_record(record, root=root, default_id=f"{path.stem}-{row}")
        except DataError as error:
            raise DataError(f"{path}, row {row}: {error}") from error


def write_samples(path: Path, samples: Iterable[Sample]) -> None:
    """Write samples in the RL form, as a JSON list for ".json" and one record a line otherwise: whole or not at all.

    Media paths beneath the file's folder are written relative to it. Raises: DataError: media in memory. StorageError:
    no access.
    """
    write_records(path, (record_from_sample(sample, root=path.parent) for sample in samples))


def sample_from_record(record: Record, *, root: Path, default_id: str) -> Sample:
    """Return the sample that a record of any released form describes. Raises: DataError: names the field."""
    check_ours(record)
    check_names_and_texts(record)
    parts = read_form(record, root)
    earlier, problem, placed, shown = _placed(parts)
    media = clipped(record, parts.videos, placed)
    if not problem:
        raise DataError("the question is empty: it has nothing but <image> and <video>")
    task, data_type = read_task_and_data_type(record, has_video=bool(parts.videos))
    _check_kind(parts, data_type)
    options = read_options(record)
    _check_options(problem, task, options)
    masks = read_masks(record, data_type) if task.problem_type == "segmentation" else None
    resolution = read_resolution(record)
    read = {*READ, *(MASK_FIELDS if masks else ()), *(("resolution",) if resolution else ())}
    return Sample(
        id=read_id(record, default_id),
        problem=problem,
        problem_type=task.problem_type,
        data_type=data_type,
        media=media,
        truth=read_truth(record, task, options),
        options=options,
        response=parts.response,
        rejected=read_text(record, "rejected") if has(record, "rejected") else None,
        source=read_text(record, "data_source", default=""),
        license=read_text(record, "license", default=""),
        first_box=read_first_box(record, task.problem_type),
        masks=masks,
        resolution=resolution,
        system=parts.conversation.system if parts.conversation else None,
        earlier=earlier,
        shown=shown,
        extra={name: value for name, value in record.items() if name not in read},
    )


def _placed(parts: Parts) -> tuple[tuple[Turn, ...], str, tuple[Path, ...], tuple[int, ...]]:
    """Return the turns before the last question, the question, the media in order, and how many each question has."""
    if parts.conversation is None:
        return (), *place_media(parts), ()
    turns, media, shown = place_in_turns(parts.conversation, parts.images, parts.videos)
    return turns[:-1], turns[-1].question, media, shown


def _check_kind(parts: Parts, data_type: str) -> None:
    """Raise DataError where the data type is not that of the media."""
    if data_type == "image" and parts.videos:
        raise DataError(
            f"'data_type' is image, but 'videos' names {show(parts.videos[0].name)}; set it to video, or name"
            " pictures in 'images'"
        )
    if data_type == "video" and parts.images and not parts.videos:
        raise DataError(
            f"'data_type' is video, but there are only pictures, the first {show(parts.images[0].name)}; name a video"
            " file in 'videos' (single frames do not count as a video), or set 'data_type' to image"
        )


def _check_options(problem: str, task: Task[Any], options: tuple[str, ...]) -> None:
    """Raise DataError for a choice with nothing to choose from."""
    if (
        task.problem_type == "multiple choice"
        and not options
        and not all(letter.search(problem) for letter in _LETTERED)
    ):
        raise DataError(
            "'options' is missing for a multiple choice question, and 'problem' lists none either, as 'A. …' and 'B. …'"
        )


def record_from_sample(sample: Sample, *, root: Path) -> Record:
    """Return a sample in the RL form, media paths relative to `root` where they lie beneath it. Raises: DataError."""
    media = _media_fields(sample, root)
    questions = _tagged_questions(sample)
    record: Record = {
        "problem_id": int(sample.id) if re.fullmatch(r"0|[1-9][0-9]{0,17}", sample.id, re.ASCII) else sample.id,
        "problem": questions[-1],
        "answer": f"<answer>{sample.truth}</answer>" if sample.truth else "",
        "problem_type": RELEASED_NAMES.get(sample.problem_type, sample.problem_type),
        "data_type": sample.data_type,
        "options": list(sample.options),
        "data_source": sample.source,
        **({"license": sample.license} if sample.license else {}),
        **({"first_box": list(sample.first_box)} if sample.first_box is not None else {}),
        **media,
    }
    if sample.is_conversation:
        del record["problem"]
        record["messages"] = _messages(sample, questions)
    elif sample.response is not None:
        record["response"] = sample.response
    if sample.rejected is not None:
        record["rejected"] = sample.rejected
    return {**sample.extra, **mask_fields(sample), **record}


def _media_fields(sample: Sample, root: Path) -> Record:
    """Return "images" and "videos" of a sample, each where there are some. Raises: DataError: media in memory."""
    fields: Record = {"images": [], "videos": []}
    clips: list[list[float | None] | None] = []
    for item, kind in zip(sample.media, media_kinds(sample), strict=True):
        if not isinstance(item, FileMedium):
            raise DataError(f"sample {sample.id!r}: {item.name!r} is not a file; save it as a file first")
        path = item if isinstance(item, Path) else item.path
        fields[f"{kind}s"].append(str(path.relative_to(root) if path.is_relative_to(root) else path))
        if kind == "video":
            clips.append([item.start_s, item.end_s] if isinstance(item, VideoPart) else None)
    return {name: values for name, values in (*fields.items(), ("clips", clips if any(clips) else [])) if values}


def _tagged_questions(sample: Sample) -> list[str]:
    """Return the questions of a sample, the placeholders of its media on a line before each."""
    tags = iter([f"<{kind}>" for kind in media_kinds(sample)])
    questions = [*(turn.question for turn in sample.earlier), sample.problem]
    shown = sample.shown or (len(sample.media),)
    return ["".join([*islice(tags, n), "\n" * bool(n), text]) for n, text in zip(shown, questions, strict=True)]


def _messages(sample: Sample, questions: Sequence[str]) -> list[dict[str, Any]]:
    """Return a conversation's turns, with its questions and their placeholders."""
    answers = [*sample.earlier, Turn(sample.problem, sample.response or "", learn=True)]
    turns: list[dict[str, Any]] = [] if sample.system is None else [{"role": "system", "content": sample.system}]
    for question, turn in zip(questions, answers, strict=True):
        turns.append({"role": "user", "content": question})
        turns.append({"role": "assistant", "content": turn.answer, **({} if turn.learn else {"learn": False})})
    return turns


def media_kinds(sample: Sample) -> list[str]:
    """Return "image" or "video" for each medium in order: beside a video, a file is a picture by its suffix."""
    return [
        "image" if sample.data_type == "image" or Path(item.name).suffix.lower() in PICTURE_SUFFIXES else "video"
        for item in sample.media
    ]


def read_task(record: Record) -> Task[Any]:
    """Return the task of a record that names its problem type and data type. Raises: DataError."""
    return read_task_and_data_type(record)[0]


def read_truth(record: Record, task: Task[Any], options: tuple[str, ...]) -> str:
    """Return the inside of a record's reference answer ("answer" or "solution", with or without its tags), "" without
    one.

    Of SFT records it is the answer block in what the assistant says.

    Raises: DataError: it is not an answer of the task.
    """
    name = next((name for name in ("answer", "solution", "messages") if has(record, name)), None)
    if name is None:
        return ""
    truth = (
        answer_text(read_form(record, Path()).response or "") or "" if name == "messages" else _reference(record, name)
    )
    if truth:
        check_answer(truth, task, options, what=repr(name))
    return truth


def check_answer(text: str, task: Task[Any], options: tuple[str, ...], *, what: str) -> Any:
    """Return the typed answer in a text that is meant to be right. Raises: DataError: it is none, or its boxes are no
    thousandths.
    """
    try:
        answer = task.parse_truth(text, options)
    except AnswerError as error:
        unit = "; coordinates are thousandths of the frame, 0 to 1000, not pixels" if '"boxes"' in task.example else ""
        raise DataError(f"{what} is not an answer to {task.problem_type!r}: {error}{unit}") from error
    boxes = list(task.boxes(answer).values())
    if boxes and all(max(box) <= 1 for box in boxes):
        raise DataError(
            f"{what} has boxes with coordinates from 0 to 1, the first {show([*boxes[0]])}; they must be in thousandths"
            " of the frame: multiply them by 1000"
        )
    return answer


def _reference(record: Record, name: str) -> str:
    value = record[name]
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise DataError(f"{name!r} must be a text such as '<answer>…</answer>', got {show(value)}")
    if value[value.rfind("</think>") + 1 :].count("<answer>") > 1:
        raise DataError(f"{name!r} must be one answer, got several: {show(value)}")
    inside = answer_text(value)
    return value.strip() if inside is None else inside


def read_task_and_data_type(record: Record, *, has_video: bool = False) -> tuple[Task[Any], Literal["image", "video"]]:
    """Return what a record asks for; SFT records may leave the problem type out, and are then open-ended."""
    if record.get("problem_type") is None and "messages" not in record:
        raise DataError("'problem_type' is missing; `onethinker tasks` lists the possible values")
    problem_type = read_text(record, "problem_type", default="open-ended" if "messages" in record else None)
    fallback = ("video" if has_video else "image") if has_video or has(record, "images", "messages") else None
    data_type = read_text(record, "data_type", default=fallback).strip().lower()
    if data_type not in ("image", "video", "video-image"):
        raise DataError(f"'data_type' must be image, video or video-image, got {data_type!r}")
    kind: Literal["image", "video"] = "image" if data_type == "image" else "video"
    return find_task(problem_type, kind), kind
