"""Qwen3-VL with a mixture of experts in the language model: the same media, positions and names as Qwen3-VL."""

from typing import TYPE_CHECKING, Any

from onethinker.families.base import gates_of
from onethinker.families.qwen3_vl import Qwen3VL

if TYPE_CHECKING:
    from torch import nn


class Qwen3VLMoe(Qwen3VL):
    """Every token is routed by itself, so that packing is exact as it is without experts."""

    name = "Qwen3-VL-MoE"
    model_types = ("qwen3_vl_moe",)
    served_by_vllm = True
    differs = (
        "As Qwen3-VL. The routers' auxiliary loss follows config.json or a recipe's router_loss; lora.experts puts"
        " adapters on experts; rollout.replay_experts routes tokens in the update to the same experts as in the"
        " rollout."
    )
    packed_modules = (*Qwen3VL.packed_modules, "transformers.models.qwen3_vl_moe.modeling_qwen3_vl_moe")

    def used_share(self, name: str, config: Any) -> float:
        """Return the share of the experts that a token is routed to."""
        text = config.text_config
        return text.num_experts_per_tok / text.num_experts if ".experts." in name else 1.0

    def routers(self, model: Any) -> "list[nn.Module]":
        """Return the gates of layers with experts."""
        return gates_of(self.layers(model))
