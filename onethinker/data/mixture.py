"""The order of training data: an endless sequence of all tasks by weight, a function of seed and index alone."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from onethinker.core.errors import DataError
from onethinker.core.sample import Sample
from onethinker.data.names import kind_of, known_names, names_of
from onethinker.data.pools import (
    EQUAL,
    LEVELS,
    Leaf,
    Mix,
    Record,
    absent_from,
    check_present,
    kind_name,
    read_pools,
    turns_of_levels,
)
from onethinker.data.rounds import Numbers, Order, counts, draw, in_blocks, order_of_epoch
from onethinker.data.synthetic import KINDS, make_pair, make_sample
from onethinker.data.synthetic.worlds import WorldName


@dataclass(frozen=True)
class Mixture:
    """Samples by index, in rounds: a round holds each task (or file) as often as its share says, shuffled.

    `turns` says how many turns in a round each task has, under its name what each of its media has, and so on; `pools`
    has the records of each leaf. Without pools scenes are drawn on the spot. The records of a leaf take turns in rounds
    of their own: every record comes once before any comes again. A turn is `together` samples long, so that records
    about one clip may come one after the other. `planned` is how many samples the run draws, where records are sorted.
    """

    seed: int
    turns: Mapping[Leaf, Mapping[str, int]]
    pools: Mapping[Leaf, tuple[Record, ...]] | None
    together: int = 1
    world: WorldName = "shapes"
    unused: tuple[str, ...] = ()
    """Weights of problem types that the files do not have: they have no effect."""
    files: tuple[Path, ...] = ()
    mix: Mix = EQUAL
    planned: int | None = None
    pairs: bool = False
    """Whether scenes come with a worse response."""
    _orders: dict[Leaf, tuple[int, Order]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def num_records(self) -> int | None:
        """Records in all pools; None for scenes, which have no end."""
        return None if self.pools is None else sum(map(len, self.pools.values()))

    @classmethod
    def open(
        cls,
        files: Sequence[Path],
        problem_types: Sequence[str],
        weights: Mapping[str, float],
        seed: int,
        questions_per_clip: int = 1,
        world: WorldName = "shapes",
        leave_out: Mapping[Path, Collection[int]] | None = None,
        mix: Mix = EQUAL,
    ) -> "Mixture":
        """Return the mixture of all records in the files, or of synthetic scenes of a world when there are none.

        A problem type, or one with its medium such as "numerical/video", selects samples in `problem_types` (none: all)
        and has its weight in `weights` (absent: 1), as has a file where files are mixed. Up to `questions_per_clip`
        records of a task about the same media share a turn. `leave_out` has rows of files that are not drawn.

        Raises: DataError: an unknown problem type, a bad record, no record of a type asked for, or a weight for scenes
        that are not drawn.
        """
        asked = set(known_names(problem_types))
        weight, mix = _with_known_names(weights, mix, files)
        found = read_pools(files, leave_out or {}, mix)
        present = list(dict.fromkeys((leaf[-2], leaf[-1]) for leaf in found))
        present = present if files else [kind_of(*kind) for kind in KINDS]
        kinds = [kind for kind in present if not asked or asked & names_of(kind)]
        unused = absent_from(kinds, set(weight) - set(map(str, files)))
        source = ", ".join(map(str, files)) or "synthetic scenes"
        check_present(source, present, {"asked for": absent_from(kinds, asked), "weighted": () if files else unused})
        together = questions_per_clip if files or world != "shapes" else 1
        pools = {
            leaf: in_blocks(records, lambda record: record.sample.media, together)
            for leaf, records in found.items()
            if leaf[-2:] in kinds
        }
        sizes = {leaf: len(pool) for leaf, pool in pools.items()} or dict.fromkeys(kinds, 1)
        turns = turns_of_levels(sizes, weight, mix, together)
        return cls(seed, turns, pools if files else None, together, world, unused, tuple(files), mix)

    def sample(self, index: int) -> Sample:
        """Return sample `index` (from 0) of the endless order."""
        return next(self.candidates(index))

    def candidates(self, index: int) -> Iterator[Sample]:
        """Yield sample `index`, then its substitutes where it cannot be read: the other records of its task
        and medium.

        First come those of other turns, because what shares its turn is likely to be about the same clip.
        """
        turn, position = divmod(index, self.together)
        leaf: Leaf = ()
        of_leaf = turn
        for level in LEVELS[self.mix.by]:
            name, of_leaf = draw(self.seed, " ".join([*leaf, level]), self.turns[leaf], of_leaf)
            leaf = (*leaf, name)
        task, medium = leaf[-2:]
        if self.pools is None:
            make = make_pair if self.pairs else make_sample
            yield make(
                self.seed,
                turn,
                problem_type=task.partition("/")[0],
                data_type=medium,
                world=self.world,
                question=position,
            )
            return
        pool = self.pools[leaf]
        epoch, first = divmod(of_leaf * self.together + position, len(pool))
        order = self._order(leaf, epoch)
        for offset in range(self.together):
            for step in range(offset, len(pool), self.together):
                yield pool[int(order[(first + step) % len(pool)])].sample

    def passes(self, drawn: int) -> dict[str, float]:
        """Return for each task and medium, as "tracking/video", how many passes over its records the first `drawn`
        samples of the order are; {} for scenes, which have no end.
        """
        of_kind: Counter[str] = Counter()
        for leaf, count in self._drawn(drawn).items():
            of_kind[kind_name(leaf)] += count
        return {kind: of_kind[kind] / size for kind, size in self.sizes[0].items()}

    def file_passes(self, drawn: int) -> dict[str, float]:
        """Return the same for each file that has records to draw, by its path."""
        of_file = np.zeros(len(self.files), np.int64)
        for leaf, count in self._drawn(drawn).items():
            epochs, rest = divmod(count, len(self._origins[leaf]))
            last = self._origins[leaf][self._order(leaf, epochs)[:rest]]
            of_file += epochs * np.bincount(self._origins[leaf], minlength=len(self.files))
            of_file += np.bincount(last, minlength=len(self.files))
        names = map(str, self.files)
        return {
            file: int(count) / self.sizes[1][file]
            for file, count in zip(names, of_file, strict=True)
            if file in self.sizes[1]
        }

    @cached_property
    def sizes(self) -> tuple[dict[str, int], dict[str, int]]:
        """Records of each task and medium, and of each file that has some."""
        kinds: Counter[str] = Counter()
        files: Counter[str] = Counter()
        for leaf, pool in (self.pools or {}).items():
            kinds[kind_name(leaf)] += len(pool)
            files.update(str(self.files[record.file]) for record in pool)
        return dict(kinds), dict(files)

    @cached_property
    def _origins(self) -> dict[Leaf, Numbers]:
        return {leaf: np.array([record.file for record in pool]) for leaf, pool in (self.pools or {}).items()}

    def _drawn(self, drawn: int) -> dict[Leaf, int]:
        """Return how many of the first samples come from each pool; {} for scenes."""
        if self.pools is None:
            return {}
        turns, begun = divmod(drawn, self.together)
        now, after = self._leaf_turns(turns), self._leaf_turns(turns + 1)
        return {leaf: now[leaf] * self.together + (after[leaf] - now[leaf]) * begun for leaf in self.pools}

    def _leaf_turns(self, count: int) -> dict[Leaf, int]:
        """Return how many of the first turns are for each leaf."""
        found: dict[Leaf, int] = {(): count}
        for level in LEVELS[self.mix.by]:
            found = {
                (*leaf, name): turns
                for leaf, of_leaf in found.items()
                for name, turns in counts(self.seed, " ".join([*leaf, level]), self.turns[leaf], of_leaf).items()
            }
        return found

    def _order(self, leaf: Leaf, epoch: int) -> Order:
        """Return which record of a pool comes when in an epoch."""
        kept, order = self._orders.get(leaf, (-1, np.empty(0, np.int64)))
        if kept != epoch:
            pool = (self.pools or {})[leaf]
            keys: Numbers | None = None
            drawn: int | None = None
            if self.mix.direction:
                keys = self.mix.direction * np.array([record.rate for record in pool])
                if self.planned is not None:
                    drawn = max(0, self._drawn(self.planned)[leaf] - epoch * len(pool))
            order = order_of_epoch(
                self._seed_of(leaf), " ".join(leaf), epoch, len(pool), self.together, keys=keys, drawn=drawn
            )
            self._orders[leaf] = epoch, order
        return order

    def _seed_of(self, leaf: Leaf) -> int:
        """Return what shuffles the records of a leaf: the seed of its file, of its task and medium, or of all."""
        kind = kind_name(leaf)
        names = (leaf[0] if self.mix.by == "file" else "", kind, kind.rpartition("/")[0])
        return next((self.mix.seeds[name] for name in names if name in self.mix.seeds), self.seed)


def _with_known_names(weights: Mapping[str, float], mix: Mix, files: Sequence[Path]) -> tuple[dict[str, float], Mix]:
    """Return weights, and a mix with its seeds, by the names that tasks and files have. Raises: DataError: a name that
    there is not, or of a file where tasks are mixed.
    """
    weight = dict(zip(known_names(weights, files), weights.values(), strict=True))
    seeds = dict(zip(known_names(mix.seeds, files), mix.seeds.values(), strict=True))
    if mix.by == "task" and (of_files := sorted(set(map(str, files)) & {*weight, *seeds})):
        raise DataError(
            f'data.weights, data.seeds: {", ".join(of_files)}: weights and seeds of files need data.mix_by = "file"'
        )
    return weight, replace(mix, seeds=seeds)
