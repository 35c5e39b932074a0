"""The fields that records have in every form, each read with an error that names it."""

import re
from collections import Counter
from difflib import get_close_matches

from onethinker.core.errors import DataError
from onethinker.core.grammar import show
from onethinker.data.formats.records import Record
from onethinker.storage.strict_json import to_json
from onethinker.tasks import all_tasks

_LABEL = re.compile(r"\s*[(\[]?([A-Za-z])(?:[)\].:]+(?:\s+|$)|$)")
_HALF = re.compile("[\ud800-\udfff]")
_MEDIA_FIELDS = ("images", "videos", "path", "additional_path")
_QUESTION_FIELDS = ("problem", "messages")
_TRUTH_FIELDS = ("answer", "solution")
_TEXT_FIELDS = (*_QUESTION_FIELDS, *_TRUTH_FIELDS, "response", "chosen", "rejected", "options")
_OTHER_FIELDS = ("problem_id", "problem_type", "data_type", "data_source", "license", "first_box", "clips")
READ = frozenset((*_OTHER_FIELDS, *_MEDIA_FIELDS, *_TEXT_FIELDS))
_MISSPELT = 0.8
"""Likeness from which on an unknown field is taken for a known one that is not there."""
_SYNONYMS = {"question": "problem", "query": "problem"}
"""What other programs call our fields."""
_NO_MISTAKE = frozenset({"resolution"})
"""Fields of the released files that only look like others."""


def check_names_and_texts(record: Record) -> None:
    """Raise DataError for a field whose name is misspelt, or whose text nothing can encode."""
    if misspelt := misspelt_field(record):
        raise DataError(f"there is no field {misspelt[0]!r}; did you mean {misspelt[1]!r}? Rename it, or remove it")
    for name in _TEXT_FIELDS:
        value = record.get(name)
        if half := _HALF.search(value if isinstance(value, str) else to_json(value, ensure_ascii=False)):
            raise DataError(
                f"{name!r} has half of a character (a lone surrogate), {half[0]!r}, which tokenizers reject; write the"
                " whole character, or remove it"
            )


def read_options(record: Record) -> tuple[str, ...]:
    """Return the options of a record, none by default. Raises: DataError."""
    options = record.get("options") or []
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
        raise DataError(f"'options' must be a list of texts, got {show(options)}")
    letters = [match[1].upper() for option in options if (match := _LABEL.match(option))]
    if repeated := [letter for letter, count in Counter(letters).items() if count > 1]:
        raise DataError(f"'options' must have each letter once, got {repeated[0]} twice: {show(options)}")
    if empty := [option for option in options if not _LABEL.sub("", option, 1).strip()]:
        raise DataError(f"'options' must be texts that are not empty, got {show(empty[0])}")
    return tuple(options)


def read_id(record: Record, default: str) -> str:
    """Return what a record is called. Raises: DataError."""
    value = record.get("problem_id")
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise DataError(f"'problem_id' must be a whole number or a text, got {show(value)}")
    return str(value)


def read_text(record: Record, name: str, default: str | None = None) -> str:
    """Return a field that must be a text, and not an empty one where there is no default. Raises: DataError."""
    value = record.get(name)
    if value is None and default is not None:
        return default
    if value is None:
        raise DataError(f"{name!r} is missing")
    if not isinstance(value, str) or not (value.strip() or default is not None):
        raise DataError(f"{name!r} must be a text, got {show(value)}")
    return value


def has(record: Record, *names: str) -> bool:
    """Tell whether a record has something in one of these fields."""
    return any(record.get(name) not in (None, "", []) for name in names)


def misspelt_field(record: Record) -> tuple[str, str] | None:
    """Return a field that nothing reads and the one that is most likely meant, which is not there itself.

    >>> misspelt_field({"problem": "Which?", "problemtype": "ocr"})
    ('problemtype', 'problem_type')
    """
    if READ.issuperset(record):
        return None
    given = {
        name for names in (_MEDIA_FIELDS, _TRUTH_FIELDS, _QUESTION_FIELDS) if has(record, *names) for name in names
    }
    plain = {_letters(name): name for name in sorted(READ - given) if not has(record, name)}
    for name, value in record.items():
        if name in READ or name in _NO_MISTAKE or not has(record, name):
            continue
        if (
            "problem_type" in plain.values()
            and isinstance(value, str)
            and value.strip().lower() in {task.problem_type for task in all_tasks()}
        ):
            return name, "problem_type"
        letters = _letters(name)
        near = [_SYNONYMS[letters]] if _SYNONYMS.get(letters) in plain else []
        near = near or get_close_matches(letters, plain, n=1, cutoff=_MISSPELT)
        if near:
            return name, plain[near[0]]
    return None


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()
