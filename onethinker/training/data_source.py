"""Where a run's samples come from: drawn in an endless order, opened, sized and encoded for the model in training."""

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from onethinker.core.errors import DataError, MediaError
from onethinker.core.frames import Clip
from onethinker.core.grammar import without_opening
from onethinker.core.request import Request
from onethinker.core.sample import Medium, Sample
from onethinker.data.mixture import Mixture
from onethinker.inference.chat import plain_text, spelled_tokens
from onethinker.inference.encode import answer_opening, encode_requests, request_about
from onethinker.media.ahead import MediaAhead
from onethinker.media.budget import MediaBudget
from onethinker.media.damage import all_problems, check_undamaged
from onethinker.tasks import Coordinates
from onethinker.tasks.pixels import frame_px_of, sample_to_px
from onethinker.tasks.template import PromptTemplate
from onethinker.training.balance import balance
from onethinker.training.lengths import Lengths
from onethinker.training.packing.row import Prompt, split_prompts
from onethinker.training.parallel.collectives import Collectives

_log = logging.getLogger(__name__)
FEWEST_SAMPLES = 1000
"""`max_corrupt_fraction` is of at least so many samples, or of all records if fewer: one bad file among the first
draws stops no long run.
"""


@dataclass
class DataSource:
    """The samples of a run, by their index in the endless order; `skipped` could not be read by this process."""

    mixture: Mixture
    model: Any
    processor: Any
    prompt_template: PromptTemplate
    budget: MediaBudget
    max_corrupt_fraction: float
    strict_media: bool
    collectives: Collectives
    coordinates: Coordinates = "thousandths"
    """What places of prompts and answers are counted in."""
    lengths: Lengths | None = None
    """In the main process, where samples come from files."""
    same_number: bool = False
    """Whether each process needs as many samples as the others, as it does to answer them."""
    skipped: list[dict[str, Any]] = field(default_factory=list)
    _media: MediaAhead = field(init=False)
    _said: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._media = MediaAhead(self.budget)

    def read_soon(self, first: int, count: int) -> None:
        """Let a thread read what `my_indices` of these samples needs, while something else is done; all processes must
        call it. Scenes are painted when they are read.
        """
        if self.mixture.num_records is not None:
            indices = self.my_indices(first, count)
            self._media.start(medium for index in indices for medium in self.mixture.sample(index).media)

    def my_indices(self, first: int, count: int) -> list[int]:
        """Return which of the samples `first` to `first + count` this process reads, such that all have as many tokens;
        all processes must call it.

        Those that come together because they are about one clip go to one process, if there are enough for every
        process.
        """
        processes, together = self.collectives.count, self.mixture.together
        if processes == 1:
            return list(range(first, first + count))
        size = together if count >= together * processes else 1
        turns = itertools.groupby(range(first, first + count), lambda index: index // size)
        parts = [list(part) for _, part in turns]
        chosen = self.collectives.from_main(self._chosen(parts) if self.collectives.is_main else [])
        mine = self.collectives.index
        return [index for part, process in zip(parts, chosen, strict=True) if process == mine for index in part]

    def _chosen(self, parts: Sequence[Sequence[int]]) -> list[int]:
        """Return which process reads each part of a batch."""
        costs = [1.0] * len(parts)
        if self.lengths is not None:
            costs = [self.lengths.tokens_of([self.mixture.sample(index) for index in part]) for part in parts]
        return balance(costs, self.collectives.count, same_number=self.same_number)

    def read(
        self, index: int, opened: dict[Medium, Clip] | None = None, *, seed: int | None = None
    ) -> tuple[Sample, Request]:
        """Return a sample and its request, media opened and sized as the budget says; one that cannot be read is noted
        and another stands in.

        `opened` keeps what was read, for others that are about the same; `seed` is what an answer is drawn with.

        Raises: DataError: nor can the others, as many as are tried before there are too many of them.
        """
        opened = {} if opened is None else opened
        for sample in itertools.islice(self.mixture.candidates(index), int(self.allowed_skips(index)) + 2):
            try:
                opened.update({medium: self._media.take(medium) for medium in sample.media if medium not in opened})
                media = tuple(opened[medium] for medium in sample.media)
                self._note_damage(media, sample.media)
                return sample, request_about(
                    sample, media, self.prompt_template, coordinates=self.coordinates, seed=seed
                )
            except MediaError as error:
                self.skipped.append({"index": index, "id": sample.id, "reason": str(error)})
        tried = [skipped for skipped in self.skipped if skipped["index"] == index]
        raise DataError(
            f"{len(tried)} samples in a row cannot be read; the last is {tried[-1]['id']}: {tried[-1]['reason']}"
        )

    def read_taught(self, index: int, opened: dict[Medium, Clip]) -> tuple[Sample, Request]:
        """Return the same for what is learned word for word: places of questions and responses are in the coordinates
        of the model.
        """
        sample, request = self.read(index, opened)
        return sample_to_px(sample, frame_px_of(request.media, self.coordinates)), request

    def _note_damage(self, media: Sequence[Clip], sources: Sequence[Medium]) -> None:
        """Say once what is wrong with each file. Raises: MediaError: something is, where that is an error."""
        if self.strict_media:
            check_undamaged(media, sources)
        for problem in set(all_problems(media)) - self._said:
            self._said.add(problem)
            _log.warning("%s", problem)

    def allowed_skips(self, drawn: int) -> float:
        """Return how many of so many samples may be unreadable."""
        records = self.mixture.num_records
        return self.max_corrupt_fraction * max(
            drawn, FEWEST_SAMPLES if records is None else min(FEWEST_SAMPLES, records)
        )

    def take_skipped(self) -> list[dict[str, Any]]:
        """Return what no process could read since this was last called: index, id and reason of each sample."""
        mine, self.skipped = self.skipped, []
        return sorted(self.collectives.gather(mine), key=lambda skipped: int(skipped["index"]))

    def prompts(self, requests: Sequence[Request]) -> list[Prompt]:
        """Return requests as encoded prompts on this process's device."""
        batch = encode_requests(self.processor, requests)
        return split_prompts(batch.to(self.collectives.device), requests, self.model)

    def answer_ids(self, text: str) -> Tensor:
        """Return the tokens of a whole response with the end token, on this process's device; no other special token is
        among them.

        What the chat template has already written of it stands in the prompt, and is not learned twice.
        """
        tokenizer = self.processor.tokenizer
        learned = plain_text(without_opening(text, answer_opening(self.processor)), spelled_tokens(tokenizer))
        ids = tokenizer(learned, add_special_tokens=False)["input_ids"]
        return torch.tensor([*ids, tokenizer.eos_token_id], device=self.collectives.device)
