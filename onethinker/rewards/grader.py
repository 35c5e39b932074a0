"""Grading groups of answers while the next ones are sampled: in worker processes, and by a reward model where one is
configured.
"""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Literal

from onethinker.core import errors
from onethinker.core.errors import ConfigError, EngineError
from onethinker.core.plugins import load_plugins
from onethinker.core.sample import Sample
from onethinker.processes.line_process import NotStartedError, ProcessLostError, TooSlowError, start_module
from onethinker.processes.pool import TRIES, Pool
from onethinker.rewards.base import AnswerGrader
from onethinker.rewards.config import GRADERS, GradingSettings, RewardModelSettings
from onethinker.rewards.extra import AnswerGroup, RewardedGrade, add_rewards
from onethinker.rewards.judge import Judge
from onethinker.rewards.polar import Polar
from onethinker.storage.strict_json import json_line
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


class WorkerError(Exception):
    """An answer got no grade from the workers; the text names the reason."""


def open_answer_grader(settings: RewardModelSettings) -> AnswerGrader:
    """Return what the settings name: a judge, POLAR, or what an entry point of another distribution makes of them."""
    if settings.kind == "judge":
        return Judge(settings)
    if settings.kind == "polar":
        return Polar(settings)
    [make] = [plugin.value for plugin in load_plugins(GRADERS) if plugin.name == settings.kind]
    grader: AnswerGrader = make(settings)
    return grader


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
            return self._workers.add_rewards(group, weights)

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


class Workers:
    """Processes that grade one answer each at a time."""

    def __init__(self, count: int, seconds: float) -> None:
        """Set the number of processes and the time for one answer; a process starts when there is an answer for it."""
        self.seconds = seconds
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="grading")
        environment = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._pool = Pool(count, lambda: start_module("onethinker.rewards.worker", environment=environment))

    @property
    def pids(self) -> list[int]:
        """The processes that have been started."""
        return self._pool.pids

    def submit(self, question: dict[str, Any]) -> Future[Grade]:
        """Return what will hold the grade, or the error: WorkerError, or what grading in this process would raise."""
        return self._threads.submit(self._grade, json_line(question))

    def add_rewards(self, group: AnswerGroup, weights: Mapping[str, Any]) -> Graded:
        """Return the grades of a group with its other rewards, computed by a worker. Raises: PluginError."""
        try:
            reply = self._ask(json_line({"group": asdict(group), "weights": weights}))
        except WorkerError as error:
            return Ungraded("grading_failed", str(error))
        return tuple(RewardedGrade(**grade) for grade in reply["grades"])

    def close(self) -> None:
        """End all processes; answers that are not graded yet never will be."""
        self._pool.kill()
        self._threads.shutdown(cancel_futures=True)
        self._pool.close()

    def _grade(self, question: bytes) -> Grade:
        return Grade(**self._ask(question)["grade"])

    def _ask(self, question: bytes) -> dict[str, Any]:
        for _ in range(TRIES):
            try:
                with self._pool.lease() as process:
                    reply = process.exchange(question, self.seconds)
                return _checked(json.loads(reply))
            except TooSlowError:
                raise WorkerError(f"no grade within grading.seconds = {self.seconds:g}") from None
            except NotStartedError as error:
                raise ConfigError(f"grading.workers: a worker {error}; 0 grades without") from error
            except ProcessLostError:
                if self._pool.is_closed:
                    break
        raise WorkerError(f"the worker died {TRIES} times over an answer")


def _checked(reply: dict[str, Any]) -> dict[str, Any]:
    """Return a worker's reply. Raises: what was raised there; RuntimeError: for a mistake of ours."""
    if "error" in reply:
        kind, text = reply["error"]
        raise getattr(errors, kind)(text)
    if "crash" in reply:
        raise RuntimeError(f"grading failed in a worker process:\n{reply['crash']}")
    return reply
