"""The records of files by task and medium, from which a mixture is drawn, and how many turns in a round each has."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from onethinker.core.errors import DataError
from onethinker.core.sample import Sample
from onethinker.data.formats.released import read_samples
from onethinker.data.names import kind_of, names_of
from onethinker.data.rounds import Mixing, turns_of
from onethinker.tasks import all_tasks

Leaf = tuple[str, ...]
"""Where records are drawn from: task and medium, after the file where files are mixed."""
LEVELS: Mapping[str, tuple[str, ...]] = {"task": ("tasks", "media"), "file": ("files", "tasks", "media")}
"""What is drawn, one after the other, by what is mixed."""


@dataclass(frozen=True)
class Mix:
    """How often who comes: the shares of tasks or files, by `turns_of`; seeds of their own; the order by difficulty.

    `rate_field` names a number of each record that is larger the easier it is, and `direction` is -1 where the easiest
    come first, 1 where the hardest do.
    """

    by: Literal["task", "file"] = "task"
    mixing: Mixing = "equal"
    temperature: float = 1.0
    seeds: Mapping[str, int] = field(default_factory=dict)
    rate_field: str = ""
    direction: int = 0


EQUAL = Mix()
"""Every task equally often."""


class Record(NamedTuple):
    """A sample, the index of its file, and how easy it is."""

    sample: Sample
    file: int
    rate: float


def kind_name(leaf: Leaf) -> str:
    """Return the problem type and medium of a leaf, as "tracking/video"."""
    return f"{leaf[-2].partition('/')[0]}/{leaf[-1]}"


def read_pools(files: Sequence[Path], leave_out: Mapping[Path, Collection[int]], mix: Mix) -> dict[Leaf, list[Record]]:
    """Return the records of files by leaf."""
    found: dict[Leaf, list[Record]] = {}
    for index, file in enumerate(files):
        for sample in read_samples(file, leave_out=leave_out.get(file, ())):
            leaf = kind_of(sample.problem_type, sample.data_type)
            rate = float(sample.extra.get(mix.rate_field, 0.0)) if mix.rate_field else 0.0
            found.setdefault((str(file), *leaf) if mix.by == "file" else leaf, []).append(Record(sample, index, rate))
    return found


def turns_of_levels(
    sizes: Mapping[Leaf, int], weights: Mapping[str, float], mix: Mix, together: int
) -> dict[Leaf, dict[str, int]]:
    """Return the turns of every level, in the order of all tasks. Inside a file everything has its own share."""
    order = [task.key for task in all_tasks()]
    below: dict[Leaf, dict[str, int]] = {}
    for leaf in sorted(sizes, key=lambda leaf: (leaf[:-2], order.index(leaf[-2]), leaf[-1])):
        for depth, name in enumerate(leaf):
            under = below.setdefault(leaf[:depth], {})
            under[name] = under.get(name, 0) + sizes[leaf]
    return {
        leaf: turns_of(
            under,
            {name: weights[key] for name in under if (key := _weight_key(leaf, name, mix)) in weights},
            mix.mixing if mix.by == "task" or not leaf else "proportional",
            temperature=mix.temperature,
            together=together,
        )
        for leaf, under in below.items()
    }


def _weight_key(leaf: Leaf, name: str, mix: Mix) -> str:
    """Return the name of a file, task or medium in `weights`."""
    is_medium = len(leaf) == len(LEVELS[mix.by]) - 1
    if is_medium:
        return f"{leaf[-1].partition('/')[0]}/{name}"
    return name.partition("/")[0] if leaf or mix.by == "task" else name


def check_present(source: str, present: Sequence[tuple[str, str]], absent: Mapping[str, Collection[str]]) -> None:
    """Raise DataError where there are no samples, or none of the problem types that somebody needs."""
    for needed, missing in absent.items():
        if missing:
            raise DataError(
                f"{source}: no sample has the problem types {list(missing)}, which are {needed}; there are"
                f" {', '.join(sorted(set().union(*map(names_of, present))))}"
            )
    if not present:
        raise DataError(f"{source}: has no samples")


def absent_from(kinds: Sequence[tuple[str, str]], named: set[str]) -> tuple[str, ...]:
    """Return which of some names no task and medium has, sorted."""
    return tuple(sorted(name for name in named if not any(name in names_of(kind) for kind in kinds)))
