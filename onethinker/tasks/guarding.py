"""Tasks from outside the package, guarded: a mistake in one is named with its file and line, wherever it is called."""

import math
from functools import wraps
from typing import Any

from onethinker.core.errors import PluginError
from onethinker.core.plugins import name_mistakes, replace_method, source_of
from onethinker.tasks.base import Score, Task

_METHODS = (
    *("parse", "read", "parse_truth", "read_like", "repair", "structure", "score"),
    *("boxes", "span", "points", "last_moment", "draw"),
)


def guarded(task: Task[Any]) -> Task[Any]:
    """Return a task of another package, changed in place: what its code raises by mistake becomes a PluginError, and so
    does a score that is none. An AnswerError stays what it is, the reason why an answer cannot be read.
    """
    name_mistakes(task, _METHODS, f"task {task.key!r}")
    score = task.score

    @wraps(score)
    def checked(*arguments: Any, **named: Any) -> Score:
        return check_score(task, score(*arguments, **named))

    replace_method(task, "score", checked)
    return task


def check_score(task: Task[Any], score: Any) -> Score:
    """Return a task's score where it is one. Raises: PluginError: it is none, beyond 0 to 1, or without a metric."""
    where = f"the score of task {task.key!r} ({source_of(task)})"
    if not isinstance(score, Score):
        raise PluginError(f"{where} must be an onethinker.tasks.Score, got {score!r}")
    if not _is_number(score.accuracy) or not 0 <= score.accuracy <= 1:
        raise PluginError(f"{where} must have an accuracy from 0 to 1, got {score.accuracy!r}")
    if set(score.metrics) != set(task.metrics) or not all(map(_is_number, score.metrics.values())):
        expected = ", ".join(task.metrics) or "none"
        raise PluginError(f"{where} must have a finite number for each of its metrics, {expected}; got {score.metrics}")
    return score


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
