"""Files of samples in the released forms: JSON lists and JSONL, for RL, evaluation and SFT.

RL         {"problem": "<image>Where is the cat?", "answer": "<answer>…</answer>", "images": ["a.jpg"], "problem_type",
"data_type", …} evaluation {"problem": "Where is the cat?", "solution": "<answer>…</answer>", "path": "a.jpg",
"problem_type", "data_type", …} SFT        {"messages": [{"role": "user", "content": "<image>…"}, {"role": "assistant",
"content": "<think>…"}], "images": ["a.jpg"]}

All of them may also hold "options", "problem_id", "data_source" and a whole model text as "response".
"""

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NoReturn

from onethinker.core.errors import AnswerError, DataError
from onethinker.core.grammar import find_answer, show
from onethinker.core.sample import Sample
from onethinker.core.suffixes import PICTURE_SUFFIXES
from onethinker.data.formats.masks import FIELDS as MASK_FIELDS
from onethinker.data.formats.masks import mask_fields, read_masks, read_resolution
from onethinker.storage.atomic import write_atomically, writing
from onethinker.storage.strict_json import to_json
from onethinker.tasks import Task, all_tasks, find_task

Record = dict[str, Any]

RELEASED_NAMES = {"ocr": "OCR"}
"""Problem types that the released files, and programs that read them, spell with capitals."""
_PLACEHOLDER = re.compile(r"<(image|video)>")
_LEADING = re.compile(r"\s*(?:<(?:image|video)>\s*)*")
_OWN_LINE = re.compile(r"^[ \t]*(?:<(?:image|video)>[ \t]*)+$\n?", re.MULTILINE)
_LABEL = re.compile(r"\s*[(\[]?([A-Za-z])(?:[)\].:]+(?:\s+|$)|$)")
_LETTERED = tuple(re.compile(rf"(?:^|\s)[(\[]?{letter}[)\].:：、）．]", re.MULTILINE) for letter in "AB")
_HALF = re.compile("[\ud800-\udfff]")
_ADDRESS = re.compile(r"(?:https?|s3|gs|hf|file|ftp)://|data:[a-z]+/", re.IGNORECASE)
_MEDIA_FIELDS = ("images", "videos", "path", "additional_path")
_QUESTION_FIELDS = ("problem", "messages")
_TRUTH_FIELDS = ("answer", "solution")
_TEXT_FIELDS = (*_QUESTION_FIELDS, *_TRUTH_FIELDS, "response", "options")
_READ = frozenset(("problem_id", "problem_type", "data_type", "data_source", *_MEDIA_FIELDS, *_TEXT_FIELDS))
_MISSPELT = 0.8
"""Likeness from which on an unknown field is taken for a known one that is not there."""
_OTHER_FILES = {
    b"\x1f\x8b": "gzip: unpack it",
    b"\xff\xfe": "UTF-16 or UTF-32: save it as UTF-8",
    b"\xfe\xff": "UTF-16: save it as UTF-8",
}
_NO_MISTAKE = frozenset({"resolution"})
"""Fields of the released files that only look like others."""


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


def read_records(path: Path) -> Iterator[tuple[int, Record]]:
    """Yield (row, record) of a JSON list or of JSONL; rows count from 1, in JSONL they are lines.

    Raises: DataError: the file or a row cannot be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
            file.seek(0)
            if start.startswith(b"["):
                yield from enumerate(
                    (
                        _as_record(item, f"{path}, row {row}")
                        for row, item in enumerate(_load_list(file.read(), path), 1)
                    ),
                    1,
                )
                return
            for row, line in enumerate(file, 1):
                if line.strip(b"\xef\xbb\xbf \t\r\n"):
                    yield row, read_line(line, f"{path}, row {row}")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def read_line(line: bytes, where: str) -> Record:
    """Return the record in a line of JSONL. Raises: DataError: it is none; the text begins with where it is."""
    return _as_record(_load(line, where), where)


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write records as a JSON list for ".json" and one a line otherwise: whole or not at all. Raises: StorageError."""
    lines = [dump_record(record) for record in records]
    is_list = path.suffix.lower() == ".json"
    text = "[\n" + ",\n".join(lines) + "\n]\n" if is_list else "".join(f"{line}\n" for line in lines)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)


