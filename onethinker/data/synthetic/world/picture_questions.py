"""Questions about pictures of things, by problem type."""

from collections.abc import Sequence
from itertools import pairwise

from onethinker.data.synthetic.questions import Question, compact_json, corner_name, masks_of, with_options
from onethinker.data.synthetic.world import picture_scenes as scenes
from onethinker.data.synthetic.world.asking import (
    CLEARLY,
    ORDINALS,
    RELATIONS,
    Ask,
    Asker,
    Family,
    area_of,
    at_place,
    cell_name,
    center_of,
    inner_and_outer_points,
    is_beyond,
    is_in_a_corner,
    list_things,
    refer,
    relation_of,
)
from onethinker.data.synthetic.world.charts import CHART_CHOICES, CHART_ESTIMATES, CHART_NUMBERS, MATH_QUESTIONS
from onethinker.data.synthetic.world.phrasing import say
from onethinker.data.synthetic.world.scene import Thing
from onethinker.data.synthetic.world.things import CATEGORIES, COLORS, with_article
from onethinker.data.synthetic.world.writing import OCR_QUESTIONS

CORNERS = ("top left", "top right", "bottom left", "bottom right")
NONE = "none of these"
_MUCH_LARGER = 1.6  # times the area of the next: plain to see


def _by_place(asker: Asker, numbers: Sequence[int] | None = None) -> list[int]:
    """Return things in reading order: from left to right."""
    chosen = range(len(asker.things)) if numbers is None else numbers
    return sorted(chosen, key=lambda n: center_of(asker.box(n)))


def _seen(asker: Asker) -> str:
    return f"i see {list_things([asker.things[n].kind.name for n in _by_place(asker)])}."


def _absent_names(asker: Asker, count: int) -> list[str]:
    """Return names of things that are not there and that no thing there could be called."""
    there = {thing.kind.kin for thing in asker.things}
    names: list[str] = []
    while len(names) < count:
        kind = asker.world.kinds[int(asker.rng.integers(len(asker.world.kinds)))]
        if kind.kin not in there:
            there.add(kind.kin)
            names.append(kind.name)
    return names


def ask_present(asker: Asker) -> Question | None:
    """Ask which of some things is there; at times it is none."""
    absent = _absent_names(asker, 3)
    if asker.rng.random() < 0.2:
        if not asker.admits(absent[0], relation="none of these"):
            return None
        return _choice(asker, say(asker.rng, "present"), _seen(asker), NONE, absent)
    n = asker.pick(asker.admitted("present"))
    if n is None:
        return None
    others = [absent[0], absent[1], NONE if asker.rng.random() < 0.5 else absent[2]]
    return _choice(asker, say(asker.rng, "present"), _seen(asker), asker.things[n].kind.name, others)


def ask_absent(asker: Asker) -> Question | None:
    """Ask which of some things is not there."""
    names = [thing.kind.name for thing in asker.things]
    (absent,) = _absent_names(asker, 1)
    if len(names) < 2 or not asker.admits(absent, relation="absent"):
        return None
    return _choice(asker, say(asker.rng, "absent"), _seen(asker), absent, names)


def ask_color(asker: Asker) -> Question | None:
    """Ask for the colour of a thing, or of one of its look-alikes."""
    colored = [n for n in asker.admitted("color") if asker.things[n].color]
    alone = [n for n in colored if _count_of(asker, asker.things[n]) == 1]
    n = asker.pick(alone)
    if n is None:
        return None
    thing = asker.things[n]
    reasoning = f"the {thing.kind.name} at the {corner_name(asker.box(n))} is {thing.color}."
    return _choice(asker, say(asker.rng, "color", thing=thing.kind.name), reasoning, str(thing.color), list(COLORS))


def ask_place(asker: Asker) -> Question | None:
    """Ask in which corner a thing is."""
    numbers = [
        n for n in asker.admitted("place") if is_in_a_corner(asker.box(n)) and _count_of(asker, asker.things[n]) == 1
    ]
    n = asker.pick(numbers)
    if n is None:
        return None
    name = asker.things[n].kind.name
    return _choice(
        asker, say(asker.rng, "place", thing=name), at_place(name, asker.box(n)), corner_name(asker.box(n)), CORNERS
    )


def _pairs(asker: Asker, kind: str) -> list[tuple[int, int, str]]:
    """Return pairs of things whose relation is beyond doubt, and the relation, as far as the split admits them."""
    pairs = []
    for n, thing in enumerate(asker.things):
        for m, other in enumerate(asker.things):
            relation = relation_of(asker.box(n), asker.box(m)) if m != n else None
            if relation and asker.admits(
                thing.kind.name, thing.color, cell_name(asker.box(n)), f"{kind} {relation} {other.kind.name}"
            ):
                pairs.append((n, m, relation))
    return pairs


