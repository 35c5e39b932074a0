"""All tasks in one table, and the way to find and grade them."""

from typing import Any

from onethinker.core.errors import DataError
from onethinker.tasks.base import Grade, Profile, Task, grade_response, max_reward
from onethinker.tasks.mathematics import Mathematics
from onethinker.tasks.multiple_choice import MultipleChoice
from onethinker.tasks.numerical import Numerical
from onethinker.tasks.ocr import Ocr
from onethinker.tasks.open_ended import OpenEnded
from onethinker.tasks.regression import Regression
from onethinker.tasks.segmentation import ImageSegmentation, VideoSegmentation
from onethinker.tasks.spatial_grounding import SpatialGrounding
from onethinker.tasks.spatiotemporal_grounding import SpatiotemporalGrounding
from onethinker.tasks.temporal_grounding import TemporalGrounding
from onethinker.tasks.tracking import Tracking

__all__ = ["TASKS", "Grade", "Profile", "Task", "find_task", "grade_response", "max_reward"]

TASKS: tuple[Task[Any], ...] = (
    MultipleChoice(),
    Numerical(),
    Regression(),
    Mathematics(),
    Ocr(),
    OpenEnded(),
    SpatialGrounding(),
    TemporalGrounding(),
    SpatiotemporalGrounding(),
    Tracking(),
    ImageSegmentation(),
    VideoSegmentation(),
)
"""One row a task; segmentation has two, because pictures and videos are answered and averaged apart."""


def find_task(problem_type: str, data_type: str) -> Task[Any]:
    """Return the task of a problem type and of what it is asked about ("image" or "video"), in any case.

    >>> find_task("Spatial Grounding", "image").statistics
    'spatial grounding'

    Raises: DataError
    """
    named = [task for task in TASKS if task.problem_type == problem_type.strip().lower()]
    if not named:
        known = ", ".join(dict.fromkeys(task.problem_type for task in TASKS))
        raise DataError(f"problem_type must be one of {known}, got {problem_type!r}")
    for task in named:
        if data_type.strip().lower() in task.data_types:
            return task
    known = " or ".join(data_type for task in named for data_type in task.data_types)
    raise DataError(f"data_type of {named[0].problem_type!r} must be {known}, got {data_type!r}")
