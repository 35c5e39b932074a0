"""What is remembered while groups of answers are decoded: keys and values of each prompt once, and of each answer its
own.

Dimensions: P prompts, G answers of the largest group, B answers under way, K key heads, Q query heads that share one, L
tokens of the longest prompt, T tokens decoded so far, D head size.
"""

import torch
from torch import Tensor
from transformers import DynamicCache

GROWTH = 64
"""Room is made for so many more tokens at once, or for half as many as there are, so that tokens are seldom copied."""


class GroupCache:
    """Keys and values of prompts and answers; every answer attends to its own prompt's, which are not copied for it."""

    def __init__(self, prompts: DynamicCache, seen_PL: Tensor, group: int) -> None:
        """Take over the cache of prompts padded to one length, of which `seen_PL` says what is a token, for `group`
        answers each.
        """
        self._prompts = [(layer.keys, layer.values) for layer in prompts.layers]
        self._bias_PL = torch.zeros_like(seen_PL, dtype=torch.float32).masked_fill(seen_PL == 0, -torch.inf)
        self._prompt_B = torch.arange(len(seen_PL), device=seen_PL.device).repeat_interleave(group)
        self._own: list[tuple[Tensor, Tensor]] = []
        for keys, values in self._prompts:
            shapes = [(len(self._prompt_B), states.shape[1], 0, states.shape[3]) for states in (keys, values)]
            self._own.append((keys.new_empty(shapes[0]), values.new_empty(shapes[1])))
        self._length = 0
        self._arrange()

    def _arrange(self) -> None:
        """Give each answer a slot among those of its prompt; groups have as many slots as the largest of them."""
        counts_P = torch.bincount(self._prompt_B, minlength=len(self._bias_PL))
        self._group = int(counts_P.max())
        firsts_P = counts_P.cumsum(0) - counts_P
        order_B = torch.arange(len(self._prompt_B), device=counts_P.device) - firsts_P[self._prompt_B]
        self._slot_B = self._prompt_B * self._group + order_B

    def make_room(self) -> None:
        """Be ready for one more token of every answer."""
        capacity = self._own[0][0].shape[2]
        if self._length == capacity:
            more = max(GROWTH, capacity // 2)
            self._own = [(_longer(keys, more), _longer(values, more)) for keys, values in self._own]
        self._length += 1

    def keep(self, kept: Tensor) -> None:
        """Forget all answers but these, given by index in ascending order, and the prompts of which none is left."""
        left_P = torch.bincount(self._prompt_B[kept], minlength=len(self._bias_PL)) > 0
        self._prompt_B = (left_P.cumsum(0) - 1)[self._prompt_B[kept]]
        self._own = [(keys[kept], values[kept]) for keys, values in self._own]
        if not left_P.all():
            self._prompts = [(keys[left_P], values[left_P]) for keys, values in self._prompts]
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
        shares_BKQ = torch.softmax(scores_BKQ.float(), -1).to(value.dtype)
        prompt_shares, own_shares = shares_BKQ[..., : -self._length], shares_BKQ[..., -self._length :]
        output_BKQD: Tensor = self._of_answers(self._in_slots(prompt_shares) @ prompt_values) + own_shares @ own_values
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
