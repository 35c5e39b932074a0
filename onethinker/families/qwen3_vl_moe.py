"""Qwen3-VL with a mixture of experts in the language model: the same media, positions and names as Qwen3-VL."""

from onethinker.families.qwen3_vl import Qwen3VL


class Qwen3VLMoe(Qwen3VL):
    """Every token is routed by itself, so that packing is exact as it is without experts."""

    name = "Qwen3-VL-MoE"
    model_types = ("qwen3_vl_moe",)
    packed_modules = (*Qwen3VL.packed_modules, "transformers.models.qwen3_vl_moe.modeling_qwen3_vl_moe")
