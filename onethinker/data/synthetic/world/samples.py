"""The endless list of questions about named things: any of them from its index, the same on every machine."""

from dataclasses import replace
from functools import lru_cache, partial

import numpy as np

from onethinker.core.errors import DataError
from onethinker.core.nearest import no_such
from onethinker.data.synthetic.painting import LARGE_SIDE_PX
from onethinker.data.synthetic.questions import Question
from onethinker.data.synthetic.world.asking import Ask, Asker, Questions
from onethinker.data.synthetic.world.clip_notes import MOMENTS
from onethinker.data.synthetic.world.clip_questions import CLIP_QUESTIONS
from onethinker.data.synthetic.world.composed import BY_NAME, COMPOSED
from onethinker.data.synthetic.world.notes import NOTES, TOLD
from onethinker.data.synthetic.world.picture_questions import FIRST_LESSONS, PICTURE_QUESTIONS
from onethinker.data.synthetic.world.rendering import Shot, render
from onethinker.data.synthetic.world.scene import Lesson, Scene, World
from onethinker.data.synthetic.world.splits import check_split, stable_hash
from onethinker.data.synthetic.world.things import UNSEEN, UNSEEN_STYLES

WORLDS = {
    "things": World(),
    "where": World(lesson="where"),
    "few": World(lesson="few"),
    "told": World(lesson="told"),
    "notes": World(lesson="notes"),
    "moments": World(lesson="moments"),
    "unseen-styles": World(styles=UNSEEN_STYLES),
    "unseen-things": World(kinds=UNSEEN),
    "long-clips": World(seconds=(8, 12)),
    "composed": World(lesson="composed"),
    "by-name": World(lesson="by-name"),
}
"""What training draws from, five lessons before that, and what only tests do: other styles, other things, long clips,
questions composed of two, and these by the thing's name.
"""
_LESSONS: dict[Lesson, Questions] = {
    **FIRST_LESSONS,
    "told": TOLD,
    "notes": NOTES,
    "moments": MOMENTS,
    "composed": COMPOSED,
    "by-name": BY_NAME,
}

_CLEAR = 0.55  # of every thing in a picture is seen at least
_ATTEMPTS = 2000
_OTHER_ATTEMPTS = 6


def ask_about_things(
    seed: int,
    index: int,
    *,
    kind: tuple[str, str],
    split: str,
    world: str = "things",
    question: int = 0,
    side_px: int | None = None,
) -> Question:
    """Return question `question` about scene `index` of a problem type and data type.

    Questions with other indices are about the same picture or clip (the same object, for a while), as far as there is
    more to ask.

    Raises: DataError: there is no such split or world.
    """
    check_split(split)
    if world not in WORLDS:
        raise DataError(no_such("world", world, ("shapes", *WORLDS)))
    shot, asks, first = _scene(seed, index, kind, split, world, side_px)
    for attempt in range(_OTHER_ATTEMPTS if question else 0):
        rng = np.random.default_rng([seed, index, _kind_hash(kind, split), question, attempt])
        other = _ask(Asker(rng, shot, WORLDS[world], split), asks)
        if other is not None:
            return other
    return first


@lru_cache(maxsize=16)
def _scene(
    seed: int, index: int, kind: tuple[str, str], split: str, world: str, side_px: int | None
) -> tuple[Shot, tuple[Ask, ...], Question]:
    """Return the first scene that has a question within the split, what else can be asked about it, and that
    question.
    """
    problem_type, data_type = kind
    families = (PICTURE_QUESTIONS if data_type == "image" else CLIP_QUESTIONS)[problem_type]
    lesson = WORLDS[world].lesson
    if lesson is not None:
        families = _LESSONS[lesson].get(kind, families)
    kind_hash, name = _kind_hash(kind, split), f"{world}-{split}-{seed}-{index}"
    key = f"{seed} {index} {kind_hash}"
    draw, asks = families[stable_hash(key) % len(families)]
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng([seed, index, kind_hash, attempt])
        scene = draw(rng, WORLDS[world])
        shot = render(scene, name, side_px or (LARGE_SIDE_PX if _is_large(scene, key) else None))
        if data_type == "image" and not _is_clear(shot):
            continue
        question = _ask(Asker(rng, shot, WORLDS[world], split), asks)
        if question is not None:
            return shot, asks, question
    raise AssertionError(f"{name}: no scene of {_ATTEMPTS} has a question of {problem_type} that belongs to the split")


def _kind_hash(kind: tuple[str, str], split: str) -> int:
    return stable_hash(f"{split}/{kind[0]}/{kind[1]}")


def _ask(asker: Asker, asks: tuple[Ask, ...]) -> Question | None:
    """Return what the first of the ways of asking that finds something asks, in random order."""
    for index in asker.rng.permutation(len(asks)):
        ask = asks[int(index)]
        if (question := ask(asker)) is not None:
            return replace(question, way=(ask.func if isinstance(ask, partial) else ask).__name__)
    return None


def _is_large(scene: Scene, key: str) -> bool:
    """Whether a scene is a clip with large frames: one with texts, whose letters are 10 pixels wide in usual frames, or
    one of a quarter of the others, because clips that people bring are as large.
    """
    return scene.duration_s > 0 and (bool(scene.writings) or stable_hash(f"{key} side") % 4 == 0)


def _is_clear(shot: Shot) -> bool:
    """Whether every thing in a picture is seen well."""
    return all(shot.seen_fraction(index) >= _CLEAR for index in range(len(shot.scene.things)))
