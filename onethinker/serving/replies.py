"""What clients get: a thought as JSON, as server-sent events, and as OpenAI's chat completions."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from onethinker.core.errors import OneThinkerError
from onethinker.inference.thought import Thought
from onethinker.serving.answering import Answered
from onethinker.serving.schemas import LIMITS, AskBody, FileKind
from onethinker.storage.strict_json import to_json
from onethinker.tasks import all_tasks


def reply_of(answered: Answered, *, guessed: bool, files: Sequence[FileKind] = ()) -> dict[str, Any]:
    """Return all that a thought has but its pixels, as plain values.

    Boxes and points are thousandths of the frame, times seconds; masks are COCO's run lengths at the size of the
    source. `frame_px` says, for a model that counts pixels, of which frames those in `text` are.
    """
    thought = answered.thought
    record = thought.to_dict()
    places = {
        "boxes": [{"time_s": time_s, "box": list(box)} for time_s, box in sorted(thought.boxes.items())],
        "span": list(thought.span) if thought.span is not None else None,
        "points": {kind: [list(point) for point in points] for kind, points in thought.points.items()},
        "masks": masks_of(answered),
    }
    shared = ("model", "question", "task", "text", "thinking", "answer", "problems", "finish_reason")
    return {
        **{name: record[name] for name in shared},
        **({"frame_px": record["frame_px"]} if "frame_px" in record else {}),
        "guessed": guessed,
        "answer_text": thought.answer_text,
        **places,
        "moment_s": getattr(thought.answer, "time_s", None) if thought.clip.kind == "video" else None,
        "problems": [*thought.media_problems, *thought.problems],
        "media": [
            {
                "name": clip.name,
                "kind": clip.kind,
                "width": clip.source_width,
                "height": clip.source_height,
                "duration_s": clip.duration_s,
                "frames": len(clip.frames),
            }
            for clip in thought.clips
        ],
        "turns": turns_of(thought),
        "usage": usage_of(answered),
        "timing": {**record["timing"], "mask_s": answered.mask_s},
        "files": files_of(answered, files),
    }


def turns_of(thought: Thought) -> list[dict[str, str]]:
    """Return what has been asked and answered so far, as the next question about these media sends it in `earlier`."""
    most = LIMITS.question_chars
    return [{"question": each.question[:most], "answer": each.answer[:most]} for each in thought.turns[-LIMITS.turns :]]


def usage_of(answered: Answered) -> dict[str, Any]:
    """Return the tokens of prompt and answer, and those that were not read again, under OpenAI's names."""
    reply = answered.thought.reply
    prompt, answer = reply.prompt_tokens, reply.completion_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": prompt + answer,
        "prompt_tokens_details": {"cached_tokens": reply.cached_tokens},
    }


def masks_of(answered: Answered) -> list[dict[str, Any]]:
    """Return the mask of each frame that has one."""
    if answered.masks is None:
        return []
    return [{"segmenter": answered.masks.segmenter, **frame} for frame in answered.masks.to_dict()["frames"]]


def files_of(answered: Answered, kinds: Sequence[FileKind]) -> dict[str, Any]:
    """Return the answer in the forms of other tools; where one has no such form, why."""
    thought = answered.thought
    makers: dict[FileKind, Callable[[], Any]] = {
        "coco": lambda: thought.to_coco(masks=answered.masks),
        "mot": thought.to_mot,
        "label-studio": thought.to_label_studio,
    }
    found: dict[str, Any] = {}
    for kind in kinds:
        try:
            found[kind] = makers[kind]()
        except OneThinkerError as error:
            found[kind] = {"error": str(error)}
    return found


def event(name: str, value: object) -> bytes:
    r"""Return a server-sent event.

    >>> event("answer", {"text": "2"})
    b'event: answer\ndata: {"text": "2"}\n\n'
    """
    return f"event: {name}\ndata: {to_json(value)}\n\n".encode()


@cache
def tasks_schema() -> dict[str, Any]:
    """Return every task, the JSON schema of a question, and that of each task's answer."""
    return {
        "tasks": [
            {
                "problem_type": task.problem_type,
                "key": task.key,
                "data_types": list(task.data_types),
                "instructions": task.instructions,
                "example": task.example,
                "answer": answer_schema(task),
            }
            for task in all_tasks()
        ],
        "request": AskBody.model_json_schema(),
    }


def answer_schema(task: object) -> dict[str, Any]:
    """Return the JSON schema of a task's answer in a reply: null, or of the task's own type.

    >>> from onethinker.tasks import find_task
    >>> answer_schema(find_task("numerical", "image"))
    {'anyOf': [{'type': 'number'}, {'type': 'null'}]}
    """
    for kind in type(task).__mro__:
        for base in getattr(kind, "__orig_bases__", ()):
            for argument in getattr(base, "__args__", ()):
                if not hasattr(argument, "__constraints__"):
                    return TypeAdapter(argument | None).json_schema()
    return {}
