"""Multiple choice about clips: what things do, which is faster, which comes first."""

import numpy as np

from onethinker.data.synthetic.questions import (
    Question,
)
from onethinker.data.synthetic.world import clip_scenes as scenes
from onethinker.data.synthetic.world.asking import (
    ORDINALS,
    Asker,
    tenths,
)
from onethinker.data.synthetic.world.clip_lookup import (
    acting,
    admitted,
    in_order,
)
from onethinker.data.synthetic.world.phrasing import say
from onethinker.data.synthetic.world.picture_lookup import choice


def ask_direction(asker: Asker) -> Question | None:
    """Ask which way a thing moves."""
    moving = [(n, act) for n, act in acting(asker, "direction") if act.verb.startswith("moves")]
    chosen = asker.pick(range(len(moving)))
    if chosen is None:
        return None
    n, act = moving[chosen]
    name, direction = asker.things[n].kind.name, act.verb.removeprefix("moves ")
    return choice(
        asker,
        say(asker.rng, "direction", thing=name),
        f"the {name} moves {direction}.",
        direction,
        list(scenes.DIRECTIONS),
    )


def ask_acts(asker: Asker) -> Question | None:
    """Ask which thing does something; no other does the same."""
    acts = [thing.act.verb if thing.act else "stays as it is" for thing in asker.things]
    ways = [n for n in range(len(acts)) if acts.count(acts[n]) == 1 and admitted(asker, [n], f"who {acts[n]}")]
    n = asker.pick(ways)
    if n is None or len(acts) < 2:
        return None
    names = [thing.kind.name for thing in asker.things]
    act_of = dict(zip(names, acts, strict=True))
    return choice(asker, say(asker.rng, "acts", acts=acts[n]), "", names[n], names, note=lambda name: act_of[name])


def ask_happens(asker: Asker) -> Question | None:
    """Ask what a thing does."""
    ways = acting(asker, "happens")
    chosen = asker.pick(range(len(ways)))
    if chosen is None:
        return None
    n, act = ways[chosen]
    name = asker.things[n].kind.name
    verbs = ["it turns", "it grows", "it shrinks", *(f"it moves {direction}" for direction in scenes.DIRECTIONS)]
    return choice(asker, say(asker.rng, "happens", thing=name), f"the {name} {act.verb}.", f"it {act.verb}", verbs)


def ask_faster(asker: Asker) -> Question | None:
    """Ask which of two things is faster or slower."""
    most = "faster" if asker.rng.random() < 0.5 else "slower"
    ways = [abs(t.track.xs[-1] - t.track.xs[0]) + abs(t.track.ys[-1] - t.track.ys[0]) for t in asker.things]
    n = int(np.argmax(ways) if most == "faster" else np.argmin(ways))
    if not admitted(asker, [n], f"{most} {asker.things[1 - n].kind.name}"):
        return None
    names = [thing.kind.name for thing in asker.things]
    way_of = {name: tenths(1000 * way) for name, way in zip(names, ways, strict=True)}
    noted = f"{', '.join(f'{name} goes {way_of[name]}' for name in names)}. the {most} {way_of[names[n]]}."
    problem = say(asker.rng, "faster", faster=most, thing=names[0], other=names[1])
    return choice(asker, problem, noted, names[n], names)


def ask_order(asker: Asker) -> Question | None:
    """Ask what comes first, second, …, or last."""
    names = [thing.kind.name for thing in asker.things]
    ways = [(n, ORDINALS[n]) for n in range(len(names))] + [(len(names) - 1, "last")]
    ways = [(n, ordinal) for n, ordinal in ways if admitted(asker, [n], f"order {ordinal} of {len(names)}")]
    chosen = asker.pick(range(len(ways)))
    if chosen is None:
        return None
    n, ordinal = ways[chosen]
    return choice(asker, say(asker.rng, "order", ordinal=ordinal), f"{', '.join(in_order(asker))}.", names[n], names)


def ask_neighbor(asker: Asker) -> Question | None:
    """Ask what comes right after, or right before, a thing."""
    names = [thing.kind.name for thing in asker.things]
    pairs = [(n, n + 1, "after") for n in range(len(names) - 1)] + [(n + 1, n, "before") for n in range(len(names) - 1)]
    pairs = [(n, m, which) for n, m, which in pairs if admitted(asker, [n], f"{which} {names[m]}")]
    chosen = asker.pick(range(len(pairs)))
    if chosen is None:
        return None
    n, m, which = pairs[chosen]
    return choice(asker, say(asker.rng, which, thing=names[n]), f"{', '.join(in_order(asker))}.", names[m], names)
