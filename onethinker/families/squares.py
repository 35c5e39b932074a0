"""Families that see every picture and every frame as a square of one size, which becomes so many visual tokens."""

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from onethinker.core.frames import Clip
from onethinker.core.request import Request
from onethinker.families.base import ModelFamily, Widths
from onethinker.families.processing import check_counts, placeholder_texts, placeholder_tokens
from onethinker.media.budget import MediaBudget

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import BatchFeature


class Squares(ModelFamily):
    """Positions count tokens, on one axis. A medium goes through the processor by itself: one of transformers takes no
    clips of different length in a batch, another no picture beside a clip.
    """

    pixel_inputs = ("pixel_values",)
    frames_per_token = 1
    takes_token_types = False
    square_px: int
    """Side of the square in most models of the family."""
    unsplit: ClassVar[Mapping[str, Any]]
    """What tells the processor of pictures to make one square of each."""

    @abstractmethod
    def square_of(self, source: Any) -> tuple[int, int]:
        """Return the side of the square of a model, by its processor or its config, in pixels and in visual tokens."""

    @abstractmethod
    def pixels_of(self, processor: Any, clip: Clip) -> "Tensor":
        """Return the pixels of a clip, a row for each frame."""

    @abstractmethod
    def text_of(self, processor: Any, clip: Clip) -> str:
        """Return what a processor writes in place of a clip's placeholder."""

    @abstractmethod
    def language_model(self, model: Any) -> Any:
        """Return the language model within a model."""

    def encode(self, processor: Any, texts: Sequence[str], requests: Sequence[Request]) -> "BatchFeature":
        """Return the model's inputs for requests whose prompts have these texts. Raises: EngineError."""
        import torch
        from transformers import BatchFeature

        written = [self._written(processor, *each) for each in zip(texts, requests, strict=True)]
        tokens = processor.tokenizer(written, padding=True, padding_side="left", return_tensors="pt")
        ids, visual = tokens["input_ids"], placeholder_tokens(processor)["image"]
        frames_B = torch.tensor([sum(len(clip.frames) for clip in request.media) for request in requests])
        check_counts(ids, [visual], frames_B * self.square_of(processor)[1] ** 2)
        batch = {
            "input_ids": ids,
            "attention_mask": tokens["attention_mask"],
            "mm_token_type_ids": (ids == visual).long(),
        }
        pixels = [self.pixels_of(processor, clip) for request in requests for clip in request.media]
        return BatchFeature({**batch, "pixel_values": torch.cat(pixels)} if pixels else batch)

    def _written(self, processor: Any, text: str, request: Request) -> str:
        """Return a prompt with the tokens of its media in place of their placeholders."""
        media = iter([self.text_of(processor, clip) for clip in request.media])
        placeholders = "|".join(map(re.escape, placeholder_texts(processor).values()))
        return re.sub(placeholders, lambda _: next(media), text)

    def split_media(self, batch: Mapping[str, "Tensor"], requests: Sequence[Request]) -> "list[dict[str, Tensor]]":
        """Return the squares of each request."""
        found, first = [], 0
        for request in requests:
            count = sum(len(clip.frames) for clip in request.media)
            found.append({"pixel_values": batch["pixel_values"][first : first + count]} if count else {})
            first += count
        return found

    def fit_budget(self, budget: MediaBudget, source: Any = None) -> MediaBudget:
        """Return a budget of squares of the size that a model has."""
        side, tokens = (
            (self.square_px, self.square_px // self.token_side_px) if source is None else self.square_of(source)
        )
        return super().fit_budget(budget).model_copy(update={"token_side_px": side // tokens, "square_px": side})

    def positions(self, model: Any, batch: Mapping[str, "Tensor"]) -> "Tensor":
        """Return the number of every token within its prompt, (1, B, T)."""
        return (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)[None]

    def cuts_alike(self, processor: Any, config: Any) -> bool:
        """Return whether a processor makes squares of the size, and of as many tokens, as a model of this config."""
        return self.square_of(processor) == self.square_of(config)

    def side_of(self, config: Any) -> int:
        """Return the side of the square of pixels that becomes one visual token of a model of this config."""
        side, tokens = self.square_of(config)
        return side // tokens

    def set_budget(self, processor: Any, budget: MediaBudget) -> None:
        """Let a processor make one square of each picture, and sample videos as the budget does."""
        for name, value in self.unsplit.items():
            setattr(processor.image_processor, name, value)
        processor.video_processor.fps, processor.video_processor.num_frames = budget.fps, budget.max_frames

    def media_tokens(self, config: Any) -> tuple[int, ...]:
        """Return the token of a picture and of a frame."""
        return (config.image_token_id,)

    def layers(self, model: Any) -> "Sequence[nn.Module]":
        """Return the layers of the language model."""
        layers: Sequence[nn.Module] = self.language_model(model).layers
        return layers

    def widths(self, config: Any) -> Widths:
        """Return the widths that a config names."""
        text, vision = config.text_config, config.vision_config
        head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        side, tokens = self.square_of(config)
        return Widths(
            layers=text.num_hidden_layers,
            hidden=text.hidden_size,
            queries=text.num_attention_heads * head,
            keys=text.num_key_value_heads * head,
            inner=text.intermediate_size,
            vision_layers=vision.num_hidden_layers,
            vision_hidden=vision.hidden_size,
            vision_inner=vision.intermediate_size,
            patches_per_token=(side // first_of(vision.patch_size) // tokens) ** 2,
            outside_layers=text.vocab_size * text.hidden_size * (1 if config.tie_word_embeddings else 2),
        )

    def read_packed_rows(self, model: Any, *, attention: str) -> None:
        """Let the language model attend by what transformers knows under this name."""
        model.config.text_config._attn_implementation = attention
        self.language_model(model).config._attn_implementation = attention


def first_of(size: int | Sequence[int]) -> int:
    """Return the side of a square that a config gives as one number or as two."""
    return size if isinstance(size, int) else size[0]
