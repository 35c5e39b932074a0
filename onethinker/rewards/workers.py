"""Processes that grade answers, and what becomes of an answer that one is too slow for or dies over."""

import json
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from onethinker.core import errors
from onethinker.core.errors import ConfigError
from onethinker.processes.line_process import NotStartedError, ProcessLostError, TooSlowError, start_module
from onethinker.processes.pool import TRIES, Pool
from onethinker.rewards.extra import AnswerGroup, RewardedGrade
from onethinker.storage.strict_json import json_line
from onethinker.tasks import Grade


class WorkerError(Exception):
    """An answer got no grade from the workers; the text names the reason."""


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

    def add_rewards(self, group: AnswerGroup, weights: Mapping[str, Any]) -> tuple[Grade, ...]:
        """Return the grades of a group with its other rewards, from a worker. Raises: PluginError, WorkerError."""
        reply = self._ask(json_line({"group": asdict(group), "weights": weights}))
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
                raise ConfigError(
                    f"grading.workers: a worker {error}; set grading.workers = 0 to grade without workers"
                ) from error
            except ProcessLostError:
                if self._pool.is_closed:
                    break
        raise WorkerError(f"the worker process died {TRIES} times while grading an answer")


def _checked(reply: dict[str, Any]) -> dict[str, Any]:
    """Return a worker's reply. Raises: what was raised there; RuntimeError: for a mistake of ours."""
    if "error" in reply:
        kind, text = reply["error"]
        raise getattr(errors, kind)(text)
    if "crash" in reply:
        raise RuntimeError(f"grading failed in a worker process:\n{reply['crash']}")
    return reply