def ask_relation(asker: Asker) -> Question | None:
    """Ask where a thing is as seen from another."""
    pairs = _pairs(asker, "is")
    chosen = asker.pick(range(len(pairs)))
    if chosen is None:
        return None
    n, m, relation = pairs[chosen]
    name, other = asker.things[n].kind.name, asker.things[m].kind.name
    reasoning = f"{at_place(name, asker.box(n))} {at_place(other, asker.box(m))} so it is {relation} the {other}."
    return _choice(asker, say(asker.rng, "relation", thing=name, other=other), reasoning, relation, RELATIONS)


def ask_beside(asker: Asker) -> Question | None:
    """Ask what is on one side of a thing; only one is."""
    good = []
    for n, m, relation in _pairs(asker, "beside"):
        if all(
            k in (n, m) or is_beyond(asker.box(m), asker.box(k), relation, clearly=0) for k in range(len(asker.things))
        ):
            good.append((n, m, relation))
    chosen = asker.pick(range(len(good)))
    if chosen is None or len(asker.things) < 2:
        return None
    n, m, relation = good[chosen]
    name, other = asker.things[n].kind.name, asker.things[m].kind.name
    others = [thing.kind.name for thing in asker.things if thing.kind.name not in (name, other)]
    others = [*others[:2], *_absent_names(asker, 3)][:3]
    reasoning = f"{at_place(other, asker.box(m))} {relation} it is {with_article(name)}."
    return _choice(asker, say(asker.rng, "beside", thing=other, relation=relation), reasoning, name, others)


def ask_ordinal(asker: Asker) -> Question | None:
    """Ask which thing of a row is the first, second, … from one side."""
    names = [thing.kind.name for thing in asker.things]
    ways = []
    for side, axis, step in (("left", 0, 1), ("right", 0, -1), ("top", 1, 1), ("bottom", 1, -1)):
        order = sorted(range(len(names)), key=lambda n: step * center_of(asker.box(n))[axis])
        values = [center_of(asker.box(n))[axis] for n in order]
        if min(abs(a - b) for a, b in pairwise(values)) < CLEARLY:
            continue
        for place, n in enumerate(order):
            if asker.admits(names[n], asker.things[n].color, cell_name(asker.box(n)), f"{ORDINALS[place]} from {side}"):
                ways.append((order[: place + 1], ORDINALS[place], side))
    chosen = asker.pick(range(len(ways)))
    if chosen is None:
        return None
    order, ordinal, side = ways[chosen]
    reasoning = f"from the {side}: {', '.join(names[n] for n in order)}."
    return _choice(asker, say(asker.rng, "ordinal", ordinal=ordinal, side=side), reasoning, names[order[-1]], names)


def ask_size(asker: Asker) -> Question | None:
    """Ask for the biggest or the smallest thing, where it is plain to see."""
    if len(asker.things) < 2:
        return None
    order = sorted(range(len(asker.things)), key=lambda n: area_of(asker.box(n)))
    sizes = [area_of(asker.box(n)) for n in order]
    ways = []
    if sizes[-1] >= _MUCH_LARGER * sizes[-2]:
        ways.append(("biggest", order[-1]))
    if sizes[1] >= _MUCH_LARGER * sizes[0]:
        ways.append(("smallest", order[0]))
    ways = [(most, n) for most, n in ways if asker.admitted(most, numbers=[n])]
    chosen = asker.pick(range(len(ways)))
    if chosen is None:
        return None
    most, n = ways[chosen]
    name = asker.things[n].kind.name
    others = [thing.kind.name for thing in asker.things]
    reasoning = f"{_seen(asker)} the {most} is the {name}."
    return _choice(asker, say(asker.rng, "size", most=most), reasoning, name, others)


def ask_exists(asker: Asker) -> Question | None:
    """Ask whether there is a thing of a kind."""
    if asker.rng.random() < 0.5:
        n = asker.pick(asker.admitted("exists"))
        if n is None:
            return None
        name, answer = asker.things[n].kind.name, "yes"
    else:
        (name,), answer = _absent_names(asker, 1), "no"
        if not asker.admits(name, relation="exists not"):
            return None
    return _choice(asker, say(asker.rng, "exists", a_thing=with_article(name)), _seen(asker), answer, ("yes", "no"))


