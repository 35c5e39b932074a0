"""Attention where answers share a prompt, in a packed row and while they are decoded: transformers calls it under a
name of ours, and the rest of the model stays its own.

Dimensions of a packed row: A answers, R tokens of an answer, M tokens of all answers of a group, N tokens of a row, H
heads, D head size. Of decoding: P prompts, G answers of the largest group, B answers in flight, K key heads, Q query
heads that share one, L tokens of the longest prompt, T tokens decoded so far.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, DynamicCache
from transformers.cache_utils import LinearAttentionCacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from onethinker.families.registry import family_of
from onethinker.training.packing.row import Branches, Layout

PACKED_ATTENTION = "onethinker_packed"
"""The name under which transformers knows our attention."""
GROWTH = 64
"""Memory is allocated for so many more tokens at once, or for half as many as there are: tokens are seldom copied."""


class GroupCache:
    """Keys and values of prompts and answers; every answer attends to its own prompt's, which are not copied for it.

    Recurrent layers have a state for each answer, which starts as its prompt's, in `recurrent`.
    """

    def __init__(self, prompts: DynamicCache, seen_PL: Tensor, group: int) -> None:
        """Take over the cache of prompts padded to one length, of which `seen_PL` says what is a token, for `group`
        answers each.
        """
        self._recurrent = [layer for layer in prompts.layers if isinstance(layer, LinearAttentionCacheLayerMixin)]
        self._prompts = {
            index: (layer.keys, layer.values)
            for index, layer in enumerate(prompts.layers)
            if layer not in self._recurrent
        }
        self._bias_PL = torch.zeros_like(seen_PL, dtype=torch.float32).masked_fill(seen_PL == 0, -torch.inf)
        self._prompt_B = torch.arange(len(seen_PL), device=seen_PL.device).repeat_interleave(group)
        self._own: dict[int, tuple[Tensor, Tensor]] = {}
        for index, (keys, values) in self._prompts.items():
            shapes = [(len(self._prompt_B), states.shape[1], 0, states.shape[3]) for states in (keys, values)]
            self._own[index] = keys.new_empty(shapes[0]), values.new_empty(shapes[1])
        self.recurrent = prompts
        for layer in self._recurrent:
            layer.reorder_cache(self._prompt_B)
        self._length = self._capacity = 0
        self._arrange()

    def _arrange(self) -> None:
        """Give each answer a slot among those of its prompt; groups have as many slots as the largest of them."""
        counts_P = torch.bincount(self._prompt_B, minlength=len(self._bias_PL))
        self._group = int(counts_P.max())
        firsts_P = counts_P.cumsum(0) - counts_P
        order_B = torch.arange(len(self._prompt_B), device=counts_P.device) - firsts_P[self._prompt_B]
        self._slot_B = self._prompt_B * self._group + order_B

    def reserve_token(self) -> None:
        """Allocate memory for one more token of every answer, where there is none left."""
        if self._length == self._capacity:
            more = max(GROWTH, self._capacity // 2)
            self._own = {
                index: (_longer(keys, more), _longer(values, more)) for index, (keys, values) in self._own.items()
            }
            self._capacity += more
        self._length += 1

    def keep(self, kept: Tensor) -> None:
        """Forget all answers but these, given by index in ascending order, and the prompts of which none is left."""
        left_P = torch.bincount(self._prompt_B[kept], minlength=len(self._bias_PL)) > 0
        self._prompt_B = (left_P.cumsum(0) - 1)[self._prompt_B[kept]]
        self._own = {index: (keys[kept], values[kept]) for index, (keys, values) in self._own.items()}
        for layer in self._recurrent:
            layer.reorder_cache(kept)
        if not left_P.all():
            self._prompts = {index: (keys[left_P], values[left_P]) for index, (keys, values) in self._prompts.items()}
            self._bias_PL = self._bias_PL[left_P]
        self._arrange()

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Return the attention of each answer's next token, (B, 1, heads, D), and remember its key and value, each (B,
        K, 1, D).
        """
        own_keys, own_values = (states[:, :, : self._length] for states in self._own[layer])
        own_keys[:, :, -1], own_values[:, :, -1] = key[:, :, 0], value[:, :, 0]
        prompt_keys, prompt_values = self._prompts[layer]
        num_answers, key_heads, _, size = key.shape
        query_BKQD = query.reshape(num_answers, key_heads, -1, size) * scale
        prompt_BKQL = self._of_answers(self._in_slots(query_BKQD) @ prompt_keys.mT + self._bias_PL[:, None, None])
        scores_BKQ = torch.cat([prompt_BKQL, query_BKQD @ own_keys.mT], -1)
        weights_BKQ = torch.softmax(scores_BKQ.float(), -1).to(value.dtype)
        prompt_weights, own_weights = weights_BKQ[..., : -self._length], weights_BKQ[..., -self._length :]
        output_BKQD: Tensor = (
            self._of_answers(self._in_slots(prompt_weights) @ prompt_values) + own_weights @ own_values
        )
        return output_BKQD.reshape(num_answers, 1, -1, output_BKQD.shape[-1])

    def _in_slots(self, states_BKQ: Tensor) -> Tensor:
        """Return states (B, K, Q, …) of answers as (P, K, G·Q, …), what is in slots without an answer being zero."""
        slots = states_BKQ
        if len(states_BKQ) < len(self._bias_PL) * self._group:
            slots = states_BKQ.new_zeros(len(self._bias_PL) * self._group, *states_BKQ.shape[1:])
            slots[self._slot_B] = states_BKQ
        return slots.reshape(-1, self._group, *slots.shape[1:]).transpose(1, 2).flatten(2, 3)

    def _of_answers(self, slots: Tensor) -> Tensor:
        """Return what `_in_slots` has put away."""
        states = slots.reshape(*slots.shape[:2], self._group, -1, slots.shape[3]).transpose(1, 2).flatten(0, 1)
        return states if len(states) == len(self._slot_B) else states[self._slot_B]


