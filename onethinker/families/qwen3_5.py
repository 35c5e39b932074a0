"""Qwen3.5: the media and positions of Qwen3-VL; layers of gated delta nets between those of attention."""

from dataclasses import replace
from types import MethodType
from typing import TYPE_CHECKING, Any

from onethinker.families.base import Widths, gates_of
from onethinker.families.qwen3_vl import Qwen3VL

if TYPE_CHECKING:
    from torch import nn


class Qwen35(Qwen3VL):
    """A prompt leaves a state and the last inputs of a convolution behind; all its answers go on from these."""

    name = "Qwen3.5"
    model_types = ("qwen3_5",)
    served_by_vllm = True
    differs = (
        "Hybrid: in gated delta layers the answers of a prompt start from the prompt's state, and gradients flow back"
        " through it. The template may open <think>, which then begins every answer. The dry run counts the states of"
        " these layers; for the backward pass it counts them like attention."
    )
    packed_modules = ("transformers.models.qwen3_5.modeling_qwen3_5",)
    packed_layer_types = ("full_attention", "linear_attention")
    packed_parts = ("linear_attn.conv1d",)

    def widths(self, config: Any) -> Widths:
        """Return the widths that a config names, with the states of its gated delta layers."""
        text = config.text_config
        keys, values = (
            getattr(text, f"linear_num_{kind}_heads") * getattr(text, f"linear_{kind}_head_dim")
            for kind in ("key", "value")
        )
        inputs = text.linear_conv_kernel_dim * (2 * keys + values)
        return replace(
            super().widths(config),
            recurrent_layers=text.layer_types.count("linear_attention"),
            state=values * text.linear_key_head_dim + inputs,
        )

    def read_packed_rows(self, model: Any, *, attention: str) -> None:
        """Let attention and gated delta layers read packed rows."""
        from onethinker.families.gated_delta import forked_gated_delta

        super().read_packed_rows(model, attention=attention)
        for layer in self.layers(model):
            mixer = getattr(layer, "linear_attn", None)
            if mixer is not None:
                mixer.forward = MethodType(forked_gated_delta, mixer)


class Qwen35Moe(Qwen35):
    """The same with experts, of which one is shared by all tokens."""

    name = "Qwen3.5-MoE"
    model_types = ("qwen3_5_moe",)
    served_by_vllm = True
    differs = "As Qwen3.5. Routers, experts and adapters as in Qwen3-VL-MoE; adapters go on the shared expert too."
    packed_modules = ("transformers.models.qwen3_5_moe.modeling_qwen3_5_moe",)

    def used_share(self, name: str, config: Any) -> float:
        """Return the share of the experts that a token is routed to."""
        text = config.text_config
        return text.num_experts_per_tok / text.num_experts if ".experts." in name else 1.0

    def inner_width(self, text: Any) -> int:
        """Return the inner widths of all experts that a token passes."""
        width: int = text.moe_intermediate_size * text.num_experts_per_tok + text.shared_expert_intermediate_size
        return width

    def routers(self, model: Any) -> "list[nn.Module]":
        """Return the gates of layers with experts."""
        return gates_of(self.layers(model))
