"""Questions about where things are in a picture, on their own or relative to each other."""

from functools import partial
from itertools import pairwise

from onethinker.data.synthetic.questions import Question, corner_name
from onethinker.data.synthetic.world.asking import (
    CLEARLY,
    ORDINALS,
    RELATIONS,
    SIDES,
    Asker,
    at_point,
    cell_name,
    center_of,
    is_beyond,
    is_in_a_corner,
    point_of,
    relation_of,
)
from onethinker.data.synthetic.world.phrasing import say
from onethinker.data.synthetic.world.picture_lookup import (
    absent_names,
    choice,
    count_of,
    look_for,
    number_things,
)

CORNERS = ("top left", "top right", "bottom left", "bottom right")


def ask_position(asker: Asker) -> Question | None:
    """Ask in which corner a thing is, with all four to choose from."""
    n = _in_a_corner(asker)
    if n is None:
        return None
    name, box = asker.things[n].kind.name, asker.box(n)
    return choice(asker, say(asker.rng, "place", thing=name), at_point(name, box), corner_name(box), CORNERS)


def tell_position(asker: Asker) -> Question | None:
    """Ask in which corner a thing is.

    In the reasoning the corner stands right behind the name: a small model learns to look something up there long
    before it learns to do so a few words later.
    """
    n = _in_a_corner(asker)
    if n is None:
        return None
    name, corner = asker.things[n].kind.name, corner_name(asker.box(n))
    return Question(asker.shot, say(asker.rng, "place", thing=name), f"the {name} {corner}.", corner)


def _in_a_corner(asker: Asker) -> int | None:
    """Return the only thing of its kind that is in a corner; None where the split admits none."""
    return asker.pick(
        [n for n in asker.admitted("place") if is_in_a_corner(asker.box(n)) and count_of(asker, asker.things[n]) == 1]
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
    reasoning = f"{at_point(name, asker.box(n))} {at_point(other, asker.box(m))}"
    return choice(asker, say(asker.rng, "relation", thing=name, other=other), reasoning, relation, RELATIONS)


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
    others = [*others[:2], *absent_names(asker, 3)][:3]
    problem = say(asker.rng, "beside", thing=other, relation=relation)
    note = partial(look_for, asker, where=point_of)
    return choice(asker, problem, at_point(other, asker.box(m)), name, others, note=note)


def ask_ordinal(asker: Asker) -> Question | None:
    """Ask which thing of a row is the first, second, … from one side."""
    names = [thing.kind.name for thing in asker.things]
    ways = []
    for side, (axis, step) in SIDES.items():
        order = sorted(range(len(names)), key=lambda n: step * center_of(asker.box(n))[axis])
        values = [center_of(asker.box(n))[axis] for n in order]
        if min(abs(a - b) for a, b in pairwise(values)) < CLEARLY:
            continue
        for index, n in enumerate(order):
            if asker.admits(names[n], asker.things[n].color, cell_name(asker.box(n)), f"{ORDINALS[index]} from {side}"):
                ways.append((order[: index + 1], ORDINALS[index], side))
    chosen = asker.pick(range(len(ways)))
    if chosen is None:
        return None
    order, ordinal, side = ways[chosen]
    reasoning = f"from the {side}: {number_things(asker, order)}."
    return choice(asker, say(asker.rng, "ordinal", ordinal=ordinal, side=side), reasoning, names[order[-1]], names)


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
    noted = f"{at_point(name, asker.box(n))} {at_point(other, asker.box(m))}"
    reasoning = f"{noted} {claim} it? it is {relation} it."
    problem = say(asker.rng, "is_true", thing=name, other=other, relation=claim)
    return choice(asker, problem, reasoning, "yes" if claim == relation else "no", ("yes", "no"))
