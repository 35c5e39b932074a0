"""SmolVLM2: squares of 512 pixels, 64 tokens each; minutes and seconds before each frame."""

from typing import TYPE_CHECKING, Any, ClassVar

from onethinker.core.frames import Clip
from onethinker.families.base import Block
from onethinker.families.processing import video_metadata
from onethinker.families.squares import Squares, first_of

if TYPE_CHECKING:
    from torch import Tensor


class SmolVLM(Squares):
    """Squares of 384 pixels and 81 tokens in the model of 2.2 billion parameters."""

    name = "SmolVLM"
    model_types = ("smolvlm",)
    processors = ("SmolVLMProcessor",)
    token_side_px = 64
    square_px = 512
    unsplit: ClassVar = {"do_image_splitting": False}
    frame_time = "\nFrame from 0000:00:"
    frame_marks = 3
    image_marks = 3
    video_words = (
        "You are provided the following series of three thousand, seven hundred and seventy-three frames from a"
        " 00:00:00 [H:MM:SS] video.\n\n\n"
    )
    differs = (
        "Every picture and frame becomes one square of 512 pixels (384 in the model of 2.2 billion parameters),"
        " whatever its shape; pictures are not split. Minutes and whole seconds are written before each frame. It was"
        " not trained to give coordinates; our training uses thousandths. Its processor needs the package num2words."
    )
    packed_modules = (
        "transformers.models.smolvlm.modeling_smolvlm",
        "transformers.models.llama.modeling_llama",
    )
    blocks: ClassVar[tuple[tuple[str, Block], ...]] = (
        ("model.connector.", "merger"),
        ("model.vision_model.", "vision"),
        ("model.text_model.embed_tokens.", "embeddings"),
        ("lm_head.", "head"),
    )

    def square_of(self, source: Any) -> tuple[int, int]:
        """Return the side of a square in pixels and in tokens, by a processor or a config."""
        if hasattr(source, "image_processor"):
            return source.image_processor.max_image_size["longest_edge"], round(source.image_seq_len**0.5)
        vision = source.vision_config
        side = first_of(vision.image_size)
        return side, side // first_of(vision.patch_size) // source.scale_factor

    def pixels_of(self, processor: Any, clip: Clip) -> "Tensor":
        """Return the pixels of a clip, (frames, 1, 3, height, width): the model counts pictures of each sample."""
        pixels: Tensor
        if clip.kind == "image":
            made = processor.image_processor([clip.frames[0]], do_resize=False, return_tensors="pt", **self.unsplit)
            pixels = made["pixel_values"][0]
        else:
            made = processor.video_processor([clip.frames], do_resize=False, return_tensors="pt")
            pixels = made["pixel_values"][0]
        return pixels[:, None]

    def text_of(self, processor: Any, clip: Clip) -> str:
        """Return the tokens of a picture, or of frames with their times."""
        from transformers.video_utils import VideoMetadata

        if clip.kind == "image":
            text: str = processor.replace_image_token({"rows": [[0]], "cols": [[0]]}, 0)
        else:
            metadata = VideoMetadata(**video_metadata(clip, self.frames_per_token))
            text = processor.replace_video_token({"pixel_values": clip.frames[None], "video_metadata": [metadata]}, 0)
        return text

    def language_model(self, model: Any) -> Any:
        """Return the language model within a model."""
        return model.model.text_model
