"""The order of training data: an endless sequence in which every task has its share, a function of seed and number
alone.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onethinker.core.errors import DataError
from onethinker.core.sample import Medium, Sample
from onethinker.data.formats.released import read_samples
from onethinker.data.synthetic import KINDS, make_sample
from onethinker.data.synthetic.worlds import WorldName
from onethinker.tasks import all_tasks, find_task

Places = np.ndarray[tuple[int], np.dtype[np.int64]]
"""Places of records in their pool."""


@dataclass(frozen=True)
class Mixture:
    """Samples by number, in rounds: a round holds each task as often as its weight says, shuffled.

    `tasks` maps a task's task key to its weight, `media` to the weights of "image" and "video" inside it, and
    `pools` its name and medium to its records; without pools scenes are drawn on the spot. The media of a task take
    turns in rounds of their own, and so do the records of each: every record comes once before any comes again. A turn
    is `together` numbers long, so that records about one clip may come one after the other.
    """

    seed: int
    tasks: dict[str, int]
    media: dict[str, dict[str, int]]
    pools: dict[tuple[str, str], tuple[Sample, ...]] | None
    together: int = 1
    world: WorldName = "shapes"
    unused: tuple[str, ...] = ()
    """Weights of problem types that the files do not have: they say nothing."""

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
        there = list(pools) if files else [_kind(*kind) for kind in KINDS]
        kinds = [kind for kind in there if not asked or asked & _names(kind)]
        absent = {what: _absent(named, kinds) for what, named in (("asked for", asked), ("weighted", set(weight)))}
        for what, missing in absent.items():
            if missing and not (files and what == "weighted"):
                raise DataError(
                    f"{_places(files)}: no sample of the problem types {list(missing)}, which are {what}; there are "
                    f"{', '.join(sorted({name for kind in there for name in _names(kind)}))}"
                )
        if not kinds:
            raise DataError(f"{_places(files)}: no sample of any problem type")
        order = [task.key for task in all_tasks()]
        media: dict[str, dict[str, int]] = {}
        tasks: dict[str, int] = {}
        for task, medium in sorted(kinds, key=lambda kind: (order.index(kind[0]), kind[1])):
            problem_type = task.partition("/")[0]
            tasks[task] = weight.get(problem_type, 1)
            media.setdefault(task, {})[medium] = weight.get(f"{problem_type}/{medium}", 1)
        if not files:
            return cls(seed, tasks, media, None, 1 if world == "shapes" else questions_per_clip, world)
        ordered = {kind: _by_clip(pools[kind], questions_per_clip) for kind in kinds}
        return cls(seed, tasks, media, ordered, questions_per_clip, unused=absent["weighted"])

    def sample(self, number: int) -> Sample:
        """Return sample `number` (from 0) of the endless order."""
        return next(self.candidates(number))

    def candidates(self, number: int) -> Iterator[Sample]:
        """Yield sample `number`, then what may stand in for it where it cannot be read: the other records of its task
        and medium.

        First come those of other turns, because what shares its turn is likely to be about the same clip.
        """
        turn, place = divmod(number, self.together)
        task, of_task = _draw(self.seed, "tasks", self.tasks, turn)
        medium, of_medium = _draw(self.seed, f"{task} media", self.media[task], of_task)
        if self.pools is None:
            yield make_sample(
                self.seed, turn, problem_type=task.partition("/")[0], data_type=medium, world=self.world, question=place
            )
            return
        pool = self.pools[task, medium]
        epoch, first = divmod(of_medium * self.together + place, len(pool))
        order = _order(self.seed, f"{task} {medium}", epoch, len(pool), self.together)
        for aside in range(self.together):
            for ahead in range(aside, len(pool), self.together):
                yield pool[int(order[(first + ahead) % len(pool)])]


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
        raise DataError(
            f"unknown problem types {name!r}; known are {known}, each with or without /image or /video behind it"
        )
    return f"{problem_type}{slash}{medium}"


def _kind(problem_type: str, data_type: str) -> tuple[str, str]:
    return find_task(problem_type, data_type).key, data_type


def _names(kind: tuple[str, str]) -> set[str]:
    """Return the names by which samples of a task and medium can be meant."""
    problem_type = kind[0].partition("/")[0]
    return {problem_type, f"{problem_type}/{kind[1]}"}


def _absent(named: set[str], kinds: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(sorted(name for name in named if not any(name in _names(kind) for kind in kinds)))


def _places(files: Sequence[Path]) -> str:
    return ", ".join(map(str, files)) or "synthetic scenes"


def _draw(seed: int, purpose: str, weights: Mapping[str, int], number: int) -> tuple[str, int]:
    """Return which name turn `number` falls on, and how often it came before."""
    a_round = [name for name, weight in weights.items() for _ in range(weight)]
    turn, place = divmod(number, len(a_round))
    order = [a_round[n] for n in _permutation(seed, purpose, turn, len(a_round))]
    return order[place], turn * weights[order[place]] + order[:place].count(order[place])


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
    blocks_by_room: list[list[list[Sample]]] = [[] for _ in range(size + 1)]
    for run in sorted(runs, key=len, reverse=True):
        room = next((room for room in range(len(run), size) if blocks_by_room[room]), None)
        block = [] if room is None else blocks_by_room[room].pop()
        blocks_by_room[size - len(block) - len(run)].append(block + run)
    return tuple(sample for blocks in blocks_by_room for block in blocks for sample in block)


def _order(seed: int, purpose: str, epoch: int, count: int, size: int) -> Places:
    """Return which of `count` records in blocks of `size` comes when in an epoch: blocks are shuffled, and begin where
    turns begin.
    """
    whole = count // size
    blocks_BS = _permutation(seed, purpose, epoch, whole)[:, None] * size + np.arange(size)
    order = np.concatenate([blocks_BS.ravel(), np.arange(whole * size, count)])
    return np.roll(order, -epoch * count % size)


def _permutation(seed: int, purpose: str, epoch: int, length: int) -> Places:
    """Return the order of an epoch; the same arguments give the same order on every machine."""
    return np.random.default_rng([seed, *purpose.encode(), epoch]).permutation(length)
