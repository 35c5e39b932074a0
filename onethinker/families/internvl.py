"""InternVL: squares of 448 pixels, 256 tokens each; frames have numbers, and no times."""

from typing import TYPE_CHECKING, Any, ClassVar

from onethinker.core.frames import Clip
from onethinker.families.base import Block
from onethinker.families.squares import Squares, first_of

if TYPE_CHECKING:
    from torch import Tensor


class InternVL(Squares):
    """transformers' own classes (folders whose names end in -hf), with a language model of Qwen2 or Qwen3."""

    name = "InternVL"
    model_types = ("internvl",)
    processors = ("InternVLProcessor",)
    token_side_px = 28
    square_px = 448
    unsplit: ClassVar = {"crop_to_patches": False}
    frame_time = "Frame{}: \n"
    image_marks = 2
    differs = (
        "Every picture and frame becomes one square of 448 pixels, whatever its shape; pictures are not split into"
        " tiles. Frames are numbered and have no times, so it cannot tell when something happens; coordinates are"
        " thousandths. Only folders for transformers (-hf), with Qwen2 or Qwen3 as language model."
    )
    packed_modules = (
        "transformers.models.internvl.modeling_internvl",
        "transformers.models.qwen2.modeling_qwen2",
        "transformers.models.qwen3.modeling_qwen3",
    )
    blocks: ClassVar[tuple[tuple[str, Block], ...]] = (
        ("model.multi_modal_projector.", "merger"),
        ("model.vision_tower.", "vision"),
        ("model.language_model.embed_tokens.", "embeddings"),
        ("lm_head.", "head"),
    )

    def square_of(self, source: Any) -> tuple[int, int]:
        """Return the side of a square in pixels and in tokens, by a processor or a config."""
        if hasattr(source, "image_processor"):
            return source.image_processor.size.height, round(source.image_seq_length**0.5)
        vision = source.vision_config
        side = first_of(vision.image_size)
        return side, int(side // first_of(vision.patch_size) * source.downsample_ratio)

    def pixels_of(self, processor: Any, clip: Clip) -> "Tensor":
        """Return the pixels of a clip, (frames, 3, height, width)."""
        pixels: Tensor
        if clip.kind == "image":
            made = processor.image_processor([clip.frames[0]], do_resize=False, return_tensors="pt", **self.unsplit)
            pixels = made["pixel_values"]
        else:
            made = processor.video_processor([clip.frames], do_resize=False, return_tensors="pt")
            pixels = made["pixel_values_videos"][0]
        return pixels

    def text_of(self, processor: Any, clip: Clip) -> str:
        """Return the tokens of a picture, or of numbered frames."""
        if clip.kind == "image":
            text: str = processor.replace_image_token({"num_patches": [1]}, 0)
        else:
            text = processor.replace_video_token({"pixel_values_videos": [clip.frames]}, 0)
        return text

    def language_model(self, model: Any) -> Any:
        """Return the language model within a model."""
        return model.model.language_model