def dump_record(record: Record) -> str:
    r"""Return a record as a line of JSON; characters that no file can hold are escaped.

    >>> dump_record({"answer": "né"}), dump_record({"answer": "\ud800"})
    ('{"answer": "né"}', '{"answer": "\\ud800"}')
    """
    line = to_json(record, ensure_ascii=False)
    try:
        line.encode()
    except UnicodeEncodeError:
        return to_json(record)
    return line


def sample_from_record(record: Record, *, root: Path, default_id: str) -> Sample:
    """Return the sample that a record of any released form describes. Raises: DataError: names the field."""
    if misspelt := _misspelt(record):
        raise DataError(f"there is no field {misspelt[0]!r}; did you mean {misspelt[1]!r}? Rename it, or remove it")
    for name in _TEXT_FIELDS:
        if half := _HALF.search(to_json(record.get(name), ensure_ascii=False)):
            raise DataError(
                f"{name!r} has half of a character, {half[0]!r}, which no tokenizer takes; write both halves, or"
                " neither"
            )
    problem, response = _texts(record)
    images, videos = media_paths(record, root)
    problem, media = _place_media(problem, images, videos, is_tagged=not _has(record, "path"))
    if not problem:
        raise DataError("the question is empty: there is nothing but the places of media in it")
    task, data_type = _task_and_data_type(record, has_video=bool(videos))
    if data_type == "image" and videos:
        raise DataError(
            f"'data_type' is image, but 'videos' names {show(videos[0].name)}; set it to video, or name pictures in"
            " 'images'"
        )
    if data_type == "video" and images and not videos:
        raise DataError(
            f"'data_type' is video, but there are only pictures, the first {show(images[0].name)}; name a video file in"
            " 'videos' (single frames of one are no video), or set it to image"
        )
    options = read_options(record)
    if (
        task.problem_type == "multiple choice"
        and not options
        and not all(letter.search(problem) for letter in _LETTERED)
    ):
        raise DataError(
            "'options' is missing for a multiple choice question, and 'problem' lists none either, as 'A. …' and 'B. …'"
        )
    masks = read_masks(record, data_type) if task.problem_type == "segmentation" else None
    resolution = read_resolution(record)
    read = {*_READ, *(MASK_FIELDS if masks else ()), *(("resolution",) if resolution else ())}
    return Sample(
        id=_read_id(record, default_id),
        problem=problem,
        problem_type=task.problem_type,
        data_type=data_type,
        media=media,
        truth=read_truth(record, task, options),
        options=options,
        response=response,
        source=_read_text(record, "data_source", default=""),
        masks=masks,
        resolution=resolution,
        extra={name: value for name, value in record.items() if name not in read},
    )


def record_from_sample(sample: Sample, *, root: Path) -> Record:
    """Return a sample in the RL form, media paths relative to `root` where they lie beneath it. Raises: DataError."""
    media: dict[str, list[str]] = {"images": [], "videos": []}
    placeholders = ""
    for item in sample.media:
        if not isinstance(item, Path):
            raise DataError(f"sample {sample.id!r}: {item.name!r} is no file of its own; save it to one first")
        kind = "image" if sample.data_type == "image" or item.suffix.lower() in PICTURE_SUFFIXES else "video"
        media[f"{kind}s"].append(str(item.relative_to(root) if item.is_relative_to(root) else item))
        placeholders += f"<{kind}>"
    record: Record = {
        "problem_id": int(sample.id) if re.fullmatch(r"0|[1-9][0-9]{0,17}", sample.id, re.ASCII) else sample.id,
        "problem": f"{placeholders}\n{sample.problem}" if placeholders else sample.problem,
        "answer": f"<answer>{sample.truth}</answer>" if sample.truth else "",
        "problem_type": RELEASED_NAMES.get(sample.problem_type, sample.problem_type),
        "data_type": sample.data_type,
        "options": list(sample.options),
        "data_source": sample.source,
        **{name: paths for name, paths in media.items() if paths},
    }
    if sample.response is not None:
        record["response"] = sample.response
    return {**sample.extra, **mask_fields(sample), **record}


def read_task(record: Record) -> Task[Any]:
    """Return the task of a record that names its problem type and data type. Raises: DataError."""
    return _task_and_data_type(record, has_video=False)[0]


