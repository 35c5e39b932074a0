"""An answer drawn into the picture or video that it is about, or the medium alone in a form that browsers show."""

import asyncio
from pathlib import Path

from onethinker.core.errors import ConfigError, MediaError
from onethinker.core.frames import Clip
from onethinker.core.suffixes import WRITTEN_VIDEO
from onethinker.inference.thought import DRAWING_BUDGET
from onethinker.media.writing import save_clip
from onethinker.serving.answering import Answering
from onethinker.serving.schemas import DrawBody
from onethinker.serving.uploads import Slot
from onethinker.tasks import Reader, find_task, read_response


async def drawn_file(answering: Answering, paths: tuple[Path, ...], body: DrawBody, slot: Slot) -> Path:
    """Return the file of the picture or clip, which lies in the slot's folder.

    Raises: MediaError: there is not one file, or it cannot be read. DataError: no such task. ConfigError: the answer is
    not of the task's form.
    """
    if len(paths) != 1:
        raise MediaError(f"give the one picture or video that the answer is about, got {len(paths)} files")
    async with answering.drawing:  # a drawn clip takes hundreds of megabytes
        clip = await answering.decode(paths[0], DRAWING_BUDGET)
        return await asyncio.to_thread(_draw, clip, body, slot)


def _draw(clip: Clip, body: DrawBody, slot: Slot) -> Path:
    path = slot.add("answer" + (WRITTEN_VIDEO if clip.kind == "video" else ".png"))
    save_clip(_with_answer(clip, body), path)
    return path


def _with_answer(clip: Clip, body: DrawBody) -> Clip:
    if body.task is None and body.answer is None:
        return clip
    if body.task is None or body.answer is None:
        raise ConfigError("give both task and answer to draw an answer, or neither to get only the picture or video")
    task = find_task(body.task, clip.kind)
    reading = read_response(f"<think></think><answer>{body.answer}</answer>", task, body.options, Reader("lenient"))
    if reading.answer is None:
        raise ConfigError(f"answer: {'; '.join(reading.reasons)}")
    return task.draw(clip, reading.answer)
