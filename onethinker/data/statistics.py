"""What files of samples hold, counted while they are read: by task, by pictures or videos, and by source."""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from onethinker.core.sample import Sample
from onethinker.core.sources import path_of
from onethinker.data.blocks import Headers, headers_of, read_block
from onethinker.data.guessing import MOST_TRUTHS, Choice, Guess, Truth, best_constant
from onethinker.data.likeness import Fact, MediaFiles, facts_of
from onethinker.data.measures import MEASURES, measure
from onethinker.data.overlap import Overlap, Shared
from onethinker.data.spreading import Block
from onethinker.tasks import find_task

MOST_SOURCES = 1000
"""Sources that are counted by name; what comes after them counts as `OTHER_SOURCES`."""
OTHER_SOURCES, NO_SOURCE = "(other sources)", "(none)"
LONGEST_ANSWER, MOST_ANSWERS = 64, 100_000
"""Letters of an answer, and different answers of a task, up to which they are counted."""
TOP_ANSWERS = 8
"""Most frequent answers of a task that are named."""
SHOWN = 6
"""Samples of each task, chosen by chance, that a page draws."""
UNREAD = "cannot be read"
"""The reason of a record that is no sample."""
NAMED = 10
"""Rows that cannot be read that are named."""
By = Literal["task", "data_type", "source"]
Key = tuple[str, str, str]
"""Task, kind of media ("image" or "video") and source."""
More = Callable[[Sequence[Sample], Headers], Sequence[Mapping[str, float]]]
"""Further measures of some samples, such as their tokens."""


@dataclass
class Group:
    """How many samples there are of one kind, and the values of each measure."""

    records: int = 0
    values: "dict[str, array[float]]" = field(default_factory=dict)

    def add(self, measures: Mapping[str, float]) -> None:
        """Take in a sample."""
        self.records += 1
        for name, value in measures.items():
            self.values.setdefault(name, array("f")).append(value)


@dataclass(frozen=True)
class Spread:
    """How the values of a measure lie: how many there are, their mean, and quantiles."""

    count: int
    mean: float
    min: float
    p05: float
    median: float
    p95: float
    max: float


def spread_of(values: "Sequence[float] | array[float]") -> Spread:
    """Return how at least one value lies.

    >>> spread_of([1.0, 2.0, 3.0]).median
    2.0
    """
    numbers = np.asarray(values, dtype=np.float64)
    quantiles = [float(f"{value:.6g}") for value in np.quantile(numbers, [0, 0.05, 0.5, 0.95, 1])]
    return Spread(len(numbers), float(f"{numbers.mean():.6g}"), *quantiles)


class Row(NamedTuple):
    """What is counted of one record: why it is no sample, or its values, how many media it has, and what it shares."""

    file: str
    row: int
    error: str
    id: str
    problem_type: str
    data_type: str
    source: str
    truth: str
    options: Sequence[str]
    measures: Mapping[str, float]
    media: int
    shared: Shared


@dataclass(frozen=True)
class Counting:
    """Counts the records of a block, each by itself.

    `more` gives further measures. With `looks` media are looked at, too.
    """

    with_media: bool = True
    looks: bool = False
    media_root: Path | None = None
    more: More | None = None
    overlap: Overlap | None = None
    _facts: dict[str, Fact] = field(default_factory=dict)

    def __call__(self, block: Block) -> dict[str, Any]:
        """Return the rows, and the facts of the files that they name."""
        some = read_block(block, self.media_root)
        samples = [read.sample for read in some if read.sample is not None]
        headers = headers_of(samples) if self.with_media else {}
        extra = self.more(samples, headers) if self.more is not None else [{} for _ in samples]
        shared = self.overlap.shared(samples) if self.overlap is not None else [{} for _ in samples]
        paths = [[path for path in map(path_of, sample.media) if path] for sample in samples]
        rest = zip(samples, extra, shared, paths, strict=True)
        rows = []
        for read in some:
            if read.sample is None:
                rows.append(Row(str(read.file), read.row, read.error or UNREAD, "", "", "", "", "", (), {}, 0, {}))
                continue
            sample, own, same, files = next(rest)
            about = (sample.id, sample.problem_type, sample.data_type, sample.source, sample.truth, sample.options)
            measures = {**measure(sample, headers), **own}
            rows.append(Row(str(read.file), read.row, "", *about, measures, len(files), same))
        return {"rows": rows, "media": self._facts_of(path for own in paths for path in own)}

    def _facts_of(self, paths: Iterable[Path]) -> dict[str, Fact]:
        distinct = list(dict.fromkeys(paths))
        new = [path for path in distinct if str(path) not in self._facts]
        self._facts.update(facts_of(new, with_looks=self.looks))
        return {str(path): self._facts[str(path)] for path in distinct}


