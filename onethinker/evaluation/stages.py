"""The stages `answer` and `score`: a model is asked, and what it said is graded, each taken up where it was stopped."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from onethinker.core.errors import CheckpointError
from onethinker.core.request import SamplingParams
from onethinker.core.sample import Sample
from onethinker.evaluation.answering import Recorder, answer_samples
from onethinker.evaluation.benchmarks.media_files import gone
from onethinker.evaluation.frame_metrics import with_frame_metrics
from onethinker.evaluation.judging import judge_results
from onethinker.evaluation.masking import with_stored_masks
from onethinker.evaluation.open_answers import with_any_answer
from onethinker.evaluation.parts import check_samples
from onethinker.evaluation.results import (
    JOINING,
    Answer,
    Result,
    evaluation_settings,
    media_and_masks,
    open_run,
    read_answers,
    read_settings,
    result_key,
    write_results,
)
from onethinker.evaluation.rewarded import Rewards, with_rewards
from onethinker.inference.chat import plain_text
from onethinker.inference.engine import Engine
from onethinker.media.prefetch import Decoders
from onethinker.rewards.judge import Judge
from onethinker.storage.folders import MEDIA_FILE
from onethinker.storage.hashing import Digests
from onethinker.storage.jsonl_log import Log
from onethinker.tasks import Coordinates, Reader, ReadingMode, grade_response, task_of
from onethinker.tasks.base import RewardScheme

NO_REWARDS: Rewards = {}
NOT_ASKED = "not asked yet"
"""The error of a sample that the journal has nothing about."""


def answer(
    engine: Engine,
    samples: Sequence[Sample],
    *,
    output: Path,
    reward_scheme: RewardScheme = "paper",
    reading: ReadingMode = "strict",
    coordinates: Coordinates | None = None,
    sampling: SamplingParams | None = None,
    strict_media: bool = False,
    decoders: Decoders | None = None,
    judge: Judge | None = None,
    rewards: Rewards = NO_REWARDS,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Answer]:
    """Ask the model about every sample that has no answer in the journal in `output` yet; return those that got none,
    with their errors.

    `coordinates` are what places are asked for and read in, by default the engine's. With `strict_media` a sample with
    damaged media is not asked about, which is its error. `decoders` may have been started while the model was loaded;
    else they are started here. `on_progress` gets the samples done and all of them.

    Raises: DataError: a sample without a usable truth, or two with one id, before anything is asked or written.
    CheckpointError: `output` holds answers for other settings or samples. EngineError: the engine does not answer at
    all.
    """
    sampling, coordinates = sampling or SamplingParams(), coordinates or engine.coordinates
    grading = _grading(reward_scheme, judge, reading, coordinates, rewards)
    with _opened(samples, evaluation_settings(engine, sampling, strict_media=strict_media), grading, output) as (
        log,
        keyed,
        found,
    ):
        done = {key for key in keyed if key in found and found[key].error is None}
        recorder = Recorder(log, keyed, done, on_progress)
        recorder.report()
        with nullcontext(decoders) if decoders is not None else Decoders() as opened:
            answer_samples(
                engine,
                keyed,
                recorder,
                params=sampling,
                coordinates=coordinates,
                decoders=opened,
                strict_media=strict_media,
            )
    return recorder.failed


def score(
    samples: Sequence[Sample],
    *,
    output: Path,
    reward_scheme: RewardScheme = "paper",
    reading: ReadingMode = "strict",
    coordinates: Coordinates = "thousandths",
    judge: Judge | None = None,
    rewards: Rewards = NO_REWARDS,
) -> list[Result]:
    """Return one result per sample, in order, graded out of the journal in `output`, without the model; and write them
    there.

    The same journals give the same results, byte for byte; masks that were made of the answers before count. A `judge`
    says how right answers in free text are, in place of ROUGE; `rewards` are those that a recipe has beside the tasks'
    own.

    Raises: DataError. CheckpointError: there are no answers in `output`, or for other settings or samples.
    """
    asking = {
        name: value
        for name, value in read_settings(output)["settings"].items()
        if name not in ("reward_scheme", "reading", "coordinates", *JOINING)
    }
    grading = _grading(reward_scheme, judge, reading, coordinates, rewards)
    with _opened(samples, asking, grading, output) as (_, keyed, found):
        results = [
            _result(key, sample, found.get(key), reward_scheme, reading, coordinates) for key, sample in keyed.items()
        ]
        if judge is not None:
            results = judge_results(judge, results, samples, reward_scheme)
        if rewards:
            longest = int(asking["sampling"]["max_new_tokens"])
            results = with_rewards(results, samples, rewards, max_tokens=longest)
        results = with_stored_masks(results, output)
        write_results(output, results)
    return results


def _grading(
    reward_scheme: RewardScheme,
    judge: Judge | None,
    reading: ReadingMode,
    coordinates: Coordinates,
    rewards: Rewards,
) -> dict[str, Any]:
    """Return the settings that decide a grade, but not an answer."""
    settings: dict[str, Any] = {"reward_scheme": reward_scheme, "reading": reading, "coordinates": coordinates}
    settings |= {"judge": judge.describe()} if judge is not None else {}
    return settings | (
        {"rewards": {name: own.model_dump(mode="json") for name, own in rewards.items()}} if rewards else {}
    )


@contextmanager
def _opened(
    samples: Sequence[Sample], asking: Mapping[str, Any], grading: Mapping[str, Any], output: Path
) -> Iterator[tuple[Log, dict[str, Sample], dict[str, Answer]]]:
    """Yield the log of answers, the samples by key, in order, and what was answered; the folder is locked meanwhile."""
    check_samples(samples)
    with open_run(output, {**asking, **grading}) as log:
        digests = Digests(output / MEDIA_FILE)
        digests.read_all(medium for sample in samples for medium in media_and_masks(sample))
        keyed = {result_key(sample, asking, digests): sample for sample in samples}
        found = read_answers(output)
        _check_same_samples(keyed, found.values(), output)
        yield log, keyed, found


def _check_same_samples(keyed: Mapping[str, Sample], found: Iterable[Answer], output: Path) -> None:
    """Raise CheckpointError if a sample was answered here under the same name with another question, truth or media."""
    key_of = {answer.sample_id: answer.key for answer in found if answer.error is None}
    for key, sample in keyed.items():
        if key_of.get(sample.id, key) != key:
            if paths := gone(sample):
                raise CheckpointError(
                    f"{output}: sample {sample.id!r} was answered before, but its media are missing now: {paths[0]};"
                    " restore them"
                )
            raise CheckpointError(
                f"{output}: sample {sample.id!r} has changed since it was answered (its question, truth or media);"
                " choose another --output"
            )


def _unasked(sample: Sample) -> str:
    """Return why the journal has nothing about a sample."""
    paths = gone(sample)
    return f"its media are missing: {paths[0]}" if paths else NOT_ASKED


def _unreadable(answer: Answer, sample: Sample, coordinates: Coordinates) -> str | None:
    """Return why the coordinates of an answer cannot be read, None where they can, or where it has none."""
    if coordinates == "pixels" and answer.frame_px is None and task_of(sample).places:
        return (
            "the saved answers lack the frame size, which coordinates in pixels need; ask again with another --output"
        )
    return None


def _result(
    key: str,
    sample: Sample,
    answer: Answer | None,
    reward_scheme: RewardScheme,
    reading: ReadingMode,
    coordinates: Coordinates,
) -> Result:
    task = task_of(sample)
    asked: dict[str, Any] = {
        "key": key,
        "sample_id": sample.id,
        "task": task.key,
        "problem": sample.problem,
        "truth": sample.truth,
        "options": sample.options,
        "reading": reading,
        "group": sample.group,
    }
    if answer is None:
        return Result(**asked, response="", grade=None, error=_unasked(sample))
    error = answer.error if answer.error is not None else _unreadable(answer, sample, coordinates)
    if error is not None:
        return Result(**asked, response=answer.text, grade=None, error=error)
    # The prompt shows special tokens broken up, and so may an answer that repeats one.
    text, truth, options = plain_text(answer.text), plain_text(sample.truth), tuple(map(plain_text, sample.options))
    frame_px = answer.frame_px if coordinates == "pixels" else None
    reader = Reader(reading, frame_px and (frame_px[0], frame_px[1]), answer.finish_reason == "length")
    grade = grade_response(text, truth, task=task, options=options, reward_scheme=reward_scheme, reader=reader)
    grade = with_frame_metrics(grade, sample, answer.text, reader)
    return Result(
        **asked,
        response=answer.text,
        grade=with_any_answer(grade, sample, text, reader, reward_scheme),
        frame_px=reader.frame_px,
        finish_reason=answer.finish_reason,
        prompt_tokens=answer.prompt_tokens,
        answer_tokens=answer.answer_tokens,
        media_problems=tuple(answer.media_problems),
    )
