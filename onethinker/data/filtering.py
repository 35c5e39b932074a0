"""Which records stay: by task, source, measures, difficulty, faults, looks and overlap: `onethinker data filter`."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from onethinker.core.errors import ConfigError
from onethinker.core.nearest import no_such
from onethinker.core.sample import Medium, Sample
from onethinker.data.blocks import Headers, Read, headers_of, read_block
from onethinker.data.fixing import move_media
from onethinker.data.formats.records import Record, write_records
from onethinker.data.likeness import Look, Looks, looks_of
from onethinker.data.measures import MEASURES, measure
from onethinker.data.overlap import Overlap
from onethinker.data.spreading import Block
from onethinker.data.statistics import NO_SOURCE, UNREAD, More
from onethinker.tasks import all_tasks, task_of
from onethinker.tasks.registry import ALIASES

Rates = Mapping[bytes, tuple[int, int]]
"""By the key of a question: how many answers to it were right, and how many there are."""
RateOf = Callable[[Sequence[Sample]], Rates]
"""Returns the rates of some samples, which may have to be measured first."""


@dataclass(frozen=True)
class Criteria:
    """What a record must be to stay; empty ones let every record pass.

    `tasks` are problem types or task keys, `sources` without one is `NO_SOURCE`. `at_least` and `at_most` are bounds of
    measures; a sample that lacks the measure does not stay. `pass_rate` are the least and the most right answers, 0 to
    1. `faulty` are files and rows of records with a fault, and its kind. With `near` bits a record goes whose media
    look like other media of one that stays.
    """

    tasks: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    data_type: str | None = None
    at_least: Mapping[str, float] = field(default_factory=dict)
    at_most: Mapping[str, float] = field(default_factory=dict)
    pass_rate: tuple[float, float] | None = None
    faulty: Mapping[tuple[Path, int], str] = field(default_factory=dict)
    near: int | None = None
    overlap: Overlap | None = None

    def __post_init__(self) -> None:
        known = {name for task in all_tasks() for name in (task.key, task.problem_type)}
        for name in self.tasks - known:
            raise ConfigError(no_such("task", name, sorted(known), aliases=ALIASES))
        for name in (*self.at_least, *self.at_most):
            if name not in MEASURES:
                raise ConfigError(no_such("measure", name, list(MEASURES)))

    @property
    def is_empty(self) -> bool:
        """Whether every record passes."""
        return self == Criteria()

    @property
    def bounded(self) -> set[str]:
        """The measures that are looked at."""
        return {*self.at_least, *self.at_most}


@dataclass
class Kept:
    """How many records there were, how many stay, and why others go, by reason."""

    records: int = 0
    written: int = 0
    dropped: Counter[str] = field(default_factory=Counter)


class Verdict(NamedTuple):
    """Whether one record stays: why not, "" where it does; and then the record as it is written, and how its media
    look, by their names.
    """

    file: str
    row: int
    id: str
    error: str
    reason: str
    record: Record
    looks: Sequence[tuple[str, Sequence[int]]]


@dataclass(frozen=True)
class Chosen:
    """Tells of the records of a block whether they stay, each by itself; `target` is the folder of the new file.

    `more` gives measures in tokens, `rate_of` pass rates.
    """

    criteria: Criteria
    more: More | None = None
    rate_of: RateOf | None = None
    media_root: Path | None = None
    target: Path = Path()

    def __call__(self, block: Block) -> list[Verdict]:
        """Return a verdict on each record."""
        some = read_block(block, self.media_root)
        reasons = self.reasons(some)
        looks: Mapping[Medium, Look | None] = {}
        if self.criteria.near is not None:
            staying = [read.sample for read, reason in zip(some, reasons, strict=True) if read.sample and not reason]
            looks = looks_of(medium for sample in staying for medium in sample.media)
        return [self._verdict(read, reason, looks) for read, reason in zip(some, reasons, strict=True)]

    def _verdict(self, read: Read, reason: str, looks: Mapping[Medium, Look | None]) -> Verdict:
        if reason or read.sample is None:
            own_id = read.sample.id if read.sample is not None else ""
            return Verdict(str(read.file), read.row, own_id, read.error, reason, {}, ())
        record = dict(read.record)
        move_media(record, self.media_root or read.file.parent, self.target)
        shown = [(str(medium), look) for medium in read.sample.media if (look := looks.get(medium)) is not None]
        return Verdict(str(read.file), read.row, read.sample.id, "", "", record, shown)

    def reasons(self, some: Sequence[Read]) -> list[str]:
        """Return for each record why it goes, "" for one that stays."""
        found = [self._own_reason(read) for read in some]
        for step in (self._bounds, self._difficulty, self._overlap):
            left = [n for n, reason in enumerate(found) if not reason]
            samples = [sample for n in left if (sample := some[n].sample) is not None]
            if samples:
                for n, reason in zip(left, step(samples), strict=True):
                    found[n] = reason
        return found

    def _own_reason(self, read: Read) -> str:
        if read.sample is None:
            return UNREAD
        criteria, sample = self.criteria, read.sample
        if criteria.tasks and not criteria.tasks & {sample.problem_type, task_of(sample).key}:
            return "task"
        if criteria.sources and (sample.source or NO_SOURCE) not in criteria.sources:
            return "source"
        if criteria.data_type and sample.data_type != criteria.data_type:
            return "data type"
        fault = criteria.faulty.get((read.file, read.row))
        return f"fault: {fault}" if fault else ""

    def _bounds(self, samples: Sequence[Sample]) -> list[str]:
        bounded = self.criteria.bounded
        if not bounded:
            return [""] * len(samples)
        headers: Headers = headers_of(samples) if bounded & _OF_MEDIA or self.more is not None else {}
        extra = self.more(samples, headers) if self.more is not None else [{} for _ in samples]
        return [self._bound({**measure(sample, headers), **own}) for sample, own in zip(samples, extra, strict=True)]

    def _bound(self, measures: Mapping[str, float]) -> str:
        for name, least in self.criteria.at_least.items():
            if measures.get(name, float("-inf")) < least:
                return f"{name} below {least:g}" if name in measures else f"no {name}"
        for name, most in self.criteria.at_most.items():
            if measures.get(name, float("inf")) > most:
                return f"{name} above {most:g}" if name in measures else f"no {name}"
        return ""

    def _difficulty(self, samples: Sequence[Sample]) -> list[str]:
        if self.criteria.pass_rate is None or self.rate_of is None:
            return [""] * len(samples)
        rates, (least, most) = self.rate_of(samples), self.criteria.pass_rate
        found = []
        for sample in samples:
            right, tries = rates.get(question_key(sample.id, sample.problem), (0, 0))
            rate = right / tries if tries else 0.0
            too_hard, too_easy = f"pass rate below {least:g}", f"pass rate above {most:g}"
            found.append("no answers" if not tries else too_hard if rate < least else too_easy if rate > most else "")
        return found

    def _overlap(self, samples: Sequence[Sample]) -> list[str]:
        if self.criteria.overlap is None:
            return [""] * len(samples)
        return [f"shared: {what}" if what else "" for what in self.criteria.overlap.add(samples)]


def write_kept(
    results: Iterable[Any],
    output: Path,
    near: int | None,
    *,
    on_dropped: Callable[[Verdict], None] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Kept:
    """Write the records that stay by what `Chosen` told of each block, in their order, and return why others went. With
    `near` bits those go, too, whose media look like other media of one that stays.

    `on_dropped` hears of each record that goes. Raises: StorageError, and what `results` raises.
    """
    kept, alike = Kept(), _Alike(near) if near is not None else None

    def stay() -> Iterator[Record]:
        for block in results:
            for verdict in map(Verdict._make, block):
                kept.records += 1
                if not verdict.reason and alike is not None and alike.is_known(verdict):
                    verdict = verdict._replace(reason="looks like one before it")
                if verdict.reason:
                    kept.dropped[verdict.reason] += 1
                    if on_dropped is not None:
                        on_dropped(verdict)
                else:
                    kept.written += 1
                    yield verdict.record
            if on_progress:
                on_progress(kept.records)

    write_records(output, stay())
    return kept


class _Alike:
    """How the media of the records that stay look."""

    def __init__(self, bits: int) -> None:
        self._looks = Looks(bits)
        self._paths: set[str] = set()

    def is_known(self, verdict: Verdict) -> bool:
        """Tell whether a record shows what looks like other media before it; if not, its media are known from now."""
        shown = [(name, tuple(look)) for name, look in verdict.looks]
        firsts = [(name, self._looks.find(look)) for name, look in shown]
        if any(first is not None and first != name and name not in self._paths for name, first in firsts):
            return True
        for (name, look), (_, first) in zip(shown, firsts, strict=True):
            self._paths.add(name)
            if first is None:
                self._looks.add(look, name)
        return False


_OF_MEDIA = frozenset({"megapixels", "seconds", "span_share", "span_middle"})


def question_key(sample_id: str, problem: str) -> bytes:
    """Return a short key of a question, the same in files of samples and in a run's sampled answers."""
    return blake2b(f"{sample_id}\0{problem}".encode("utf-8", "replace"), digest_size=12).digest()
