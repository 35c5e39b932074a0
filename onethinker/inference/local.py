"""Models that run in this process, with transformers.

Dimensions: B requests of a batch, T tokens of an answer, V vocabulary.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from onethinker.core.errors import EngineError
from onethinker.core.request import Request, SamplingParams
from onethinker.families.folder import ModelSettings
from onethinker.inference.encode import answer_opening, encode_requests
from onethinker.inference.engine import Completion
from onethinker.inference.sampling import draw_tokens
from onethinker.media.budget import MediaBudget
from onethinker.tasks.template import Wording


@dataclass(frozen=True)
class LocalEngine:
    """A model with its processor; requests are answered in batches of at most `batch_size`."""

    model: Any
    processor: Any
    wording: Wording
    budget: MediaBudget
    name: str = "local"
    batch_size: int = 16

    @property
    def settings(self) -> ModelSettings:
        """What is written beside the weights."""
        return ModelSettings(wording=self.wording, budget=self.budget)

    def answer(self, requests: Sequence[Request], sampling: SamplingParams) -> list[Completion]:
        """Return one reply per request, in order.

        Each request is drawn with its own seed, so that equal requests differ and an answer does not hang on what
        shares the batch with it (up to rounding). torch's global random state is not touched.

        Raises: EngineError: the media do not fit the model, or the memory does not suffice.
        """
        replies: list[Completion] = []
        for first in range(0, len(requests), self.batch_size):
            batch = requests[first : first + self.batch_size]
            seeds = [request.seed_at(first + place, sampling.seed) for place, request in enumerate(batch)]
            replies += self._answer_batch(batch, sampling, seeds)
        return replies

    def _answer_batch(
        self, requests: Sequence[Request], sampling: SamplingParams, seeds: Sequence[int]
    ) -> list[Completion]:
        started = time.perf_counter()
        batch = encode_requests(self.processor, requests).to(self.model.device, self.model.dtype)
        num_prompt = batch["input_ids"].shape[1]
        config, ends = self._generation(sampling)
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad():
                ids = self.model.generate(
                    **batch, generation_config=config, logits_processor=_drawing(sampling, seeds, num_prompt)
                )
        except torch.OutOfMemoryError as error:
            raise EngineError(
                f"{self.name}: out of memory for {len(requests)} requests at once; ask fewer, or give a smaller budget"
            ) from error
        finally:
            self.model.train(was_training)
        prompt_B, seconds = batch["attention_mask"].sum(1).tolist(), time.perf_counter() - started
        opening = answer_opening(self.processor)
        rows = zip(ids[:, num_prompt:].tolist(), prompt_B, strict=True)
        return [self._reply(row, tokens, ends, seconds, opening=opening) for row, tokens in rows]

    def _generation(self, sampling: SamplingParams) -> tuple[GenerationConfig, frozenset[int]]:
        """Return how transformers generates, with nothing left to the defaults of the weights, and the tokens that end
        an answer.
        """
        own, tokenizer = self.model.generation_config, self.processor.tokenizer
        eos = own.eos_token_id if own.eos_token_id is not None else tokenizer.eos_token_id
        ends = frozenset([eos] if isinstance(eos, int) else eos)
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(ends)
        media = [getattr(self.processor, f"{kind}_token_id", None) for kind in ("image", "video")]
        config = GenerationConfig(
            max_new_tokens=sampling.max_new_tokens,
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            suppress_tokens=[token for token in media if token is not None] or None,
            eos_token_id=sorted(ends),
            pad_token_id=pad,
        )
        return config, ends

    def _reply(
        self, ids: list[int], prompt_tokens: int, ends: frozenset[int], seconds: float, *, opening: str
    ) -> Completion:
        """Return an answer's text, what the template wrote of it included; the token that ends it counts, as servers
        count.
        """
        end = next((place for place, token in enumerate(ids) if token in ends), None)
        kept = ids if end is None else ids[: end + 1]
        text = self.processor.tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return Completion(opening + text, prompt_tokens, len(kept), "length" if end is None else "stop", seconds)


class _OwnDraw(LogitsProcessor):  # type: ignore[misc]
    """Leaves one token a row: the one at which the cumulated probability passes that row's own uniform number."""

    def __init__(self, uniforms_BT: Tensor, num_prompt: int) -> None:
        self.uniforms_BT, self.num_prompt = uniforms_BT, num_prompt

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        uniform_B = self.uniforms_BT[:, input_ids.shape[1] - self.num_prompt].to(scores.device)
        return torch.full_like(scores, -torch.inf).scatter(1, draw_tokens(scores, uniform_B)[:, None], 0.0)


def _drawing(sampling: SamplingParams, seeds: Sequence[int], num_prompt: int) -> LogitsProcessorList:
    """Return what makes greedy generation draw by temperature, nucleus and each row's seed; nothing at temperature
    0.
    """
    if sampling.temperature == 0:
        return LogitsProcessorList()
    uniforms = [
        torch.rand(sampling.max_new_tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        for seed in seeds
    ]
    steps: list[Any] = [TemperatureLogitsWarper(sampling.temperature)]
    if sampling.top_p < 1:
        steps.append(TopPLogitsWarper(sampling.top_p))
    return LogitsProcessorList([*steps, _OwnDraw(torch.stack(uniforms), num_prompt)])


def default_device() -> str:
    """Return the device that a model runs on when nobody says otherwise: the first GPU, else the CPU."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
