"""VLMEvalKit's tables: tab-separated, a question a row, pictures in base64 in the row itself.

index  image        question              A    B    answer
0      iVBORw0K…    What is on the table? cat  dog  A

Tables are read row by row and pictures stay in the file until they are needed, so that a table may be as large as it
likes. A row without a picture, in a table of pictures, is no question: VLMEvalKit drops it too (image_base.py,
`skip_noimg`).
"""

import ast
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onethinker.core.errors import DataError
from onethinker.core.grammar import show
from onethinker.core.sample import Sample
from onethinker.core.sources import TablePicture
from onethinker.data.published.files import Bad, find_video, refuse
from onethinker.evaluation.benchmarks.readers.table_rows import OPTION_NAMES, Pictures, Row, read_rows
from onethinker.tasks import find_task, parse_truth

CIRCLE = 1_000_000
"""A row whose index is so much larger than another's asks the same with its options turned. Source: VLMEvalKit."""


@dataclass(frozen=True)
class Form:
    """What a table does not say by itself: what questions without options are, which rows belong to the benchmark,
    where videos lie.

    `any_answer` takes the truth of a question without options as one of several, where it is a list stored as text, and
    grades by MMMU's rules. `group` is the column that names a sub-task. `asks_about_captions` reads the column
    "question" as the pairs of question and answer that a description is asked about.
    """

    free_form: str = "math"
    only: tuple[str, str] | None = None
    question: str | None = None
    video_folder: str = "video"
    any_answer: bool = False
    group: str | None = None
    asks_about_captions: bool = False


def read_table(path: Path, form: Form, bad: Bad = refuse) -> Iterator[Sample]:
    """Yield the samples of a table, in order; paths in it are relative to the table's folder.

    Rows with options, or with "multi" as their question type, are multiple choice, others what `form` says.

    Raises: DataError: names the table, the row (from 1, without the header) and the column.
    """
    pictures = Pictures(path)
    kept, others = 0, set()
    for row in read_rows(path, bad):
        if form.only is not None and row.fields.get(form.only[0]) != form.only[1]:
            others.add(row.fields.get(form.only[0]))
            continue
        if "image" in row.columns and "image" not in row.fields:
            continue
        kept += 1
        try:
            media = pictures.of(row) if "image" in row.columns else (_video(row, path, form),)
            sample = _sample(row, path, form, media)
        except DataError as error:
            bad(DataError(f"{path}, row {row.number}: {error}"))
            continue
        yield sample
    if not kept:
        told = f"; {form.only[0]!r} is {show(sorted(map(str, others)))}, expected {form.only[1]!r}" if form.only else ""
        raise DataError(f"{path}: contains no row of the benchmark{told}")


def circle_of(sample_id: str) -> str:
    """Return the question that a sample asks with its options turned in one of several ways.

    >>> circle_of("1000241"), circle_of("241")
    ('241', '241')
    """
    return str(int(sample_id) % CIRCLE) if re.fullmatch(r"[0-9]+", sample_id) else sample_id