def read_options(record: Record) -> tuple[str, ...]:
    """Return the options of a record, none by default. Raises: DataError."""
    options = record.get("options") or []
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
        raise DataError(f"'options' must be a list of texts, got {show(options)}")
    letters = [match[1].upper() for option in options if (match := _LABEL.match(option))]
    if repeated := [letter for letter, count in Counter(letters).items() if count > 1]:
        raise DataError(f"'options' must have each letter once, got {repeated[0]} twice: {show(options)}")
    if empty := [option for option in options if not _LABEL.sub("", option, 1).strip()]:
        raise DataError(f"'options' must be texts with something in them, got {show(empty[0])}")
    return tuple(options)


def read_truth(record: Record, task: Task[Any], options: tuple[str, ...]) -> str:
    """Return the inside of a record's reference answer ("answer" or "solution", with or without its tags), "" without
    one.

    Of SFT records it is the answer block in what the assistant says.

    Raises: DataError: it is not an answer of the task.
    """
    name = next((name for name in ("answer", "solution", "messages") if _has(record, name)), None)
    if name is None:
        return ""
    truth = _answer_inside(_texts(record)[1] or "", otherwise="") if name == "messages" else _reference(record, name)
    if truth:
        check_answer(truth, task, options, what=repr(name))
    return truth


