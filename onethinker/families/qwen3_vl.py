"""Qwen3-VL: all that is known of it."""

from collections.abc import Mapping, Sequence
from types import MethodType
from typing import TYPE_CHECKING, Any, ClassVar

from onethinker.core.request import Request
from onethinker.families.base import Block, ModelFamily, Widths
from onethinker.families.processing import has_token_side
from onethinker.media.budget import MediaBudget

if TYPE_CHECKING:
    from torch import Tensor, nn


class Qwen3VL(ModelFamily):
    """Patches of 16 pixels, four to a visual token, frames in pairs; 3D positions; softmax attention in every layer."""

    name = "Qwen3-VL"
    model_types: tuple[str, ...] = ("qwen3_vl",)
    processors: tuple[str, ...] = ("Qwen3VLProcessor",)
    media_inputs: ClassVar[Mapping[str, tuple[str, str]]] = {
        "image": ("pixel_values", "image_grid_thw"),
        "video": ("pixel_values_videos", "video_grid_thw"),
    }
    """For each kind of medium the model's inputs that hold all patches, and the grid of each medium: frames, rows and
    columns of patches.
    """
    pixel_inputs: tuple[str, ...] = ("pixel_values", "pixel_values_videos")
    position_inputs: tuple[str, ...] = ("image_grid_thw", "video_grid_thw")
    """The model's inputs from which the positions of visual tokens follow."""
    token_side_px = 32
    frames_per_token = 2
    blocks: ClassVar[tuple[tuple[str, Block], ...]] = (
        ("model.visual.merger.", "merger"),
        ("model.visual.deepstack_merger_list.", "merger"),
        ("model.visual.", "vision"),
        ("model.language_model.embed_tokens.", "embeddings"),
        ("lm_head.", "head"),
    )
    served_by_vllm = True
    differs = (
        "Seconds are written before each pair of frames; coordinates are thousandths. The release is of this family."
    )
    packed_modules: tuple[str, ...] = ("transformers.models.qwen3_vl.modeling_qwen3_vl",)

    def set_budget(self, processor: Any, budget: MediaBudget) -> None:
        """Let a processor size media by itself as the budget does.

        Its least size of a video counts all frames together and, 5 % more, as the room of one frame. So it cannot say
        that each frame is enlarged to `frame_min_pixels`, and must stay below `frame_max_pixels`.
        """
        images, videos = processor.image_processor, getattr(processor, "video_processor", None)
        if has_token_side(images, self.token_side_px):
            images.size = type(images.size)(shortest_edge=budget.image_min_pixels, longest_edge=budget.image_max_pixels)
        if videos is not None and has_token_side(videos, self.token_side_px):
            least = min(budget.frame_min_pixels, int(budget.frame_max_pixels / 1.05))
            videos.size = type(videos.size)(shortest_edge=least, longest_edge=budget.video_max_pixels)
            videos.cap_pixels_per_frame, videos.max_video_tokens = (
                True,
                budget.frame_max_pixels // self.token_side_px**2,
            )
            videos.fps, videos.num_frames = budget.fps, None
            least_frames = self.frames_per_token
            videos.min_frames, videos.max_frames = least_frames, max(least_frames, budget.max_frames)

    def side_of(self, config: Any) -> int:
        """Return the side of a patch times that of a merge."""
        side: int = config.vision_config.patch_size * config.vision_config.spatial_merge_size
        return side

    def split_media(self, batch: Mapping[str, "Tensor"], requests: Sequence[Request]) -> "list[dict[str, Tensor]]":
        """Return patches and grids of each request's media."""
        taken = dict.fromkeys(self.media_inputs, (0, 0))
        found = []
        for request in requests:
            media: dict[str, Tensor] = {}
            for kind, (values, grids) in self.media_inputs.items():
                count = self.grids_of(request, kind)
                if count:
                    first, patch = taken[kind]
                    grid = batch[grids][first : first + count]
                    patches = int(grid.prod(-1).sum())
                    media[values], media[grids] = batch[values][patch : patch + patches], grid
                    taken[kind] = first + count, patch + patches
            found.append(media)
        return found

    def grids_of(self, request: Request, kind: str) -> int:
        """Return how many grids a request's media of a kind have."""
        return sum(clip.kind == kind for clip in request.media)

    def positions(self, model: Any, batch: Mapping[str, "Tensor"]) -> "Tensor":
        """Return time, row and column of every token, (3, B, T), as the model itself counts them."""
        grids = {name: batch[name] for name in self.position_inputs if name in batch}
        positions: Tensor
        positions, _ = model.model.get_rope_index(
            batch["input_ids"], batch["mm_token_type_ids"], attention_mask=batch["attention_mask"], **grids
        )
        return positions

    def media_tokens(self, config: Any) -> tuple[int, ...]:
        """Return the tokens of a picture and of a video."""
        return config.image_token_id, config.video_token_id

    def layers(self, model: Any) -> "Sequence[nn.Module]":
        """Return the layers of the language model."""
        layers: Sequence[nn.Module] = model.model.language_model.layers
        return layers

    def widths(self, config: Any) -> Widths:
        """Return the widths that a config names."""
        text, vision = config.text_config, config.vision_config
        return Widths(
            layers=text.num_hidden_layers,
            hidden=text.hidden_size,
            queries=text.num_attention_heads * self.head_size(text),
            keys=text.num_key_value_heads * self.head_size(text),
            inner=self.inner_width(text),
            vision_layers=vision.depth,
            vision_hidden=vision.hidden_size,
            vision_inner=vision.intermediate_size,
            patches_per_token=vision.spatial_merge_size**2,
            outside_layers=text.vocab_size * text.hidden_size * (1 if config.tie_word_embeddings else 2),
        )

    def head_size(self, text: Any) -> int:
        """Return the width of a head of the language model."""
        size: int = text.head_dim
        return size

    def inner_width(self, text: Any) -> int:
        """Return the inner width of the part of a layer that takes each token by itself."""
        width: int = text.intermediate_size
        return width

    def read_packed_rows(self, model: Any, *, attention: str) -> None:
        """Let the language model attend by what transformers knows under this name.

        The vision tower also takes its patches in by one matrix product, which the convolution over patches that do not
        overlap is, and many times slower.
        """
        model.config.text_config._attn_implementation = attention
        patches = model.model.visual.patch_embed.proj
        assert patches.kernel_size == patches.stride, "patches overlap"
        patches.forward = MethodType(_whole_patches, patches)


def _whole_patches(convolution: "nn.Conv3d", patches: "Tensor") -> "Tensor":
    """Return what a convolution gives for patches of its kernel's size, (patches, features)."""
    from torch.nn.functional import linear

    return linear(patches.flatten(1), convolution.weight.flatten(1), convolution.bias)
