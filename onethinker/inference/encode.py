"""From a sample to what a model reads: the one road that SFT, RL, evaluation and `ask` share.

Frames arrive sampled and sized by `read_clip`; the Hugging Face processor only cuts them into patches and writes their
times into the text.
"""

import re
from collections.abc import Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import numpy as np

from onethinker.core.errors import EngineError, MediaError
from onethinker.core.frames import Clip
from onethinker.core.request import Request
from onethinker.core.sample import Sample
from onethinker.families.folder import has_our_grid
from onethinker.inference.chat import plain_text, spelled_tokens, video_times
from onethinker.media.budget import MediaBudget
from onethinker.media.reading import read_clip
from onethinker.tasks.template import Wording

if TYPE_CHECKING:
    import torch
    from transformers import BatchFeature

_OPENED = re.compile(r"<think>\s*(?:</think>\s*)?\Z")
"""What a chat template writes of the answer itself: a think block that it opens, or one that it opens and closes."""


def build_request(sample: Sample, wording: Wording, budget: MediaBudget) -> Request:
    """Return a sample as one user message: its media as the model will see them, then the complete text.

    Raises: MediaError: a file cannot be read. DataError: there is no task for the sample.
    """
    return request_about(sample, tuple(read_clip(source, budget) for source in sample.media), wording)


def request_about(sample: Sample, media: tuple[Clip, ...], wording: Wording, *, seed: int | None = None) -> Request:
    """Return a sample whose media have been read as one user message.

    Raises: DataError: there is no task for the sample. MediaError: its media are of another kind than the question is
    about.
    """
    check_kinds(sample, media)
    return Request(wording.text(sample), media, wording.system, seed)


def check_kinds(sample: Sample, media: Sequence[Clip]) -> None:
    """Raise MediaError, which names the medium, for a question about a picture that is shown a video, or the other way
    round.

    A question about a video may also show pictures.
    """
    videos = [clip for clip in media if clip.kind == "video"]
    if sample.data_type == "image" and videos:
        raise MediaError(
            f"{videos[0].name} is a video (or an animation), but the question is about a picture: set its data_type to"
            " video"
        )
    if sample.data_type == "video" and media and not videos:
        raise MediaError(f"{media[0].name} is a picture, but the question is about a video: set its data_type to image")


def encode_requests(processor: Any, requests: Sequence[Request]) -> "BatchFeature":
    """Return the model's inputs for a batch of requests, padded on the left, as CPU tensors.

    For a Qwen3-VL processor that is `input_ids`, `attention_mask`, `mm_token_type_ids` (rows in the order of the
    requests) and, where there are such media, `pixel_values` with `image_grid_thw` and `pixel_values_videos` with
    `video_grid_thw` (media in the order of the requests). Frames keep their size; an odd video shows its last frame
    twice. A model whose visual token is not our 32 pixels wide sizes the frames again, in its own way.

    Raises: EngineError: the processor cannot take such media, or places and features of the media differ in number.
    """
    if not requests:
        raise EngineError("expected at least one request to encode, got none")
    images = [[clip.frames[0] for clip in request.media if clip.kind == "image"] for request in requests]
    videos = [clip for request in requests for clip in request.media if clip.kind == "video"]
    if videos and getattr(processor, "video_processor", None) is None:
        raise EngineError(
            f"{type(processor).__name__} takes no videos, only pictures; load a model that reads video, such as a"
            " Qwen3-VL"
        )
    texts = prompt_texts(processor, requests)
    media: dict[str, Any] = {}
    if any(images):
        media |= {"images": images, "images_kwargs": {"do_resize": not has_our_grid(processor.image_processor)}}
    if videos:
        media |= {
            "videos": [_even_frames(clip) for clip in videos],
            "videos_kwargs": _video_kwargs(processor.video_processor, videos),
        }
    try:
        batch = processor(
            text=texts, text_kwargs={"padding": True, "padding_side": "left"}, return_tensors="pt", **media
        )
    except (ValueError, TypeError, IndexError, StopIteration) as error:
        raise EngineError(f"{type(processor).__name__} cannot take the media of this batch: {error}") from error
    _check_places(processor, batch, requests)
    return batch


def answer_opening(processor: Any) -> str:
    r"""Return what the chat template has written of every answer before the model goes on: "<think>\n" of a thinking
    model, or "".

    It is the beginning of the answer wherever texts are shown, graded or learned. A think block that a template also
    closes is left out of the prompt instead: our answers reason, and the block is theirs to write.
    """
    written = _written_of_answer(processor)
    return "" if "</think>" in written else written