def _longer(states: Tensor, more: int) -> Tensor:
    return torch.cat([states, states.new_empty(*states.shape[:2], more, states.shape[3])], 2)


def use_packed_attention(model: Any) -> None:
    """Let a model read packed rows; without a layout it attends as before. Raises: ConfigError: of no known family."""
    family_of(model).read_packed_rows(model, attention=PACKED_ATTENTION)


def packed_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    layout: Layout | None = None,
    decoding: GroupCache | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Return the attention output (1, N, heads, D) of a packed row, or (B, 1, heads, D) of the next token of answers
    in flight.

    Without a layout or a cache of groups this is transformers' own sdpa.

    Stems are causal calls without a mask. The answers of a group look at its prompt and at themselves; nothing has the
    size of a prompt's square.
    """
    scale = module.head_dim**-0.5 if scaling is None else scaling
    if decoding is not None:
        return decoding.attend(module.layer_idx, query, key, value, scale), None
    if layout is None:
        output: Tensor = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)[0]
        return output, None
    repeats = module.num_key_value_groups
    # Under autocast the norms of queries and keys leave float32 behind; attention wants one dtype. On the CPU that is
    # float32, as the backward pass in bfloat16 takes up to three times as long.
    device = query.device.type
    is_slower = device == "cpu" and torch.is_autocast_enabled(device)
    dtype = torch.float32 if is_slower else value.dtype
    query, key, value = (states.to(dtype) for states in (query, key, value))
    key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
    with torch.autocast(device, enabled=torch.is_autocast_enabled(device) and not is_slower):
        return _attend_row(query, key, value, layout, scale)[None], None


def _attend_row(query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float) -> Tensor:
    """Return the attention (N, H, D) of a packed row from its queries, keys and values, all (1, H, N, D)."""
    # The row of zeros at the end is what padding points at; causal attention never sees it from a token that counts.
    q, k, v = (nn.functional.pad(each[0].transpose(0, 1), (0, 0, 0, 0, 0, 1)) for each in (query, key, value))
    outputs = []
    for stem in layout.stems:
        q_stem, k_stem, v_stem = (states[stem].transpose(1, 2) for states in (q, k, v))
        outputs.append(
            scaled_dot_product_attention(q_stem, k_stem, v_stem, is_causal=True, scale=scale)
            .transpose(1, 2)
            .flatten(0, 1)
        )
    branches = _merged_branches if query.device.type == "cpu" else joined_branches
    for prefix_group, (q_parts, k_parts, v_parts) in zip(
        layout.branches, zip(*(_parts(states, layout.branches) for states in (q, k, v)), strict=True), strict=True
    ):
        (_, own_q), (prompt_k, own_k), (prompt_v, own_v) = q_parts, k_parts, v_parts
        outputs.append(branches(own_q, own_k, own_v, prompt_k, prompt_v, scale, prefix_group.groups))
    return torch.cat(outputs)[layout.gather_N]


def _parts(states: Tensor, branches: tuple[Branches, ...]) -> list[tuple[Tensor, Tensor]]:
    """Return the states (N, H, D) of each group's prompt and of its answers.

    By one split: the backward of a slice fills a tensor as large as the row, once for every group.
    """
    lengths, end = list[int](), 0
    for group in branches:
        lengths += [group.start - end, group.prompt_length, group.num_tokens]
        end = group.start + group.prompt_length + group.num_tokens
    parts = torch.split(states, [*lengths, len(states) - end])
    return list(zip(parts[1::3], parts[2::3], strict=False))


def joined_branches(
    q: Tensor, k: Tensor, v: Tensor, prompt_k: Tensor, prompt_v: Tensor, scale: float, groups: tuple[Tensor, ...]
) -> Tensor:
    """Return the attention of a group's answers (M, H, D), each over its prompt joined by itself: a copy of the prompt
    for each answer.
    """
    outputs = torch.empty_like(torch.cat([q, q[:1]]))
    q, k, v = (nn.functional.pad(states, (0, 0, 0, 0, 0, 1)) for states in (q, k, v))
    for group_AR in groups:
        keys, values = (
            torch.cat([prompt.expand(len(group_AR), *prompt.shape), states[group_AR]], 1).transpose(1, 2)
            for prompt, states in ((prompt_k, k), (prompt_v, v))
        )
        queries = q[group_AR].transpose(1, 2)
        seen = causal_lower_right(queries.shape[2], keys.shape[2])
        output = scaled_dot_product_attention(queries, keys, values, attn_mask=seen, scale=scale)
        outputs = outputs.index_put((group_AR,), output.transpose(1, 2))
    return outputs[:-1]


def _merged_branches(
    q: Tensor, k: Tensor, v: Tensor, prompt_k: Tensor, prompt_v: Tensor, scale: float, groups: tuple[Tensor, ...]
) -> Tensor:
    output: Tensor = _MergedBranches.apply(q, k, v, prompt_k, prompt_v, scale, *groups)
    return output


class _MergedBranches(torch.autograd.Function):
    """What `joined_branches` gives, on CPU: all answers look at the one prompt in a single call, each at itself in
    another.

    The two outputs are averaged with the softmax sums of the two calls as weights, which is exact. In backward each
    call gets the merged output and sum, with which its own formula is that of the whole. Source: ring attention, arXiv
    2310.01889.
    """

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, prompt_k: Tensor, prompt_v: Tensor, scale: float, *groups: Tensor
    ) -> Tensor:
        flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        output, norm = flash(*map(_heads_first, (q, prompt_k, prompt_v)), scale=scale)
        output_MHD, norm_MH = output[0].transpose(0, 1).float(), norm[0].T
        own_MHD, own_norm_MH = (torch.cat([states, states[:1]]) for states in (output_MHD, norm_MH))
        padded = [nn.functional.pad(states, (0, 0, 0, 0, 0, 1)) for states in (q, k, v)]
        for group_AR in groups:
            output, norm = flash(*(states[group_AR].transpose(1, 2) for states in padded), is_causal=True, scale=scale)
            own_MHD[group_AR], own_norm_MH[group_AR] = output.transpose(1, 2).float(), norm.transpose(1, 2)
        total_MH = torch.logaddexp(norm_MH, own_norm_MH[:-1])
        fractions = [(part - total_MH).exp()[..., None] for part in (norm_MH, own_norm_MH[:-1])]
        merged_MHD: Tensor = (output_MHD * fractions[0] + own_MHD[:-1] * fractions[1]).to(q.dtype)
        ctx.save_for_backward(q, k, v, prompt_k, prompt_v, merged_MHD, total_MH, *groups)
        ctx.scale = scale
        return merged_MHD

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, prompt_k, prompt_v, merged_MHD, total_MH, *groups = ctx.saved_tensors
        flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
        states = [*map(_heads_first, (gradients[0], q, prompt_k, prompt_v, merged_MHD)), total_MH.T[None].contiguous()]
        q_gradient, *prompt_gradients = (
            part[0].transpose(0, 1) for part in flash(*states, 0.0, False, scale=ctx.scale)
        )
        sums = [
            nn.functional.pad(q_gradient, (0, 0, 0, 0, 0, 1)),
            *(part.new_zeros(len(q) + 1, *part.shape[1:]) for part in prompt_gradients),
        ]
        padded = [nn.functional.pad(part, (0, 0, 0, 0, 0, 1)) for part in (gradients[0], q, k, v, merged_MHD)]
        padded_norm = nn.functional.pad(total_MH, (0, 0, 0, 1))
        for group_AR in groups:
            states = [
                *(part[group_AR].transpose(1, 2) for part in padded),
                padded_norm[group_AR].transpose(1, 2).contiguous(),
            ]
            for total, part in zip(sums, flash(*states, 0.0, True, scale=ctx.scale), strict=True):
                total[group_AR] += part.transpose(1, 2)
        return (*(total[:-1] for total in sums), *prompt_gradients, None, *(None for _ in groups))


def _heads_first(states_LHD: Tensor) -> Tensor:
    return states_LHD.transpose(0, 1)[None]


AttentionInterface.register(PACKED_ATTENTION, packed_attention)
AttentionMaskInterface.register(PACKED_ATTENTION, sdpa_mask)
