"""Our own sampler: a group of answers to each prompt, with its media encoded once and its prompt read once.

Dimensions: P prompts, G answers per prompt, B = P·G completions in flight, T tokens, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache

from onethinker.core.request import SamplingParams
from onethinker.families.processing import position_ids
from onethinker.families.registry import family_of
from onethinker.inference.sampling import draw_tokens
from onethinker.rl.sampler import Rollout, RolloutRequest
from onethinker.training.packing.attention import GroupCache
from onethinker.training.packing.row import Prompt, joined_pixels
from onethinker.training.routing import listening
from onethinker.training.session import TrainingSession

COMPACT_BELOW = 0.7
"""Finished completions leave the batch when less than this fraction of it is still in flight."""


@dataclass(frozen=True)
class InProcessSampler:
    """Samples with the model in training itself, which always has the newest weights."""

    session: TrainingSession

    def sample(
        self, requests: Sequence[RolloutRequest], params: SamplingParams, group_size: int
    ) -> Sequence[Sequence[Rollout]]:
        """Return a group of completions for each request; its seed alone decides what is drawn."""
        uniforms_PGT = torch.stack(
            [
                torch.rand(group_size, params.max_new_tokens, generator=torch.Generator().manual_seed(seed))
                for seed in (each.request.seed_or(params.seed + index) for index, each in enumerate(requests))
            ]
        )
        model = self.session.model
        with self.session.precision():
            return sample_answers(
                model,
                [each.prompt for each in requests],
                uniforms_PGT,
                temperature=params.temperature,
                end_token=self.session.processor.tokenizer.eos_token_id,
                forbidden_tokens=family_of(model).media_tokens(model.config),
            )

    def load_weights(self, version: int) -> None:
        """Do nothing: they are the ones in training."""

    def close(self) -> None:
        """Do nothing: it holds nothing."""


def sample_answers(
    model: Any,
    prompts: Sequence[Prompt],
    uniforms: Tensor,
    *,
    temperature: float,
    end_token: int,
    forbidden_tokens: Sequence[int],
) -> list[list[Rollout]]:
    """Return G answers to each prompt; `uniforms` (P, G, T) in [0, 1) decides every token and thereby P, G and the
    length limit T.

    An answer depends on its own prompt and uniforms alone, not on what shares the batch with it (up to rounding). With
    `temperature` 0 every token is the likeliest one. Log-probabilities are of the logits divided by the temperature (by
    1 where it is 0), before tokens are forbidden, as the loss computes them again.
    """
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return _sample(model, prompts, uniforms, temperature, end_token, forbidden_tokens)
    finally:
        model.train(was_training)


def _sample(
    model: Any,
    prompts: Sequence[Prompt],
    uniforms_PGT: Tensor,
    temperature: float,
    end_token: int,
    forbidden_tokens: Sequence[int],
) -> list[list[Rollout]]:
    group_size = uniforms_PGT.shape[1]
    routers = family_of(model).routers(model)
    inputs, next_position_P = _left_padded(prompts)
    cache = DynamicCache(config=model.config.get_text_config())
    with listening(routers) as heard:
        logits = model(**inputs, cache=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
    groups = GroupCache(cache, inputs["attention_mask"], group_size)
    position_B = next_position_P.repeat_interleave(group_size)
    logits = logits.repeat_interleave(group_size, 0)
    axes = len(prompts[0].positions)
    experts = heard.of_last(len(prompts))
    experts = experts if experts is None else experts.repeat_interleave(group_size, 0)
    batch = _InFlight(uniforms_PGT.flatten(0, 1), logits.device)
    for step in range(batch.limit):
        tokens, logps = _next_tokens(
            logits, batch.uniforms_BT[batch.active, step].to(logits.device), temperature, end_token, forbidden_tokens
        )
        batch.append(step, tokens, logps, end_token, experts)
        if step + 1 == batch.limit or not batch.in_flight.any():
            break
        if batch.in_flight[batch.active].float().mean() < COMPACT_BELOW:
            kept = batch.drop_finished()
            groups.keep(kept)
            tokens, position_B = tokens[kept], position_B[kept]
        groups.reserve_token()
        with listening(routers) as heard:
            out = model(
                input_ids=tokens[:, None],
                position_ids=position_ids(position_B.expand(axes, -1)[..., None]),
                decoding=groups,
                use_cache=False,
            )
        logits, position_B, experts = out.logits[:, -1], position_B + 1, heard.of_last(len(tokens))
    rollouts = batch.rollouts()
    return [rollouts[first : first + group_size] for first in range(0, len(rollouts), group_size)]


class _InFlight:
    """The completions of a batch as they are sampled; `active` are the indices of those that the model still reads."""

    def __init__(self, uniforms_BT: Tensor, device: torch.device) -> None:
        count, self.limit = uniforms_BT.shape
        self.uniforms_BT = uniforms_BT
        self.active = torch.arange(count, device=device)
        self.in_flight = torch.ones(count, dtype=torch.bool, device=device)
        self._ids_BT = torch.zeros(count, self.limit, dtype=torch.long, device=device)
        self._logps_BT = torch.zeros(count, self.limit, device=device)
        self._length_B = torch.full((count,), self.limit, device=device)
        self._experts_BTLK: Tensor | None = None

    def append(self, step: int, tokens: Tensor, logps: Tensor, end_token: int, experts: Tensor | None) -> None:
        """Add a token to each active completion, with the experts (B, L, K) that predicted it; the end token finishes
        it.
        """
        if experts is not None:
            if self._experts_BTLK is None:
                shape = len(self.in_flight), self.limit, *experts.shape[1:]
                self._experts_BTLK = torch.zeros(shape, dtype=torch.int16, device=experts.device)
            self._experts_BTLK[self.active, step] = experts.to(torch.int16)
        self._ids_BT[self.active, step] = tokens
        self._logps_BT[self.active, step] = logps
        finished = self.active[(tokens == end_token) & self.in_flight[self.active]]
        self._length_B[finished] = step + 1
        self.in_flight[finished] = False

    def drop_finished(self) -> Tensor:
        """Drop finished completions from the active ones, and return where among these the others were."""
        kept = self.in_flight[self.active].nonzero()[:, 0]
        self.active = self.active[kept]
        return kept

    def rollouts(self) -> list[Rollout]:
        """Return all completions; one that is still in flight is truncated."""
        return [
            Rollout(
                self._ids_BT[index, :length],
                self._logps_BT[index, :length],
                bool(self.in_flight[index]),
                experts=None if self._experts_BTLK is None else self._experts_BTLK[index, :length],
            )
            for index, length in enumerate(self._length_B.tolist())
        ]


def _next_tokens(
    logits_BV: Tensor, uniform_B: Tensor, temperature: float, end_token: int, forbidden_tokens: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Return one token a row and its log-probability."""
    logits_BV = logits_BV.float() / (temperature or 1.0)
    norm = logits_BV.logsumexp(-1)
    logits_BV[:, list(forbidden_tokens)] = -torch.inf
    tokens = _draw(logits_BV, uniform_B, temperature)
    # Nothing can be drawn from logits that are not finite: the completion ends, and its log-probability shows it.
    tokens = torch.where(norm.isfinite(), tokens, end_token)
    return tokens, logits_BV.gather(-1, tokens[:, None])[:, 0] - norm


def _draw(logits_BV: Tensor, uniform_B: Tensor, temperature: float) -> Tensor:
    """Return one token a row: the likeliest at temperature 0, else the one at which the cumulated probability passes
    the uniform.

    The logits are divided by the temperature already.
    """
    return logits_BV.argmax(-1) if temperature == 0 else draw_tokens(logits_BV, uniform_B)


def _left_padded(prompts: Sequence[Prompt]) -> tuple[dict[str, Any], Tensor]:
    """Return the model's inputs for a batch of prompts, and the position at which each one's answer starts."""
    pad = partial(pad_sequence, batch_first=True, padding_side="left")
    inputs: dict[str, Any] = {
        "input_ids": pad([prompt.input_ids for prompt in prompts]),
        "mm_token_type_ids": pad([prompt.mm_token_type_ids for prompt in prompts]),
        "attention_mask": pad([torch.ones_like(prompt.input_ids) for prompt in prompts]),
        "position_ids": position_ids(pad([prompt.positions.T for prompt in prompts]).permute(2, 0, 1)),
        **joined_pixels(prompts),
    }
    return inputs, torch.stack([prompt.positions.max() + 1 for prompt in prompts])
