"""`onethinker grade`: what a file of responses is worth, and why."""

from dataclasses import asdict
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from onethinker.core.errors import ConfigError, DataError
from onethinker.tasks import Coordinates, Grade, Reader, ReadingMode, RewardScheme, grade_response

if TYPE_CHECKING:
    from onethinker.data.formats.records import Record

MOST_NAMED = 100
"""Bad records that the error names; all have theirs in the output."""
GRADED_SUFFIXES = (".jsonl", ".json", "")
BAR_FROM_ROWS = 1000
"""Shorter files are graded before a bar could be read."""


def grade(
    *,
    input: Path,
    output: Path,
    rewards: RewardScheme = "paper",
    reading: ReadingMode = "strict",
    coordinates: Coordinates = "thousandths",
    strict: bool = False,
) -> None:
    """Grade the responses in a file and write each record back with its grade.

    Each record is a sample in the released form ("problem_type", "data_type", "solution" or "answer") plus "response";
    its result has "grade" too: {"reward", "accuracy", "format", "structure", "metrics", "problems"}, and "reading". A
    bad record has null as its grade and says why in "error"; it is named at the end (exit 1), and not in the mean.

    Args:
        input: JSONL, or a JSON list.
        output: The same records with their grades, as JSONL (a JSON list when the name ends in .json).
        rewards: The reward scheme: "paper" or "release".
        reading: "strict" takes the exact form alone; "lenient" also what other models write, and names each repair.
        coordinates: Unit of the coordinates: thousandths of the frame, or "pixels" of the record's "resolution"
            (lenient reading only).
        strict: Stop at the first bad record, and write nothing.
    """
    from rich.console import Console
    from rich.progress import track

    from onethinker.data.formats.records import read_records, write_records
    from onethinker.storage.atomic import check_file

    if coordinates == "pixels" and reading == "strict":
        raise ConfigError("--coordinates pixels needs --reading lenient: the strict form is in thousandths")
    check_file(output, GRADED_SUFFIXES, flag="--output")
    unread: dict[int, DataError] = {}
    rows = dict(read_records(input, bad=None if strict else unread.__setitem__))
    if not rows and not unread:
        raise DataError(f"{input}: has no records")
    bar = track(rows.items(), "grading", console=Console(stderr=True), disable=len(rows) < BAR_FROM_ROWS)
    errors = {row: str(error) for row, error in unread.items()}
    graded: dict[int, Record] = {}
    for row, record in bar:
        try:
            graded[row] = grade_record(record, rewards, reading, coordinates, where=f"{input}, row {row}")
        except DataError as error:
            if strict:
                raise
            errors[row] = str(error)
    failed = {row: {**rows.get(row, {}), "grade": None, "error": error} for row, error in errors.items()}
    write_records(output, [record for _, record in sorted({**graded, **failed}.items(), key=itemgetter(0))])
    values = [record["grade"]["reward"] for record in graded.values()]
    mean = f"mean reward {sum(values) / len(values):.3f}" if values else "no mean"
    Console(stderr=True, soft_wrap=True).print(f"{len(values)} records graded, {mean}: {output}", markup=False)
    if errors:
        named = "".join(f"\n  {errors[row]}" for row in sorted(errors)[:MOST_NAMED])
        more = f"\n  and {len(errors) - MOST_NAMED} more" if len(errors) > MOST_NAMED else ""
        raise DataError(f"{len(errors)} of {len(rows) + len(unread)} records have no grade:{named}{more}")


def grade_record(
    record: "Record", reward_scheme: RewardScheme, reading: ReadingMode, coordinates: Coordinates, *, where: str
) -> "Record":
    """Return a record with the grade of its response. Raises: DataError: names the row and the field."""
    try:
        return {**record, "reading": reading, "grade": asdict(_grade(record, reward_scheme, reading, coordinates))}
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def _grade(record: "Record", reward_scheme: RewardScheme, reading: ReadingMode, coordinates: Coordinates) -> Grade:
    from onethinker.data.formats.fields import read_options
    from onethinker.data.formats.masks import read_resolution
    from onethinker.data.formats.released import read_task, read_truth

    task, options = read_task(record), read_options(record)
    truth = read_truth(record, task, options)
    if not truth:
        raise DataError("'answer' or 'solution' is missing")
    frame_px = read_resolution(record) if coordinates == "pixels" else None
    if coordinates == "pixels" and frame_px is None:
        raise DataError("'resolution' is missing: [width, height] of the frame in whose pixels the response is")
    reader = Reader(reading, frame_px, record.get("finish_reason") == "length")
    response = _response(record, reading)
    return grade_response(response, truth, task=task, options=options, reward_scheme=reward_scheme, reader=reader)


def _response(record: "Record", reading: ReadingMode) -> str:
    """Return the text of a response; the lenient reader puts a server's separate reasoning in front of it.

    Raises: DataError: it is missing, or no text.
    """
    from onethinker.core.grammar import show
    from onethinker.inference.openai import message_text

    response = record.get("response")
    if reading == "lenient":
        message = response if isinstance(response, dict) else {**record, "content": response}
        response = message_text(message)
    if not isinstance(response, str):
        raise DataError(
            f"'response' must be a text, got {show(response)}" if response is not None else "'response' is missing"
        )
    return response
