"""The order of training data: an endless sequence in which every task has its share, a function of seed and number alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onethinker.data.formats import read_samples
from onethinker.data.sample import Sample
from onethinker.errors import DataError
from onethinker.synthetic import make_sample
from onethinker.tasks import TASKS, find_task


@dataclass(frozen=True)
class Mixture:
    """Samples by number. `pools` maps a task's statistics name to its records; without pools scenes are drawn on the spot.

    Any stretch of as many numbers as there are tasks, counted from a multiple of it, holds each task once. Inside a task
    every record comes once before any comes again, in an order of its own each time.
    """

    seed: int
    tasks: tuple[str, ...]
    pools: dict[str, tuple[Sample, ...]] | None

    @classmethod
    def open(cls, files: Sequence[Path], problem_types: Sequence[str], seed: int) -> "Mixture":
        """Return the mixture of all records in the files, or of synthetic scenes when there are none.

        Raises: DataError: an unknown problem type, a bad record, or no record of the types asked for.
        """
        asked = {name.strip().lower() for name in problem_types}
        unknown = sorted(asked - {task.problem_type for task in TASKS})
        if unknown:
            raise DataError(f"unknown problem types {unknown}; known are {sorted({task.problem_type for task in TASKS})}")
        names = tuple(task.statistics for task in TASKS if not asked or task.problem_type in asked)
        if not files:
            return cls(seed, names, None)
        pools: dict[str, list[Sample]] = {}
        for file in files:
            for sample in read_samples(file):
                pools.setdefault(find_task(sample.problem_type, sample.data_type).statistics, []).append(sample)
        kept = {name: tuple(pools[name]) for name in names if name in pools}
        missing = sorted(asked - {name.partition("/")[0] for name in kept})
        if missing or not kept:
            what = f"the problem types {missing}" if missing else "any problem type"
            raise DataError(f"{', '.join(map(str, files))}: no sample of {what}")
        return cls(seed, tuple(kept), kept)

    def sample(self, number: int) -> Sample:
        """Return sample `number` (from 0) of the endless order."""
        turn, place = divmod(number, len(self.tasks))
        name = self.tasks[int(_permutation(self.seed, "tasks", turn, len(self.tasks))[place])]
        if self.pools is None:
            problem_type, _, data_type = name.partition("/")
            return make_sample(self.seed, number, problem_type=problem_type, data_type=data_type or None)
        pool = self.pools[name]
        epoch, record = divmod(turn, len(pool))
        return pool[int(_permutation(self.seed, name, epoch, len(pool))[record])]


def _permutation(seed: int, purpose: str, epoch: int, length: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the order of an epoch; the same arguments give the same order on every machine."""
    return np.random.default_rng([seed, *purpose.encode(), epoch]).permutation(length)