def ask_is_true(asker: Asker) -> Question | None:
    """Ask whether a thing is on one side of another; half of the times it is on the opposite one."""
    pairs = _pairs(asker, "is true")
    chosen = asker.pick(range(len(pairs)))
    if chosen is None:
        return None
    n, m, relation = pairs[chosen]
    name, other = asker.things[n].kind.name, asker.things[m].kind.name
    claims = [
        relation,
        *(r for r in RELATIONS if r != relation and not is_beyond(asker.box(n), asker.box(m), r, clearly=-40)),
    ]
    claim = claims[0] if asker.rng.random() < 0.5 else claims[int(asker.rng.integers(1, len(claims)))]
    reasoning = f"the {name} is {relation} the {other}."
    problem = say(asker.rng, "is_true", thing=name, other=other, relation=claim)
    return _choice(asker, problem, reasoning, "yes" if claim == relation else "no", ("yes", "no"))


def _choice(asker: Asker, problem: str, reasoning: str, answer: str, others: Sequence[str]) -> Question:
    return with_options(asker.rng, Question(asker.shot, problem, reasoning, answer), others)


def _count_of(asker: Asker, thing: Thing) -> int:
    return sum(other.kind == thing.kind for other in asker.things)


def _kinds(asker: Asker) -> list[Thing]:
    """Return one thing of each kind, the kind that comes first in the scene first."""
    return list({thing.kind.name: thing for thing in asker.things}.values())


def ask_more(asker: Asker) -> Question | None:
    """Ask of which kind there are more; at times there are as many of both."""
    kinds = _kinds(asker)
    if len(kinds) < 2:
        return None
    order = [int(n) for n in asker.rng.permutation(len(kinds))[:2]]
    a, b = (kinds[n] for n in order)
    counts = [_count_of(asker, thing) for thing in (a, b)]
    if not asker.admits(a.kind.name, None, "", f"more {b.kind.name} {counts[0]} {counts[1]}"):
        return None
    answer = "as many" if counts[0] == counts[1] else (a if counts[0] > counts[1] else b).kind.plural
    reasoning = f"there are {counts[0]} {_named(a, counts[0])} and {counts[1]} {_named(b, counts[1])}."
    problem = say(asker.rng, "more", things=a.kind.plural, others=b.kind.plural)
    return _choice(asker, problem, reasoning, answer, (a.kind.plural, b.kind.plural, "as many"))


def _named(thing: Thing, count: int) -> str:
    return thing.kind.name if count == 1 else thing.kind.plural


def _count_aloud(asker: Asker, numbers: Sequence[int], name: str) -> str:
    """Return where each counted thing is, with running numbers: from left to right."""
    listed = [f"{k} {corner_name(asker.box(n))}" for k, n in enumerate(_by_place(asker, numbers), 1)]
    return f"{name}: {', '.join(listed)}." if listed else f"i see no {name}."


def count_kind(asker: Asker) -> Question | None:
    """Ask how many things of a kind there are; at times there are none."""
    kinds = [thing.kind for thing in _kinds(asker)]
    if asker.rng.random() < 0.12:
        (name,) = _absent_names(asker, 1)
        kind = next(kind for kind in asker.world.kinds if kind.name == name)
    else:
        kind = kinds[int(asker.rng.integers(len(kinds)))]
    numbers = [n for n, thing in enumerate(asker.things) if thing.kind == kind]
    if not asker.admits(kind.name, None, "", f"count {len(numbers)} of {len(asker.things)}"):
        return None
    problem = say(asker.rng, "count", things=kind.plural)
    return Question(asker.shot, problem, _count_aloud(asker, numbers, kind.plural), str(len(numbers)))


def count_color(asker: Asker) -> Question | None:
    """Ask how many things of a kind have a colour."""
    colored = [thing for thing in asker.things if thing.color]
    n = asker.pick(range(len(colored)))
    if n is None or _count_of(asker, colored[n]) < 2:
        return None
    thing = colored[n]
    numbers = [m for m, other in enumerate(asker.things) if other.name == thing.name]
    if not asker.admits(thing.kind.name, thing.color, "", f"count {len(numbers)} of {len(asker.things)}"):
        return None
    problem = say(asker.rng, "count", things=thing.plural)
    return Question(asker.shot, problem, _count_aloud(asker, numbers, thing.plural), str(len(numbers)))


def count_all(asker: Asker) -> Question | None:
    """Ask how many things there are, or how many of a category."""
    category = None
    if asker.rng.random() < 0.5:
        there = [c for c in CATEGORIES if any(thing.kind.category == c for thing in asker.things)]
        chosen = asker.pick(range(len(there)))
        category = there[chosen] if chosen is not None else None
    numbers = [n for n, thing in enumerate(asker.things) if category in (None, thing.kind.category)]
    names = ", ".join(f"{k} {asker.things[n].kind.name}" for k, n in enumerate(_by_place(asker, numbers), 1))
    if not asker.admits(asker.things[0].kind.name, None, "", f"count {category} {len(numbers)}"):
        return None
    plural = CATEGORIES[category] if category else "things"
    return Question(asker.shot, say(asker.rng, "count", things=plural), f"{names}.", str(len(numbers)))