@dataclass
class Statistics:
    """What has been counted of samples so far. Of each sample only numbers stay, and of its media the paths."""

    records: int = 0
    unread: list[str] = field(default_factory=list)
    num_unread: int = 0
    groups: dict[Key, Group] = field(default_factory=dict)
    answers: dict[str, Counter[str]] = field(default_factory=dict)
    truths: dict[str, Choice[Truth]] = field(default_factory=dict)
    shown: dict[str, Choice[tuple[str, int]]] = field(default_factory=dict)
    """By task, file and row of samples for a page."""
    media: MediaFiles = field(default_factory=MediaFiles)
    overlap: Overlap | None = None
    _sources: set[str] = field(default_factory=set)
    _tasks: dict[str, tuple[str, str]] = field(default_factory=dict)

    def add(self, block: Mapping[str, Any]) -> None:
        """Take in what was counted of a block of records."""
        rows = list(map(Row._make, block["rows"]))
        self.records += len(rows)
        unread = [f"{row.file}, row {row.row}: {row.error}" for row in rows if row.error]
        self.num_unread += len(unread)
        self.unread += unread[: NAMED - len(self.unread)]
        for row in rows:
            if not row.error:
                self._add(row)
        self.media.add(block["media"], sum(row.media for row in rows))

    def _add(self, row: Row) -> None:
        task = find_task(row.problem_type, row.data_type)
        source = row.source or NO_SOURCE
        if source not in self._sources and len(self._sources) >= MOST_SOURCES:
            source = OTHER_SOURCES
        self._sources.add(source)
        self._tasks[task.key] = (row.problem_type, row.data_type)
        self.groups.setdefault((task.key, row.data_type, source), Group()).add(row.measures)
        self.shown.setdefault(task.key, Choice(SHOWN)).add((row.file, row.row))
        if self.overlap is not None:
            self.overlap.note(row.id, row.shared)
        if not row.truth:
            return
        self.truths.setdefault(task.key, Choice(MOST_TRUTHS)).add((row.truth, tuple(row.options)))
        if not task.structured:
            counts = self.answers.setdefault(task.key, Counter())
            text = row.truth if len(row.truth) <= LONGEST_ANSWER else "(longer answers)"
            counts[text if text in counts or len(counts) < MOST_ANSWERS else "(other answers)"] += 1

    def by(self, *what: By) -> dict[tuple[str, ...], Group]:
        """Return the groups joined by task, kind of media or source, or by several of these; the largest first."""
        places = [("task", "data_type", "source").index(name) for name in what]
        joined: dict[tuple[str, ...], Group] = {}
        for key, group in self.groups.items():
            own = joined.setdefault(tuple(key[place] for place in places), Group())
            own.records += group.records
            for name, values in group.values.items():
                own.values.setdefault(name, array("f")).extend(values)
        return dict(sorted(joined.items(), key=lambda pair: -pair[1].records))

    def guesses(self) -> dict[str, Guess]:
        """Return the best constant answer to each task."""
        found = {key: best_constant(find_task(*self._tasks[key]), choice.chosen) for key, choice in self.truths.items()}
        return {key: guess for key, guess in found.items() if guess is not None}


def as_json(statistics: Statistics) -> dict[str, Any]:
    """Return all that was counted, for programs."""
    answers = {
        key: {"different": len(counts), "top": [[text, count] for text, count in counts.most_common(TOP_ANSWERS)]}
        for key, counts in statistics.answers.items()
    }
    media, overlap = statistics.media, statistics.overlap
    return {
        "records": statistics.records,
        "unread": {"count": statistics.num_unread, "first": statistics.unread},
        "tasks": _as_json(statistics, "task"),
        "data_types": _as_json(statistics, "data_type"),
        "sources": _as_json(statistics, "source"),
        "groups": _as_json(statistics, "task", "data_type", "source"),
        "answers": answers,
        "best_constant": {key: asdict(guess) for key, guess in statistics.guesses().items()},
        "media": {
            "uses": media.uses,
            "files": media.files,
            "missing": media.missing,
            "copies": media.copies(),
            "alike": media.alike() if media.near is not None else None,
        },
        "against": _overlap_json(overlap) if overlap is not None else None,
    }


def _as_json(statistics: Statistics, *what: By) -> list[dict[str, Any]]:
    return [
        {
            **dict(zip(what, key, strict=True)),
            "records": group.records,
            "measures": {name: asdict(spread_of(group.values[name])) for name in MEASURES if name in group.values},
        }
        for key, group in statistics.by(*what).items()
    ]


def _overlap_json(overlap: Overlap) -> dict[str, Any]:
    found = {"same_media": overlap.media, "alike_media": overlap.only_alike, "same_question": overlap.only_questions}
    pairs = {
        name: [{"id": overlap.measured[index].id, "like": own[index]} for index in sorted(own)]
        for name, own in found.items()
    }
    return {"samples": len(overlap), **pairs}
