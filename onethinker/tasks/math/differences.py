"""What sets two folded expressions apart before any algebra: units, words, names of figures, brackets."""

import re
from collections.abc import Sequence

from onethinker.tasks.math.expressions import FORMULA, GEOMETRY, MATHS_INSIDE, Expression

_DENIAL = re.compile(r"\b(?:not|never|wrong|incorrect|false)\b|n't\b|≠|[不非]|ではない", re.IGNORECASE)
_OPENING, _CLOSING = {"(": "(", "[": "[", r"\{": "{"}, {")": ")", "]": "]", r"\}": "}"}


def find_difference(truth: Expression, answer: Expression) -> str | None:
    """Return what sets two expressions apart whatever their values are: units, brackets, words, names; None for
    nothing.
    """
    if MATHS_INSIDE.search(answer.value) and _DENIAL.search(FORMULA.sub(" ", answer.value)):
        return "the words around the formula deny something"
    if truth.unit and answer.unit and truth.unit != answer.unit:
        return f"the answer is in {answer.unit}, the truth in {truth.unit}"
    words, true_words = answer.says(), truth.says()
    if words is not None or true_words is not None:
        return _difference_of_words(words, true_words)
    names = [sorted(name for _, _, name in GEOMETRY.findall(expression.value)) for expression in (truth, answer)]
    if all(names) and names[0] != names[1]:
        return f"the answer is about {', '.join(names[1])}, the truth about {', '.join(names[0])}"
    kinds = [_brackets(expression.value) for expression in (truth, answer)]
    if all(kinds) and kinds[0] != kinds[1]:
        return f"the answer stands in {kinds[1]}, the truth in {kinds[0]}"
    return None


def _difference_of_words(words: Sequence[str] | None, true_words: Sequence[str] | None) -> str | None:
    """Return what sets words, or lists of single letters, apart; None stands for a formula."""
    if words is None or true_words is None:
        return "one is words, the other a formula"
    are_letters = all(len(item) == 1 for item in true_words)
    if words != true_words and (are_letters or sorted(words) != sorted(true_words)):
        return "other words" if not are_letters else "other letters, or in another order"
    return None


def _brackets(text: str) -> str | None:
    r"""Return how a list in brackets begins and ends, as "[)"; None where the whole text is none.

    >>> _brackets(r"\{1, 2\}"), _brackets("[0, 1)"), _brackets("(1, 2) \\cup (3, 4)"), _brackets("(x)")
    ('{}', '[)', None, None)
    """
    text = text.strip()
    opening = next((mark for mark in _OPENING if text.startswith(mark)), None)
    closing = next((mark for mark in _CLOSING if text.endswith(mark)), None)
    if opening is None or closing is None:
        return None
    depth, has_comma = 0, False
    inside = text[len(opening) : -len(closing)]
    for mark in re.findall(r"\\[{}]|[()\[\],]", inside):
        depth += mark in ("(", "[", r"\{")
        depth -= mark in (")", "]", r"\}")
        has_comma |= mark == "," and depth == 0
        if depth < 0:
            return None
    return _OPENING[opening] + _CLOSING[closing] if has_comma else None
