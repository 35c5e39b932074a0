"""A request as the JSON that an OpenAI-compatible server takes, with the frame times and sizes that vLLM needs."""

import base64
import io
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from onethinker.core.errors import EngineError
from onethinker.core.frames import Clip
from onethinker.core.grammar import TAGS
from onethinker.core.request import Request, SamplingParams
from onethinker.families.processing import video_times

_SPECIAL_TOKEN = re.compile(r"<(?=\|\w+\|>)")
"""The start of a special token as tokenizers of chat models spell them: <|im_end|>, <|image_pad|>, …"""


def chat_request(request: Request, params: SamplingParams, *, model: str, frames_per_token: int = 2) -> dict[str, Any]:
    """Return the body of POST /chat/completions: media first, then the text, as every engine shows them.

    `mm_processor_kwargs`, `media_io_kwargs` and `return_token_ids` are vLLM's: our frames have their final size and
    their own times.

    Raises: EngineError: for more than one video, because vLLM takes the frame times once a request.
    """
    videos = [clip for clip in request.media if clip.kind == "video"]
    if len(videos) > 1:
        raise EngineError(f"a server can be sent one video per request, got {len(videos)}; ask about them one by one")
    media = [_media_part(clip, frames_per_token) for clip in request.media]
    body = _engine_body(request, params, media, model)
    if request.media:
        body["mm_processor_kwargs"] = {"do_resize": False}
    if videos:
        body["media_io_kwargs"] = {"video": video_times(videos[0], frames_per_token)}
    return body


def sglang_chat_request(request: Request, params: SamplingParams, *, model: str) -> dict[str, Any]:
    """Return the body of POST /chat/completions for SGLang, which has no fields for the times and sizes of frames.

    Raises: EngineError: for a video: SGLang reads a file and samples it itself.
    """
    if any(clip.kind == "video" for clip in request.media):
        raise EngineError(
            "SGLang cannot be sent the frames of a video with their times, only pictures: serve the model with vLLM, or"
            " load it here"
        )
    return _engine_body(request, params, [_media_part(clip, 1) for clip in request.media], model)


def raw_chat_request(request: Request, params: SamplingParams, *, model: str) -> dict[str, Any]:
    """Return the body of POST /chat/completions for a server of `onethinker serve`: every video with times of its own,
    words that are the whole prompt, and a reply as the model writes it.
    """
    media = [_media_part(clip, 1) for clip in request.media]
    for part, clip in zip(media, request.media, strict=True):
        if clip.kind == "video":
            part["video_url"] |= {"times_s": clip.times_s, "duration_s": clip.duration_s}
    return _body(request, params, media, model) | {"raw": True}


def _engine_body(
    request: Request, params: SamplingParams, media: Sequence[dict[str, Any]], model: str
) -> dict[str, Any]:
    """Return what vLLM and SGLang both take."""
    # A server fills what is left out from the model's generation_config.json: other answers than a local engine's.
    body = _body(request, params, media, model) | {"top_k": -1, "repetition_penalty": 1.0}
    return body | {"logprobs": True, "return_token_ids": True} if params.logprobs else body


def _body(request: Request, params: SamplingParams, media: Sequence[dict[str, Any]], model: str) -> dict[str, Any]:
    return {
        "model": model,
        "messages": chat_messages(request, media, words=str),
        "max_tokens": params.max_new_tokens,
        "temperature": params.temperature,
        "top_p": params.top_p,
        "seed": request.seed_or(params.seed),
    }


def chat_messages(
    request: Request,
    media: Sequence[dict[str, Any]],
    *,
    words: Callable[[str], Any],
    special_tokens: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Return a request as the messages of a chat: its media stand once, in the first message of the user, or in those
    that it says.

    `words` makes the content of a message without media, which servers take as a text and templates as a list.

    >>> from onethinker.core.request import Turn
    >>> request = Request("And the dog?", earlier=(Turn("Where is the cat?", "On the left."),))
    >>> [message["role"] for message in chat_messages(request, [], words=str)]
    ['user', 'assistant', 'user']
    """
    asked = [*(turn.question for turn in request.earlier), request.text]
    shown = iter(media)
    parts = [list(islice(shown, count)) for count in request.shown or (len(media), *[0] * len(request.earlier))]
    messages: list[dict[str, Any]] = []
    if request.system is not None:
        messages.append({"role": "system", "content": words(plain_text(request.system, special_tokens))})
    for index, text in enumerate(asked):
        part = {"type": "text", "text": plain_text(text, special_tokens)}
        messages.append({"role": "user", "content": [*parts[index], part]})
        if index < len(request.earlier):
            answer = plain_text(request.earlier[index].answer, special_tokens)
            messages.append({"role": "assistant", "content": words(answer)})
    return messages


def plain_text(text: str, special_tokens: Iterable[str] = ()) -> str:
    """Return a user's text in which what spells a special token is broken by a space, so that every engine reads it as
    text.

    `special_tokens` are those of a tokenizer at hand, for models that spell them in another way.

    >>> plain_text("What does <|im_end|> mean, and </s>?", ["</s>"])
    'What does < |im_end|> mean, and < /s>?'
    """
    text = _SPECIAL_TOKEN.sub("< ", text)
    for token in special_tokens:
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def spelled_tokens(tokenizer: Any) -> tuple[str, ...]:
    """Return the texts that a tokenizer would read as one token that means more than its letters: all added ones but
    the answer's tags.
    """
    added = {str(token) for token in tokenizer.added_tokens_decoder.values()} | set(tokenizer.all_special_tokens)
    return tuple(sorted(token for token in added - set(TAGS) if len(token) > 1 and not token.isspace()))


def _media_part(clip: Clip, frames_per_token: int) -> dict[str, Any]:
    frames = [_png_base64(frame) for frame in clip.frames]
    if clip.kind == "image":
        return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{frames[0]}"}}
    frames += frames[-1:] * (-len(frames) % frames_per_token)
    return {"type": "video_url", "video_url": {"url": f"data:video/jpeg;base64,{','.join(frames)}"}}


def _png_base64(frame: npt.NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "PNG", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
