"""How many tokens every record takes, before a run begins, at the price of few: most are bounded by their bytes and
their media's headers.

A token of text is at least one byte, so only the texts that might be too long, or the longest, are tokenized.
"""

import copy
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np

from onethinker.core.errors import MediaError
from onethinker.core.frames import Clip
from onethinker.core.sample import Medium, Sample
from onethinker.core.sources import FileMedium
from onethinker.families.base import ModelFamily
from onethinker.families.registry import family_of_processor
from onethinker.inference.chat import plain_text, spelled_tokens
from onethinker.inference.encode import prompt_texts, worded
from onethinker.media.budget import MediaBudget
from onethinker.media.headers import Header, scanned_cost
from onethinker.media.packets import MAX_DURATION_S
from onethinker.media.reading import read_clip
from onethinker.media.sizing import Cost, count_tokens, frame_size, image_cost, image_size, video_cost
from onethinker.tasks import Coordinates
from onethinker.tasks.pixels import frame_px_of, sample_to_px
from onethinker.tasks.places import FrameSize
from onethinker.tasks.template import PromptTemplate

AT_ONCE = 256
"""Texts that are tokenized in one call."""
_NO_FRAME = np.zeros((1, 1, 1, 3), np.uint8)


@dataclass(frozen=True)
class Length:
    """Tokens of a record: of its prompt, some of them visual, and of its answer, the end token included."""

    prompt: int
    visual: int
    answer: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.prompt + self.answer


