"""VLMEvalKit's tables: tab-separated, a question a row, pictures in base64 in the row itself.

index  image        question              A    B    answer
0      iVBORw0K…    What is on the table? cat  dog  A

Tables are read row by row and pictures stay in the file until they are needed, so that a table may be as large as it
likes.
"""

import ast
import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onethinker.core.errors import DataError
from onethinker.core.grammar import show
from onethinker.core.sample import Sample
from onethinker.core.sources import REFERENCE_CHARS, TablePicture, picture_texts
from onethinker.evaluation.benchmarks.readers.files import Bad, find_video, refuse
from onethinker.tasks import find_task, parse_truth

CIRCLE = 1_000_000
"""A row whose index is so much larger than another's asks the same with its options turned. Source: VLMEvalKit."""
_OPTION_NAMES = tuple("ABCDEFGHIJKLMN")
_EMPTY = frozenset({"", "nan"})


@dataclass(frozen=True)
class Row:
    """One record of a table: where it lies in the file, in bytes, and its fields that are not empty."""

    number: int
    offset: int
    length: int
    fields: Mapping[str, str]
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Form:
    """What a table does not say by itself: what questions without options are, which rows belong to the benchmark,
    where videos lie.
    """

    free_form: str = "math"
    only: tuple[str, str] | None = None
    question: str | None = None
    video_folder: str = "video"


def read_table(path: Path, form: Form, bad: Bad = refuse) -> Iterator[Sample]:
    """Yield the samples of a table, in order; paths in it are relative to the table's folder.

    Rows with options, or with "multi" as their question type, are multiple choice, others what `form` says.

    Raises: DataError: names the table, the row (from 1, without the header) and the column.
    """
    pictures: dict[str, tuple[TablePicture, ...]] = {}
    kept, others = 0, set()
    for row in read_rows(path, bad):
        where = f"{path}, row {row.number}"
        try:
            media = _media(row, path, form, pictures)
            if form.only is not None and row.fields.get(form.only[0]) != form.only[1]:
                others.add(row.fields.get(form.only[0]))
                continue
            kept += 1
            sample = _sample(row, path, form, media)
        except DataError as error:
            bad(DataError(f"{where}: {error}"))
            continue
        yield sample
    if not kept:
        told = f"; {form.only[0]!r} is {show(sorted(map(str, others)))}, expected {form.only[1]!r}" if form.only else ""
        raise DataError(f"{path}: no row of the benchmark in it{told}")


def read_rows(path: Path, bad: Bad = refuse) -> Iterator[Row]:
    """Yield the records of a tab-separated file whose first one names the columns. Raises: DataError."""
    consumed = 0

    def lines() -> Iterator[str]:
        nonlocal consumed
        for line in file:
            consumed += len(line)
            yield line.decode("utf-8-sig" if consumed == len(line) else "utf-8")

    number = 0
    try:
        with path.open("rb") as file:
            records = csv.reader(lines(), delimiter="\t")
            columns = tuple(next(records, ()))
            start = consumed
            for number, values in enumerate(filter(None, records), 1):
                if len(values) != len(columns):
                    bad(
                        DataError(
                            f"{path}, row {number}: expected {len(columns)} columns as in the header, got {len(values)}"
                        )
                    )
                    start = consumed
                    continue
                fields = _fields(dict(zip(columns, values, strict=True)))
                yield Row(number, start, consumed - start, fields, columns)
                start = consumed
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, row {number + 1}: not UTF-8: {error}") from error
    except csv.Error as error:
        raise DataError(f"{path}, row {max(number, 1)}: {error}") from error


def _fields(texts: dict[str, str]) -> dict[str, str]:
    """Return the fields of a row that are not empty.

    "nan" is how pandas writes an empty one, and may be the text of an option: it is one where a later option is there,
    where it is the answer, and in a row that leaves fields empty in the plain way.

    >>> sorted(_fields({"A": "0", "B": "nan", "C": "inf", "hint": "nan"}))
    ['A', 'B', 'C']
    >>> sorted(_fields({"A": "0", "B": "1", "C": "nan"}))
    ['A', 'B']
    """
    options = [name for name in _OPTION_NAMES if name in texts]
    filled = [
        index
        for index, name in enumerate(options)
        if texts[name] not in _EMPTY or name == texts.get("answer", "").strip()
    ]
    last = max(filled, default=-1)
    is_plain = "" in texts.values()
    kept = {name for index, name in enumerate(options) if texts[name] == "nan" and (is_plain or index <= last)}
    return {name: text for name, text in texts.items() if text not in _EMPTY or name in kept}


