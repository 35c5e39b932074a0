"""The tasks: what each asks, how an answer is read, graded and drawn."""

from onethinker.tasks.base import (
    LENIENT,
    STRICT,
    Coordinates,
    Reader,
    ReadingMode,
    RewardScheme,
    Score,
    StructuredTask,
    Task,
)
from onethinker.tasks.grading import Grade, grade_response, max_reward, parse_truth
from onethinker.tasks.reading import Reading, read_response
from onethinker.tasks.registry import all_tasks, find_task, task_of

__all__ = [
    "LENIENT",
    "STRICT",
    "Coordinates",
    "Grade",
    "Reader",
    "Reading",
    "ReadingMode",
    "RewardScheme",
    "Score",
    "StructuredTask",
    "Task",
    "all_tasks",
    "find_task",
    "grade_response",
    "max_reward",
    "parse_truth",
    "read_response",
    "task_of",
]