class Lengths:
    """The lengths of records; each is exact for pictures, and for videos at most a few tokens more than it will be.

    `max_new_tokens` are the tokens of each answer in RL; None where answers are what is learned. With `pairs` a record
    has two of them, that stand in one row. `coordinates` are what places are counted in, by default the family's.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        headers: Mapping[FileMedium, Header],
        *,
        processor: Any,
        prompt_template: PromptTemplate,
        budget: MediaBudget,
        max_new_tokens: int | None,
        coordinates: Coordinates | None = None,
        pairs: bool = False,
    ) -> None:
        self.samples, self._headers, self._budget, self._wording = samples, headers, budget, prompt_template
        self._processor, self._spelled, self._max_new_tokens = (
            processor,
            spelled_tokens(processor.tokenizer),
            max_new_tokens,
        )
        self._pairs = pairs
        self._family = family_of_processor(processor) or ModelFamily
        self._coordinates = coordinates or self._family.coordinates
        self._known: dict[int, Length] = {}
        self._costs: dict[Medium, Cost] = {}
        self._scans: dict[Path, Cost] = {}

    @cached_property
    def bounds(self) -> list[Length]:
        """For each sample, numbers that its own do not exceed; nothing is tokenized for them."""
        found = []
        for sample in self.samples:
            costs = self._costs_of(sample)
            visual = sum(cost.tokens for cost in costs)
            time = self._family.frame_time.format("86400.0")
            times = sum(self._marks(cost, _bytes(time), _bytes(self._family.video_words)) for cost in costs)
            answer = self._max_new_tokens or sum(_bytes(text) + 1 for text in self._answer_texts(sample))
            found.append(Length(_bytes(self._prompt_text(sample)) + visual + times, visual, answer))
        return found

    def all(self) -> list[Length]:
        """Return the length of each sample."""
        for some in _batched(range(len(self.samples))):
            self._measure(some)
        return [self._known[n] for n in range(len(self.samples))]

    def forget_samples(self) -> None:
        """Keep what is known of media and words, to measure other samples, and let the samples go."""
        _ = self._written_tokens
        self.samples, self._known = (), {}

    def tokens_of(self, samples: Sequence[Sample]) -> int:
        """Return how many tokens samples take in a row; media that several of them show are counted once."""
        these = copy.copy(self)
        these.samples, these._known = samples, {}
        costs = [these._costs_of(sample) for sample in samples]
        once = {
            medium: cost.tokens
            for sample, of in zip(samples, costs, strict=True)
            for medium, cost in zip(sample.media, of, strict=True)
        }
        again = sum(cost.tokens for of in costs for cost in of) - sum(once.values())
        return sum(length.total for length in these.all()) - again

    def longer_than(self, limit: int) -> dict[int, Length]:
        """Return the lengths of all samples, by their index, that take more than so many tokens."""
        suspects = [n for n, bound in enumerate(self.bounds) if bound.total > limit]
        for some in _batched(suspects):
            self._measure(some)
        for n in suspects:
            if self._known[n].total > limit:
                self._look_closer(n)
        return {n: self._known[n] for n in suspects if self._known[n].total > limit}

    def longest(self, of: Callable[[Length], int], *, without: Collection[int] = ()) -> tuple[int, Length]:
        """Return the index and the length of the sample, without some, that has most of something, such as tokens of
        the prompt.
        """
        order = sorted(
            (n for n in range(len(self.samples)) if n not in without), key=lambda n: of(self.bounds[n]), reverse=True
        )
        best = -1
        for some in _batched(order):
            if best >= 0 and of(self.bounds[some[0]]) <= of(self._known[best]):
                break
            self._measure(some)
            best = max((best, *some) if best >= 0 else some, key=lambda n: of(self._known[n]))
        return best, self._known[best]

    def typical(self, *, without: Collection[int] = ()) -> Length:
        """Return the mean length of samples, without some, by at most `AT_ONCE` of them from all over."""
        used = [n for n in range(len(self.samples)) if n not in without]
        some = used[:: -(-len(used) // AT_ONCE)]
        self._measure(some)
        found = [self._known[n] for n in some]
        return Length(*(round(sum(each) / len(found)) for each in zip(*map(astuple, found), strict=True)))

    def _measure(self, indices: Sequence[int]) -> None:
        """Tokenize the texts of some samples."""
        new = [n for n in indices if n not in self._known]
        if not new:
            return
        prompts = self._count([self._prompt_text(self.samples[n]) for n in new])
        counts = (
            iter(self._count([text for n in new for text in self._answer_texts(self.samples[n])]))
            if self._max_new_tokens is None
            else iter(())
        )
        for n, prompt in zip(new, prompts, strict=True):
            answer = self._max_new_tokens or sum(1 + next(counts) for _ in self._answer_texts(self.samples[n]))
            costs = self._costs_of(self.samples[n])
            # Each medium has one token in the template's text, which all of this reindices.
            other = sum(cost.tokens - 1 + self._marks(cost, *self._written_tokens) for cost in costs)
            self._known[n] = Length(prompt + other, sum(cost.tokens for cost in costs), answer)

    def _look_closer(self, n: int) -> None:
        """Measure a sample again whose videos' headers may promise too much: as they are read."""
        sample = self.samples[n]
        for medium in sample.media:
            if isinstance(medium, Path) and self._headers[medium].kind == "video":
                try:
                    self._costs[medium] = self._scanned(medium)
                except MediaError:
                    return  # another record will stand in for this one
        del self._known[n]
        self._measure([n])

    def _scanned(self, path: Path) -> Cost:
        if path not in self._scans:
            self._scans[path] = scanned_cost(path, self._budget)
        return self._scans[path]

    def _costs_of(self, sample: Sample) -> list[Cost]:
        for medium in sample.media:
            if medium not in self._costs:
                self._costs[medium] = self._cost(medium)
        return [self._costs[medium] for medium in sample.media]

    def _cost(self, medium: Medium) -> Cost:
        if isinstance(medium, Clip):
            clip = read_clip(medium, self._budget)
            pairs = math.ceil(len(clip.frames) / self._budget.frames_per_token) if clip.kind == "video" else 0
            return Cost(count_tokens(clip, self._budget), pairs)
        header = self._headers.get(medium) if isinstance(medium, FileMedium) else None
        if header is None:
            return Cost(1, 0)  # it cannot be read, and another record will stand in for this one
        try:
            if header.kind == "image":
                return image_cost(header.width, header.height, self._budget)
            return video_cost(header.width, header.height, header.duration_s, self._budget)
        except MediaError:
            return Cost(1, 0)  # it has no size that a model could read

    def _prompt_text(self, sample: Sample) -> str:
        media = tuple(self._outline(medium) for medium in sample.media)
        request = worded(sample, media, self._wording, coordinates=self._coordinates)
        [text] = prompt_texts(self._processor, [request])
        return text

    def _outline(self, medium: Medium) -> Clip:
        """Return a medium of its kind, and of the size in whose pixels places would be written, without its frames."""
        kind, size = self._kind(medium), (1, 1)
        header = self._headers.get(medium) if isinstance(medium, FileMedium) else None
        if self._coordinates == "pixels" and isinstance(medium, Clip):
            seen = read_clip(medium, self._budget)
            size = seen.width, seen.height
        elif self._coordinates == "pixels" and header is not None:
            with suppress(MediaError):  # it has no size that a model could read
                size = _largest_size(header, self._budget)
        frames = np.broadcast_to(_NO_FRAME, (1, size[1], size[0], 3))
        return Clip(kind, frames, (0.0,), (0,), 1, 1, 0.0, "")

    def _kind(self, medium: Medium) -> Any:
        if isinstance(medium, FileMedium):
            return self._headers[medium].kind if medium in self._headers else "image"
        return medium.kind if isinstance(medium, Clip) else "image"

    def _answer_texts(self, sample: Sample) -> list[str]:
        if self._coordinates == "pixels":
            frame_px = frame_px_of([self._outline(medium) for medium in sample.media], self._coordinates)
            sample = sample_to_px(sample, frame_px)
        texts = (sample.response, sample.rejected) if self._pairs else (sample.response,)
        return [plain_text(text or "", self._spelled) for text in texts]

    def _count(self, texts: list[str]) -> list[int]:
        return [len(ids) for ids in self._processor.tokenizer(texts, add_special_tokens=False)["input_ids"]]

    def _marks(self, cost: Cost, time: int, words: int) -> int:
        """Return what a processor writes around a medium, where a time and the words around a video are so long."""
        family = self._family
        return words + cost.pairs * (time + family.frame_marks) if cost.pairs else family.image_marks

    @cached_property
    def _written_tokens(self) -> tuple[int, int]:
        """Tokens of the longest time that may stand in a text, and of the words around a video."""
        lengths_s = [
            header.duration_s if header.duration_s is not None else MAX_DURATION_S for header in self._headers.values()
        ]
        clips_s = [medium.duration_s for sample in self.samples for medium in sample.media if isinstance(medium, Clip)]
        digits = len(str(int(max([*lengths_s, *clips_s], default=0.0))))
        time, words = self._count([self._family.frame_time.format(f"{'9' * digits}.9"), self._family.video_words])
        return time, words


def _largest_size(header: Header, budget: MediaBudget) -> FrameSize:
    """Return the size at which a medium is shown, of a video at most. Raises: MediaError: it has none."""
    if header.kind == "image":
        return image_size(header.width, header.height, budget)
    return frame_size(header.width, header.height, 1, budget)


def _batched(indices: Sequence[int]) -> Iterator[Sequence[int]]:
    return (indices[first : first + AT_ONCE] for first in range(0, len(indices), AT_ONCE))


def _bytes(text: str) -> int:
    """Return the bytes of a text, also as a tokenizer composes its letters."""
    return max(len(form.encode("utf-8", "replace")) for form in (text, normalize("NFC", text)))
