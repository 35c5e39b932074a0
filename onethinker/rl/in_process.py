"""Our own sampler: a group of answers to each prompt, with its media encoded once and its prompt read once.

Dimensions: P prompts, G answers per prompt, B = P·G answers under way, T tokens, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from onethinker.core.request import SamplingParams
from onethinker.families.registry import family_of
from onethinker.inference.sampling import draw_tokens
from onethinker.rl.sampler import Rollout, RolloutRequest
from onethinker.training.packing.decoding import GroupCache
from onethinker.training.packing.prefix_group import Prompt
from onethinker.training.session import TrainingSession

COMPACT_BELOW = 0.7
"""Finished answers leave the batch when less than this share of it is still under way."""


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
    num_prompts, group, limit = uniforms.shape
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return _sample(
                model,
                prompts,
                uniforms.reshape(num_prompts * group, limit),
                group,
                temperature,
                end_token,
                forbidden_tokens,
            )
    finally:
        model.train(was_training)


def _sample(
    model: Any,
    prompts: Sequence[Prompt],
    uniforms_BT: Tensor,
    group: int,
    temperature: float,
    end_token: int,
    forbidden_tokens: Sequence[int],
) -> list[list[Rollout]]:
    inputs, next_position_P = _left_padded(prompts)
    cache = DynamicCache(config=model.config.get_text_config())
    logits = model(**inputs, cache=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
    groups = GroupCache(cache, inputs["attention_mask"], group)
    position_B = next_position_P.repeat_interleave(group)
    logits = logits.repeat_interleave(group, 0)
    num_answers, limit = uniforms_BT.shape
    ids_BT = torch.zeros(num_answers, limit, dtype=torch.long, device=logits.device)
    logps_BT = torch.zeros(num_answers, limit, device=logits.device)
    length_B = torch.full((num_answers,), limit, device=logits.device)
    active = torch.arange(num_answers, device=logits.device)
    under_way = torch.ones(num_answers, dtype=torch.bool, device=logits.device)
    for step in range(limit):
        logits = logits.float() / (temperature or 1.0)
        norm = logits.logsumexp(-1)
        logits[:, list(forbidden_tokens)] = -torch.inf
        tokens = _draw(logits, uniforms_BT[active, step].to(logits.device), temperature)
        # Of logits that are not finite nothing can be drawn: the answer ends, and its log-probability tells.
        tokens = torch.where(norm.isfinite(), tokens, end_token)
        ids_BT[active, step] = tokens
        logps_BT[active, step] = logits.gather(-1, tokens[:, None])[:, 0] - norm
        ending = (tokens == end_token) & under_way[active]
        length_B[active[ending]] = step + 1
        under_way[active[ending]] = False
        if step + 1 == limit or not under_way.any():
            break
        if under_way[active].float().mean() < COMPACT_BELOW:
            kept = under_way[active].nonzero()[:, 0]
            groups.keep(kept)
            active, tokens, position_B = active[kept], tokens[kept], position_B[kept]
        groups.make_room()
        out = model(
            input_ids=tokens[:, None],
            position_ids=position_B.expand(3, -1)[..., None],
            decoding=groups,
            use_cache=False,
        )
        logits, position_B = out.logits[:, -1], position_B + 1
    rollouts = [
        Rollout(ids_BT[n, :length], logps_BT[n, :length], bool(under_way[n]))
        for n, length in enumerate(length_B.tolist())
    ]
    return [rollouts[first : first + group] for first in range(0, num_answers, group)]


def _draw(logits_BV: Tensor, uniform_B: Tensor, temperature: float) -> Tensor:
    """Return one token a row: the likeliest at temperature 0, else the one at which the cumulated probability passes
    the uniform.

    The logits are divided by the temperature already.
    """
    return logits_BV.argmax(-1) if temperature == 0 else draw_tokens(logits_BV, uniform_B)


def _left_padded(prompts: Sequence[Prompt]) -> tuple[dict[str, Any], Tensor]:
    """Return the model's inputs for a batch of prompts, and the position at which each one's answer starts."""
    longest = max(len(prompt.input_ids) for prompt in prompts)

    def padded(tensors: Sequence[Tensor]) -> Tensor:
        return torch.stack([nn.functional.pad(tensor, (longest - tensor.shape[-1], 0)) for tensor in tensors])

    inputs: dict[str, Any] = {
        "input_ids": padded([prompt.input_ids for prompt in prompts]),
        "mm_token_type_ids": padded([prompt.mm_token_type_ids for prompt in prompts]),
        "attention_mask": padded([torch.ones_like(prompt.input_ids) for prompt in prompts]),
        "position_ids": padded([prompt.positions for prompt in prompts]).transpose(0, 1),
    }
    for name in sorted({name for prompt in prompts for name in prompt.pixels}):
        inputs[name] = torch.cat([prompt.pixels[name] for prompt in prompts if name in prompt.pixels])
    return inputs, torch.stack([prompt.positions.max() + 1 for prompt in prompts])
