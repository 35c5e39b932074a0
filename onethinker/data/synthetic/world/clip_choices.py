"""Multiple choice about clips: what things do, which is faster, which comes first."""

import numpy as np

from onethinker.data.synthetic.questions import (
    Question,
)
from onethinker.data.synthetic.world import clip_scenes as scenes
from onethinker.data.synthetic.world.asking import (
    ORDINALS,
    Asker,
    center_of,
    tenths,
)
from onethinker.data.synthetic.world.clip_lookup import (
    acting,
    admitted,
    ends_of,
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
        f"the {name} {ends_of(asker, n)}.",
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
    note_of = {name: f"{ends_of(asker, k, sized=True)} {acts[k]}" for k, name in enumerate(names)}
    return choice(asker, say(asker.rng, "acts", acts=acts[n]), "", names[n], names, note=lambda name: note_of[name])


def ask_happens(asker: Asker) -> Question | None:
    """Ask what a thing does."""
    ways = acting(asker, "happens")
    chosen = asker.pick(range(len(ways)))
    if chosen is None:
        return None
    n, act = ways[chosen]
    name = asker.things[n].kind.name
    verbs = ["it turns", "it grows", "it shrinks", *(f"it moves {direction}" for direction in scenes.DIRECTIONS)]
    noted = f"the {name} {ends_of(asker, n, sized=True)}."
    return choice(asker, say(asker.rng, "happens", thing=name), noted, f"it {act.verb}", verbs)


def ask_faster(asker: Asker) -> Question | None:
    """Ask which of two things is faster or slower."""
    most = "faster" if asker.rng.random() < 0.5 else "slower"
    distances = [_distance(asker, n) for n in range(len(asker.things))]
    n = int(np.argmax(distances) if most == "faster" else np.argmin(distances))
    if not admitted(asker, [n], f"{most} {asker.things[1 - n].kind.name}"):
        return None
    names = [thing.kind.name for thing in asker.things]
    goes = [f"{name} {ends_of(asker, k)} goes {distances[k]} {name}" for k, name in enumerate(names)]
    noted = f"{', '.join(goes)}. the {most} goes {distances[n]} {names[n]}."
    problem = say(asker.rng, "faster", faster=most, thing=names[0], other=names[1])
    return choice(asker, problem, noted, names[n], names)


def _distance(asker: Asker, n: int) -> int:
    """Return how far a thing gets, along and down, in tenths of the frame as `ends_of` notes them."""
    ends = [center_of(asker.box(n, asker.shot.frame_at(s))) for s in (0.0, asker.shot.clip.duration_s - 0.5)]
    return sum(abs(int(tenths(a)) - int(tenths(b))) for a, b in zip(*ends, strict=True))


def ask_order(asker: Asker) -> Question | None:
    """Ask what comes first, second, …, or last."""
    names = [thing.kind.name for thing in asker.things]
    ways = [(n, ORDINALS[n]) for n in range(len(names))] + [(len(names) - 1, "last")]
    ways = [(n, ordinal) for n, ordinal in ways if admitted(asker, [n], f"order {ordinal} of {len(names)}")]
    chosen = asker.pick(range(len(ways)))
    if chosen is None:
        return None
    n, ordinal = ways[chosen]
    noted = f"{', '.join(in_order(asker))}. {n + 1} {names[n]}."
    return choice(asker, say(asker.rng, "order", ordinal=ordinal), noted, names[n], names)


def ask_neighbor(asker: Asker) -> Question | None:
    """Ask what comes right after, or right before, a thing."""
    names = [thing.kind.name for thing in asker.things]
    pairs = [(n, n + 1, "after") for n in range(len(names) - 1)] + [(n + 1, n, "before") for n in range(len(names) - 1)]
    pairs = [(n, m, which) for n, m, which in pairs if admitted(asker, [n], f"{which} {names[m]}")]
    chosen = asker.pick(range(len(pairs)))
    if chosen is None:
        return None
    n, m, which = pairs[chosen]
    noted = f"{', '.join(in_order(asker))}. {n + 1} {names[n]}, {m + 1} {names[m]}."
    return choice(asker, say(asker.rng, which, thing=names[n]), noted, names[m], names)
