"""Ask a model about samples and grade what it says: resumable after a kill, and a failure is never scored as an answer."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from onethinker.data.sample import Sample
from onethinker.errors import AnswerError, CheckpointError, DataError, EngineError, MediaError
from onethinker.evaluation.judge import Judge, judge_results
from onethinker.evaluation.pictures import draw_example
from onethinker.evaluation.results import (
    Result,
    append_results,
    evaluation_settings,
    open_journal,
    read_results,
    result_key,
    statistics_name,
)
from onethinker.models.engine import Reply, Request, Sampling
from onethinker.models.loading import LoadedEngine
from onethinker.models.prompt import build_request
from onethinker.tasks import find_task, grade_response
from onethinker.tasks.task import Profile

EXAMPLES_PER_TASK = 2
"""Samples of each task whose pictures are drawn for the report."""
MAX_FAILURES_IN_A_ROW = 8
"""So many requests that fail one after the other mean that the engine is gone, not that samples are bad."""


def evaluate(
    engine: LoadedEngine,
    samples: Sequence[Sample],
    *,
    output: Path,
    profile: Profile = "paper",
    sampling: Sampling | None = None,
    batch_size: int = 8,
    judge: Judge | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Result]:
    """Return one result per sample, in order, answered now or found in the journal in `output`.

    Stop it at any time and call it again: it goes on where it was, in the same batches, so that the numbers are those
    of a run that was never stopped. A sample whose media cannot be read, or that the engine refuses, has a result
    without a grade, and is tried again next time. A `judge` says how right answers in free text are, in place of ROUGE.
    `on_progress` gets the samples done and all of them.

    Raises: DataError: a sample without a usable truth, or two with one id, before anything is asked or written.
    CheckpointError: `output` holds results for other settings or samples. EngineError: the engine does not answer at all.
    """
    sampling = sampling or Sampling()
    check_samples(samples)
    settings = evaluation_settings(engine, sampling, profile) | ({"judge": judge.describe()} if judge is not None else {})
    keys = [result_key(sample, settings) for sample in samples]
    failures_in_a_row = 0
    with open_journal(output, settings) as journal:
        found = read_results(output)
        _check_same_samples(samples, keys, found.values(), output)
        done = {key: result for key, result in found.items() if result.grade is not None}
        for start in range(0, len(samples), batch_size):
            batch, batch_keys = samples[start : start + batch_size], keys[start : start + batch_size]
            if not all(key in done for key in batch_keys):
                outcomes = _ask(engine, batch, sampling)
                failures_in_a_row = _count_failures(outcomes, failures_in_a_row)
                answered = [
                    _result(key, sample, outcome, profile) for key, sample, outcome in zip(batch_keys, batch, outcomes, strict=True)
                ]
                graded = judge_results(judge, answered, batch, profile) if judge is not None else answered
                fresh = [result for result in graded if result.key not in done]
                append_results(journal, fresh)
                done.update((result.key, result) for result in fresh)
            if on_progress is not None:
                on_progress(min(start + batch_size, len(samples)), len(samples))
        results = [done[key] for key in keys]
        _draw_examples(engine, samples, results, output)
    return results


def check_samples(samples: Sequence[Sample]) -> None:
    """Raise DataError, which names the sample, unless every one can be graded: before anything is spent on them."""
    if not samples:
        raise DataError("there are no samples to evaluate")
    repeated = [name for name, count in Counter(sample.id for sample in samples).items() if count > 1]
    if repeated:
        raise DataError(f"sample ids must differ, {repeated[0]!r} stands for more than one sample")
    for sample in samples:
        try:
            find_task(sample.problem_type, sample.data_type).parse(sample.truth, sample.options)
        except (AnswerError, DataError) as error:
            raise DataError(f"sample {sample.id!r}: {error}") from error


def _check_same_samples(samples: Sequence[Sample], keys: Sequence[str], found: Iterable[Result], output: Path) -> None:
    """Raise CheckpointError if a sample was answered here under the same name with another question, truth or media."""
    key_of = {result.sample_id: result.key for result in found}
    for sample, key in zip(samples, keys, strict=True):
        if key_of.get(sample.id, key) != key:
            raise CheckpointError(f"{output}: sample {sample.id!r} has changed since it was answered there; choose another --output")


def _ask(engine: LoadedEngine, samples: Sequence[Sample], sampling: Sampling) -> list[Reply | MediaError | EngineError]:
    """Return a reply per sample, or the error that stood in its way; one bad sample does not take the batch with it."""
    outcomes: dict[int, Reply | MediaError | EngineError] = {}
    requests: dict[int, Request] = {}
    for position, sample in enumerate(samples):
        try:
            requests[position] = build_request(sample, engine.wording, engine.budget)
        except MediaError as error:
            outcomes[position] = error
    try:
        outcomes.update(zip(requests, engine.answer(list(requests.values()), sampling) if requests else [], strict=True))
    except EngineError as batch_error:
        for position, request in requests.items():
            if len(requests) == 1:
                outcomes[position] = batch_error
                break
            try:
                [outcomes[position]] = engine.answer([request], sampling)
            except EngineError as error:
                outcomes[position] = error
    return [outcomes[position] for position in range(len(samples))]


def _count_failures(outcomes: Sequence[Reply | MediaError | EngineError], failures_in_a_row: int) -> int:
    for outcome in outcomes:
        if isinstance(outcome, EngineError):
            failures_in_a_row += 1
            if failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
                raise EngineError(f"{failures_in_a_row} samples in a row got no answer; the last: {outcome}") from outcome
        elif isinstance(outcome, Reply):
            failures_in_a_row = 0
    return failures_in_a_row


def _result(key: str, sample: Sample, outcome: Reply | MediaError | EngineError, profile: Profile) -> Result:
    task = find_task(sample.problem_type, sample.data_type)
    asked: dict[str, Any] = {"key": key, "sample_id": sample.id, "task": task.statistics, "problem": sample.problem, "truth": sample.truth}
    if not isinstance(outcome, Reply):
        return Result(**asked, response="", grade=None, error=str(outcome))
    return Result(
        **asked,
        response=outcome.text,
        grade=grade_response(outcome.text, sample.truth, task=task, options=sample.options, profile=profile),
        finish_reason=outcome.finish_reason,
        prompt_tokens=outcome.prompt_tokens,
        answer_tokens=outcome.answer_tokens,
    )


def _draw_examples(engine: LoadedEngine, samples: Sequence[Sample], results: Sequence[Result], output: Path) -> None:
    drawn: Counter[str] = Counter()
    for sample, result in zip(samples, results, strict=True):
        task = statistics_name(sample)
        if result.grade is not None and drawn[task] < EXAMPLES_PER_TASK:
            drawn[task] += 1
            draw_example(sample, result, engine.budget, output)
