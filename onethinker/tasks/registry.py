"""All tasks in one table, those from outside the package too, and the way to find one."""

from functools import cache
from itertools import combinations
from typing import Any

from onethinker.core.errors import ConfigError, DataError
from onethinker.core.nearest import no_such
from onethinker.core.plugins import Plugin, load_plugins, named_plugins, naming, source_of
from onethinker.core.sample import Sample
from onethinker.tasks.base import Task
from onethinker.tasks.guarding import guarded
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
"""The group under which other packages name their subclasses of `Task`."""
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


_GROUNDING = ("spatial grounding", "temporal grounding", "spatial-temporal grounding")
ALIASES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("grounding", "localization", "localisation", "ground"), _GROUNDING),
    **dict.fromkeys(
        ("detection", "object detection", "bbox", "box", "boxes", "rec", "referring expression comprehension"),
        ("spatial grounding",),
    ),
    **dict.fromkeys(("moment retrieval", "when", "time", "temporal localization", "tvg"), ("temporal grounding",)),
    **dict.fromkeys(("stvg", "spatiotemporal", "tube"), ("spatial-temporal grounding",)),
    **dict.fromkeys(("sot", "vot", "mot", "follow", "object tracking"), ("tracking",)),
    **dict.fromkeys(("mask", "masks", "seg", "ris", "rvos", "cut out", "referring segmentation"), ("segmentation",)),
    **dict.fromkeys(("vqa", "qa", "question answering", "videoqa", "video qa"), ("multiple choice", "open-ended")),
    **dict.fromkeys(("mcq", "mcqa", "choice", "options"), ("multiple choice",)),
    **dict.fromkeys(("caption", "captioning", "describe", "description", "free form", "chat"), ("open-ended",)),
    **dict.fromkeys(("counting", "count", "number"), ("numerical",)),
    **dict.fromkeys(("maths", "geometry", "latex"), ("math",)),
    **dict.fromkeys(("reading", "text recognition", "text", "read"), ("ocr",)),
    **dict.fromkeys(("rating", "score", "float"), ("regression",)),
}
"""What the field also calls our tasks; words are apart by a space."""


_NEEDED = ("problem_type", "key", "instructions", "example", "metrics")
"""What the class of a task must say."""


def all_tasks() -> tuple[Task[Any], ...]:
    """Return the package's own tasks, then those of other distributions and of modules that the user named.

    Raises: ConfigError: one from outside cannot be loaded, is no task, or is about the same as another task.
    """
    return _all_tasks(named_plugins())


@cache
def _all_tasks(named: tuple[str, ...]) -> tuple[Task[Any], ...]:
    outside = load_plugins(ENTRY_POINTS)
    for plugin in outside:
        _check(plugin)
    offered = [(kind, "onethinker's own") for kind in _OWN] + [(plugin.value, plugin.where) for plugin in outside]
    for (first, one), (second, other) in combinations(offered, 2):
        if same := _shared(first, second):
            raise ConfigError(f"two tasks have {same}: {one}, and {other}. Rename one of them, or leave it out")
    return (*(kind() for kind in _OWN), *(_made(plugin.value) for plugin in outside))


def _made(kind: type[Task[Any]]) -> Task[Any]:
    with naming(kind, f"task {kind.key!r}"):
        return guarded(kind())


def _check(plugin: Plugin) -> None:
    """Raises: ConfigError: what is offered as a task is none, or lacks something."""
    kind = plugin.value
    if not (isinstance(kind, type) and issubclass(kind, Task)):
        raise ConfigError(f"{plugin.where} must be a subclass of onethinker.tasks.Task, got {kind!r}")
    lacking = sorted(
        {*getattr(kind, "__abstractmethods__", ()), *(name for name in _NEEDED if not hasattr(kind, name))}
    )
    if lacking:
        raise ConfigError(f"{plugin.where} lacks {', '.join(lacking)}: {source_of(kind)}")
    if kind.problem_type != kind.problem_type.strip().lower():
        raise ConfigError(
            f"{plugin.where}: problem_type must be lower case, got {kind.problem_type!r}: {source_of(kind)}"
        )


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
    data_type = data_type.strip().lower()
    named = [task for task in all_tasks() if task.problem_type == problem_type.strip().lower()]
    if not named:
        raise DataError(no_task(problem_type, data_type))
    for task in named:
        if data_type in task.data_types:
            return task
    known = " or ".join(kind for task in named for kind in task.data_types)
    others = ", ".join(dict.fromkeys(task.problem_type for task in all_tasks() if data_type in task.data_types))
    hint = f"; tasks for {data_type}: {others}" if others else ""
    raise DataError(f"{named[0].problem_type!r} is asked about {known}, not about {data_type!r} (data_type){hint}")


def no_task(problem_type: str, data_type: str | None = None) -> str:
    """Return what to say of a task that there is not; of those as near, the ones for the medium are offered."""
    fitting = [task.problem_type for task in all_tasks() if data_type in task.data_types]
    names = [task.problem_type for task in all_tasks()]
    return no_such("task", problem_type, names, aliases=ALIASES, fitting=fitting)


def task_of(sample: Sample) -> Task[Any]:
    """Return the task that a sample belongs to. Raises: DataError: there is none."""
    return find_task(sample.problem_type, sample.data_type)
