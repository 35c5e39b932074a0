"""From a sample to what a model reads: the one road that SFT, RL, evaluation and `ask` share.

Frames arrive sampled and sized by `read_clip`; the Hugging Face processor only cuts them into patches and writes their
times into the text.
"""

import re
from collections.abc import Sequence
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from onethinker.core.errors import EngineError, MediaError
from onethinker.core.frames import Clip
from onethinker.core.request import Request
from onethinker.core.sample import Sample
from onethinker.families.processing import encode, placeholder_texts, placeholder_tokens
from onethinker.families.registry import family_of_processor
from onethinker.inference.chat import chat_messages, spelled_tokens
from onethinker.media.budget import MediaBudget
from onethinker.media.reading import read_clip
from onethinker.tasks import Coordinates
from onethinker.tasks.pixels import frame_px_of, sample_to_px
from onethinker.tasks.template import PromptTemplate

if TYPE_CHECKING:
    import torch
    from transformers import BatchFeature

_OPENED = re.compile(r"<think>\s*(?:</think>\s*)?\Z")
"""What a chat template writes of the answer itself: a think block that it opens, or one that it opens and closes."""


def build_request(
    sample: Sample, prompt_template: PromptTemplate, budget: MediaBudget, *, coordinates: Coordinates = "thousandths"
) -> Request:
    """Return a sample as one user message: its media as the model will see them, then the complete text.

    Raises: MediaError: a file cannot be read. DataError: there is no task for the sample.
    """
    media = tuple(read_clip(source, budget) for source in sample.media)
    return request_about(sample, media, prompt_template, coordinates=coordinates)


def request_about(
    sample: Sample,
    media: tuple[Clip, ...],
    prompt_template: PromptTemplate,
    *,
    coordinates: Coordinates,
    seed: int | None = None,
) -> Request:
    """Return a sample whose media have been read as one user message, its boxes in the coordinates of the model.

    Raises: DataError: there is no task for the sample. MediaError: its media are of another kind than the question is
    about.
    """
    check_kinds(sample, media)
    return worded(sample, media, prompt_template, coordinates=coordinates, seed=seed)


def worded(
    sample: Sample,
    media: tuple[Clip, ...],
    prompt_template: PromptTemplate,
    *,
    coordinates: Coordinates,
    seed: int | None = None,
) -> Request:
    """Return a sample as it is asked: with the words of its task, or, of a conversation, as it is written."""
    frame_px = frame_px_of(media, coordinates)
    asked = sample_to_px(sample, frame_px)
    if sample.is_conversation:
        return Request(asked.problem, media, asked.system, seed, earlier=asked.earlier, shown=asked.shown)
    return Request(prompt_template.text(asked, frame_px), media, prompt_template.system, seed)


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

    Rows and media are in the order of the requests; `families.processing.encode` says what they are.

    Raises: EngineError: the processor cannot take such media, or there are not as many placeholders as
    features.
    """
    if not requests:
        raise EngineError("expected at least one request to encode, got none")
    family = family_of_processor(processor)
    return (family.encode if family else encode)(processor, prompt_texts(processor, requests), requests)


def answer_opening(processor: Any) -> str:
    r"""Return what the chat template has written of every answer before the model continues: "<think>\n" of a thinking
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
    if not set(placeholder_tokens(processor).values()).isdisjoint(prompts[0][shared:]):
        return None
    import torch

    return [torch.tensor(prompt[shared:], dtype=torch.long) for prompt in prompts]


def prompt_texts(processor: Any, requests: Sequence[Request]) -> list[str]:
    """Return the chat template's text of each request, in which one token stands for each of its media."""
    # A placeholder need not be a token: SmolVLM has none for a video.
    spelled = (*spelled_tokens(processor.tokenizer), *placeholder_texts(processor).values())
    chats = [
        chat_messages(request, [{"type": clip.kind} for clip in request.media], words=_parts, special_tokens=spelled)
        for request in requests
    ]
    # One by one: a processor may choose its template by all chats that it is given.
    write = partial(processor.apply_chat_template, tokenize=False, add_generation_prompt=True)
    texts: list[str] = [write([chat])[0] for chat in chats]
    written = _written_of_answer(processor)
    if "</think>" in written:
        texts = [text.removesuffix(written) for text in texts]
    for index, (text, request) in enumerate(zip(texts, requests, strict=True)):
        for kind, token in placeholder_texts(processor).items():
            found, count = text.count(token), sum(clip.kind == kind for clip in request.media)
            if found != count:
                raise EngineError(
                    f"request {index}: the chat template writes {found} placeholders for {count} {kind}s; check that it"
                    " belongs to this model"
                )
    return texts


def _parts(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}]
