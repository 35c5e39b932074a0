"""Gated delta layers where answers share a prompt: what a prompt leaves behind is a state, from which each of its
answers goes on.

Dimensions: N tokens of a row, B runs of L tokens, M tokens of all answers of a group, C channels of the convolution.
"""

from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv1d, pad, silu, softplus


def forked_gated_delta(
    layer: Any,
    hidden_states: Tensor,
    cache: Any = None,
    attention_mask: Tensor | None = None,
    *,
    layout: Any = None,
    decoding: Any = None,
    **kwargs: Any,
) -> Tensor:
    """Return what a layer makes of a packed row, (1, N, width), or of the next token of answers in flight.

    Without a layout it is transformers' own forward; answers in flight have states of their own in `decoding`.
    Gradients flow back from all answers through the state of their prompt.
    """
    if layout is None:
        own = cache if decoding is None else decoding.recurrent
        output: Tensor = type(layer).forward(layer, hidden_states, cache=own, attention_mask=attention_mask, **kwargs)
        return output
    row = _Row(layer, hidden_states[0])
    outputs, states = [], []
    for stem_BL in layout.stems:
        output, state = row.run(stem_BL)
        outputs.append(output.flatten(0, 1))
        states.append(state)
    for branches, (stem, index) in zip(layout.branches, layout.prompts, strict=True):
        outputs.append(row.run_answers(branches, states[stem][index : index + 1]))
    core = torch.cat(outputs)[layout.gather_N]
    gate = layer.in_proj_z(hidden_states[0]).unflatten(-1, (-1, layer.head_v_dim))
    normed = layer.norm(core.flatten(0, 1), gate.flatten(0, 1)).reshape(len(core), -1)
    return layer.out_proj(normed)[None]  # type: ignore[no-any-return]


class _Row:
    """The inputs of a layer's convolution and recurrence for all tokens of a row, and one of zeros at the end, which
    neither writes (beta 0) nor forgets (decay 0): what padding points at.
    """

    def __init__(self, layer: Any, hidden_NW: Tensor) -> None:
        self.layer, self.width = layer, layer.conv_kernel_size - 1
        self.mixed_NC = pad(layer.in_proj_qkv(hidden_NW), (0, 0, 0, 1))
        self.beta = pad(layer.in_proj_b(hidden_NW).sigmoid(), (0, 0, 0, 1))
        decay = -layer.A_log.float().exp() * softplus(layer.in_proj_a(hidden_NW).float() + layer.dt_bias)
        self.decay = pad(decay, (0, 0, 0, 1))
        # As the layer itself calls it: flash-linear-attention's kernel where that is installed.
        self.rule = import_module(type(layer).__module__).torch_chunk_gated_delta_rule

    def run(
        self, places_BL: Tensor, before: Tensor | None = None, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return outputs (B, L, heads, size) of runs of tokens, and the states that they leave behind.

        `before` (C, width) are the inputs of the convolution before each run, by default none, and `state` (1, …) is
        where each begins.
        """
        layer, count = self.layer, len(places_BL)
        inputs_BCL = self.mixed_NC[places_BL].transpose(1, 2)
        if before is None:
            inputs_BCL = pad(inputs_BCL, (self.width, 0))
        else:
            inputs_BCL = torch.cat([before.expand(count, -1, -1), inputs_BCL], 2)
        mixed = silu(conv1d(inputs_BCL, layer.conv1d.weight.to(inputs_BCL.dtype), groups=layer.conv_dim)).transpose(
            1, 2
        )
        query, key, value = torch.split(mixed, [layer.key_dim, layer.key_dim, layer.value_dim], -1)
        output, final = self.rule(
            query.reshape(*query.shape[:2], -1, layer.head_k_dim),
            key.reshape(*key.shape[:2], -1, layer.head_k_dim),
            value.reshape(*value.shape[:2], -1, layer.head_v_dim),
            g=self.decay[places_BL],
            beta=self.beta[places_BL],
            initial_state=None if state is None else state.expand(count, -1, -1, -1),
            output_final_state=True,
            use_qk_l2norm_in_kernel=True,
        )
        return output, final

    def run_answers(self, branches: Any, state: Tensor) -> Tensor:
        """Return the outputs (M, heads, size) of the answers of a group, each from the end of its prompt."""
        first = branches.start + branches.prompt_length
        before = self.mixed_NC[branches.start : first][-self.width :].T
        before = pad(before, (self.width - before.shape[1], 0))
        place_M = torch.arange(branches.num_tokens + 1, device=before.device) + first
        place_M[-1] = len(self.mixed_NC) - 1
        outputs: Tensor | None = None
        for group_AR in branches.groups:
            own, _ = self.run(place_M[group_AR], before, state)
            if outputs is None:
                outputs = own.new_zeros(len(place_M), *own.shape[2:])
            outputs = outputs.index_put((group_AR,), own)
        assert outputs is not None, "a group has answers"
        return outputs[:-1]