def circle_of(sample_id: str) -> str:
    """Return the question that a sample asks with its options turned in one of several ways.

    >>> circle_of("1000241"), circle_of("241")
    ('241', '241')
    """
    return str(int(sample_id) % CIRCLE) if re.fullmatch(r"[0-9]+", sample_id) else sample_id


def _sample(row: Row, path: Path, form: Form, media: tuple[Path | TablePicture, ...]) -> Sample:
    options = _options(row.fields)
    is_choice = bool(options) or row.fields.get("question_type", "").lower().startswith("multi")
    problem_type = "multiple choice" if is_choice else form.free_form
    data_type: Any = "video" if media and isinstance(media[0], Path) else "image"
    truth = _truth(row.fields, options)
    parse_truth(truth, find_task(problem_type, data_type), options)
    used = {"index", "image", "question", "answer", *_OPTION_NAMES}
    return Sample(
        id=_get(row.fields, "index"),
        problem=_question(row.fields, form),
        problem_type=problem_type,
        data_type=data_type,
        media=media,
        truth=truth,
        options=options,
        source=path.stem,
        extra={name: value for name, value in row.fields.items() if name not in used and len(value) <= 1000},
    )


def _get(fields: Mapping[str, str], *names: str) -> str:
    found = next((fields[name] for name in names if name in fields), None)
    if found is None:
        raise DataError(f"column {' or '.join(map(repr, names))} is missing or empty")
    return found


def _question(fields: Mapping[str, str], form: Form) -> str:
    question = form.question or _get(fields, "question")
    return f"{fields['hint']}\n{question}" if "hint" in fields else question


def _options(fields: Mapping[str, str]) -> tuple[str, ...]:
    """Return the options, each with its letter: columns A, B, …, or a list in "candidates" or "choices"."""
    texts = [fields[name] for name in _OPTION_NAMES if name in fields]
    if texts:
        names = [name for name in _OPTION_NAMES if name in fields]
        return tuple(f"{name}. {text}" for name, text in zip(names, texts, strict=True))
    column = next((name for name in ("candidates", "choices") if name in fields), None)
    if column is None:
        return ()
    texts = _list(fields[column], column)
    if texts and all(re.match(rf"[(\[]?{name}[)\].:]", text) for name, text in zip(_OPTION_NAMES, texts, strict=False)):
        return tuple(texts)
    return tuple(f"{name}. {text}" for name, text in zip(_OPTION_NAMES, texts, strict=False))


def _list(text: str, column: str) -> list[str]:
    try:
        values = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise DataError(f"column {column!r} must be a list of texts, got {show(text)}") from error
    if not isinstance(values, list) or len(values) > len(_OPTION_NAMES):
        raise DataError(f"column {column!r} must be a list of at most {len(_OPTION_NAMES)} texts, got {show(text)}")
    return [str(value) for value in values]


def _truth(fields: Mapping[str, str], options: tuple[str, ...]) -> str:
    if "correct_choice" in fields and options:
        text = fields["correct_choice"]
        if not re.fullmatch(r"[0-9]{1,2}", text) or int(text) >= len(options):
            raise DataError(f"column 'correct_choice' must be the number of an option, from 0, got {show(text)}")
        return _OPTION_NAMES[int(text)]
    return _get(fields, "answer_option", "answer") if options else _get(fields, "answer", "caption")


def _media(
    row: Row, path: Path, form: Form, pictures: dict[str, tuple[TablePicture, ...]]
) -> tuple[Path | TablePicture, ...]:
    """Return a row's pictures or video; `pictures` remembers those of earlier rows, which later ones may name by their
    index.
    """
    fields = row.fields
    if "image" in fields:
        index = _get(fields, "index")
        if len(fields["image"]) <= REFERENCE_CHARS and not fields["image"].startswith("["):
            if fields["image"] not in pictures:
                raise DataError(
                    f"column 'image' names the row with index {show(fields['image'])}, and there is none before"
                    " this one"
                )
            pictures[index] = pictures[fields["image"]]
        else:
            try:
                count = len(picture_texts(fields["image"]))
            except ValueError as error:
                raise DataError(f"column 'image': {error}") from error
            column = row.columns.index("image")
            pictures[index] = tuple(TablePicture(path, row.offset, row.length, column, index) for index in range(count))
        return pictures[index]
    if "video_path" in fields:
        return (path.parent / fields["video_path"],)
    name = _get(fields, "image", "video_path", "video")
    return (
        (
            path.parent / form.video_folder / name
            if Path(name).suffix
            else find_video(path.parent / form.video_folder, name)
        ),
    )
