"""A page of sampled answers: what the model was shown and asked, what it says each time, and what each answer is worth
and why.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from onethinker.core.errors import AnswerError, CheckpointError
from onethinker.core.frames import Clip, main_index
from onethinker.core.grammar import answer_text
from onethinker.core.sample import Sample
from onethinker.drawing.sheets import for_sheet, sheet_webp
from onethinker.media.budget import MediaBudget
from onethinker.media.reading import read_clip
from onethinker.rl.groups import Group
from onethinker.storage.atomic import write_atomically
from onethinker.storage.folders import ANSWERS_FOLDER
from onethinker.tasks import Grade, Task, task_of
from onethinker.tasks.places import FrameSize
from onethinker.training.session import TrainingSession


@dataclass(frozen=True)
class Sampled:
    """A question with the answers of its group and their grades."""

    sample: Sample
    texts: tuple[str, ...]
    grades: tuple[Grade, ...]
    frame_px: FrameSize | None = None
    """Size of the frames in whose pixels the answers count places, None for thousandths."""


def show_answers(session: TrainingSession, step: int, groups: Mapping[int, Group]) -> None:
    """Write a page with the first group of each task that the main process has graded itself; the others write
    nothing.
    """
    if not session.collectives.is_main:
        return
    shown: dict[str, Sampled] = {}
    for _, group in sorted(groups.items()):
        if group.grades and group.task not in shown:
            shown[group.task] = Sampled(group.sample, group.texts, group.grades, group.frame_px)
    write_answers(session.folder.path, step, [shown[task] for task in sorted(shown)], session.data.budget)


def answers_page(folder: Path, step: int) -> Path:
    """Return where the page of a step of a run is."""
    return folder / ANSWERS_FOLDER / f"step-{step:08d}.html"


def write_answers(folder: Path, step: int, groups: Sequence[Sampled], budget: MediaBudget) -> Path:
    """Write one HTML page, complete in itself, about the groups of a step, and return where it is.

    Pictures show the truth and each usable answer drawn in; where answers are words or a number there is one picture,
    of what was asked about. The same groups give the same page, byte for byte.

    Raises: CheckpointError: it cannot be written. MediaError: a picture or clip cannot be read.
    """
    page = answers_page(folder, step)
    content = _template().render(step=step, groups=[_shown(group, budget) for group in groups])
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(page, content.encode(errors="replace"))
    except OSError as error:
        raise CheckpointError(
            f"{page}: the sampled answers cannot be written: {error}. Fix this and run the same command again: it"
            " resumes from the last checkpoint"
        ) from error
    return page


def _shown(group: Sampled, budget: MediaBudget) -> dict[str, Any]:
    sample = group.sample
    task = task_of(sample)
    clips = [read_clip(medium, budget) for medium in sample.media]
    clip = for_sheet(clips[main_index(clips)]) if clips else None
    return {
        "task": task.key,
        "id": sample.id,
        "problem": sample.problem,
        "options": sample.options,
        "truth": sample.truth,
        "picture": _picture(clip, task, sample.truth, sample.options) or (_data_address(clip) if clip else None),
        "is_wide": clip is not None and len(clip.frames) > 1,
        "answers": [
            {
                "text": text,
                "grade": grade,
                "picture": _picture(clip, task, _answer_in(text, task, group), sample.options),
            }
            for text, grade in zip(group.texts, group.grades, strict=True)
        ],
    }


def _answer_in(text: str, task: Task[Any], group: Sampled) -> str | None:
    """Return the inside of an answer block, its places in thousandths; None without one."""
    answer = answer_text(text)
    return None if answer is None else task.in_thousandths(answer, group.frame_px)


def _picture(clip: Clip | None, task: Task[Any], answer: str | None, options: tuple[str, ...]) -> str | None:
    """Return the picture with an answer drawn in, or None where there is nothing to draw."""
    if clip is None or answer is None or not task.structured:
        return None
    try:
        return _data_address(task.draw(clip, task.parse(answer, options)))
    except AnswerError:
        return None


def _data_address(clip: Clip) -> str:
    return f"data:image/webp;base64,{base64.b64encode(sheet_webp(clip)).decode()}"


def _template() -> Any:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("answers.html.jinja")
