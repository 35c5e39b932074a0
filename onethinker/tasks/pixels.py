"""What a model that counts pixels is shown and taught: samples and responses, whose places are thousandths, in pixels
of the frames; and back.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from onethinker.core.errors import AnswerError
from onethinker.core.frames import Clip, main_index
from onethinker.core.grammar import find_answer, parse_json
from onethinker.core.request import Turn
from onethinker.core.sample import Sample
from onethinker.tasks.base import Coordinates, Task
from onethinker.tasks.places import FrameSize, boxes_in_words_to_px, places_from_px, places_to_px
from onethinker.tasks.registry import task_of
from onethinker.tasks.tracking import with_first_box


def frame_px_of(media: Sequence[Clip], coordinates: Coordinates) -> FrameSize | None:
    """Return the size of the frames in whose pixels a model writes about media, None for thousandths: of the first
    video, or of the first picture where there is none.
    """
    if coordinates == "thousandths" or not media:
        return None
    seen = media[main_index(media)]
    return seen.width, seen.height


def sample_to_px(sample: Sample, frame_px: FrameSize | None) -> Sample:
    """Return a sample with pixels in its questions and answers; the truth, which answers are compared with in
    thousandths, stays as it is. None for a model that counts thousandths: the sample itself.

    A box in a question is four numbers in brackets, where the task's answers have places; in other questions such
    numbers may be anything. Reasoning stays as it is written.
    """
    task = task_of(sample)
    if frame_px is None or not task.places:
        return sample
    problem = sample.problem if sample.first_box is None else with_first_box(sample.problem, sample.first_box)
    return replace(
        sample,
        problem=boxes_in_words_to_px(problem, frame_px),
        first_box=None,
        response=sample.response and response_to_px(sample.response, task, frame_px),
        rejected=sample.rejected and response_to_px(sample.rejected, task, frame_px),
        earlier=tuple(
            Turn(boxes_in_words_to_px(turn.question, frame_px), response_to_px(turn.answer, task, frame_px), turn.learn)
            for turn in sample.earlier
        ),
    )


def response_to_px(response: str, task: Task[Any], frame_px: FrameSize) -> str:
    """Return a response with the places of the answer block that counts in whole pixels.

    >>> from onethinker.tasks import find_task
    >>> said = '<think>There.</think><answer>{"boxes": [100, 200, 300, 400]}</answer>'
    >>> response_to_px(said, find_task("spatial grounding", "image"), (504, 280))
    '<think>There.</think><answer>{"boxes": [50, 56, 151, 112]}</answer>'
    """
    return _in_answer_block(response, lambda text: places_to_px(text, task.places, frame_px))


def response_from_px(response: str, task: Task[Any], frame_px: FrameSize | None) -> str:
    """Return a response with the places of the answer block that counts in thousandths, as records have them; None for
    one that is.
    """
    if frame_px is None:
        return response
    return _in_answer_block(response, lambda text: places_from_px(text, task.places, frame_px))


def _in_answer_block(response: str, change: Callable[[str], str]) -> str:
    """Return a response with its answer block changed; one that is no strict JSON, or not there, stays as it is."""
    try:
        answer = find_answer(response)
        parse_json(answer)
    except AnswerError:
        return response
    start = response.rindex(answer, 0, response.rindex("</answer>"))
    return response[:start] + change(answer) + response[start + len(answer) :]
