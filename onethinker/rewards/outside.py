"""Graders of other packages: a mistake in one is named with its file and line, and nothing is scored by it."""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from onethinker.core.errors import PluginError
from onethinker.core.plugins import naming, source_of
from onethinker.rewards.base import AnswerGrader
from onethinker.rewards.config import RewardModelSettings


class OutsideGrader:
    """An `AnswerGrader` of another package, each of whose scores is checked; what it raises by mistake, and a score
    that is none, is a PluginError.
    """

    def __init__(self, make: Callable[[RewardModelSettings], AnswerGrader], settings: RewardModelSettings) -> None:
        self._make, self._what = make, f"grader {settings.kind!r}"
        with naming(make, self._what):
            self._grader = make(settings)
            self.name = str(self._grader.name)

    def submit(self, question: str, truth: str, answers: Sequence[str]) -> Future[list[float]]:
        """Return what will hold a score of 0 to 1 for each answer, or why there is none."""
        with naming(self._make, self._what):
            given = self._grader.submit(question, truth, answers)
        if not isinstance(given, Future):
            raise PluginError(f"{self._where()}: submit must return a concurrent.futures.Future, got {given!r}")
        checked: Future[list[float]] = Future()

        def check(done: "Future[list[float]]") -> None:
            try:
                with naming(self._make, self._what):
                    scores = done.result()
                checked.set_result(self._checked(scores, answers))
            except BaseException as error:
                # Whatever it is, the thread that waits for the scores raises it.
                checked.set_exception(error)

        given.add_done_callback(check)
        return checked

    def try_out(self) -> None:
        """Do nothing where it can be used. Raises: EngineError, PluginError."""
        with naming(self._make, self._what):
            self._grader.try_out()

    def close(self) -> None:
        """Drop the requests in flight."""
        with naming(self._make, self._what):
            self._grader.close()

    def _checked(self, scores: object, answers: Sequence[str]) -> list[float]:
        try:
            values = [float(score) for score in scores]  # type: ignore[attr-defined]
        except (TypeError, ValueError):
            values = []
        if len(values) != len(answers) or not all(math.isfinite(value) and 0 <= value <= 1 for value in values):
            raise PluginError(
                f"{self._where()} must give a score from 0 to 1 for each of {len(answers)} answers, got {scores!r}"
            )
        return values

    def _where(self) -> str:
        return f"{self._what} ({source_of(self._make)})"
