"""Grading groups of answers while the next ones are sampled: in worker processes, and by a reward model where one is
configured.
"""

import json
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import LifoQueue
from types import TracebackType
from typing import Any, Literal

import onethinker
from onethinker.core import errors
from onethinker.core.errors import ConfigError, EngineError
from onethinker.core.sample import Sample
from onethinker.processes.line_process import LineProcess, ProcessLostError, TooSlowError
from onethinker.rewards.config import GradingSettings
from onethinker.rewards.reward_model import RewardModel
from onethinker.storage.strict_json import to_json
from onethinker.tasks import Grade, Profile, Task, grade_response, read_response, task_of
from onethinker.tasks.grading import judged_grade

START_SECONDS = 60.0
TRIES = 3
"""So often an answer is graded whose worker dies, at work or while it starts; what kills three of them is not tried
again.
"""
Failure = Literal["grading_failed", "reward_failed"]
"""Why a group has no grades: a worker was too slow or died over it, or the reward model has no score for it."""


@dataclass(frozen=True)
class Ungraded:
    """A group that has no grades, and why; it is dropped and counted, never scored by something else."""

    reason: Failure
    text: str


class WorkerError(Exception):
    """An answer got no grade from the workers; the text says why."""


class Grader:
    """Grades groups of answers in the background; what comes back is the same for any number of workers."""

    def __init__(self, settings: GradingSettings, profile: Profile) -> None:
        """Ask the reward model, if there is one, for a first score; workers start with the first answer.

        Raises: EngineError: the reward model cannot be used.
        """
        self.profile = profile
        self._workers = Workers(settings.workers, settings.seconds) if settings.workers else None
        self._model = RewardModel(settings.reward_model) if settings.reward_model is not None else None
        if self._model is not None:
            try:
                self._model.try_out()
            except EngineError:
                self.close()
                raise

    def __enter__(self) -> "Grader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the workers and give up what is under way."""
        if self._model is not None:
            self._model.close()
        if self._workers is not None:
            self._workers.close()

    def submit(self, sample: Sample, responses: Sequence[str]) -> "Grading":
        """Begin to grade the responses to a sample; without workers the tasks' own grading is done when this
        returns.
        """
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
        grades = [self._grade(task, sample, response) for response in responses]
        return Grading(
            task, self.profile, grades, scores, tuple(answers), self._model.name if self._model is not None else ""
        )

    def _grade(self, task: Task[Any], sample: Sample, response: str) -> Future[Grade]:
        if self._workers is not None:
            return self._workers.submit(
                {
                    "problem_type": sample.problem_type,
                    "data_type": sample.data_type,
                    "truth": sample.truth,
                    "options": sample.options,
                    "profile": self.profile,
                    "response": response,
                }
            )
        done: Future[Grade] = Future()
        done.set_result(grade_response(response, sample.truth, task=task, options=sample.options, profile=self.profile))
        return done


@dataclass(frozen=True)
class Grading:
    """A group whose grades are under way; `judged` are the places of the answers that the reward model was sent."""

    task: Task[Any]
    profile: Profile
    grades: Sequence[Future[Grade]]
    scores: Future[list[float]] | None
    judged: tuple[int, ...]
    model: str

    def result(self) -> tuple[Grade, ...] | Ungraded:
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
            for place, score in zip(self.judged, scores, strict=True):
                grades[place] = judged_grade(grades[place], score, task=self.task, profile=self.profile, by=self.model)
        return tuple(grades)


class Workers:
    """Processes that grade one answer each at a time; one that dies or takes too long is replaced."""

    def __init__(self, count: int, seconds: float) -> None:
        """Set the number of processes and the time for one answer; a process starts when there is an answer for it."""
        self.seconds = seconds
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="grading")
        self._processes: list[LineProcess | None] = [None] * count
        # The one that was used last is warm.
        self._free: LifoQueue[int] = LifoQueue()
        for place in reversed(range(count)):
            self._free.put(place)
        self._is_closed = False

    @property
    def pids(self) -> list[int]:
        """The processes that have been started."""
        return [process.pid for process in self._processes if process is not None]

    def submit(self, question: dict[str, Any]) -> Future[Grade]:
        """Return what will hold the grade, or the error: WorkerError, or what grading in this process would raise."""
        return self._threads.submit(self._grade, to_json(question).encode())

    def close(self) -> None:
        """End all processes; answers that are not graded yet never will be."""
        self._is_closed = True
        for process in self._processes:
            if process is not None:
                process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            if process is not None:
                process.close()

    def _grade(self, question: bytes) -> Grade:
        place = self._free.get()
        try:
            return _read_grade(self._ask(place, question))
        finally:
            self._free.put(place)

    def _ask(self, place: int, question: bytes) -> dict[str, Any]:
        for _ in range(TRIES):
            try:
                process = self._processes[place] or self._start(place)
                reply: dict[str, Any] = json.loads(process.exchange(question, self.seconds))
                return reply
            except TooSlowError:
                self._drop(place)
                raise WorkerError(f"no grade within grading.seconds = {self.seconds:g}") from None
            except ProcessLostError:
                self._drop(place)
                if self._is_closed:
                    break
        raise WorkerError(f"the worker died {TRIES} times over an answer")

    def _start(self, place: int) -> LineProcess:
        """Return a new process once it listens.

        Raises: ProcessLostError: it was killed meanwhile, so another may start. ConfigError: it left by itself or never
        listens.
        """
        package = str(Path(onethinker.__file__).parents[1])
        path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
        environment = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        process = LineProcess(
            ["-m", "onethinker.rewards.worker", str(os.getpid())], environment=environment, quiet=False
        )
        self._processes[place] = process
        try:
            process.receive(START_SECONDS)
        except ProcessLostError as error:
            self._drop(place)  # which waits for its end
            if process.ended_by is not None and not isinstance(error, TooSlowError):
                raise
            raise ConfigError(
                f"grading.workers: a worker did not start ({error}); to see why: {process.command}; 0 grades without"
            ) from error
        return process

    def _drop(self, place: int) -> None:
        process, self._processes[place] = self._processes[place], None
        if process is not None:
            process.close()


def _read_grade(reply: dict[str, Any]) -> Grade:
    """Return the grade in a worker's reply. Raises: what was raised there; RuntimeError: for a mistake of ours."""
    if "error" in reply:
        kind, text = reply["error"]
        raise getattr(errors, kind)(text)
    if "crash" in reply:
        raise RuntimeError(f"grading failed in a worker process:\n{reply['crash']}")
    return Grade(**reply["grade"])
