"""The order of training data: an endless sequence of all tasks by weight, a function of seed and index alone."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from onethinker.core.errors import DataError
from onethinker.core.nearest import no_such
from onethinker.core.sample import Medium, Sample
from onethinker.data.formats.released import read_samples
from onethinker.data.synthetic import KINDS, make_sample
from onethinker.data.synthetic.worlds import WorldName
from onethinker.tasks import all_tasks, find_task
from onethinker.tasks.registry import no_task

Order = np.ndarray[tuple[int], np.dtype[np.int64]]
"""Indices of records in their pool."""


@dataclass(frozen=True)
class Mixture:
    """Samples by index, in rounds: a round holds each task as often as its weight says, shuffled.

    `tasks` maps a task's task key to its weight, `media` to the weights of "image" and "video" inside it, and
    `pools` its name and medium to its records; without pools scenes are drawn on the spot. The media of a task take
    turns in rounds of their own, and so do the records of each: every record comes once before any comes again. A turn
    is `together` samples long, so that records about one clip may come one after the other.
    """

    seed: int
    tasks: dict[str, int]
    media: dict[str, dict[str, int]]
    pools: dict[tuple[str, str], tuple[Sample, ...]] | None
    together: int = 1
    world: WorldName = "shapes"
    unused: tuple[str, ...] = ()
    """Weights of problem types that the files do not have: they have no effect."""

    @property
    def num_records(self) -> int | None:
        """Records in all pools; None for scenes, which have no end."""
        return None if self.pools is None else sum(map(len, self.pools.values()))

    @classmethod
    def open(
        cls,
        files: Sequence[Path],
        problem_types: Sequence[str],
        weights: Mapping[str, int],
        seed: int,
        questions_per_clip: int = 1,
        world: WorldName = "shapes",
        leave_out: Mapping[Path, Collection[int]] | None = None,
    ) -> "Mixture":
        """Return the mixture of all records in the files, or of synthetic scenes of a world when there are none.

        A problem type, or one with its medium such as "numerical/video", selects samples in `problem_types` (none: all)
        and has its weight in `weights` (absent: 1). Up to `questions_per_clip` records of a task about the same media
        share a turn. `leave_out` has rows of files that are not drawn.

        Raises: DataError: an unknown problem type, a bad record, no record of a type asked for, or a weight for scenes
        that are not drawn.
        """
        asked = set(known_names(problem_types))
        weight = dict(zip(known_names(weights), weights.values(), strict=True))
        pools: dict[tuple[str, str], list[Sample]] = {}
        for file in files:
            for sample in read_samples(file, leave_out=(leave_out or {}).get(file, ())):
                pools.setdefault(_kind(sample.problem_type, sample.data_type), []).append(sample)
        present = list(pools) if files else [_kind(*kind) for kind in KINDS]
        kinds = [kind for kind in present if not asked or asked & _names(kind)]
        unused = _absent(set(weight), kinds)
        source = ", ".join(map(str, files)) or "synthetic scenes"
        _check_present(source, present, {"asked for": _absent(asked, kinds), "weighted": () if files else unused})
        tasks, media = _weights(kinds, weight)
        if not files:
            return cls(seed, tasks, media, None, 1 if world == "shapes" else questions_per_clip, world)
        ordered = {kind: _by_clip(pools[kind], questions_per_clip) for kind in kinds}
        return cls(seed, tasks, media, ordered, questions_per_clip, unused=unused)

    def sample(self, index: int) -> Sample:
        """Return sample `index` (from 0) of the endless order."""
        return next(self.candidates(index))

    def candidates(self, index: int) -> Iterator[Sample]:
        """Yield sample `index`, then its substitutes where it cannot be read: the other records of its task
        and medium.

        First come those of other turns, because what shares its turn is likely to be about the same clip.
        """
        turn, position = divmod(index, self.together)
        task, of_task = _draw(self.seed, "tasks", self.tasks, turn)
        medium, of_medium = _draw(self.seed, f"{task} media", self.media[task], of_task)
        if self.pools is None:
            yield make_sample(
                self.seed,
                turn,
                problem_type=task.partition("/")[0],
                data_type=medium,
                world=self.world,
                question=position,
            )
            return
        pool = self.pools[task, medium]
        epoch, first = divmod(of_medium * self.together + position, len(pool))
        order = _order(self.seed, f"{task} {medium}", epoch, len(pool), self.together)
        for offset in range(self.together):
            for step in range(offset, len(pool), self.together):
                yield pool[int(order[(first + step) % len(pool)])]

    def passes(self, drawn: int) -> dict[str, float]:
        """Return for each task and medium, as "tracking/video", how many passes over its records the first `drawn`
        samples of the order are; {} for scenes, which have no end.
        """
        if self.pools is None:
            return {}
        turns, begun = divmod(drawn, self.together)
        found: dict[str, float] = {}
        now, after = (self._turns(count) for count in (turns, turns + 1))
        for (task, medium), pool in self.pools.items():
            count = now[task, medium] * self.together + (after[task, medium] - now[task, medium]) * begun
            found[f"{task.partition('/')[0]}/{medium}"] = count / len(pool)
        return found

    def _turns(self, count: int) -> dict[tuple[str, str], int]:
        """Return how many of the first turns are each task's with each medium."""
        return {
            (task, medium): turns
            for task, of_task in _counts(self.seed, "tasks", self.tasks, count).items()
            for medium, turns in _counts(self.seed, f"{task} media", self.media[task], of_task).items()
        }


