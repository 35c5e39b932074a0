r"""EasyR1's rows: "problem" with placeholders and media beside it, and in "answer" all that its reward is handed.

{"problem": "<image>…", "images": ["/data/a.jpg"], "answer": "{\\"problem_type\\": \\"tracking\\", …}"}

Source: EasyR1, verl/utils/dataset.py and verl/workers/reward/function.py.
"""

import json
from pathlib import Path

from onethinker.core.errors import DataError
from onethinker.core.grammar import show
from onethinker.core.sample import Sample
from onethinker.data.formats.chat import user_text
from onethinker.data.formats.foreign import is_easyr1
from onethinker.data.formats.form import Form, need_question, record_with, without
from onethinker.data.formats.parquet import MEDIA
from onethinker.data.formats.records import Record
from onethinker.storage.strict_json import to_json

_QUESTION = "question"
"""The question alone; "problem" has the task's instructions too."""


def read(record: Record, root: Path) -> Record:
    """Return a record out of a row that we wrote. Raises: DataError: names the field."""
    if not isinstance(question := record.get(_QUESTION), str):
        raise DataError(f"{_QUESTION!r} must be the question as text, got {show(question)}")
    graded = read_graded("answer", record.get("answer"))
    return {**without(record, _QUESTION), "problem": question, "answer": graded["answer"]}


def read_graded(name: str, text: object) -> Record:
    """Return what EasyR1's one column of the truth holds: task, options and answer, as JSON. Raises: DataError: names
    the column.
    """
    try:
        graded = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        graded = None
    if not isinstance(graded, dict) or "answer" not in graded:
        raise DataError(f"{name!r} must be what `onethinker data convert --to easyr1` writes, got {show(text)}")
    return graded


def write(sample: Sample, root: Path) -> Record:
    """Return a sample as EasyR1 takes it. Raises: DataError: its loader would lose media."""
    need_question(sample, "easyr1")
    record = record_with(sample, root, (_QUESTION,))
    if "images" in record and "videos" in record:
        raise DataError(f"there are both pictures and videos: EasyR1's loader would lose {', '.join(record['videos'])}")
    media: Record = {kind: [str(root / path) for path in record[kind]] for kind in MEDIA if kind in record}
    graded = {name: record[name] for name in ("problem_type", "data_type", "options", "answer")}
    return {
        **record,
        **media,
        _QUESTION: record["problem"],
        "problem": user_text(sample),
        "answer": to_json(graded, ensure_ascii=False),
    }


EASYR1 = Form("easyr1", "EasyR1's rows, the truth as JSON", is_easyr1, read, write)
