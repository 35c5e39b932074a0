r"""Multiple choice: one letter, however it is dressed.

"What is on the table?", options "A. cat", "B. dog" -> A, (A), A., **A**, "A. cat", Option A, \text{A} and cat are all A
"""

import re

from onethinker.clip import Clip
from onethinker.drawing import draw_caption
from onethinker.errors import AnswerError
from onethinker.response import show
from onethinker.tasks.task import Profile, Task

LONGEST = 2000
"""Characters; options are shorter."""

_WRAPPERS = re.compile(r"\\(?:text|textbf|mathrm|mathbf|boxed)\s*\{(.*)\}|\$+([^$]*)\$+|\*+([^*]*)\*+|`+([^`]*)`+", re.DOTALL)
_LEAD = re.compile(r"(?:the\s+)?(?:correct\s+)?(?:answer|option|choice)\b\s*(?:is\b)?\s*:?\s*", re.IGNORECASE | re.ASCII)
_LETTER = re.compile(r"(?:[(\[]([A-Za-z])[)\]][.:]?|([A-Za-z])[.):])(?:\s.*)?|([A-Za-z])", re.DOTALL)


def undress(text: str) -> str:
    r"""Return a text without LaTeX, Markdown and words like "Option" around it.

    >>> undress(r"$\text{Option A}$"), undress("**B. dog**")
    ('A', 'B. dog')
    """
    text = text.strip()
    for _ in range(4):
        if match := _WRAPPERS.fullmatch(text):
            text = next(inside for inside in match.groups() if inside is not None).strip()
    return text[lead.end() :].strip(" *") if (lead := _LEAD.match(text)) and lead.end() < len(text) else text


def find_letter(text: str) -> str | None:
    """Return the letter that a text is or is labelled with, upper case; None for other texts.

    >>> find_letter("(b) a dog"), find_letter("A cat")
    ('B', None)
    """
    match = _LETTER.fullmatch(text)
    return next(letter for letter in match.groups() if letter).upper() if match else None


def name_options(options: tuple[str, ...]) -> dict[str, str]:
    """Return the letter of every option by its plain text, with and without its label.

    Options without labels are lettered in order.

    >>> name_options(("A. Cat", "B. Dog"))
    {'a. cat': 'A', 'cat': 'A', 'b. dog': 'B', 'dog': 'B'}
    """
    names: dict[str, str] = {}
    for place, option in enumerate(options):
        option = option.strip()
        label = re.match(r"[(\[]?([A-Za-z])[)\].:]+\s+", option)
        letter = label[1].upper() if label else chr(ord("A") + place)
        for text in (option, option[label.end() :]) if label else (option,):
            names.setdefault(_plain(text), letter)
    return names


def _plain(text: str) -> str:
    return " ".join(text.lower().split()).rstrip(".")


class MultipleChoice(Task[str]):
    """One of the options, by its letter."""

    problem_type = "multiple choice"
    statistics = problem_type
    instructions = "Answer with the letter of the one option that is right, and nothing else."
    example = "B"

    def parse(self, text: str, options: tuple[str, ...] = ()) -> str:
        """Return the letter, upper case. Raises: AnswerError: no letter, or one that no option has."""
        if len(text) > LONGEST:
            raise AnswerError(f"expected the letter of an option, got {len(text)} characters")
        names = name_options(options)
        letter = find_letter(undress(text)) or names.get(_plain(text)) or names.get(_plain(undress(text)))
        if letter is None:
            raise AnswerError(f"expected the letter of an option, got {show(text)}")
        if names and letter not in names.values():
            raise AnswerError(f"expected one of the letters {', '.join(sorted(set(names.values())))}, got {letter}")
        return letter

    def accuracy(self, answer: str, truth: str, profile: Profile) -> float:
        """Return 1 for the right letter, else 0."""
        return float(answer == truth)

    def metrics(self, answer: str | None, truth: str) -> dict[str, float]:
        """Return the share of right answers."""
        return {"accuracy": float(answer == truth)}

    def draw(self, clip: Clip, answer: str) -> Clip:
        """Return the clip with the letter written below."""
        return draw_caption(clip, answer)
