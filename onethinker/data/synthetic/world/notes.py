"""Two lessons for a language model: to reason about what it is told in words, and to take notes of what it sees.

What is told has no picture: the question begins with what there is. So a small model learns to copy, to sort, to count
and to spell, for which it has little to go by where all that it is told comes from a vision tower. Notes are many and
short, all of which questions need: a model learns within minutes what nearly every token asks for, and not within hours
what one in thirty does (docs/results/things.md).
"""

from itertools import groupby

from onethinker.data.synthetic.questions import Question, seen_box, with_options
from onethinker.data.synthetic.world import picture_scenes as scenes
from onethinker.data.synthetic.world.asking import (
    SIDES,
    Asker,
    Questions,
    center_of,
    point_of,
)
from onethinker.data.synthetic.world.characters import characters
from onethinker.data.synthetic.world.clip_notes import CLIP_NOTES
from onethinker.data.synthetic.world.picture_choices import ask_color, ask_more
from onethinker.data.synthetic.world.picture_lookup import look_for, number_things, one_of_each_kind
from onethinker.data.synthetic.world.picture_positions import ask_ordinal
from onethinker.data.synthetic.world.picture_questions import COUNTS, PLACES, PRESENCE, describe
from onethinker.data.synthetic.world.rendering import Shot
from onethinker.data.synthetic.world.things import COLORS
from onethinker.data.synthetic.world.writing import draw_text, draw_two_texts, read, read_line


def _note(asker: Asker, problem: str, notes: str) -> Question:
    return Question(asker.shot, problem, notes, notes)


def note_points(asker: Asker) -> Question | None:
    """Ask where each of several things is, some of which are not there."""
    names = [thing.kind.name for thing in one_of_each_kind(asker)]
    if len(names) < len(asker.things) or not asker.admitted("point", indices=[0]):
        return None
    for kind in asker.rng.choice(len(asker.world.kinds), 2, replace=False):
        if asker.world.kinds[kind].kin not in {thing.kind.kin for thing in asker.things}:
            names.append(asker.world.kinds[kind].name)
    names = [names[int(n)] for n in asker.rng.permutation(len(names))]
    notes = [f"{name} {look_for(asker, name, point_of)}" for name in names]
    return _note(asker, f"where? {', '.join(names)}.", f"{', '.join(notes)}.")


def note_names(asker: Asker) -> Question | None:
    """Ask what is at each of several points."""
    order = [int(n) for n in asker.rng.permutation(len(asker.things))]
    points = [point_of(asker.box(n)) for n in order]
    if len(set(points)) < len(points) or not asker.admitted("name", indices=order[:1]):
        return None
    named = [f"{point} {asker.things[n].name}" for n, point in zip(order, points, strict=True)]
    return _note(asker, f"what? {', '.join(points)}.", f"{', '.join(named)}.")


def note_row(asker: Asker) -> Question | None:
    """Ask for all things from one side to the other."""
    side = list(SIDES)[int(asker.rng.integers(4))]
    axis, step = SIDES[side]
    order = sorted(range(len(asker.things)), key=lambda n: step * center_of(asker.box(n))[axis])
    if not asker.admitted(f"from {side}", indices=order[:1]):
        return None
    return _note(asker, f"from the {side}?", f"{number_things(asker, order)}.")


def note_option(asker: Asker) -> Question | None:
    """Ask which option is one that is named."""
    names = [thing.kind.name for thing in one_of_each_kind(asker)]
    names += [str(color) for color in asker.rng.permutation(list(COLORS))[: max(0, 4 - len(names))]]
    answer, *others = names[:4]
    if not asker.admits(answer, relation="option"):
        return None
    return with_options(asker.rng, Question(asker.shot, f"{answer}?", "", answer), others)


def tell(shot: Shot) -> str:
    """Return in words what a picture shows: the middle of each thing in tenths of the frame, and of each letter.

    Raises: AssertionError: a thing of it cannot be seen.
    """
    things = [f"{point_of(seen_box(shot, n))} {thing.name}" for n, thing in enumerate(shot.scene.things)]
    words = [
        ", ".join(f"{letter.point} {letter.text}" for letter in word)
        for writing in shot.scene.writings
        for _, word in groupby(characters(writing, shot.clip.width), key=lambda letter: letter.word)
    ]
    return f"{'. '.join(filter(None, [', '.join(things), *words]))}."


_SCENES = (scenes.draw_few, scenes.draw_several, scenes.draw_mixed, scenes.draw_row)
NOTES: Questions = {
    ("open-ended", "image"): tuple((draw, (ask,)) for ask in (note_points, note_names, note_row) for draw in _SCENES),
    ("multiple choice", "image"): ((scenes.draw_several, (note_option,)),),
    **CLIP_NOTES,
}
"""By problem type and data type: sorts of scenes, each with what notes are taken about them."""
TOLD: Questions = {
    ("open-ended", "image"): (
        *NOTES["open-ended", "image"],
        (scenes.draw_several, (describe,)),
    ),
    ("multiple choice", "image"): (
        (scenes.draw_several, (note_option,)),
        (scenes.draw_several, PLACES),
        (scenes.draw_mixed, PRESENCE),
        (scenes.draw_colored, (ask_color,)),
        (scenes.draw_row, (ask_ordinal,)),
        (scenes.draw_crowd, (ask_more,)),
    ),
    ("numerical", "image"): COUNTS,
    ("OCR", "image"): ((draw_text, (read,)), (draw_two_texts, (read, read_line))),
}
"""The same for what is told: notes, and the questions that can be answered from that."""
