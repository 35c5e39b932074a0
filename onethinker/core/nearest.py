"""What a misspelt name may have meant: every message about a name that there is not is made here."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from itertools import islice
from pathlib import Path

LEAST = 0.6
"""Names less alike than this are not offered."""
ABOUT_AS_NEAR = 0.05
"""Names within this of the nearest are offered too."""
MOST_OFFERED = 3
MOST_LISTED = 12
"""Of a longer list only the nearest names are given, where there are any."""
SHOWN_CHARS = 60
MOST_LOOKED_AT = 2000
"""Files of a folder that a missing one is compared with."""
NO_ALIASES: Mapping[str, tuple[str, ...]] = {}


def did_you_mean(
    name: str, known: Iterable[str], aliases: Mapping[str, tuple[str, ...]] = NO_ALIASES
) -> tuple[str, ...]:
    """Return the known names that `name` most likely means, the nearest first, at most three; none that is far.

    `aliases` are words that people use and what they mean here. Case, and which of space, "-", "_" and "." stands
    between words, make no difference. The last part of a dotted name may stand for all of it.

    >>> did_you_mean("spacial grounding", ["spatial grounding", "tracking"])
    ('spatial grounding',)
    >>> did_you_mean("learning_rat", ["optimizer.learning_rate", "steps"])
    ('optimizer.learning_rate',)
    >>> did_you_mean("vqa", ["ocr", "open-ended"], {"vqa": ("multiple choice", "open-ended")})
    ('open-ended',)
    """
    names, wanted = list(dict.fromkeys(known)), name[:SHOWN_CHARS]
    if meant := [each for each in aliases.get(_plain(wanted), ()) if each in names]:
        return tuple(meant[:MOST_OFFERED])
    scores = {each: _likeness(wanted, each) for each in names}
    best = max(scores.values(), default=0.0)
    near = sorted(
        (each for each in names if scores[each] >= max(LEAST, best - ABOUT_AS_NEAR)), key=lambda each: -scores[each]
    )
    return tuple(near[:MOST_OFFERED])


def no_such(
    kind: str,
    name: str,
    known: Iterable[str],
    *,
    aliases: Mapping[str, tuple[str, ...]] = NO_ALIASES,
    fitting: Collection[str] = (),
    see: str = "",
) -> str:
    """Return the message for a name that there is not: the nearest right ones, and all where they are few.

    Of names equally near, those `fitting` what else is known are offered alone. `see` says where a long list can be
    read.

    >>> no_such("task", "trackin", ["tracking", "ocr"])
    "no task 'trackin'; did you mean 'tracking'? There are: tracking, ocr"
    """
    names = list(dict.fromkeys(known))
    near = did_you_mean(name, names, aliases)
    near = tuple(each for each in near if each in fitting) or near
    shown = name if len(name) <= SHOWN_CHARS else f"{name[:SHOWN_CHARS]}…"
    question = f"; {_question(near)}" if near else "."
    if near and len(names) > MOST_LISTED:
        return f"no {kind} {shown!r}{question}{f' {see}' if see else ''}"
    return f"no {kind} {shown!r}{question} There are: {', '.join(names) or 'none'}"


def ask_for(name: str, known: Iterable[str], aliases: Mapping[str, tuple[str, ...]] = NO_ALIASES) -> str:
    """Return "; did you mean 'x'?" for the known names nearest to one, "" where none is near.

    >>> ask_for("grabcutt", ["grabcut"])
    "; did you mean 'grabcut'?"
    """
    near = did_you_mean(name, known, aliases)
    return f"; {_question(near)}" if near else ""


def near_path(path: Path) -> str:
    """Return "; did you mean 'folder/name'?" for the name in the folder of a missing path that is most like its own, ""
    where none is.
    """
    try:
        there = [each.name for each in islice(path.absolute().parent.iterdir(), MOST_LOOKED_AT)]
    except OSError:
        return ""
    near = did_you_mean(path.name, [name for name in there if not name.startswith(".")])
    return f"; {_question([str(path.with_name(near[0]))])}" if near and path.name else ""


def _question(near: Sequence[str]) -> str:
    return f"did you mean {' or '.join(map(repr, near))}?"


def _plain(name: str) -> str:
    return re.sub(r"[\s._-]+", " ", name).strip().lower()


def _likeness(name: str, known: str) -> float:
    """Return how alike two names are, 0 to 1; beginnings and last parts count, a little less than the full name."""
    a, b = _plain(name), _plain(known)
    last = _plain(known.rpartition(".")[2])
    full = SequenceMatcher(None, a, b, autojunk=False).ratio()
    part = SequenceMatcher(None, a, last, autojunk=False).ratio() if "." in known else 0.0
    words = 0.8 if len(a) > 3 and (b.startswith(a) or a in b.split()) else 0.0
    return max(full, 0.95 * part, words)
