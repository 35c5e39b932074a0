"""Multiple choice about what a picture shows: which things, how large, of which colour, how many of two kinds."""

from functools import partial

from onethinker.data.synthetic.questions import NONE, Question, corner_name
from onethinker.data.synthetic.world.asking import (
    Asker,
    area_of,
    size_of,
)
from onethinker.data.synthetic.world.phrasing import say
from onethinker.data.synthetic.world.picture_lookup import (
    absent_names,
    choice,
    count_of,
    like,
    look_for,
    name_and_count,
    name_and_size,
    one_of_each_kind,
)
from onethinker.data.synthetic.world.things import COLORS, with_article

_MUCH_LARGER = 1.6  # times the area of the next: plain to see


def ask_present(asker: Asker) -> Question | None:
    """Ask which of some things is there; at times it is none."""
    look_up = partial(look_for, asker)
    absent = absent_names(asker, 3)
    if asker.rng.random() < 0.2:
        if not asker.admits(absent[0], relation="none of these"):
            return None
        return choice(asker, say(asker.rng, "present"), "", NONE, absent, note=look_up)
    n = asker.pick(asker.admitted("present"))
    if n is None:
        return None
    others = [absent[0], absent[1], NONE if asker.rng.random() < 0.5 else absent[2]]
    return choice(asker, say(asker.rng, "present"), "", asker.things[n].kind.name, others, note=look_up)


def ask_absent(asker: Asker) -> Question | None:
    """Ask which of some things is not there."""
    names = [thing.kind.name for thing in asker.things]
    (absent,) = absent_names(asker, 1)
    if len(names) < 2 or not asker.admits(absent, relation="absent"):
        return None
    return choice(asker, say(asker.rng, "absent"), "", absent, names, note=partial(look_for, asker))


def ask_color(asker: Asker) -> Question | None:
    """Ask for the colour of a thing, or of one of its look-alikes."""
    colored = [n for n in asker.admitted("color") if asker.things[n].color]
    alone = [n for n in colored if count_of(asker, asker.things[n]) == 1]
    n = asker.pick(alone)
    if n is None:
        return None
    thing = asker.things[n]
    reasoning = f"the {thing.kind.name} at the {corner_name(asker.box(n))} is {thing.color}."
    return choice(asker, say(asker.rng, "color", thing=thing.kind.name), reasoning, str(thing.color), list(COLORS))


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
    ways = [(most, n) for most, n in ways if asker.admitted(most, indices=[n])]
    chosen = asker.pick(range(len(ways)))
    if chosen is None:
        return None
    most, n = ways[chosen]
    name = asker.things[n].kind.name
    others = [thing.kind.name for thing in asker.things]
    reasoning = f"{name_and_size(asker)} the {most} {size_of(asker.box(n))} {name}."
    note = partial(look_for, asker, where=size_of)
    return choice(asker, say(asker.rng, "size", most=most), reasoning, name, others, note=note)


def ask_exists(asker: Asker) -> Question | None:
    """Ask whether there is a thing of a kind."""
    if asker.rng.random() < 0.5:
        n = asker.pick(asker.admitted("exists"))
        if n is None:
            return None
        name, answer = asker.things[n].kind.name, "yes"
    else:
        (name,), answer = absent_names(asker, 1), "no"
        if not asker.admits(name, relation="exists not"):
            return None
    problem = say(asker.rng, "exists", a_thing=with_article(name))
    return choice(asker, problem, f"{name} {look_for(asker, name)}.", answer, ("yes", "no"))


def ask_more(asker: Asker) -> Question | None:
    """Ask of which kind there are more; at times there are as many of both."""
    kinds = one_of_each_kind(asker)
    if len(kinds) < 2:
        return None
    order = [int(n) for n in asker.rng.permutation(len(kinds))[:2]]
    a, b = (kinds[n] for n in order)
    counts = [count_of(asker, thing) for thing in (a, b)]
    if not asker.admits(a.kind.name, None, "", f"more {b.kind.name} {counts[0]} {counts[1]}"):
        return None
    answer = "as many" if counts[0] == counts[1] else (a if counts[0] > counts[1] else b).kind.plural
    counted = name_and_count(asker, like(asker, a), like(asker, b))
    reasoning = f"{counted} {a.kind.name} {counts[0]}, {b.kind.name} {counts[1]}."
    problem = say(asker.rng, "more", things=a.kind.plural, others=b.kind.plural)
    return choice(asker, problem, reasoning, answer, (a.kind.plural, b.kind.plural, "as many"))