def _sample(row: Row, path: Path, form: Form, media: tuple[Path | TablePicture, ...]) -> Sample:
    fields = row.fields
    options = _options(fields)
    is_choice = bool(options) or fields.get("question_type", "").lower().startswith("multi")
    problem_type = "multiple choice" if is_choice else form.free_form
    data_type: Any = "video" if media and isinstance(media[0], Path) else "image"
    questions = _questions(_get(fields, "question")) if form.asks_about_captions else ()
    truth = _described(fields, questions) if questions else _truth(fields, options)
    answers = alternatives(truth) if form.any_answer and not is_choice else ()
    truth = answers[0] if answers else truth
    parse_truth(truth, find_task(problem_type, data_type), options)
    used = {"index", "image", "question", "answer", *OPTION_NAMES}
    return Sample(
        id=_get(fields, "index"),
        problem=_question(fields, form),
        problem_type=problem_type,
        data_type=data_type,
        media=media,
        truth=truth,
        options=options,
        source=path.stem,
        answers=answers,
        questions=questions,
        group=_get(fields, form.group) if form.group else "",
        extra={name: value for name, value in fields.items() if name not in used and len(value) <= 1000},
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
    texts = [fields[name] for name in OPTION_NAMES if name in fields]
    if texts:
        names = [name for name in OPTION_NAMES if name in fields]
        return tuple(f"{name}. {text}" for name, text in zip(names, texts, strict=True))
    column = next((name for name in ("candidates", "choices") if name in fields), None)
    if column is None:
        return ()
    texts = _list(fields[column], column)
    if texts and all(re.match(rf"[(\[]?{name}[)\].:]", text) for name, text in zip(OPTION_NAMES, texts, strict=False)):
        return tuple(texts)
    return tuple(f"{name}. {text}" for name, text in zip(OPTION_NAMES, texts, strict=False))


def _list(text: str, column: str) -> list[str]:
    try:
        values = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise DataError(f"column {column!r} must be a list of texts, got {show(text)}") from error
    if not isinstance(values, list) or len(values) > len(OPTION_NAMES):
        raise DataError(f"column {column!r} must be a list of at most {len(OPTION_NAMES)} texts, got {show(text)}")
    return [str(value) for value in values]


def _truth(fields: Mapping[str, str], options: tuple[str, ...]) -> str:
    if "correct_choice" in fields and options:
        text = fields["correct_choice"]
        if not re.fullmatch(r"[0-9]{1,2}", text) or int(text) >= len(options):
            raise DataError(f"column 'correct_choice' must be the number of an option, from 0, got {show(text)}")
        return OPTION_NAMES[int(text)]
    return _get(fields, "answer_option", "answer") if options else _get(fields, "answer", "caption")


def alternatives(text: str) -> tuple[str, ...]:
    """Return the right answers that MMMU stores as one text: what looks like a list of texts is one, also where a quote
    of it is missing; an interval is not.

    >>> alternatives("['24/7', '3.429']"), alternatives("['24/7', '3.429', '3.43]"), alternatives("[0, 5)")
    (('24/7', '3.429'), ('24/7', '3.429', '3.43'), ('[0, 5)',))
    """
    listed = re.fullmatch(r"""\[\s*(['"].*)\]""", text.strip(), re.DOTALL)
    if listed is None:
        return (text,)
    texts = tuple(item.strip(" '\"") for item in re.split(r"""(?<=['"])\s*,|,\s*(?=['"])""", listed[1]))
    return tuple(item for item in texts if item) or (text,)


def _questions(text: str) -> tuple[tuple[str, str], ...]:
    """Return the pairs of question and answer in a list of objects, as Python or JSON writes it. Raises: DataError."""
    try:
        pairs = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        try:
            pairs = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"column 'question' must be a list of questions with answers, got {show(text)}") from error
    found = tuple(
        (str(pair["question"]).strip(), str(pair["answer"]).strip())
        for pair in (pairs if isinstance(pairs, list) else ())
        if isinstance(pair, dict) and {"question", "answer"} <= pair.keys()
    )
    if not found or not all(question and answer for question, answer in found):
        raise DataError(f"column 'question' must be a list of objects with 'question' and 'answer', got {show(text)}")
    return found


def _described(fields: Mapping[str, str], questions: tuple[tuple[str, str], ...]) -> str:
    """Return the reference of a description: the table's own, or what it is asked about where there is none."""
    return fields.get("caption") or "\n".join(f"{question} {answer}" for question, answer in questions)


def _video(row: Row, path: Path, form: Form) -> Path:
    """Return where a row's video lies."""
    if "video_path" in row.fields:
        return path.parent / row.fields["video_path"]
    name, folder = _get(row.fields, "image", "video_path", "video"), path.parent / form.video_folder
    return folder / name if Path(name).suffix else find_video(folder, name)