def check_answer(text: str, task: Task[Any], options: tuple[str, ...], *, what: str) -> Any:
    """Return the typed answer in a text that is meant to be right. Raises: DataError: it is none, or its boxes are no
    thousandths.
    """
    try:
        answer = task.parse(text, options)
    except AnswerError as error:
        unit = "; places are thousandths of the frame, 0 to 1000, not pixels" if '"boxes"' in task.example else ""
        raise DataError(f"{what} is not an answer to {task.problem_type!r}: {error}{unit}") from error
    boxes = list(task.boxes(answer).values())
    if boxes and all(max(box) <= 1 for box in boxes):
        raise DataError(
            f"{what} has boxes from 0 to 1, the first {show([*boxes[0]])}; they must be thousandths of the frame:"
            " multiply them by 1000"
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
    return _answer_inside(value, otherwise=value.strip())


def _task_and_data_type(record: Record, *, has_video: bool) -> tuple[Task[Any], Literal["image", "video"]]:
    """Return what a record asks for; SFT records may leave the problem type out, and are then open-ended."""
    problem_type = _read_text(record, "problem_type", default="open-ended" if "messages" in record else None)
    fallback = ("video" if has_video else "image") if has_video or _has(record, "images", "messages") else None
    data_type = _read_text(record, "data_type", default=fallback).strip().lower()
    if data_type not in ("image", "video", "video-image"):
        raise DataError(f"'data_type' must be image, video or video-image, got {data_type!r}")
    kind: Literal["image", "video"] = "image" if data_type == "image" else "video"
    return find_task(problem_type, kind), kind


def _texts(record: Record) -> tuple[str, str | None]:
    """Return question and response of a record."""
    if not _has(record, "messages"):
        return _read_text(record, "problem"), _read_text(record, "response") if _has(record, "response") else None
    messages = record["messages"]
    turns = messages if isinstance(messages, list) else []
    roles = [turn.get("role") if isinstance(turn, dict) else None for turn in turns]
    contents = [turn.get("content") if isinstance(turn, dict) else None for turn in turns]
    if roles != ["user", "assistant"] or not all(isinstance(content, str) and content.strip() for content in contents):
        raise DataError(
            f"'messages' must be one user and one assistant turn with texts as 'content', got roles {show(roles)}"
        )
    return str(contents[0]), str(contents[1])


def media_paths(record: Record, root: Path) -> tuple[list[Path], list[Path]]:
    """Return the images and the videos that a record names. Raises: DataError."""
    named: dict[str, list[Path]] = {}
    for name in ("images", "videos"):
        items = record.get(name) or []
        if not isinstance(items, list) or not all(isinstance(item, str) and item for item in items):
            raise DataError(f"{name!r} must be a list of paths, got {show(items)}")
        if addresses := [item for item in items if _ADDRESS.match(item)]:
            raise DataError(f"{name!r} must name files, got {show(addresses[0])}; save it as a file and name that")
        named[name] = [root / item for item in items]
    if _has(record, "path"):
        if any(named.values()):
            raise DataError("'path' must not stand beside 'images' or 'videos'")
        kind = "images" if str(record.get("data_type")).strip().lower() == "image" else "videos"
        named[kind].append(root / _read_text(record, "path"))
        if _has(record, "additional_path"):
            named["images"].append(root / _read_text(record, "additional_path"))
    return named["images"], named["videos"]


def _place_media(
    problem: str, images: list[Path], videos: list[Path], *, is_tagged: bool
) -> tuple[str, tuple[Path, ...]]:
    """Return the question and the media in the order of their placeholders, videos first where there are none.

    Placeholders before the question, and those that have lines of their own, are taken out; one among the words is left
    there, because a question may be about the tag itself. Where those before the question stand for all media, and in
    the evaluation form, which needs none (`is_tagged` false), what comes later is only words.
    """
    start = _LEADING.match(problem)
    leading = _PLACEHOLDER.findall(start[0] if start else "")
    kinds = (
        leading if not is_tagged or _counts(leading) == (len(images), len(videos)) else _PLACEHOLDER.findall(problem)
    )
    in_order = (*videos, *images)
    if kinds and is_tagged:
        for kind, paths in (("image", images), ("video", videos)):
            if kinds.count(kind) != len(paths):
                raise DataError(f"'problem' has {kinds.count(kind)} times <{kind}>, but there are {len(paths)} {kind}s")
        queues = {"image": iter(images), "video": iter(videos)}
        in_order = tuple(next(queues[kind]) for kind in kinds)
    question = _LEADING.sub("", problem, count=1)
    return (_OWN_LINE.sub("", question) if len(kinds) > len(leading) else question).strip(), in_order


def _counts(kinds: Sequence[str]) -> tuple[int, int]:
    return kinds.count("image"), kinds.count("video")


def _misspelt(record: Record) -> tuple[str, str] | None:
    """Return a field that nothing reads and the one that is most likely meant, which is not there itself.

    >>> _misspelt({"problem": "Which?", "problemtype": "ocr"})
    ('problemtype', 'problem_type')
    """
    given = {
        name for names in (_MEDIA_FIELDS, _TRUTH_FIELDS, _QUESTION_FIELDS) if _has(record, *names) for name in names
    }
    plain = {_letters(name): name for name in sorted(_READ - given) if not _has(record, name)}
    for name, value in record.items():
        if name in _READ or name in _NO_MISTAKE or not _has(record, name):
            continue
        if (
            "problem_type" in plain.values()
            and isinstance(value, str)
            and value.strip().lower() in {task.problem_type for task in all_tasks()}
        ):
            return name, "problem_type"
        near = get_close_matches(_letters(name), plain, n=1, cutoff=_MISSPELT)
        if near:
            return name, plain[near[0]]
    return None


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def _answer_inside(text: str, *, otherwise: str) -> str:
    """Return the inside of a text's answer block, or something else where it has none."""
    try:
        return find_answer(text)
    except AnswerError:
        return otherwise


def _read_id(record: Record, default: str) -> str:
    value = record.get("problem_id")
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise DataError(f"'problem_id' must be a whole number or a text, got {show(value)}")
    return str(value)


def _read_text(record: Record, name: str, default: str | None = None) -> str:
    value = record.get(name)
    if value is None and default is not None:
        return default
    if value is None:
        raise DataError(f"{name!r} is missing")
    if not isinstance(value, str) or not (value.strip() or default is not None):
        raise DataError(f"{name!r} must be a text, got {show(value)}")
    return value


def _has(record: Record, *names: str) -> bool:
    return any(record.get(name) not in (None, "", []) for name in names)


def _load_list(content: bytes, path: Path) -> list[object]:
    value = _load(content, str(path))
    assert isinstance(value, list)
    return value


def _load(content: bytes, where: str) -> object:
    """Return the value of strict JSON in UTF-8. Raises: DataError."""
    try:
        return json.loads(content.decode("utf-8-sig"), parse_constant=_refuse, parse_float=_finite)
    except UnicodeDecodeError as error:
        kind = next((f" (it is {name})" for magic, name in _OTHER_FILES.items() if content.startswith(magic)), "")
        raise DataError(f"{where}: not UTF-8{kind}: byte {error.start} is {content[error.start]:#04x}") from error
    except (json.JSONDecodeError, _NumberError) as error:
        raise DataError(f"{where}: not JSON: {error}") from error
    except (RecursionError, ValueError) as error:
        raise DataError(f"{where}: not JSON: nested too deep or a number too long") from error


class _NumberError(ValueError):
    """NaN or an infinity in a file."""


def _refuse(number: str) -> NoReturn:
    raise _NumberError(f"{show(number)} is not a finite number")


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _refuse(digits)


def _as_record(value: object, where: str) -> Record:
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected an object, got {show(value)}")
    return value
