"""What samples to measure by share with samples to learn from: media that are or look the same, and questions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from onethinker.core.sample import Medium, Sample
from onethinker.data.likeness import Look, Looks, looks_of
from onethinker.storage.hashing import NOTHING, Digests, files_of

Shared = Mapping[str, Sequence[int]]
"""Indices of measured samples with the same "media", media that look "alike", or the same "question"."""


@dataclass
class Overlap:
    """What measured samples share with learned ones, which are shown to it one after the other.

    Media are compared by their bytes, whatever the files are called; only files of equal size are read for it. With
    `near` bits they are also looked at, and compared by how they look. Each of `media`, `alike` and `questions` has the
    measured sample's index and the id of the first learned one that is like it.
    """

    measured: Sequence[Sample]
    near: int | None = None
    media: dict[int, str] = field(default_factory=dict)
    alike: dict[int, str] = field(default_factory=dict)
    questions: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._digests, self._sizes = Digests(), set[int]()
        self._asked: dict[tuple[str, ...], list[int]] = {}
        self._unread: dict[int, list[tuple[int, Path]]] = {}
        self._content: dict[str, list[int]] = {}
        self._shown: dict[str, list[int]] = {}
        for index, sample in enumerate(self.measured):
            self._asked.setdefault(_question(sample), []).append(index)
            for medium in sample.media:
                if not (files := files_of(medium)):
                    self._content.setdefault(self._digests.of(medium), []).append(index)
                for path in files:
                    self._unread.setdefault(_size(path), []).append((index, path))
        self._looks = Looks(self.near) if self.near is not None else None
        if self._looks is not None:
            self._look_at_measured(self._looks)

    def _look_at_measured(self, looks: Looks) -> None:
        found = looks_of(medium for sample in self.measured for medium in sample.media)
        for index, sample in enumerate(self.measured):
            for look in filter(None, (found[medium] for medium in sample.media)):
                if (name := looks.find(look)) is None:
                    name = str(index)
                    looks.add(look, name)
                self._shown.setdefault(name, []).append(index)

    def add(self, learned: Sequence[Sample]) -> list[str]:
        """Take in some learned samples, and return for each what it shares: "media", "alike", "question" or ""."""
        found = self.shared(learned)
        for sample, own in zip(learned, found, strict=True):
            self.note(sample.id, own)
        return [next(iter(own), "") for own in found]

    def shared(self, learned: Sequence[Sample]) -> list[Shared]:
        """Return what each of some learned samples shares."""
        looks = looks_of(medium for sample in learned for medium in sample.media) if self._looks is not None else {}
        return [self._shared(sample, looks) for sample in learned]

    def note(self, sample_id: str, shared: Shared) -> None:
        """Take in what a learned sample shares."""
        for kind, own in (("media", self.media), ("alike", self.alike), ("question", self.questions)):
            for index in shared.get(kind, ()):
                own.setdefault(index, sample_id)

    def _shared(self, sample: Sample, looks: Mapping[Medium, Look | None]) -> Shared:
        same = [index for medium in sample.media for key in self._keys(medium) for index in self._content.get(key, ())]
        alike = self._find_alike(sample, self._looks, looks) if self._looks is not None else []
        found = {"media": same, "alike": alike, "question": self._asked.get(_question(sample), [])}
        return {kind: indices for kind, indices in found.items() if indices}

    def _find_alike(self, sample: Sample, known: Looks, looks: Mapping[Medium, Look | None]) -> list[int]:
        """Return the measured samples with media that look like those of a learned one."""
        names = [known.find(look) for medium in sample.media if (look := looks.get(medium))]
        return [index for name in names if name is not None for index in self._shown[name]]

    def _keys(self, medium: Medium) -> list[str]:
        """Return the digests of a learned medium's files that are as large as a measured one."""
        if not (files := files_of(medium)):
            return [self._digests.of(medium)]
        return [self._digests.of_file(path) for path in files if self._is_known(_size(path))]

    def _is_known(self, size: int) -> bool:
        """Tell whether a measured file has this size; those that have are read now."""
        for index, path in self._unread.pop(size, ()):
            self._content.setdefault(self._digests.of_file(path), []).append(index)
            self._content.pop(NOTHING, None)
            self._sizes.add(size)
        return size in self._sizes

    @property
    def only_alike(self) -> dict[int, str]:
        """Those that look alike and are not the same."""
        return {index: like for index, like in self.alike.items() if index not in self.media}

    @property
    def only_questions(self) -> dict[int, str]:
        """Those that are asked, word by word, about other media."""
        return {
            index: like for index, like in self.questions.items() if index not in self.media and index not in self.alike
        }

    def __len__(self) -> int:
        return len(self.measured)


def overlap_lines(learned: Iterable[Sample], measured: Sequence[Sample]) -> list[str]:
    """Return a line about the measured samples that show what is learned from, and one about those that only ask what
    is asked there; none where nothing is shared.
    """
    overlap = Overlap(measured)
    overlap.add(list(learned))
    return [
        *_line(
            overlap,
            overlap.media,
            "show media that are also in the training data; their scores may measure memorization",
        ),
        *_line(overlap, overlap.only_questions, "ask, about other media, word for word what training data ask too"),
    ]


def _line(overlap: Overlap, pairs: dict[int, str], what: str) -> list[str]:
    if not pairs:
        return []
    first = min(pairs)
    count, own = len(overlap), overlap.measured[first].id
    return [f"{len(pairs):,} of {count:,} validation samples {what}: the first, {own!r}, is like {pairs[first]!r}"]


def _question(sample: Sample) -> tuple[str, ...]:
    return tuple(" ".join(text.casefold().split()) for text in (sample.problem, *sample.options))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
