"""Questions about clips with a number for an answer: counts, durations and sums."""

from onethinker.core.geometry import Span
from onethinker.data.synthetic.questions import (
    Question,
)
from onethinker.data.synthetic.world.asking import (
    Asker,
    center_of,
    point_of,
)
from onethinker.data.synthetic.world.charts import add_aloud
from onethinker.data.synthetic.world.clip_lookup import (
    acting,
    admitted,
    ends_of,
    follow,
    in_order,
    pick_visitor,
    visit_of,
    watch_visit,
)
from onethinker.data.synthetic.world.phrasing import say
from onethinker.data.synthetic.world.writing import spell_in_turn


def count_appear(asker: Asker) -> Question | None:
    """Ask how many things appear one after the other."""
    names = [thing.kind.name for thing in asker.things]
    if not asker.admits(names[0], None, "", f"appear {names[-1]} {len(names)}"):
        return None
    return Question(asker.shot, say(asker.rng, "count_appear"), f"{', '.join(in_order(asker))}.", str(len(names)))


def count_times(asker: Asker) -> Question | None:
    """Ask how often a thing does what it repeats, once a second."""
    thing, times = asker.things[0], asker.shot.scene.values[0]
    assert thing.act
    if not admitted(asker, [0], f"times {thing.act.verb} {times}"):
        return None
    problem = say(asker.rng, "count_times", thing=thing.kind.name, act=thing.act.plain, acts=thing.act.verb)
    return Question(asker.shot, problem, _watch_repeats(asker), str(times))


def _watch_repeats(asker: Asker) -> str:
    """Return half second by half second where the first thing is, if it jumps, in the middle of each time that it does
    what it repeats the number of that, and "no" at all other half seconds.
    """
    thing = asker.things[0]
    assert thing.act
    start, end = thing.act.span
    notes = []
    for half in range(int(2 * asker.shot.clip.duration_s)):
        seen = point_of(asker.box(0, asker.shot.frame_at(half / 2))) if thing.act.verb == "jumps" else ""
        is_middle = start < half / 2 < end and (half / 2 - start) % 1 == 0.5
        number = str(int(half / 2 - start) + 1) if is_middle else "no"
        notes.append(" ".join(filter(None, (str(half / 2), seen, number))))
    return f"{', '.join(notes)}."


def count_moving(asker: Asker) -> Question | None:
    """Ask how many things change their position."""
    moving = [n for n, thing in enumerate(asker.things) if thing.act and thing.act.verb.startswith("moves")]
    if not asker.admits(asker.things[0].kind.name, None, "", f"moving {len(moving)} of {len(asker.things)}"):
        return None
    number, notes = 0, []
    for n in sorted(range(len(asker.things)), key=lambda n: sum(center_of(asker.box(n)))):
        number += n in moving
        verdict = f"moves {number}" if n in moving else "does not"
        notes.append(f"{ends_of(asker, n)} {asker.things[n].kind.name} {verdict}")
    return Question(asker.shot, say(asker.rng, "count_moving"), f"{', '.join(notes)}.", str(len(moving)))


def measure_visible(asker: Asker) -> Question | None:
    """Ask for how many seconds a thing is visible."""
    n = pick_visitor(asker, "seconds")
    if n is None:
        return None
    span = visit_of(asker, n)
    problem = say(asker.rng, "seconds_visible", thing=asker.things[n].kind.name)
    return Question(asker.shot, problem, measure_visit(asker, n), str(span.end - span.start))


def measure_moving(asker: Asker) -> Question | None:
    """Ask for how many seconds a thing moves."""
    moving = [(n, act) for n, act in acting(asker, "seconds") if act.verb.startswith("moves")]
    chosen = asker.pick(range(len(moving)))
    if chosen is None:
        return None
    n, act = moving[chosen]
    problem = say(asker.rng, "seconds_moving", thing=asker.things[n].kind.name)
    reasoning = f"{follow(asker, n)} {_from_to(act.span)}"
    return Question(asker.shot, problem, reasoning, str(act.span.end - act.span.start))


def measure_visit(asker: Asker, n: int) -> str:
    """Return half second by half second whether a thing is there, and how long it stays."""
    return f"{watch_visit(asker, n)}. {_lasts(visit_of(asker, n))}"


def _lasts(span: Span) -> str:
    return f"{span.end}-{span.start}={span.end - span.start}."


def _from_to(span: Span) -> str:
    """Return sentences: when something starts and stops, and how long it lasts."""
    return f"it starts at {span.start} and stops at {span.end}. {_lasts(span)}"


def add_numbers(asker: Asker) -> Question | None:
    """Ask for the sum of the numbers that are shown in turn."""
    numbers = [int(writing.lines[0]) for writing in asker.shot.scene.writings]
    if not asker.admits(" ".join(map(str, numbers)), relation="clip sum"):
        return None
    return Question(
        asker.shot, say(asker.rng, "clip_sum"), f"{spell_in_turn(asker)}. {add_aloud(numbers)}", str(sum(numbers))
    )
