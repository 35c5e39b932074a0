"""The words of the world of things: what a tokenizer needs as single tokens so that questions and answers are short."""

import string
from collections.abc import Iterator

from onethinker.data.synthetic.world.asking import ORDINALS, RELATIONS
from onethinker.data.synthetic.world.phrasing import WORDINGS, media_words
from onethinker.data.synthetic.world.things import CATEGORIES, COLORS, KINDS_OF_THINGS
from onethinker.data.synthetic.world.writing import DARK_INKS, LIGHT_INKS, WORDS

_REASONING = """
    i see no a an some and the is are it at there has have this to from so left right top bottom of above below
    thing things one of these none yes no as many bar largest smallest tallest shortest numbers biggest line
    lines word words text texts goes comes starts stops later first then stays leaves behind wall moves move
    turns turn grows grow shrinks shrink jumps jump bows bow down up further than faster slower last less more
    half so sizes does not x
"""
_JSON_KEYS = ("boxes", "time", "positive_points", "negative_points")


def words_of_world() -> tuple[str, ...]:
    """Return every word that questions, options, reasonings and answers can contain, sorted, also with a capital.

    Numbers, marks and letters that are spelled are not words.

    >>> words = words_of_world()
    >>> "umbrella" in words, "Where" in words, "grapefruit" in words
    (True, True, False)
    """
    return tuple(sorted({word for text in _texts() for word in split_words(text)}))


def split_words(text: str) -> list[str]:
    """Return the words of a text: runs of letters.

    >>> split_words("the cat's 2 boxes.")
    ['the', 'cat', 's', 'boxes']
    """
    return "".join(letter if letter in string.ascii_letters else " " for letter in text).split()


def _texts() -> Iterator[str]:
    filled = dict.fromkeys(
        ("thing", "other", "things", "others", "a_thing", "color", "relation", "ordinal", "side", "most"), ""
    )
    filled |= dict.fromkeys(("tallest", "number", "faster", "act", "acts", "box", "picture", "clip"), "")
    for wordings in WORDINGS.values():
        for wording in wordings:
            text = wording.format_map(filled)
            yield text
            yield wording[0].upper() + wording[1:].partition(" ")[0]
    yield from media_words()
    yield from (
        *ORDINALS,
        *RELATIONS,
        *CATEGORIES,
        *CATEGORIES.values(),
        *COLORS,
        *DARK_INKS,
        *LIGHT_INKS,
        *WORDS,
        *_JSON_KEYS,
    )
    yield from (color.capitalize() for color in COLORS)
    yield from (name for kind in KINDS_OF_THINGS.values() for name in (kind.name, kind.plural))
    yield from (plural.capitalize() for kind in KINDS_OF_THINGS.values() for plural in (kind.plural, kind.name))
    yield from (relation.capitalize() for relation in RELATIONS)
    yield from ("A", "B", "C", "D", _REASONING)