def count_not(asker: Asker) -> Question | None:
    """Ask how many things are not of a kind."""
    kinds = _kinds(asker)
    thing = kinds[int(asker.rng.integers(len(kinds)))]
    own = _count_of(asker, thing)
    rest = len(asker.things) - own
    if len(kinds) < 2 or not asker.admits(thing.kind.name, None, "", f"count not {own} {rest}"):
        return None
    reasoning = (
        f"there are {len(asker.things)} things and {own} {_named(thing, own)}. {len(asker.things)}-{own}={rest}."
    )
    return Question(asker.shot, say(asker.rng, "count_not", things=thing.kind.plural), reasoning, str(rest))


def count_difference(asker: Asker) -> Question | None:
    """Ask how many more there are of one kind than of another."""
    kinds = sorted(_kinds(asker), key=lambda thing: -_count_of(asker, thing))
    if len(kinds) < 2:
        return None
    a, b = kinds[0], kinds[1]
    many, few = _count_of(asker, a), _count_of(asker, b)
    if many == few or not asker.admits(a.kind.name, None, "", f"difference {b.kind.name} {many} {few}"):
        return None
    reasoning = f"there are {many} {_named(a, many)} and {few} {_named(b, few)}. {many}-{few}={many - few}."
    problem = say(asker.rng, "count_difference", things=a.kind.plural, others=b.kind.plural)
    return Question(asker.shot, problem, reasoning, str(many - few))


def count_beside(asker: Asker) -> Question | None:
    """Ask how many things of a kind are on one side of another thing."""
    ways = []
    for m, other in enumerate(asker.things):
        if _count_of(asker, other) > 1:
            continue
        for thing in _kinds(asker):
            numbers = [n for n, one in enumerate(asker.things) if one.kind == thing.kind]
            if thing.kind == other.kind or len(numbers) < 2:
                continue
            for relation in RELATIONS:
                beyond = [n for n in numbers if is_beyond(asker.box(n), asker.box(m), relation)]
                before = [n for n in numbers if is_beyond(asker.box(m), asker.box(n), relation)]
                how = f"count {relation} {other.kind.name} {len(beyond)}"
                if len(beyond) + len(before) == len(numbers) and asker.admits(thing.kind.name, None, "", how):
                    ways.append((thing, m, relation, beyond))
    chosen = asker.pick(range(len(ways)))
    if chosen is None:
        return None
    thing, m, relation, beyond = ways[chosen]
    other_name = asker.things[m].kind.name
    reasoning = f"{at_place(other_name, asker.box(m))} {_count_aloud(asker, beyond, thing.kind.plural)}"
    problem = say(asker.rng, "count_beside", things=thing.kind.plural, relation=relation, other=other_name)
    return Question(asker.shot, problem, reasoning, str(len(beyond)))


def measure(asker: Asker) -> Question | None:
    """Ask how wide or tall a thing is, in percent of the picture."""
    side = "width" if asker.rng.random() < 0.5 else "height"
    numbers = [n for n in asker.admitted(side) if _count_of(asker, asker.things[n]) == 1]
    n = asker.pick(numbers)
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
    if not asker.admitted("describe", numbers=[0]):
        return None
    order = _by_place(asker)
    names = [asker.things[n].name for n in order]
    if len(names) == 1:
        text = f"{with_article(names[0])} at the {corner_name(asker.box(0))}."
    elif len(names) == 2 and (relation := relation_of(asker.box(order[0]), asker.box(order[1]))):
        text = f"{with_article(names[0])} {relation} {with_article(names[1])}."
    else:
        text = f"from left to right {list_things(names)}."
    amount = "there is 1 thing." if len(names) == 1 else f"there are {len(names)} things."
    return Question(asker.shot, say(asker.rng, "describe"), amount, text)


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


PICTURE_QUESTIONS: dict[str, tuple[tuple[Family, tuple[Ask, ...]], ...]] = {
    "multiple choice": (
        (scenes.draw_mixed, (ask_present, ask_absent, ask_exists, ask_size)),
        (scenes.draw_colored, (ask_color,)),
        (scenes.draw_several, (ask_place, ask_relation, ask_beside, ask_is_true)),
        (scenes.draw_several, (ask_place, ask_relation, ask_beside, ask_is_true)),
        (scenes.draw_row, (ask_ordinal,)),
        (scenes.draw_crowd, (ask_more,)),
        *CHART_CHOICES,
    ),
    "numerical": (
        (scenes.draw_crowd, (count_kind, count_all, count_not, count_difference, count_beside)),
        (scenes.draw_alike, (count_kind, count_color)),
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