def scene_kinds(problem_types: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of problem type and medium of the synthetic scenes that names select; all without names. Raises:
    DataError.

    >>> scene_kinds(["tracking"])
    [('tracking', 'video')]
    """
    asked = set(known_names(problem_types))
    return [kind for kind in KINDS if not asked or asked & _names(_kind(*kind))]


def known_names(names: Iterable[str]) -> list[str]:
    """Return names of samples ("tracking", "numerical/video") as the tasks write them. Raises: DataError: one that
    there is not.
    """
    return [_known(name) for name in names]


def _known(name: str) -> str:
    """Return a name of samples as the tasks write it. Raises: DataError: there is no such problem type or medium."""
    problem_type, slash, medium = (part.strip() for part in name.lower().partition("/"))
    known = sorted({task.problem_type for task in all_tasks()})
    if problem_type not in known or (slash and medium not in ("image", "video")):
        wrong = no_task(problem_type) if problem_type not in known else no_such("medium", medium, ("image", "video"))
        raise DataError(f"problem types, {name!r}: {wrong}; each may have /image or /video behind it")
    return f"{problem_type}{slash}{medium}"


def _kind(problem_type: str, data_type: str) -> tuple[str, str]:
    return find_task(problem_type, data_type).key, data_type


def _names(kind: tuple[str, str]) -> set[str]:
    """Return the names by which samples of a task and medium can be meant."""
    problem_type = kind[0].partition("/")[0]
    return {problem_type, f"{problem_type}/{kind[1]}"}


def _check_present(source: str, present: Sequence[tuple[str, str]], absent: Mapping[str, Collection[str]]) -> None:
    """Raise DataError where there are no samples, or none of the problem types that somebody needs."""
    for needed, missing in absent.items():
        if missing:
            raise DataError(
                f"{source}: no sample of the problem types {list(missing)}, which are {needed}; there are "
                f"{', '.join(sorted(set().union(*map(_names, present))))}"
            )
    if not present:
        raise DataError(f"{source}: no sample of any problem type")


def _absent(named: set[str], kinds: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(sorted(name for name in named if not any(name in _names(kind) for kind in kinds)))


def _weights(
    kinds: Iterable[tuple[str, str]], weight: Mapping[str, int]
) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """Return the weights of tasks, and of the media inside each, in the order of all tasks."""
    order = [task.key for task in all_tasks()]
    tasks: dict[str, int] = {}
    media: dict[str, dict[str, int]] = {}
    for task, medium in sorted(kinds, key=lambda kind: (order.index(kind[0]), kind[1])):
        problem_type = task.partition("/")[0]
        tasks[task] = weight.get(problem_type, 1)
        media.setdefault(task, {})[medium] = weight.get(f"{problem_type}/{medium}", 1)
    return tasks, media


def _draw(seed: int, purpose: str, weights: Mapping[str, int], index: int) -> tuple[str, int]:
    """Return the name that turn `index` is for, and how often it came before."""
    a_round = [name for name, weight in weights.items() for _ in range(weight)]
    turn, position = divmod(index, len(a_round))
    order = [a_round[n] for n in _permutation(seed, purpose, turn, len(a_round))]
    name = order[position]
    return name, turn * weights[name] + order[:position].count(name)


def _counts(seed: int, purpose: str, weights: Mapping[str, int], count: int) -> dict[str, int]:
    """Return how often each name has a turn among the first `count`."""
    rounds, rest = divmod(count, sum(weights.values()))
    last = [_draw(seed, purpose, weights, count - rest + n)[0] for n in range(rest)]
    return {name: rounds * weight + last.count(name) for name, weight in weights.items()}


def _by_clip(samples: Sequence[Sample], size: int) -> tuple[Sample, ...]:
    """Return samples in blocks of `size`, the last shorter, in which those about the same media are together as far as
    they fit.
    """
    if size == 1:
        return tuple(samples)
    clips: dict[tuple[Medium, ...], list[Sample]] = {}
    for sample in samples:
        clips.setdefault(sample.media, []).append(sample)
    runs = [clip[first : first + size] for clip in clips.values() for first in range(0, len(clip), size)]
    blocks_by_free: list[list[list[Sample]]] = [[] for _ in range(size + 1)]  # how many samples still fit
    for run in sorted(runs, key=len, reverse=True):
        fitting: list[list[Sample]] = next(filter(None, blocks_by_free[len(run) : size]), [[]])
        block = fitting.pop()
        blocks_by_free[size - len(block) - len(run)].append(block + run)
    return tuple(chain.from_iterable(chain.from_iterable(blocks_by_free)))


def _order(seed: int, purpose: str, epoch: int, count: int, size: int) -> Order:
    """Return which of `count` records in blocks of `size` comes when in an epoch: blocks are shuffled, and begin where
    turns begin.
    """
    full = count // size
    blocks_BS = _permutation(seed, purpose, epoch, full)[:, None] * size + np.arange(size)
    order = np.concatenate([blocks_BS.ravel(), np.arange(full * size, count)])
    return np.roll(order, -epoch * count % size)


def _permutation(seed: int, purpose: str, epoch: int, length: int) -> Order:
    """Return the order of an epoch; the same arguments give the same order on every machine."""
    return np.random.default_rng([seed, *purpose.encode(), epoch]).permutation(length)
