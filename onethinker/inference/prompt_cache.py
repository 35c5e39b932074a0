"""The prompt that a local model has read last, so that a follow-up about the same media reads only what is new."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, equal
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from onethinker.core.request import Request
from onethinker.families.base import ModelFamily
from onethinker.families.processing import position_ids
from onethinker.families.registry import family_of_processor

_BY_TOKEN = frozenset({"input_ids", "attention_mask", "mm_token_type_ids"})
"""Inputs with a value for each token; all others are of the media."""


@dataclass(frozen=True)
class _Prompt:
    """A prompt that has been read, and the keys and values of its tokens and of the answer after them."""

    batch: Mapping[str, Tensor]
    cache: DynamicCache

    def shared_with(self, batch: Mapping[str, Tensor]) -> int:
        """Return how many tokens another prompt begins with in common, its media among them; 0 where they differ, be it
        only in their grids or times.
        """
        media = {*batch, *self.batch} - _BY_TOKEN
        if any(
            name not in batch or name not in self.batch or not _same(batch[name], self.batch[name]) for name in media
        ):
            return 0
        own, other = self.batch["input_ids"][0], batch["input_ids"][0, :-1]
        length = min(len(own), len(other))
        shared = int((own[:length] == other[:length]).long().cumprod(0).sum())
        return 0 if batch["mm_token_type_ids"][0, shared:].any() else shared


class PromptCache:
    """What is kept between two questions: the last prompt that was asked alone, as long as no other is read."""

    def __init__(self) -> None:
        self._last: _Prompt | None = None

    def inputs(
        self, model: Any, processor: Any, batch: Mapping[str, Tensor], requests: Sequence[Request]
    ) -> tuple[dict[str, Any], int]:
        """Return what `generate` takes for some requests, and how many tokens of the prompt it need not read again.

        What it takes for one request has a `cache` to fill, which `keep` is given afterwards.
        """
        last, self._last = self._last, None
        family = family_of_processor(processor)
        if len(requests) > 1 or family is None:
            return _taken(family, batch), 0
        shared = last.shared_with(batch) if last is not None and requests[0].earlier else 0
        if last is None or not shared:
            return {**_taken(family, batch), "cache": DynamicCache(config=model.config.get_text_config())}, 0
        last.cache.crop(shared - last.cache.get_seq_length())
        unread = {name: value for name, value in _taken(family, batch).items() if name not in family.pixel_inputs}
        return {**unread, "cache": last.cache, "position_ids": position_ids(family.positions(model, batch))}, shared

    def keep(self, batch: Mapping[str, Tensor], cache: DynamicCache | None) -> None:
        """Keep what has been read for the next question, unless a layer forgets: then it cannot be cut short."""
        if cache is not None and all(type(layer) is DynamicLayer for layer in cache.layers):
            self._last = _Prompt(batch, cache)


def _same(value: Any, other: Any) -> bool:
    return equal(value, other) if isinstance(value, Tensor) and isinstance(other, Tensor) else bool(value == other)


def _taken(family: ModelFamily | None, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the inputs of a batch that a model's generation takes."""
    without = set() if family is None or family.takes_token_types else {"mm_token_type_ids"}
    return {name: value for name, value in batch.items() if name not in without}
