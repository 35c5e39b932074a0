"""What clients send: the bodies of /v1/ask and /v1/chat/completions, each field with its range."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from onethinker.core.errors import ConfigError
from onethinker.core.settings import Settings, explain
from onethinker.serving.limits import Limits

LIMITS = Limits()
Words = Annotated[str, Field(max_length=LIMITS.question_chars)]
FileKind = Literal["coco", "mot", "label-studio"]
JSON_FIELDS = ("box", "earlier")
"""Fields of a form whose text is JSON."""
LIST_FIELDS = ("media", "options", "files")
"""Fields of a form that may stand in it several times."""
MAX_SEED = 2**63 - 1
Body = TypeVar("Body", bound=BaseModel)


class TurnBody(Settings):
    """An earlier question about the same media, with its answer."""

    question: Words
    answer: Words


class Sampling(BaseModel):
    """Sampling parameters; null uses what the server was started with."""

    model_config = ConfigDict(allow_inf_nan=False, use_attribute_docstrings=True)

    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=0, le=MAX_SEED)


class MediaBody(Settings):
    """A body with pictures and videos, as JSON or as a form."""

    media: tuple[str, ...] = Field((), max_length=LIMITS.media)
    """Data URLs, paths below the server's --media-root, or addresses on hosts that it allows; in a form, files."""


class DrawBody(MediaBody):
    """An answer to draw: POST /v1/draw gives the picture (PNG) or clip (MP4) with it.

    Without task and answer, only the medium is returned, for a browser that cannot show its format.
    """

    task: str | None = None
    """A problem type of GET /v1/tasks."""
    answer: Words | None = None
    """The content of the answer block, as in `answer_text` of a reply; coordinates are in thousandths."""
    options: tuple[Words, ...] = Field((), max_length=26)
    """Choices of a multiple choice question."""


class AskBody(Sampling, MediaBody):
    """A question about pictures and videos: the JSON of POST /v1/ask; a form has fields of the same names."""

    question: Annotated[str, Field(min_length=1, max_length=LIMITS.question_chars)]
    """The question as text."""
    model: str | None = None
    """One of GET /v1/models; by default the first."""
    task: str | None = None
    """A problem type of GET /v1/tasks; by default it is guessed from the question."""
    box: tuple[float, float, float, float] | None = None
    """For tracking: the target in the first frame, as left, top, right, bottom in thousandths of the frame."""
    options: tuple[Words, ...] = Field((), max_length=26)
    """Choices of a multiple choice question."""
    earlier: tuple[TurnBody, ...] = Field((), max_length=LIMITS.turns)
    """Earlier turns about the same media: `turns` of the previous reply."""
    before: str | None = None
    """The task of the last earlier turn, which a follow-up such as "And the dog?" takes over; by default it is guessed
    from that question."""
    max_new_tokens: int | None = Field(None, ge=1, le=LIMITS.new_tokens)
    stream: bool = False
    """Stream the answer as server-sent events while the model generates it."""
    masks: bool = True
    """For a segmentation: return masks too."""
    files: tuple[FileKind, ...] = ()
    """Also return the answer in the formats of these other tools."""


class StudioTask(BaseModel):
    """A task of Label Studio."""

    data: dict[str, Any]
    """"image" or "video" says where the file is, "question" what to ask; "task", "box" and "options" as in /v1/ask."""


class PredictBody(BaseModel):
    """What Label Studio sends to its ML backend."""

    tasks: tuple[StudioTask, ...] = Field(max_length=LIMITS.queue)
    label_config: str = Field("", max_length=LIMITS.question_chars * 10)
    """The project's labelling interface, whose names are used in the suggestions."""


class ChatPart(BaseModel):
    """A part of a message's content, of type text, image_url, video_url or input_image."""

    type: str
    text: Words | None = None
    image_url: Any = None
    video_url: Any = None


class ChatMessage(BaseModel):
    """A message of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | tuple[ChatPart, ...] | None = None


class ChatBody(Sampling):
    """The JSON of POST /v1/chat/completions, with `task`, `box`, `options` and `raw` in addition to OpenAI's fields."""

    messages: tuple[ChatMessage, ...] = Field(min_length=1, max_length=2 * LIMITS.turns + 2)
    model: str | None = None
    max_tokens: int | None = Field(None, ge=1, le=LIMITS.new_tokens)
    max_completion_tokens: int | None = Field(None, ge=1, le=LIMITS.new_tokens)
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    n: int | None = Field(1, ge=1, le=1)
    task: str | None = None
    box: tuple[float, float, float, float] | None = None
    options: tuple[Words, ...] = Field((), max_length=26)
    media_io_kwargs: dict[str, Any] | None = None
    """When each frame of a video of pictures is shown, as vLLM takes it: video.frames_indices, fps and duration."""
    raw: bool = False
    """The words are the whole prompt, frames are shown as they are or refused, and the reply is as the model wrote it,
    tags and all.
    """


def read_json(body: bytes, kind: type[Body]) -> Body:
    """Return a body as what it should be. Raises: ConfigError: says which field is wrong, and how."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise ConfigError(explain(error, kind)) from error


def read_form(fields: Sequence[tuple[str, str]], kind: type[Body]) -> Body:
    """Return the fields of a form, files left out, as a body. Raises: ConfigError: says which is wrong, and how.

    >>> read_form([("question", "Follow it"), ("box", "[1, 2, 3, 4]"), ("stream", "true")], AskBody).box
    (1.0, 2.0, 3.0, 4.0)
    """
    values: dict[str, Any] = {}
    for name, text in fields:
        text = text.replace("\r\n", "\n")  # as which a browser sends each line's end
        if name in LIST_FIELDS:
            values.setdefault(name, []).append(text)
        elif name in values:
            raise ConfigError(f"{name}: given twice")
        else:
            values[name] = _parsed(name, text) if name in JSON_FIELDS else text
    return validated(values, kind)


def validated(values: Mapping[str, Any], kind: type[Body]) -> Body:
    """Return fields as what they should be. Raises: ConfigError: says which is wrong, and how."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(error, kind)) from error


def _parsed(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{name}: expected JSON, such as [537, 403, 768, 703], got {text[:100]!r}") from error
