"""What other trainers hand a reward: columns of a table and completions, of which each is a text or messages."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from onethinker.core.errors import DataError
from onethinker.core.grammar import show
from onethinker.rewards.records import grade_record
from onethinker.tasks import Grade, RewardScheme

GRADED_BY = ("problem_type", "data_type", "options", "answer", "solution")
"""The columns that decide a grade. No other is looked at: "messages" hold the completion itself in some trainers."""


def grade_row(
    row: Mapping[str, Any], completion: Any, *, reward_scheme: RewardScheme = "paper", opening: str = ""
) -> Grade:
    """Return the grade of a completion to a row of a table, whose other columns are ignored.

    `opening` is what the chat template writes before an answer ("<think>" for models that always think), and a trainer
    leaves out of the completion.

    Raises: DataError: names the column that is missing, or wrong.
    """
    record = {name: row[name] for name in GRADED_BY if row.get(name) is not None}
    options: Any = record.get("options")  # tables have arrays and tuples
    if hasattr(options, "tolist"):
        record["options"] = options.tolist()
    elif isinstance(options, tuple):
        record["options"] = list(options)
    return grade_record(record, opening + completion_text(completion), reward_scheme=reward_scheme)


def rows_of(columns: Mapping[str, Any], count: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each of so many completions, out of columns. Raises: DataError: one has another length."""
    known = {name: columns[name] for name in GRADED_BY if columns.get(name) is not None}
    for name, values in known.items():
        if len(values) != count:
            raise DataError(f"the column {name!r} has {len(values)} values for {count} completions")
    for index in range(count):
        yield {name: values[index] for name, values in known.items()}


def completion_text(completion: Any) -> str:
    """Return what a model wrote: a text, or the content of the last of some messages, texts or parts with texts.

    >>> completion_text([{"role": "assistant", "content": [{"type": "text", "text": "A cat."}]}])
    'A cat.'

    Raises: DataError: it is none of these.
    """
    if isinstance(completion, Sequence) and not isinstance(completion, str) and completion:
        return completion_text(completion[-1])
    if isinstance(completion, Mapping):
        return completion_text(completion.get("content", completion.get("text")))
    if not isinstance(completion, str):
        raise DataError(f"a completion must be a text or messages of a chat, got {show(completion)}")
    return completion
