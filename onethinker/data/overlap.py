"""What samples to measure by share with samples to learn from: media with the same bytes, and the same questions."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from onethinker.core.sample import Medium, Sample
from onethinker.storage.hashing import NOTHING, Digests, files_of


def overlap_lines(learned: Iterable[Sample], measured: Sequence[Sample]) -> list[str]:
    """Return a line about the measured samples that show what is learned from, and one about those that only ask what
    is asked there; none where nothing is shared.

    Media are compared by their bytes, whatever the files are called; only files of equal size are read for it.
    """
    learned = list(learned)
    content = _Content(learned, measured)
    seen = {key: sample for sample in learned for key in content.keys(sample)}
    asked = {_question(sample): sample for sample in learned}
    same_media = [
        (sample, seen[key]) for sample in measured if (key := next(filter(seen.get, content.keys(sample)), ""))
    ]
    shown = {sample.id for sample, _ in same_media}
    same_question = [
        (sample, asked[question])
        for sample in measured
        if sample.id not in shown and (question := _question(sample)) in asked
    ]
    return [
        *_line(same_media, len(measured), "show media that training shows too; what they measure may be memory"),
        *_line(same_question, len(measured), "ask, word by word and about other media, what training asks too"),
    ]


def _line(pairs: Sequence[tuple[Sample, Sample]], count: int, what: str) -> list[str]:
    if not pairs:
        return []
    first, like = pairs[0]
    return [f"{len(pairs):,} of {count:,} validation samples {what}: the first, {first.id!r}, is like {like.id!r}"]


def _question(sample: Sample) -> tuple[str, ...]:
    return tuple(" ".join(text.casefold().split()) for text in (sample.problem, *sample.options))


class _Content:
    """What media hold, read only where the files of both sides could be equal."""

    def __init__(self, learned: Sequence[Sample], measured: Sequence[Sample]) -> None:
        self._digests = Digests()
        self._sizes = _sizes(learned) & _sizes(measured)

    def keys(self, sample: Sample) -> list[str]:
        """Return a digest for each file of a sample's media, and for what is in no file of its own."""
        return [key for medium in sample.media for key in self._of(medium)]

    def _of(self, medium: Medium) -> list[str]:
        if not (files := files_of(medium)):
            return [self._digests.of(medium)]
        found = [self._digests.of_file(path) for path in files if _size(path) in self._sizes]
        return [digest for digest in found if digest != NOTHING]


def _sizes(samples: Iterable[Sample]) -> set[int]:
    return {_size(path) for sample in samples for medium in sample.media for path in files_of(medium)}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
