"""All tasks in one table, those from outside the package too, and the way to find one."""

from functools import cache
from itertools import combinations
from typing import Any

from onethinker.core.errors import ConfigError, DataError
from onethinker.core.plugins import load_plugins
from onethinker.core.sample import Sample
from onethinker.tasks.base import Task
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

ENTRY_POINTS = "onethinker.tasks"
"""The group under which other distributions name their subclasses of `Task`."""
_OWN: tuple[type[Task[Any]], ...] = (
    MultipleChoice,
    Numerical,
    Regression,
    Mathematics,
    Ocr,
    OpenEnded,
    SpatialGrounding,
    TemporalGrounding,
    SpatiotemporalGrounding,
    Tracking,
    ImageSegmentation,
    VideoSegmentation,
)
"""One row a task; segmentation has two, because pictures and videos are answered and averaged apart."""


@cache
def all_tasks() -> tuple[Task[Any], ...]:
    """Return the package's own tasks, then those of other distributions.

    Raises: ConfigError: an entry point cannot be loaded, is no task, or is about the same as another task.
    """
    offered: list[tuple[type[Task[Any]], str]] = [(kind, "onethinker's own") for kind in _OWN]
    for plugin in load_plugins(ENTRY_POINTS):
        if not (isinstance(plugin.value, type) and issubclass(plugin.value, Task)):
            raise ConfigError(
                f"entry point {plugin.where} must name a subclass of onethinker.tasks.Task, got {plugin.value!r}"
            )
        offered.append((plugin.value, plugin.where))
    for (first, one), (second, other) in combinations(offered, 2):
        if same := _shared(first, second):
            raise ConfigError(f"two tasks have {same}: {one}, and {other}. Rename or uninstall one of them")
    return tuple(kind() for kind, _ in offered)


def _shared(first: type[Task[Any]], second: type[Task[Any]]) -> str:
    """Return what two tasks may not have in common and do, "" for nothing."""
    if first.key == second.key:
        return f"the task key {first.key!r}"
    both = set(first.data_types) & set(second.data_types)
    if first.problem_type == second.problem_type and both:
        return f"the problem type {first.problem_type!r} for {' and '.join(sorted(both))}"
    return ""


def find_task(problem_type: str, data_type: str) -> Task[Any]:
    """Return the task of a problem type and of what it is asked about ("image" or "video"), in any case.

    >>> find_task("Spatial Grounding", "image").key
    'spatial grounding'

    Raises: DataError
    """
    named = [task for task in all_tasks() if task.problem_type == problem_type.strip().lower()]
    if not named:
        known = ", ".join(dict.fromkeys(task.problem_type for task in all_tasks()))
        raise DataError(f"problem_type must be one of {known}, got {problem_type!r}")
    for task in named:
        if data_type.strip().lower() in task.data_types:
            return task
    known = " or ".join(data_type for task in named for data_type in task.data_types)
    raise DataError(f"data_type of {named[0].problem_type!r} must be {known}, got {data_type!r}")


def task_of(sample: Sample) -> Task[Any]:
    """Return the task that a sample belongs to. Raises: DataError: there is none."""
    return find_task(sample.problem_type, sample.data_type)
