"""Qwen3-VL with a mixture of experts in the language model: the same media, positions and names as Qwen3-VL."""

from typing import Any

from onethinker.families.qwen3_vl import Qwen3VL


class Qwen3VLMoe(Qwen3VL):
    """Every token is routed by itself, so that packing is exact as it is without experts."""

    name = "Qwen3-VL-MoE"
    model_types = ("qwen3_vl_moe",)
    served_by_vllm = True
    differs = (
        "As Qwen3-VL. In training the routers' auxiliary loss is off, whatever router_aux_loss_coef says; adapters go"
        " on attention, not on experts; rollout and update route alike but for rounding, and no routing is replayed."
    )
    packed_modules = (*Qwen3VL.packed_modules, "transformers.models.qwen3_vl_moe.modeling_qwen3_vl_moe")

    def used_share(self, name: str, config: Any) -> float:
        """Return the share of the experts that a token is routed to."""
        text = config.text_config
        return text.num_experts_per_tok / text.num_experts if ".experts." in name else 1.0
