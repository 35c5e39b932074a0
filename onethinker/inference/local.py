"""Models that run in this process, with transformers.

Dimensions: B requests of a batch, T tokens of an answer, V vocabulary.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteriaList,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from onethinker.core.errors import EngineError
from onethinker.core.request import Request, SamplingParams
from onethinker.families.folder import ModelSettings
from onethinker.families.processing import placeholder_tokens
from onethinker.inference.encode import answer_opening, encode_requests
from onethinker.inference.engine import Completion
from onethinker.inference.prompt_cache import PromptCache
from onethinker.inference.sampling import draw_tokens
from onethinker.inference.scheduler import BatchedEngine
from onethinker.inference.streaming import TextPieces
from onethinker.media.budget import MediaBudget
from onethinker.tasks import Coordinates
from onethinker.tasks.template import PromptTemplate


@dataclass(frozen=True)
class LocalEngine(BatchedEngine):
    """A model with its processor; requests are answered in batches of at most `max_in_flight`.

    Each request is drawn with its own seed, so that an answer does not hang on what shares the batch with it (up to
    rounding). The prompt of a question that was asked alone is kept, and a follow-up about its media reads only what is
    new. torch's global random state is not touched.
    """

    model: Any
    processor: Any
    prompt_template: PromptTemplate
    budget: MediaBudget
    name: str = "local"
    max_in_flight: int = 8
    coordinates: Coordinates = "thousandths"
    quantization: str | None = None
    _prompts: PromptCache = field(init=False, repr=False, compare=False, default_factory=PromptCache)

    @property
    def settings(self) -> ModelSettings:
        """What is written beside the weights."""
        return ModelSettings(prompt_template=self.prompt_template, budget=self.budget, coordinates=self.coordinates)

    def complete_batch(self, requests: Sequence[Request], params: SamplingParams) -> list[Completion]:
        """Return one completion per request, in order.

        Raises: EngineError: the media do not fit the model, the memory does not suffice, or the engine was closed
        meanwhile.
        """
        started = time.perf_counter()
        batch = encode_requests(self.processor, requests).to(self.model.device, self.model.dtype)
        num_prompt = batch["input_ids"].shape[1]
        inputs, cached = self._prompts.inputs(self.model, self.processor, batch, requests)
        config, ends = self._generation(params)
        noted = _TokenLogprobs() if params.logprobs else None
        steps = self._steps(params, [request.seed_or(params.seed) for request in requests], num_prompt, noted)
        streams = _Streams(self.processor.tokenizer, requests, self._opening, ends)
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad():
                ids_BT = self.model.generate(
                    **inputs,
                    generation_config=config,
                    logits_processor=steps,
                    stopping_criteria=StoppingCriteriaList([streams, partial(self._gives_up, requests)]),
                )
        except torch.OutOfMemoryError as error:
            raise EngineError(
                f"{self.name}: out of memory for {len(requests)} requests at once; ask fewer, or give a smaller budget"
            ) from error
        finally:
            self.model.train(was_training)
        if self.is_closed:
            raise EngineError(f"{self.name}: the engine was closed before the answer had come to its end")
        self._prompts.keep(batch, inputs.get("cache"))
        logprobs_BT = noted.of(ids_BT) if noted is not None else [None] * len(requests)
        prompt_B, seconds = batch["attention_mask"].sum(1).tolist(), time.perf_counter() - started
        rows = zip(ids_BT[:, num_prompt:].tolist(), prompt_B, logprobs_BT, strict=True)
        completions = [replace(self._completion(*row, ends, seconds), cached_tokens=cached) for row in rows]
        streams.finish(completions)
        return completions

    def _gives_up(self, requests: Sequence[Request], ids_BT: Tensor, _: Any) -> Tensor:
        """Return for each row whether generation ends, because nobody waits for it any more."""
        unwanted = [request.is_unwanted is not None and request.is_unwanted() for request in requests]
        return torch.tensor(unwanted, device=ids_BT.device) | self.is_closed

    @cached_property
    def _opening(self) -> str:
        return answer_opening(self.processor)

    def _generation(self, params: SamplingParams) -> tuple[GenerationConfig, frozenset[int]]:
        """Return how transformers generates, with nothing left to the defaults of the weights, and the tokens that end
        an answer.
        """
        own, tokenizer = self.model.generation_config, self.processor.tokenizer
        eos = own.eos_token_id if own.eos_token_id is not None else tokenizer.eos_token_id
        ends = frozenset([eos] if isinstance(eos, int) else eos)
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(ends)
        config = GenerationConfig(
            max_new_tokens=params.max_new_tokens,
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            eos_token_id=sorted(ends),
            pad_token_id=pad,
        )
        return config, ends

    def _steps(
        self, params: SamplingParams, seeds: Sequence[int], num_prompt: int, noted: "_TokenLogprobs | None"
    ) -> LogitsProcessorList:
        """Return what greedy generation does to the logits: nothing that stands for media is said, and above
        temperature 0 tokens are drawn by temperature, nucleus and each row's seed.
        """
        forbidden = list(placeholder_tokens(self.processor).values())
        steps: list[Any] = [noted] if noted is not None else []
        if forbidden:
            steps.append(SuppressTokensLogitsProcessor(forbidden, device=self.model.device))
        if params.temperature > 0:
            uniforms = [
                torch.rand(params.max_new_tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
                for seed in seeds
            ]
            steps.append(TemperatureLogitsWarper(params.temperature))
            if params.top_p < 1:
                steps.append(TopPLogitsWarper(params.top_p))
            steps.append(_OwnDraw(torch.stack(uniforms), num_prompt))
        return LogitsProcessorList(steps)

    def _completion(
        self, ids: list[int], prompt_tokens: int, logprobs: list[float] | None, ends: frozenset[int], seconds: float
    ) -> Completion:
        """Return an answer's text, what the template wrote of it included; the token that ends it counts, as servers
        count.
        """
        end = next((index for index, token in enumerate(ids) if token in ends), None)
        kept = ids if end is None else ids[: end + 1]
        text = decode_tokens(self.processor.tokenizer, kept)
        return Completion(
            self._opening + text,
            prompt_tokens,
            len(kept),
            "length" if end is None else "stop",
            seconds,
            tuple(kept),
            None if logprobs is None else tuple(logprobs[: len(kept)]),
        )


class _Streams:
    """Hands the answers of those requests that want them as they are generated to their listeners, after each token."""

    def __init__(self, tokenizer: Any, requests: Sequence[Request], opening: str, ends: frozenset[int]) -> None:
        self._rows = {
            row: TextPieces(partial(decode_tokens, tokenizer), request.on_text, ends, opening)
            for row, request in enumerate(requests)
            if request.on_text is not None
        }

    def __call__(self, ids_BT: Tensor, _: Any) -> Tensor:
        """Return for each row that generation does not end because of this."""
        for row, pieces in self._rows.items():
            pieces.add(int(ids_BT[row, -1]))
        return torch.zeros(len(ids_BT), dtype=torch.bool, device=ids_BT.device)

    def finish(self, completions: Sequence[Completion]) -> None:
        """Hand over what has not been yet."""
        for row, pieces in self._rows.items():
            pieces.finish(completions[row].text)


def decode_tokens(tokenizer: Any, ids: Sequence[int]) -> str:
    """Return the text of tokens as an answer shows it."""
    text: str = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


class _TokenLogprobs(LogitsProcessor):  # type: ignore[misc]
    """Keeps the log-probability of each token that is chosen, which shows when the next one is asked for."""

    def __init__(self) -> None:
        self._last_BV: Tensor | None = None
        self._chosen_B1: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self._note(input_ids)
        self._last_BV = scores.log_softmax(-1)
        return scores

    def of(self, ids_BT: Tensor) -> list[list[float]]:
        """Return the log-probabilities of each row's tokens, once all of them have been generated."""
        self._note(ids_BT)
        rows: list[list[float]] = torch.cat(self._chosen_B1, 1).tolist()
        return rows

    def _note(self, ids_BT: Tensor) -> None:
        if self._last_BV is not None:
            self._chosen_B1.append(self._last_BV.gather(1, ids_BT[:, -1:]))


class _OwnDraw(LogitsProcessor):  # type: ignore[misc]
    """Leaves one token a row: the one at which the cumulated probability passes that row's own uniform number."""

    def __init__(self, uniforms_BT: Tensor, num_prompt: int) -> None:
        self.uniforms_BT, self.num_prompt = uniforms_BT, num_prompt

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        uniform_B = self.uniforms_BT[:, input_ids.shape[1] - self.num_prompt].to(scores.device)
        return torch.full_like(scores, -torch.inf).scatter(1, draw_tokens(scores, uniform_B)[:, None], 0.0)
