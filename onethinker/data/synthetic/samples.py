"""The endless list of samples: any of them from its index, the same on every machine."""

import zlib
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

import numpy as np

from onethinker.core.errors import DataError
from onethinker.core.nearest import no_such
from onethinker.core.sample import Sample
from onethinker.data.synthetic.image_questions import IMAGE_QUESTIONS
from onethinker.data.synthetic.painting import paint
from onethinker.data.synthetic.questions import Builder, Painter, Question
from onethinker.data.synthetic.video_questions import VIDEO_QUESTIONS
from onethinker.data.synthetic.world.notes import TOLD, tell
from onethinker.data.synthetic.world.rendering import Shot
from onethinker.data.synthetic.world.samples import ask_about_things
from onethinker.data.synthetic.worlds import WorldName

_BUILDERS: dict[tuple[str, str], tuple[Builder, ...]] = {
    (problem_type, data_type): builders
    for problem_type in dict.fromkeys((*IMAGE_QUESTIONS, *VIDEO_QUESTIONS))
    for data_type, table in (("image", IMAGE_QUESTIONS), ("video", VIDEO_QUESTIONS))
    if (builders := table.get(problem_type, ()))
}

KINDS: tuple[tuple[str, str], ...] = tuple(_BUILDERS)
"""Every pair of problem type and data type that can be asked."""


def make_sample(
    seed: int,
    index: int,
    *,
    problem_type: str | None = None,
    data_type: str | None = None,
    split: str = "train",
    side_px: int | None = None,
    world: WorldName = "shapes",
    question: int = 0,
) -> Sample:
    """Return sample `index` of an endless list: its clip in memory, exact truth and a response to learn from.

    The list goes through the problem types in turn, and through pictures and clips within each. A given
    `problem_type` or `data_type` keeps only those. Another `seed` or another name of `split` gives other scenes.
    `side_px` paints larger than a tiny model sees, for pictures to look at. In a world of things every scene has
    several questions, and `question` is the index of one. Its splits are train, validation and test; no combination is
    in two of them.

    Raises: DataError for a problem type or data type that is not asked, a negative index, a side that is no
    multiple of 32 pixels, or a world or a split of it that there is not.

    >>> sample = make_sample(0, 6)
    >>> sample.problem_type, sample.problem, sample.truth
    ('spatial grounding', 'Find the blue circle.', '{"boxes":[141,94,469,414]}')
    """
    if seed < 0 or index < 0 or question < 0 or (side_px is not None and (side_px < 32 or side_px % 32)):
        raise DataError(
            f"seed, index and question must be 0 or more and side_px a multiple of 32, got {seed}, {index},"
            f" {question} and {side_px}"
        )
    kind = _kind_at(index, problem_type, data_type)
    if world == "shapes":
        sample_id = f"synthetic-{split}-{seed}-{index}"
        asked = _ask_about_shapes(seed, index, kind, split, partial(paint, name=sample_id, side_px=side_px))
    else:
        sample_id = f"{world}-{split}-{seed}-{index}-{question}"
        asked = ask_about_things(seed, index, kind=kind, split=split, world=world, question=question, side_px=side_px)
        if world == "told" and kind in TOLD:
            assert isinstance(asked.painting, Shot)
            told = replace(asked, problem=f"{tell(asked.painting)} {asked.problem}")
            return replace(_sample_of(told, kind, sample_id), media=())
    return _sample_of(asked, kind, sample_id)


def _sample_of(asked: Question, kind: tuple[str, str], sample_id: str) -> Sample:
    clip = asked.painting.clip
    return Sample(
        id=sample_id,
        problem=asked.problem,
        problem_type=kind[0],
        data_type="image" if kind[1] == "image" else "video",
        media=(clip,),
        truth=asked.answer,
        options=asked.options,
        response=asked.response,
        source="synthetic",
        masks=asked.masks,
        resolution=(clip.width, clip.height) if asked.masks else None,
    )


def make_pair(seed: int, index: int, **how: Any) -> Sample:
    """Return what `make_sample` does, with the response to another scene of its kind, which answers otherwise, as the
    rejected one.
    """
    sample = make_sample(seed, index, **how)
    others = (make_sample(seed, other, **how) for other in count(index + 1))
    return replace(sample, rejected=next(other.response for other in others if other.truth != sample.truth))


def make_unseeing(seed: int, index: int, **how: Any) -> Sample:
    """Return what `make_sample` does, with the response to the next scene of its kind with as many options: right in
    form, true by chance.
    """
    sample = make_sample(seed, index, **how)
    how |= {"problem_type": sample.problem_type, "data_type": sample.data_type}
    others = (make_sample(seed, other, **how) for other in count(index + 1))
    return replace(
        sample, response=next(other.response for other in others if len(other.options) == len(sample.options))
    )


def _ask_about_shapes(seed: int, index: int, kind: tuple[str, str], split: str, paint: Painter) -> Question:
    """Return a question of a problem type and data type about a scene of shapes that `paint` paints."""
    rng = np.random.default_rng([seed, index, zlib.crc32(f"{split}/{kind[0]}/{kind[1]}".encode())])
    builders = _BUILDERS[kind]
    return builders[rng.integers(len(builders))](rng, paint)


def _kind_at(index: int, problem_type: str | None, data_type: str | None) -> tuple[str, str]:
    """Return the problem type and data type of sample `index` of a list that keeps only what is given. Raises:
    DataError: nothing is left.
    """
    wanted = problem_type.lower() if problem_type else None
    kinds = [(p, d) for p, d in KINDS if wanted in (None, p.lower()) and data_type in (None, d)]
    if not kinds:
        names = [p for p, d in KINDS if data_type in (None, d)] or [p for p, _ in KINDS]
        raise DataError(no_such(f"synthetic task for {data_type or 'image or video'}", str(problem_type), names))
    types = list(dict.fromkeys(p for p, _ in kinds))
    chosen = types[index % len(types)]
    media = [d for p, d in kinds if p == chosen]
    return chosen, media[index // len(types) % len(media)]
