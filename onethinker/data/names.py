"""The names by which samples are meant in settings: problem types, with or without a medium, and files."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from onethinker.core.errors import DataError
from onethinker.core.nearest import no_such
from onethinker.data.synthetic import KINDS
from onethinker.tasks import all_tasks, find_task
from onethinker.tasks.registry import no_task


def scene_kinds(problem_types: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of problem type and medium of the synthetic scenes that names select; all without names. Raises:
    DataError.

    >>> scene_kinds(["tracking"])
    [('tracking', 'video')]
    """
    asked = set(known_names(problem_types))
    return [kind for kind in KINDS if not asked or asked & names_of(kind_of(*kind))]


def known_names(names: Iterable[str], files: Sequence[Path] = ()) -> list[str]:
    """Return names of samples ("tracking", "numerical/video") as the tasks write them, and those of files, such as
    "a.jsonl" for the only one so called, with their whole paths. Raises: DataError: one that there is not.
    """
    return [_file_named(name, files) or _known(name) for name in names]


def _file_named(name: str, files: Sequence[Path]) -> str | None:
    called = [str(file) for file in files if name in (str(file), file.name)]
    return called[0] if len(called) == 1 else None


def _known(name: str) -> str:
    """Return a name of samples as the tasks write it. Raises: DataError: there is no such problem type or medium."""
    problem_type, slash, medium = (part.strip() for part in name.lower().partition("/"))
    known = sorted({task.problem_type for task in all_tasks()})
    if problem_type not in known or (slash and medium not in ("image", "video")):
        wrong = no_task(problem_type) if problem_type not in known else no_such("medium", medium, ("image", "video"))
        raise DataError(f"problem types, {name!r}: {wrong}; /image or /video may follow the name")
    return f"{problem_type}{slash}{medium}"


def kind_of(problem_type: str, data_type: str) -> tuple[str, str]:
    """Return the task key and medium of a sample. Raises: DataError: there is no such task."""
    return find_task(problem_type, data_type).key, data_type


def names_of(kind: tuple[str, str]) -> set[str]:
    """Return the names by which samples of a task and medium can be meant."""
    problem_type = kind[0].partition("/")[0]
    return {problem_type, f"{problem_type}/{kind[1]}"}
