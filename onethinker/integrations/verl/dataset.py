"""verl's data set with our media: frames sampled and sized by our budget, whatever their file is.

data.custom_cls.path=pkg://onethinker.integrations.verl.dataset
data.custom_cls.name=OneThinkerDataset
+data.onethinker.budget={fps: 2.0, max_frames: 128}
data.mm_processor_kwargs={do_resize: false}
"""

import asyncio
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from verl.utils.dataset.rl_dataset import RLHFDataset

from onethinker.core.errors import MediaError
from onethinker.core.frames import Clip
from onethinker.families.processing import full_frames, video_metadata
from onethinker.inference.chat import plain_text, spelled_tokens
from onethinker.media.budget import MediaBudget
from onethinker.media.reading import read_clip

Video = tuple[torch.Tensor, dict[str, Any]]


class OneThinkerDataset(RLHFDataset):  # type: ignore[misc, unused-ignore]
    """Rows that `onethinker rl --engine verl` wrote; verl asks the class, not an instance, for what a prompt shows."""

    def _build_messages(self, example: dict[str, Any], key: str) -> Any:
        """Return the turns of a row, in which no word of a question spells a special token."""
        messages = super()._build_messages(example, key)
        spelled = spelled_tokens(self.tokenizer)
        for message in messages:
            if isinstance(message["content"], str):
                message["content"] = plain_text(message["content"], spelled)
                continue
            for part in message["content"]:
                if part["type"] == "text":
                    part["text"] = plain_text(part["text"], spelled)
        return messages

    @classmethod
    def _process_multi_modal_info(
        cls, messages: list[dict[str, Any]], image_patch_size: int, config: Any
    ) -> tuple[list[Image.Image] | None, list[Video] | None, None]:
        """Return pictures and videos of turns as they are shown; None for a kind that there is none of.

        Raises: MediaError: a file cannot be read, or is of the other kind.
        """
        budget = MediaBudget(**config.get("onethinker", {}).get("budget", {}))
        shown = [
            read_part(part, budget)
            for message in messages
            if not isinstance(message["content"], str)
            for part in message["content"]
            if part["type"] in ("image", "video")
        ]
        images = [Image.fromarray(clip.frames[0]) for clip in shown if clip.kind == "image"]
        videos = [video_of(clip, budget) for clip in shown if clip.kind == "video"]
        return images or None, videos or None, None

    @classmethod
    async def process_vision_info(
        cls, messages: list[dict[str, Any]], image_patch_size: int, config: Any
    ) -> tuple[list[Image.Image] | None, list[Video] | None]:
        """Return the same, read in a thread. Raises: MediaError."""
        images, videos, _ = await asyncio.to_thread(cls._process_multi_modal_info, messages, image_patch_size, config)
        return images, videos


def read_part(part: dict[str, Any], budget: MediaBudget) -> Clip:
    """Return what a part of a turn shows. Raises: MediaError: it is of another kind than the part says."""
    clip = read_clip(Path(part[part["type"]]), budget)
    if clip.kind != part["type"]:
        raise MediaError(
            f"{clip.name} is a {clip.kind}, but the prompt has it as a {part['type']}: correct its data_type"
        )
    return clip


def video_of(clip: Clip, budget: MediaBudget) -> Video:
    """Return frames with their times, as verl hands a video to the processor and to vLLM: frames, channels, rows."""
    frames = torch.from_numpy(full_frames(clip, budget.frames_per_token)).permute(0, 3, 1, 2)
    return frames, video_metadata(clip, budget.frames_per_token)
