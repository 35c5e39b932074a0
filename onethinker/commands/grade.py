"""`onethinker grade`: what a file of responses is worth, and why."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from onethinker.core.errors import DataError
from onethinker.tasks.base import RewardScheme
from onethinker.tasks.grading import Grade, grade_response

if TYPE_CHECKING:
    from onethinker.data.formats.records import Record

BAR_FROM_ROWS = 1000
"""Shorter files are graded before a bar could be read."""


def grade(*, input: Path, output: Path, rewards: RewardScheme = "paper") -> None:
    """Grade the responses in a file and write each record back with its grade.

    Each record is a sample in the released form ("problem_type", "data_type", "solution" or "answer") plus "response";
    its result has "grade" too: {"reward", "accuracy", "format", "structure", "metrics", "problems"}. A bad record stops
    the command, and nothing is written.

    Args:
        input: JSONL, or a JSON list.
        output: The same records with their grades, as JSONL (a JSON list when the name ends in .json).
        rewards: The reward scheme: "paper" or "release".
    """
    from rich.console import Console
    from rich.progress import track

    from onethinker.data.formats.records import read_records, write_records
    from onethinker.storage.atomic import check_writable

    check_writable(output)
    rows = list(read_records(input))
    if not rows:
        raise DataError(f"{input}: has no records")
    bar = track(rows, "grading", console=Console(stderr=True), disable=len(rows) < BAR_FROM_ROWS)
    graded = [grade_record(record, rewards, where=f"{input}, row {row}") for row, record in bar]
    write_records(output, graded)
    mean = sum(record["grade"]["reward"] for record in graded) / len(graded)
    Console(stderr=True, soft_wrap=True).print(
        f"{len(graded)} records graded, mean reward {mean:.3f}: {output}", markup=False
    )


def grade_record(record: "Record", reward_scheme: RewardScheme, *, where: str) -> "Record":
    """Return a record with the grade of its response. Raises: DataError: names the row and the field."""
    try:
        return {**record, "grade": asdict(_grade(record, reward_scheme))}
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def _grade(record: "Record", reward_scheme: RewardScheme) -> Grade:
    from onethinker.core.grammar import show
    from onethinker.data.formats.fields import read_options
    from onethinker.data.formats.released import read_task, read_truth

    task, options = read_task(record), read_options(record)
    truth = read_truth(record, task, options)
    if not truth:
        raise DataError("'answer' or 'solution' is missing")
    response = record.get("response")
    if not isinstance(response, str):
        raise DataError(
            f"'response' must be a text, got {show(response)}" if response is not None else "'response' is missing"
        )
    return grade_response(response, truth, task=task, options=options, reward_scheme=reward_scheme)
