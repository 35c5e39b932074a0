"""Questions about pictures of things, by problem type."""

from onethinker.data.synthetic.questions import Question, compact_json, corner_name, masks_of
from onethinker.data.synthetic.world import picture_scenes as scenes
from onethinker.data.synthetic.world.asking import (
    Ask,
    Asker,
    Family,
    Questions,
    center_of,
    inner_and_outer_points,
    list_things,
    point_of,
    relation_of,
)
from onethinker.data.synthetic.world.charts import CHART_CHOICES, CHART_ESTIMATES, CHART_NUMBERS, MATH_QUESTIONS
from onethinker.data.synthetic.world.phrasing import say
from onethinker.data.synthetic.world.picture_choices import (
    ask_absent,
    ask_color,
    ask_exists,
    ask_more,
    ask_present,
    ask_size,
)
from onethinker.data.synthetic.world.picture_counts import (
    count_all,
    count_beside,
    count_color,
    count_difference,
    count_kind,
    count_not,
)
from onethinker.data.synthetic.world.picture_lookup import count_of
from onethinker.data.synthetic.world.picture_positions import (
    ask_beside,
    ask_is_true,
    ask_ordinal,
    ask_position,
    ask_relation,
    tell_position,
)
from onethinker.data.synthetic.world.referring import refer
from onethinker.data.synthetic.world.scene import Lesson
from onethinker.data.synthetic.world.things import with_article
from onethinker.data.synthetic.world.writing import OCR_QUESTIONS


def measure(asker: Asker) -> Question | None:
    """Ask how wide or tall a thing is, in percent of the picture."""
    side = "width" if asker.rng.random() < 0.5 else "height"
    indices = [n for n in asker.admitted(side) if count_of(asker, asker.things[n]) == 1]
    n = asker.pick(indices)
    if n is None:
        return None
    box, name = asker.box(n), asker.things[n].kind.name
    low, high = (box.x1, box.x2) if side == "width" else (box.y1, box.y2)
    low, high = round(low / 10), round(high / 10)
    return Question(
        asker.shot,
        say(asker.rng, side, thing=name),
        f"it goes from {low} to {high}. {high}-{low}={high - low}.",
        str(high - low),
    )


def describe(asker: Asker) -> Question | None:
    """Ask for a caption: every thing, from left to right, and how two of them are placed."""
    if not asker.admitted("describe", indices=[0]):
        return None
    order = sorted(range(len(asker.things)), key=lambda n: center_of(asker.box(n)))
    names = [asker.things[n].name for n in order]
    if len(names) == 1:
        text = f"{with_article(names[0])} at the {corner_name(asker.box(0))}."
    elif len(names) == 2 and (relation := relation_of(asker.box(order[0]), asker.box(order[1]))):
        text = f"{with_article(names[0])} {relation} {with_article(names[1])}."
    else:
        text = f"from left to right {list_things(names)}."
    listed = ", ".join(f"{point_of(asker.box(n))} {asker.things[n].name}" for n in order)
    return Question(asker.shot, say(asker.rng, "describe"), f"{listed}.", text)


def locate(asker: Asker) -> Question | None:
    """Ask for the box of a thing."""
    referred = refer(asker, "locate")
    if referred is None:
        return None
    n, words, reasoning = referred
    answer = compact_json({"boxes": list(asker.box(n))})
    return Question(asker.shot, say(asker.rng, "locate", thing=words), reasoning, answer)


def segment(asker: Asker) -> Question | None:
    """Ask for the mask of a thing."""
    referred = refer(asker, "segment")
    if referred is None:
        return None
    n, words, reasoning = referred
    answer = compact_json({"boxes": list(asker.box(n)), **inner_and_outer_points(asker, n)})
    problem = say(asker.rng, "segment", thing=words)
    return Question(asker.shot, problem, reasoning, answer, masks=masks_of(asker.shot, n))


PRESENCE: tuple[Ask, ...] = (ask_present, ask_absent, ask_exists)
PLACES: tuple[Ask, ...] = (ask_position, ask_relation, ask_beside, ask_is_true)
COUNTS: tuple[tuple[Family, tuple[Ask, ...]], ...] = (
    (scenes.draw_crowd, (count_kind, count_all, count_not, count_difference, count_beside)),
    (scenes.draw_shades, (count_kind, count_color)),
)
PICTURE_QUESTIONS: dict[str, tuple[tuple[Family, tuple[Ask, ...]], ...]] = {
    "multiple choice": (
        (scenes.draw_mixed, (*PRESENCE, ask_size)),
        (scenes.draw_colored, (ask_color,)),
        (scenes.draw_several, PLACES),
        (scenes.draw_several, PLACES),
        (scenes.draw_row, (ask_ordinal,)),
        (scenes.draw_crowd, (ask_more,)),
        *CHART_CHOICES,
    ),
    "numerical": (
        *COUNTS,
        *CHART_NUMBERS,
    ),
    "regression": ((scenes.draw_few, (measure,)), (scenes.draw_several, (measure,)), *CHART_ESTIMATES),
    "math": MATH_QUESTIONS,
    "OCR": OCR_QUESTIONS,
    "open-ended": ((scenes.draw_few, (describe,)), (scenes.draw_several, (describe,))),
    "spatial grounding": ((scenes.draw_mixed, (locate,)), (scenes.draw_alike, (locate,))),
    "segmentation": ((scenes.draw_few, (segment,)), (scenes.draw_alike, (segment,))),
}
"""By problem type: sorts of scenes, each with what can be asked about them."""
_TELL = (scenes.draw_several, (tell_position,))
FIRST_LESSONS: dict[Lesson, Questions] = {
    "where": {("open-ended", "image"): ((scenes.draw_few, (tell_position,)), _TELL)},
    "few": {
        ("open-ended", "image"): (_TELL, _TELL, (scenes.draw_few, (describe,)), (scenes.draw_several, (describe,))),
        ("spatial grounding", "image"): ((scenes.draw_few, (locate,)), (scenes.draw_mixed, (locate,))),
    },
}
"""What first lessons ask in place of it. The short answers of the first have nothing but the place to learn, so the
model soon learns to look it up; among the digits of boxes it does not (docs/results/things.md).
"""
