"""Counting questions about pictures of things."""

from onethinker.data.synthetic.questions import Question
from onethinker.data.synthetic.world.asking import (
    RELATIONS,
    Asker,
    at_point,
    full_name,
    is_beyond,
)
from onethinker.data.synthetic.world.phrasing import say
from onethinker.data.synthetic.world.picture_lookup import (
    absent_names,
    count_of,
    like,
    name_and_count,
    one_of_each_kind,
)
from onethinker.data.synthetic.world.things import CATEGORIES


def count_kind(asker: Asker) -> Question | None:
    """Ask how many things of a kind there are; at times there are none."""
    kinds = [thing.kind for thing in one_of_each_kind(asker)]
    if asker.rng.random() < 0.12:
        (name,) = absent_names(asker, 1)
        kind = next(kind for kind in asker.world.kinds if kind.name == name)
    else:
        kind = kinds[int(asker.rng.integers(len(kinds)))]
    indices = [n for n, thing in enumerate(asker.things) if thing.kind == kind]
    if not asker.admits(kind.name, None, "", f"count {len(indices)} of {len(asker.things)}"):
        return None
    problem = say(asker.rng, "count", things=kind.plural)
    return Question(asker.shot, problem, name_and_count(asker, indices), str(len(indices)))


def count_color(asker: Asker) -> Question | None:
    """Ask how many things of a kind have a colour."""
    colored = [thing for thing in asker.things if thing.color]
    n = asker.pick(range(len(colored)))
    if n is None or count_of(asker, colored[n]) < 2:
        return None
    thing = colored[n]
    indices = [m for m, other in enumerate(asker.things) if other.name == thing.name]
    if not asker.admits(thing.kind.name, thing.color, "", f"count {len(indices)} of {len(asker.things)}"):
        return None
    problem = say(asker.rng, "count", things=thing.plural)
    return Question(asker.shot, problem, name_and_count(asker, indices, name_of=full_name), str(len(indices)))


def count_all(asker: Asker) -> Question | None:
    """Ask how many things there are, or how many of a category."""
    category = None
    if asker.rng.random() < 0.5:
        there = [c for c in CATEGORIES if any(thing.kind.category == c for thing in asker.things)]
        chosen = asker.pick(range(len(there)))
        category = there[chosen] if chosen is not None else None
    indices = [n for n, thing in enumerate(asker.things) if category in (None, thing.kind.category)]
    if not asker.admits(asker.things[0].kind.name, None, "", f"count {category} {len(indices)}"):
        return None
    plural = CATEGORIES[category] if category else "things"
    return Question(
        asker.shot, say(asker.rng, "count", things=plural), name_and_count(asker, indices), str(len(indices))
    )


def count_not(asker: Asker) -> Question | None:
    """Ask how many things are not of a kind."""
    kinds = one_of_each_kind(asker)
    thing = kinds[int(asker.rng.integers(len(kinds)))]
    own = count_of(asker, thing)
    rest = len(asker.things) - own
    if len(kinds) < 2 or not asker.admits(thing.kind.name, None, "", f"count not {own} {rest}"):
        return None
    others = [n for n, other in enumerate(asker.things) if other.kind != thing.kind]
    problem = say(asker.rng, "count_not", things=thing.kind.plural)
    return Question(asker.shot, problem, name_and_count(asker, others), str(rest))


def count_difference(asker: Asker) -> Question | None:
    """Ask how many more there are of one kind than of another."""
    kinds = sorted(one_of_each_kind(asker), key=lambda thing: -count_of(asker, thing))
    if len(kinds) < 2:
        return None
    a, b = kinds[0], kinds[1]
    many, few = count_of(asker, a), count_of(asker, b)
    if many == few or not asker.admits(a.kind.name, None, "", f"difference {b.kind.name} {many} {few}"):
        return None
    counted = name_and_count(asker, like(asker, a), like(asker, b))
    reasoning = f"{counted} {a.kind.name} {many}, {b.kind.name} {few}. {many}-{few}={many - few}."
    problem = say(asker.rng, "count_difference", things=a.kind.plural, others=b.kind.plural)
    return Question(asker.shot, problem, reasoning, str(many - few))


def count_beside(asker: Asker) -> Question | None:
    """Ask how many things of a kind are on one side of another thing."""
    ways = []
    for m, other in enumerate(asker.things):
        if count_of(asker, other) > 1:
            continue
        for thing in one_of_each_kind(asker):
            indices = like(asker, thing)
            if thing.kind == other.kind or len(indices) < 2:
                continue
            for relation in RELATIONS:
                # A tenth apart, so that the points say which side a thing is on.
                beyond = [n for n in indices if is_beyond(asker.box(n), asker.box(m), relation, clearly=100)]
                before = [n for n in indices if is_beyond(asker.box(m), asker.box(n), relation, clearly=100)]
                how = f"count {relation} {other.kind.name} {len(beyond)}"
                if len(beyond) + len(before) == len(indices) and asker.admits(thing.kind.name, None, "", how):
                    ways.append((indices, m, relation, beyond))
    chosen = asker.pick(range(len(ways)))
    if chosen is None:
        return None
    indices, m, relation, beyond = ways[chosen]
    plural, other_name = asker.things[indices[0]].kind.plural, asker.things[m].kind.name
    counted = name_and_count(asker, beyond, passed=[n for n in indices if n not in beyond])
    reasoning = f"{at_point(other_name, asker.box(m))} {counted}"
    problem = say(asker.rng, "count_beside", things=plural, relation=relation, other=other_name)
    return Question(asker.shot, problem, reasoning, str(len(beyond)))