def _written_of_answer(processor: Any) -> str:
    """Return the think block, or its beginning, that the template puts at the end of a prompt."""
    message = {"role": "user", "content": [{"type": "text", "text": "?"}]}
    text: str = processor.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
    found = _OPENED.search(text)
    return found[0] if found else ""


def split_questions(processor: Any, requests: Sequence[Request]) -> "list[torch.Tensor] | None":
    """Return what each of several requests about the same media has for itself: its prompt's tokens after the beginning
    that all share.

    None where the template puts something of a request's own before the last of its media, so that these could not be
    read once for all.
    """
    tokenizer = processor.tokenizer
    prompts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in prompt_texts(processor, requests)]
    shared = sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, zip(*prompts, strict=False)))
    places = {getattr(processor, f"{kind}_token_id", None) for kind in ("image", "video")}
    if any(token in places for token in prompts[0][shared:]):
        return None
    import torch

    return [torch.tensor(prompt[shared:], dtype=torch.long) for prompt in prompts]


def prompt_texts(processor: Any, requests: Sequence[Request]) -> list[str]:
    """Return the chat template's text of each request, in which one token stands for each of its media."""
    spelled = spelled_tokens(processor.tokenizer)
    texts: list[str] = processor.apply_chat_template(
        [_messages(request, spelled) for request in requests], tokenize=False, add_generation_prompt=True
    )
    written = _written_of_answer(processor)
    if "</think>" in written:
        texts = [text.removesuffix(written) for text in texts]
    for number, (text, request) in enumerate(zip(texts, requests, strict=True)):
        for kind in ("image", "video"):
            token = getattr(processor, f"{kind}_token", None)
            places, count = text.count(token) if token else 0, sum(clip.kind == kind for clip in request.media)
            if token and places != count:
                raise EngineError(
                    f"request {number}: the chat template makes {places} places for {count} {kind}s; is it this model's"
                    " own?"
                )
    return texts


def _messages(request: Request, special_tokens: Sequence[str]) -> list[dict[str, Any]]:
    content = [{"type": clip.kind} for clip in request.media] + [
        {"type": "text", "text": plain_text(request.text, special_tokens)}
    ]
    system = (
        [{"role": "system", "content": [{"type": "text", "text": request.system}]}]
        if request.system is not None
        else []
    )
    return [*system, {"role": "user", "content": content}]


def _even_frames(clip: Clip) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.concatenate([clip.frames, clip.frames[-1:]]) if len(clip.frames) % 2 else clip.frames


def _video_kwargs(video_processor: Any, videos: Sequence[Clip]) -> dict[str, Any]:
    times = [video_times(clip) for clip in videos]
    names = ("fps", "frames_indices", "total_num_frames", "duration")
    metadata = [
        {**{name: time[name] for name in names}, "width": clip.width, "height": clip.height}
        for time, clip in zip(times, videos, strict=True)
    ]
    ours = has_our_grid(video_processor)
    return {"do_sample_frames": False, "do_resize": not ours, "video_metadata": metadata} | (
        {"cap_pixels_per_frame": False} if ours else {}
    )


def _check_places(processor: Any, batch: "BatchFeature", requests: Sequence[Request]) -> None:
    """Raise an EngineError unless every request has as many media tokens as its media have features."""
    import torch

    for kind in ("image", "video"):
        if (grids := batch.get(f"{kind}_grid_thw")) is None:
            continue
        merge = getattr(processor, "image_processor" if kind == "image" else "video_processor").merge_size
        features = grids.prod(-1) // merge**2
        owners = torch.tensor(
            [row for row, request in enumerate(requests) for clip in request.media if clip.kind == kind]
        )
        if len(owners) != len(features):
            raise EngineError(f"the processor made features for {len(features)} {kind}s out of {len(owners)}")
        expected_B = torch.zeros(len(requests), dtype=torch.long).index_add_(0, owners, features)
        places_B = (batch["input_ids"] == getattr(processor, f"{kind}_token_id")).sum(1)
        for row in (places_B != expected_B).nonzero()[:1, 0].tolist():
            raise EngineError(
                f"request {row}: {places_B[row]} {kind} tokens in the prompt for {expected_B[row]} visual features"
            )
