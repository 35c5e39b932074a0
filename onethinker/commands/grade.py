"""`onethinker grade`: what a file of responses is worth, and why."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from onethinker.core.errors import ConfigError, DataError
from onethinker.tasks import Coordinates, Grade, Reader, ReadingMode, RewardScheme

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
    rewards: RewardScheme | None = None,
    recipe: str | None = None,
    reading: ReadingMode = "strict",
    coordinates: Coordinates = "thousandths",
    strict: bool = False,
) -> None:
    """Grade the responses in a file and write each record back with its grade.

    Each record is a sample in the released form ("problem_type", "data_type", "solution" or "answer") plus "response".
    The result also has "grade": {"reward", "accuracy", "format", "structure", "metrics", "problems"}, and "reading". A
    record that cannot be graded gets null as "grade" and the reason in "error"; it is named at the end (exit 1) and not
    counted in the mean.

    With --recipe the grades are those that RL would give, with the parts of the reward under "rewards". Responses to
    the same question ("problem_id") form a group; rewards that need them read "tokens" and "finish_reason" of each
    record.

    Args:
        input: Records as JSONL, or as a JSON list.
        output: The same records with their grades, as JSONL (a JSON list when the name ends in .json).
        rewards: Reward scheme, "paper" or "release"; by default that of --recipe, otherwise "paper".
        recipe: RL recipe whose rewards, reward model and plug-ins are used.
        reading: "strict" accepts only the exact form; "lenient" also accepts other forms that models write, and names
            each repair.
        coordinates: Unit of the response's boxes and points: "thousandths" of the frame, or "pixels" of the record's
            "resolution".
        strict: Stop at the first record that cannot be graded, and write nothing.
    """
    from rich.console import Console
    from rich.progress import track

    from onethinker.data.formats.records import read_records, write_records
    from onethinker.rewards.records import grade_records
    from onethinker.storage.atomic import check_file
    from onethinker.training.config import RlRecipe

    if recipe is not None and reading == "lenient":
        raise ConfigError("--reading lenient cannot be combined with --recipe: RL reads strictly")
    if coordinates == "pixels" and recipe is not None:
        raise ConfigError("--coordinates pixels cannot be combined with --recipe, which grades in thousandths")
    check_file(output, GRADED_SUFFIXES, flag="--output")
    by_recipe = RlRecipe.load(recipe) if recipe is not None else None
    unread: dict[int, DataError] = {}
    rows = dict(read_records(input, bad=None if strict else unread.__setitem__))
    errors = {row: str(error) for row, error in unread.items()}
    if by_recipe is None:
        grades = _grades(rows, rewards or "paper", reading, coordinates)
    else:
        longest = by_recipe.rollout.max_new_tokens
        grades = grade_records(rows, by_recipe.grading, rewards or by_recipe.rewards, max_tokens=longest)
    graded: dict[int, Record] = {}
    quiet = len(rows) < BAR_FROM_ROWS
    for row, found in track(grades, "grading", len(rows), console=Console(stderr=True), disable=quiet):
        if isinstance(found, Grade):
            graded[row] = {**rows[row], "reading": reading, "grade": asdict(found)}
            continue
        errors[row] = f"{input}, row {row}: {found}"
        if strict:
            raise DataError(errors[row])
    failed = {row: {**rows.get(row, {}), "grade": None, "error": error} for row, error in errors.items()}
    write_records(output, [record for _, record in sorted({**graded, **failed}.items(), key=itemgetter(0))])
    summary = f"{len(graded)} records graded, {_mean_reward(graded.values())}: {output}"
    Console(stderr=True, soft_wrap=True).print(summary, markup=False)
    if errors:
        raise DataError(f"{len(errors)} of {len(rows) + len(unread)} records have no grade:{_named(errors)}")


def _mean_reward(graded: Collection["Record"]) -> str:
    rewards = [record["grade"]["reward"] for record in graded]
    return f"mean reward {sum(rewards) / len(rewards):.3f}" if rewards else "no mean"


def _named(errors: Mapping[int, str]) -> str:
    named = "".join(f"\n  {errors[row]}" for row in sorted(errors)[:MOST_NAMED])
    return named + (f"\n  and {len(errors) - MOST_NAMED} more" if len(errors) > MOST_NAMED else "")


def _grades(
    rows: "Mapping[int, Record]", reward_scheme: RewardScheme, reading: ReadingMode, coordinates: Coordinates
) -> Iterator[tuple[int, Grade | str]]:
    """Yield each row with its grade, or with what is wrong with the record."""
    for row, record in rows.items():
        try:
            yield row, _grade(record, reward_scheme, reading, coordinates)
        except DataError as error:
            yield row, str(error)


def _grade(record: "Record", reward_scheme: RewardScheme, reading: ReadingMode, coordinates: Coordinates) -> Grade:
    from onethinker.data.formats.masks import read_resolution
    from onethinker.data.formats.released import read_task
    from onethinker.rewards.records import grade_record

    in_pixels = coordinates == "pixels" and bool(read_task(record).places)
    frame_px = read_resolution(record) if in_pixels else None
    if in_pixels and frame_px is None:
        raise DataError("'resolution' is missing: [width, height] of the frame in whose pixels the response is")
    reader = Reader(reading, frame_px, record.get("finish_reason") == "length")
    return grade_record(record, _response(record, reading), reward_scheme=reward_scheme, reader=reader)


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
