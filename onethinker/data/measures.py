"""What can be counted of a sample: lengths of its texts, sizes of its media, places and times of its truth."""

import math
from collections.abc import Iterator, Mapping

from onethinker.core.errors import AnswerError, DataError, MediaError
from onethinker.core.grammar import parse_response
from onethinker.core.sample import Sample
from onethinker.core.sources import FileMedium
from onethinker.media.headers import Header
from onethinker.tasks import parse_truth, task_of
from onethinker.tasks.scripts import words

MEASURES: Mapping[str, str] = {
    "question_words": "words of the question and its options",
    "response_words": "words of the response to learn from",
    "thinking_words": "words of its reasoning",
    "prompt_tokens": "tokens of the prompt, media included (--model)",
    "visual_tokens": "tokens of the media (--model)",
    "response_tokens": "tokens of the response (--model)",
    "media": "pictures and videos",
    "megapixels": "millions of pixels of the first medium",
    "seconds": "length of its videos",
    "boxes": "boxes of the truth",
    "box_side": "side of a square as large as the first box, in thousandths",
    "box_x": "centre of the first box from the left, in thousandths",
    "box_y": "centre of the first box from the top, in thousandths",
    "span_seconds": "length of the time that the truth names",
    "span_share": "the same as a fraction of the video",
    "span_middle": "middle of that time as a fraction of the video",
}
"""Every measure by its name; a sample has those that apply to it."""


def measure(sample: Sample, headers: Mapping[FileMedium, Header | MediaError]) -> dict[str, float]:
    """Return the measures of a sample but those in tokens; those of media need their headers."""
    return dict([*_of_texts(sample), *_of_media(sample, headers), *_of_truth(sample, _seconds(sample, headers))])


def _of_texts(sample: Sample) -> Iterator[tuple[str, float]]:
    yield "question_words", sum(len(words(text)) for text in (sample.problem, *sample.options))
    if sample.response:
        yield "response_words", len(words(sample.response))
        try:
            yield "thinking_words", len(words(parse_response(sample.response).thinking))
        except AnswerError:
            return  # a response without a think block, or with two, has no reasoning to count


def _of_media(sample: Sample, headers: Mapping[FileMedium, Header | MediaError]) -> Iterator[tuple[str, float]]:
    yield "media", len(sample.media)
    found = _headers(sample, headers)
    if found:
        yield "megapixels", found[0].width * found[0].height / 1e6
    if seconds := _seconds(sample, headers):
        yield "seconds", seconds


def _of_truth(sample: Sample, seconds: float) -> Iterator[tuple[str, float]]:
    if not sample.truth:
        return
    task = task_of(sample)
    try:
        truth = parse_truth(sample.truth, task, sample.options)
    except DataError:
        return  # `data check` names it
    if boxes := list(task.boxes(truth).values()):
        first = boxes[0]
        yield "boxes", len(boxes)
        yield "box_side", math.sqrt(max(0.0, first.x2 - first.x1) * max(0.0, first.y2 - first.y1))
        yield "box_x", (first.x1 + first.x2) / 2
        yield "box_y", (first.y1 + first.y2) / 2
    if (span := task.span(truth)) is not None:
        yield "span_seconds", span.end - span.start
        if seconds:
            yield "span_share", (span.end - span.start) / seconds
            yield "span_middle", (span.start + span.end) / 2 / seconds


def _seconds(sample: Sample, headers: Mapping[FileMedium, Header | MediaError]) -> float:
    return sum(header.duration_s or 0.0 for header in _headers(sample, headers))


def _headers(sample: Sample, headers: Mapping[FileMedium, Header | MediaError]) -> list[Header]:
    found = [headers.get(medium) for medium in sample.media if isinstance(medium, FileMedium)]
    return [header for header in found if isinstance(header, Header)]
