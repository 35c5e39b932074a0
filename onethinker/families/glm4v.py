"""GLM-4.1V and GLM-4.6V: patches of 14 pixels, the frames of a video as pictures with their times after them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from onethinker.core.request import Request
from onethinker.families.base import Block, Widths
from onethinker.families.qwen3_vl import Qwen3VL
from onethinker.media.budget import MediaBudget

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import BatchFeature


class Glm4V(Qwen3VL):
    """The token of a frame is that of a picture; transformers takes no pictures beside videos, so that each pair of
    frames is given as the picture that the model makes of it.
    """

    name = "GLM-4V"
    model_types: tuple[str, ...] = ("glm4v", "glm46v")
    processors = ("Glm4vProcessor", "Glm46VProcessor")
    media_inputs: ClassVar[Mapping[str, tuple[str, str]]] = {"image": ("pixel_values", "image_grid_thw")}
    pixel_inputs = ("pixel_values",)
    position_inputs = ("image_grid_thw",)
    token_side_px = 28
    frame_time = "{} seconds"
    served_by_vllm = True
    differs = (
        "GLM-4.1V and GLM-4.6V-Flash. Seconds are written after each pair of frames, whole ones in GLM-4.1V;"
        " coordinates are thousandths. The template may open <think>, which then begins every answer."
    )
    packed_modules: tuple[str, ...] = (
        "transformers.models.glm4v.modeling_glm4v",
        "transformers.models.glm46v.modeling_glm46v",
    )
    blocks: ClassVar[tuple[tuple[str, Block], ...]] = (("model.visual.downsample.", "merger"), *Qwen3VL.blocks)

    def encode(self, processor: Any, texts: Sequence[str], requests: Sequence[Request]) -> "BatchFeature":
        """Return the model's inputs; patches of pictures and frames stand in the order of the media."""
        import torch

        batch = super().encode(processor, texts, requests)
        if "pixel_values_videos" not in batch:
            return batch
        patches: dict[str, list[Tensor]] = {"image": [], "video": []}
        grids: dict[str, list[Tensor]] = {"image": [], "video": []}
        for kind, values in (("image", "pixel_values"), ("video", "pixel_values_videos")):
            if values in batch:
                own = batch.pop(f"{kind}_grid_thw")
                grids[kind] = [torch.tensor([[1, *grid[1:]]] * grid[0]) for grid in own.tolist()]
                patches[kind] = list(batch.pop(values).split(own.prod(-1).tolist()))
        kinds = [clip.kind for request in requests for clip in request.media]
        batch["pixel_values"] = torch.cat([patches[kind].pop(0) for kind in kinds])
        batch["image_grid_thw"] = torch.cat([grids[kind].pop(0) for kind in kinds])
        batch["mm_token_type_ids"] = batch["mm_token_type_ids"].clamp(max=1)
        return batch

    def set_budget(self, processor: Any, budget: MediaBudget) -> None:
        """Let a processor size media by itself as the budget does: its sizes count the frames of a video together, and
        a picture as two.
        """
        images, videos = processor.image_processor, processor.video_processor
        of_two = 2 * budget.image_min_pixels, 2 * budget.image_max_pixels
        of_all = budget.frame_min_pixels, min(budget.video_max_pixels, budget.frame_max_pixels * budget.max_frames)
        for own, (least, most) in ((images, of_two), (videos, of_all)):
            own.size = type(own.size)(shortest_edge=least, longest_edge=most)
        videos.fps = budget.fps

    def grids_of(self, request: Request, kind: str) -> int:
        """Return how many pictures and pairs of frames a request shows."""
        return sum(-(-len(clip.frames) // self.frames_per_token) for clip in request.media)

    def head_size(self, text: Any) -> int:
        """Return the width of a head, which its config does not name."""
        size: int = text.hidden_size // text.num_attention_heads
        return size

    def widths(self, config: Any) -> Widths:
        """Return the widths that a config names; `intermediate_size` of the vision tower is that of its merger."""
        return replace(super().widths(config), vision_inner=config.vision_config.out_hidden_size)


class Glm4VMoe(Glm4V):
    """The same with experts after the first layers, of which some are shared by all tokens."""

    name = "GLM-4V-MoE"
    model_types = ("glm4v_moe",)
    served_by_vllm = True
    differs = (
        "GLM-4.5V and GLM-4.6V, as GLM-4V. The routers' auxiliary loss is off in training, whatever"
        " router_aux_loss_coef says, and their correction bias stays unchanged; adapters go on attention, dense layers"
        " and shared experts; routing cannot be replayed."
    )
    packed_modules = ("transformers.models.glm4v_moe.modeling_glm4v_moe",)

    def routers(self, model: Any) -> "list[nn.Module]":
        """Return none: its gates are sigmoids with a bias, which neither the auxiliary loss nor the replay is for."""
        return []

    def used_share(self, name: str, config: Any) -> float:
        """Return the share of the experts that a token is routed to."""
        text = config.text_config
        return text.num_experts_per_tok / text.n_routed_experts if ".experts." in name else 1.0

    def inner_width(self, text: Any) -> int:
        """Return the inner widths of all experts that a token passes."""
        width: int = text.moe_intermediate_size * (text.num_experts_per_tok + text.n_shared_experts)
        return width
