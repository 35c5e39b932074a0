"""Grading groups of answers while the next ones are sampled: in worker processes, and by a reward model where one is
configured.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

from onethinker.core.errors import EngineError
from onethinker.core.plugins import load_plugins
from onethinker.core.sample import Sample
from onethinker.rewards.base import AnswerGrader
from onethinker.rewards.config import GRADERS, GradingSettings, RewardModelSettings
from onethinker.rewards.extra import AnswerGroup, add_rewards
from onethinker.rewards.judge import Judge
from onethinker.rewards.outside import OutsideGrader
from onethinker.rewards.polar import Polar
from onethinker.rewards.workers import WorkerError, Workers
from onethinker.tasks import Grade, Reader, RewardScheme, Task, grade_response, read_response, task_of
from onethinker.tasks.grading import judged_grade
from onethinker.tasks.pixels import response_from_px
from onethinker.tasks.places import FrameSize

Failure = Literal["grading_failed", "reward_failed"]
"""Why a group has no grades: a worker was too slow or died over it, or the reward model has no score for it."""


@dataclass(frozen=True)
class Ungraded:
    """A group that has no grades, and why; it is dropped and counted, never scored by something else."""

    reason: Failure
    text: str


def open_answer_grader(settings: RewardModelSettings) -> AnswerGrader:
    """Return what the settings name: a judge, POLAR, or what an entry point of another distribution makes of them."""
    if settings.kind == "judge":
        return Judge(settings)
    if settings.kind == "polar":
        return Polar(settings)
    [make] = [plugin.value for plugin in load_plugins(GRADERS) if plugin.name == settings.kind]
    return OutsideGrader(make, settings)


class Grader:
    """Grades groups of answers in the background; what comes back is the same for any number of workers."""

    def __init__(self, settings: GradingSettings, reward_scheme: RewardScheme) -> None:
        """Ask the reward model, if there is one, for a first score; workers start with the first answer.

        Raises: EngineError: the reward model cannot be used.
        """
        self.reward_scheme, self._settings = reward_scheme, settings
        self._waiting = ThreadPoolExecutor(max(1, settings.workers), thread_name_prefix="rewards")
        self._workers = Workers(settings.workers, settings.seconds) if settings.workers else None
        self._model = open_answer_grader(settings.reward_model) if settings.reward_model is not None else None
        if self._model is not None:
            try:
                self._model.try_out()
            except EngineError as error:
                self.close()
                raise EngineError(f"grading.reward_model: {error}") from error

    def __enter__(self) -> "Grader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the workers and drop the answers in flight."""
        if self._model is not None:
            self._model.close()
        if self._workers is not None:
            self._workers.close()
        self._waiting.shutdown(cancel_futures=True)

    def submit(
        self,
        sample: Sample,
        responses: Sequence[str],
        *,
        frame_px: FrameSize | None = None,
        tokens: Sequence[int] = (),
        truncated: Sequence[bool] = (),
        max_tokens: int = 0,
    ) -> "Grading | Future[Graded]":
        """Begin to grade the responses to a sample; without workers the tasks' own grading is done when this
        returns.

        `frame_px` is the size of the frames in whose pixels places are counted, None for thousandths. What follows is
        for rewards that look at lengths.
        """
        grading = self._begin(sample, responses, frame_px)
        weights = self._settings.rewards_of(sample.problem_type)
        if not weights:
            return grading

        def rewarded() -> Graded:
            grades = grading.result()
            if isinstance(grades, Ungraded):
                return grades
            cut = tuple(truncated) or (False,) * len(grades)
            group = answer_group(
                sample,
                responses,
                grades,
                tokens=tokens,
                truncated=cut,
                max_tokens=max_tokens,
                frame_px=frame_px,
            )
            if self._workers is None:
                return tuple(add_rewards(group, weights))
            try:
                return self._workers.add_rewards(group, weights)
            except WorkerError as error:
                return Ungraded("grading_failed", str(error))

        # A thread waits for the grades, and then a worker computes the rewards, while the next answers are sampled.
        return self._waiting.submit(rewarded)

    def _begin(self, sample: Sample, responses: Sequence[str], frame_px: FrameSize | None) -> "Grading":
        task = task_of(sample)
        scores: Future[list[float]] | None = None
        answers: dict[int, str] = {}
        if task.judged and self._model is not None:
            readings = [read_response(response, task, sample.options) for response in responses]
            answers = {
                index: str(reading.answer) for index, reading in enumerate(readings) if reading.answer is not None
            }
            if answers:
                scores = self._model.submit(sample.problem, sample.truth, list(answers.values()))
        grades = [self._grade(task, sample, response, frame_px) for response in responses]
        return Grading(
            task,
            self.reward_scheme,
            grades,
            scores,
            tuple(answers),
            self._model.name if self._model is not None else "",
        )

    def _grade(self, task: Task[Any], sample: Sample, response: str, frame_px: FrameSize | None) -> Future[Grade]:
        if self._workers is not None:
            return self._workers.submit(
                {
                    "problem_type": sample.problem_type,
                    "data_type": sample.data_type,
                    "truth": sample.truth,
                    "options": sample.options,
                    "reward_scheme": self.reward_scheme,
                    "response": response,
                    "frame_px": frame_px,
                }
            )
        done: Future[Grade] = Future()
        done.set_result(
            grade_response(
                response,
                sample.truth,
                task=task,
                options=sample.options,
                reward_scheme=self.reward_scheme,
                reader=Reader(frame_px=frame_px),
            )
        )
        return done


@dataclass(frozen=True)
class Grading:
    """A group whose grades are in flight; `judged` are the indices of the answers that the reward model was sent."""

    task: Task[Any]
    reward_scheme: RewardScheme
    grades: Sequence[Future[Grade]]
    scores: Future[list[float]] | None
    judged: tuple[int, ...]
    model: str

    def result(self) -> "Graded":
        """Return the grades in order once all are there, or why the group has none.

        Raises: DataError: the truth is not an answer of the task. ConfigError: no worker can be started.
        """
        try:
            grades = [grade.result() for grade in self.grades]
        except WorkerError as error:
            return Ungraded("grading_failed", str(error))
        if self.scores is not None:
            try:
                scores = self.scores.result()
            except EngineError as error:
                return Ungraded("reward_failed", str(error))
            for index, score in zip(self.judged, scores, strict=True):
                grades[index] = judged_grade(
                    grades[index], score, task=self.task, reward_scheme=self.reward_scheme, by=self.model
                )
        return tuple(grades)


Graded = tuple[Grade, ...] | Ungraded
"""The grades of a group in order, or why it has none."""


def answer_group(
    sample: Sample,
    responses: Sequence[str],
    grades: Sequence[Grade],
    *,
    tokens: Sequence[int],
    truncated: Sequence[bool],
    max_tokens: int,
    frame_px: FrameSize | None = None,
) -> AnswerGroup:
    """Return what a reward is shown of the answers to a sample: places in thousandths, also of a model that counts
    pixels of frames of the size `frame_px`.
    """
    task = task_of(sample)
    return AnswerGroup(
        id=sample.id,
        problem=sample.problem,
        problem_type=sample.problem_type,
        data_type=sample.data_type,
        truth=sample.truth,
        options=sample.options,
        responses=tuple(response_from_px(response, task, frame_px) for response in responses),
        grades=tuple(grades),
        tokens=tuple(tokens),
        truncated=tuple(truncated),
        max_tokens=max_tokens,
        extra=sample.extra,
    )
