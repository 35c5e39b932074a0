"""Responses to records graded: one by its task alone, many as RL grades answers, by the rewards of a recipe, those of
one question as a group.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from onethinker.core.errors import DataError
from onethinker.core.grammar import show
from onethinker.core.sample import Sample
from onethinker.data.formats.fields import READ, has, read_id, read_options, read_text
from onethinker.data.formats.records import Record
from onethinker.data.formats.released import read_task, read_task_and_data_type, read_truth
from onethinker.rewards.config import GradingSettings
from onethinker.rewards.grader import Grader, Ungraded
from onethinker.tasks import STRICT, Grade, Reader, RewardScheme, grade_response

NO_TRUTH = "'answer' or 'solution' is missing"


def grade_record(
    record: Record, response: str, *, reward_scheme: RewardScheme = "paper", reader: Reader = STRICT
) -> Grade:
    """Return the grade of a response to a record ("problem_type", "data_type", "answer" or "solution", "options").

    >>> record = {"problem_type": "numerical", "data_type": "image", "answer": "3"}
    >>> grade_record(record, "<think>Three.</think><answer>3</answer>").reward
    2.0

    Raises: DataError: the record names no task, or has no truth.
    """
    task, options = read_task(record), read_options(record)
    truth = read_truth(record, task, options)
    if not truth:
        raise DataError(NO_TRUTH)
    return grade_response(response, truth, task=task, options=options, reward_scheme=reward_scheme, reader=reader)


def grade_records(
    records: Mapping[int, Record], settings: GradingSettings, reward_scheme: RewardScheme, *, max_tokens: int
) -> Iterator[tuple[int, Grade | str]]:
    """Yield each row with its grade, or with why it has none.

    Records of one "problem_id" that ask and expect the same are a group; "tokens" and "finish_reason" say how long a
    response is, and whether it was cut.

    Raises: PluginError: a reward or a task of another package failed. EngineError: the reward model cannot be used.
    """
    groups, errors = _groups(records)
    yield from errors.items()
    with Grader(settings, reward_scheme) as grader:
        in_flight = []
        for rows in groups:
            own = [records[row] for row in rows]
            tokens = [int(record["tokens"]) for record in own if record.get("tokens") is not None]
            grading = grader.submit(
                next(iter(rows.values())),
                [record["response"] for record in own],
                tokens=tokens if len(tokens) == len(own) else (),
                truncated=[record.get("finish_reason") == "length" for record in own],
                max_tokens=max_tokens,
            )
            in_flight.append((rows, grading))
        for rows, grading in in_flight:
            graded = grading.result()
            for index, row in enumerate(rows):
                yield row, graded.text if isinstance(graded, Ungraded) else graded[index]


def _groups(records: Mapping[int, Record]) -> tuple[list[dict[int, Sample]], dict[int, str]]:
    """Return the samples of each question by row, and why other rows cannot be read."""
    groups: dict[object, dict[int, Sample]] = defaultdict(dict)
    errors = dict[int, str]()
    for row, record in records.items():
        try:
            sample = _sample(record, row)
        except DataError as error:
            errors[row] = str(error)
        else:
            kind = sample.problem_type, sample.data_type
            groups[sample.id, *kind, sample.problem, sample.options, sample.truth][row] = sample
    return list(groups.values()), errors


def _sample(record: Record, row: int) -> Sample:
    """Return what a record asks, without its media. Raises: DataError: names the field."""
    (task, data_type), options = read_task_and_data_type(record), read_options(record)
    truth, tokens = read_truth(record, task, options), record.get("tokens")
    if not truth:
        raise DataError(NO_TRUTH)
    if not isinstance(record.get("response"), str):
        raise DataError(f"'response' must be a text, got {show(record.get('response'))}")
    if tokens is not None and (isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 0):
        raise DataError(f"'tokens' must be the number of tokens of the response, got {show(tokens)}")
    return Sample(
        id=read_id(record, f"row {row}"),
        problem=read_text(record, "problem") if has(record, "problem") else "",
        problem_type=task.problem_type,
        data_type=data_type,
        media=(),
        truth=truth,
        options=options,
        extra={name: value for name, value in record.items() if name not in READ},
    )
