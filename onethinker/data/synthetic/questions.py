"""What is asked about a scene: the question, a short true reasoning and the exact answer, in the released form."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from onethinker.core.geometry import Box, Span
from onethinker.core.masks import encode_rle
from onethinker.core.sample import PICTURE, Masks
from onethinker.data.synthetic.painting import FPS, Painting
from onethinker.data.synthetic.scene import Scene
from onethinker.storage.strict_json import to_json

Painter = Callable[[Scene], Painting]
"""From a scene to pixels; a builder calls it once its scene stands."""


@dataclass(frozen=True, eq=False)
class Question:
    """A painted scene and what is asked about it; `answer` is the inside of the answer block."""

    painting: Painting
    problem: str
    reasoning: str
    answer: str
    options: tuple[str, ...] = ()
    masks: Masks | None = None
    way: str = ""
    """The name of the function that asked it; "" in the world of shapes."""

    @property
    def response(self) -> str:
        """The whole text to learn from."""
        return f"<think>{self.reasoning}</think><answer>{self.answer}</answer>"


Builder = Callable[[np.random.Generator, Painter], Question]


def compact_json(value: object) -> str:
    """Return JSON without a space.

    >>> compact_json({"time": [1.5, 3.0]})
    '{"time":[1.5,3.0]}'
    """
    return to_json(value, separators=(",", ":"))


Note = Callable[[str], str]
"""From an option to what one sees who looks for it."""


def with_options(
    rng: np.random.Generator, question: Question, others: Sequence[str], *, note: Note | None = None
) -> Question:
    """Return the question with its answer and up to three others as shuffled options, and the letter as its answer.

    The reasoning then reads the options up to the right one and notes at each what is seen of it. Without `note` it
    says the answer first, and yes or no at each (not where these are the options). A small model copies names in the
    order in which they stand and looks each up, long before it finds the letter of a name.
    An option that says that none is right comes last.
    """
    wrong = [str(other) for other in rng.permutation([o for o in others if o != question.answer])[:3]]
    shuffled = [str(option) for option in rng.permutation([question.answer, *wrong])]
    shuffled.sort(key=lambda option: option == NONE)
    options = tuple(f"{letter}. {option}" for letter, option in zip("ABCD", shuffled, strict=False))
    right = shuffled.index(question.answer)
    if set(shuffled) == {"yes", "no"}:
        read = list(options[: right + 1])
    else:
        read = [read_option(option, note, is_right=option == options[right]) for option in options[: right + 1]]
    seen = question.reasoning if note else f"{question.reasoning} {conclude(question.answer)}".strip()
    reasoning = "\n".join(filter(None, [seen, *read]))
    return replace(question, answer="ABCD"[right], options=options, reasoning=reasoning)


NONE = "none of these"


def conclude(answer: str) -> str:
    """Return the end of what is seen before the options are read.

    >>> conclude("blue")
    'so blue.'
    """
    return f"so {answer}."


def read_option(option: str, note: Note | None = None, *, is_right: bool = False) -> str:
    """Return an option as reasoning reads it, with a note behind it.

    >>> read_option("B. blue"), read_option("B. blue", is_right=True), read_option("B. cat", lambda _: "top left")
    ('B. blue no', 'B. blue yes', 'B. cat top left')
    """
    text = option.split(". ", 1)[1]
    return f"{option} {note(text) if note and text != NONE else 'yes' if is_right else 'no'}"


def list_aloud(names: Sequence[str]) -> str:
    """Return the names one after the other.

    >>> list_aloud(["red circle", "blue star"])
    'I see red circle, blue star.'
    """
    return f"I see {', '.join(names)}."


def count_aloud(names: Sequence[str], counted: Sequence[bool]) -> str:
    """Return the names one after the other, with a running number behind each that counts.

    >>> count_aloud(["red circle", "blue star", "green circle"], [True, False, True])
    'I see red circle 1, blue star, green circle 2.'
    """
    numbers = np.cumsum(counted)
    return list_aloud([f"{n} {k}" if counts else n for n, k, counts in zip(names, numbers, counted, strict=True)])


def with_article(name: str) -> str:
    """Return a thing's name with "A" or "An" before it.

    >>> with_article("orange star")
    'An orange star'
    """
    return f"{'An' if name[0] in 'aeiou' else 'A'} {name}"


def corner_name(box: Box) -> str:
    """Return the quarter of the frame in which the box's centre lies.

    >>> corner_name(Box(100, 600, 300, 800))
    'bottom left'
    """
    return f"{'top' if box.y1 + box.y2 < 1000 else 'bottom'} {'left' if box.x1 + box.x2 < 1000 else 'right'}"


def seen_box(painting: Painting, thing: int, frame: int = 0) -> Box:
    """Return the box of a thing that the scene was made to show in this frame."""
    box = painting.box(thing, frame)
    assert box is not None, f"thing {thing} cannot be seen in frame {frame} of {painting.clip.name}"
    return box


def boxes_by_second(painting: Painting, thing: int, span: Span, *, first_key: int) -> dict[str, list[float]]:
    """Return the thing's boxes at the whole seconds of a span; the key of second 0 is `first_key`."""
    seconds = range(int(np.ceil(span.start)), int(np.floor(span.end)) + 1)
    return {str(second + first_key): list(seen_box(painting, thing, painting.frame_at(second))) for second in seconds}


def segmentation_answer(box: Box) -> dict[str, Any]:
    """Return box, three points inside and three beside a shape, in a fixed pattern that can be learned.

    The inner points lie in a row a little below the middle, where each of our shapes is solid; the outer ones lie left
    of, right of and below the box.

    >>> segmentation_answer(Box(200, 200, 600, 600))["positive_points"]
    [[350, 420], [400, 420], [450, 420]]
    """
    x, y, step = (box.x1 + box.x2) / 2, box.y1 + 0.55 * (box.y2 - box.y1), (box.x2 - box.x1) / 8
    inner = [(x - step, y), (x, y), (x + step, y)]
    outer = [(box.x1 - OUTSIDE, y), (box.x2 + OUTSIDE, y), (x, box.y2 + OUTSIDE)]
    return {
        "boxes": list(box),
        "positive_points": [[round(px), round(py)] for px, py in inner],
        "negative_points": [[round(px), round(py)] for px, py in outer],
    }


OUTSIDE = 40
"""Thousandths from a box to the points beside it."""


def masks_of(painting: Painting, thing: int) -> Masks:
    """Return the masks of a thing, frame by frame for a clip."""
    clip = painting.clip
    if clip.kind == "image":
        return Masks({PICTURE: (encode_rle(painting.mask(thing, 0)),)})
    return Masks({str(key): (encode_rle(painting.mask(thing, frame)),) for frame, key in enumerate(clip.indices)}, FPS)
