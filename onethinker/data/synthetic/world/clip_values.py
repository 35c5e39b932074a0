"""Questions about clips with a number for an answer: counts, durations and sums."""

from onethinker.core.geometry import Span
from onethinker.data.synthetic.questions import (
    Question,
)
from onethinker.data.synthetic.world.asking import (
    Asker,
    center_of,
)
from onethinker.data.synthetic.world.charts import add_aloud
from onethinker.data.synthetic.world.clip_lookup import (
    acting,
    admitted,
    in_order,
    pick_visitor,
    visit_of,
)
from onethinker.data.synthetic.world.phrasing import say


def count_appear(asker: Asker) -> Question | None:
    """Ask how many things appear one after the other."""
    names = [thing.kind.name for thing in asker.things]
    if not asker.admits(names[0], None, "", f"appear {names[-1]} {len(names)}"):
        return None
    counted = [f"{note} {k}" for k, note in enumerate(in_order(asker), 1)]
    return Question(asker.shot, say(asker.rng, "count_appear"), f"{', '.join(counted)}.", str(len(names)))


def count_times(asker: Asker) -> Question | None:
    """Ask how often a thing does what it repeats, once a second."""
    thing, times = asker.things[0], asker.shot.scene.values[0]
    assert thing.act
    if not admitted(asker, [0], f"times {thing.act.verb} {times}"):
        return None
    problem = say(asker.rng, "count_times", thing=thing.kind.name, act=thing.act.plain, acts=thing.act.verb)
    return Question(asker.shot, problem, from_to("starts", "stops", thing.act.span), str(times))


def count_moving(asker: Asker) -> Question | None:
    """Ask how many things change their position."""
    moving = [n for n, thing in enumerate(asker.things) if thing.act and thing.act.verb.startswith("moves")]
    if not asker.admits(asker.things[0].kind.name, None, "", f"moving {len(moving)} of {len(asker.things)}"):
        return None
    number, notes = 0, []
    for n in sorted(range(len(asker.things)), key=lambda n: sum(center_of(asker.box(n)))):
        number += n in moving
        notes.append(f"{asker.things[n].kind.name} {f'moves {number}' if n in moving else 'does not'}")
    return Question(asker.shot, say(asker.rng, "count_moving"), f"{', '.join(notes)}.", str(len(moving)))


def measure_visible(asker: Asker) -> Question | None:
    """Ask for how many seconds a thing is visible."""
    n = pick_visitor(asker, "seconds")
    if n is None:
        return None
    span = visit_of(asker, n)
    problem = say(asker.rng, "seconds_visible", thing=asker.things[n].kind.name)
    return Question(asker.shot, problem, from_to("comes", "goes", span), str(span.end - span.start))


def measure_moving(asker: Asker) -> Question | None:
    """Ask for how many seconds a thing moves."""
    moving = [(n, act) for n, act in acting(asker, "seconds") if act.verb.startswith("moves")]
    chosen = asker.pick(range(len(moving)))
    if chosen is None:
        return None
    n, act = moving[chosen]
    problem = say(asker.rng, "seconds_moving", thing=asker.things[n].kind.name)
    return Question(asker.shot, problem, from_to("starts", "stops", act.span), str(act.span.end - act.span.start))


def from_to(starts: str, ends: str, span: Span) -> str:
    """Return a sentence: when something starts and ends, and how long it lasts."""
    return f"it {starts} at {span.start} and {ends} at {span.end}. {span.end}-{span.start}={span.end - span.start}."


def add_numbers(asker: Asker) -> Question | None:
    """Ask for the sum of the numbers that are shown in turn."""
    numbers = [int(writing.lines[0]) for writing in asker.shot.scene.writings]
    if not asker.admits(" ".join(map(str, numbers)), relation="clip sum"):
        return None
    shown = ", ".join(f"{w.visible.start} {w.lines[0]}" for w in asker.shot.scene.writings if w.visible)
    return Question(asker.shot, say(asker.rng, "clip_sum"), f"{shown}. {add_aloud(numbers)}", str(sum(numbers)))
