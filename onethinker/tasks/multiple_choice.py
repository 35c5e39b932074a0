r"""Multiple choice: one letter, however it is dressed.

"What is on the table?", options "A. cat", "B. dog" -> A, (A), A., **A**, "A. cat", A cat, Option A, \text{A}, 答案是A
and cat are all A
"""

import re
from functools import lru_cache

from onethinker.core.errors import AnswerError
from onethinker.core.frames import Clip
from onethinker.core.grammar import show
from onethinker.core.values import Faults
from onethinker.drawing.draw import draw_caption
from onethinker.tasks.base import Reader, RewardScheme, Score, Task
from onethinker.tasks.lenient.words import letter_in, repair_value
from onethinker.tasks.notation import fold_characters, undress

LONGEST = 2000
"""Characters; options are shorter."""

_LABEL = re.compile(r"(?:\(([A-Za-z])\)|\[([A-Za-z])\]|([A-Za-z])[.):\]])[.:,]*")
_GLOSSED = re.compile(r"([A-Z])\s*(?=\([^()]*\)$)")
_LETTER = re.compile(r"[A-Za-z]")
_LETTERS = re.compile(
    r"[(\[]?[A-Za-z][)\].]?(?:\s*(?:[,;/&+|、和与と]|,?\s*\band\b|\s)\s*[(\[]?[A-Za-z][)\].]?)+|[A-Z]{2,8}|(?:\([A-Z]\)){2,8}"
)
_CHOICE = re.compile(
    r"(?:so|thus|therefore|hence)?,?\s*"
    r"(?:i(?:'d|\s+would)?\s+(?:choose|pick|select|say|go\s+with)|i\s+(?:think|believe)(?:\s+(?:it(?:'s|\s+is)|that))?"
    r"|it(?:'s|\s+is)|(?:choose|select))\s+(?:option\s+)?"
    r"|(?:因此|所以|故|我|本题|本題)?(?:应|應)?[选選](?:择|擇)?(?:项|項)?:?\s*",
    re.IGNORECASE | re.ASCII,
)
_TAIL = re.compile(
    r"(?:\s+is)?(?:\s+the)?\s+(?:right|correct)(?:\s+(?:answer|option|choice|one))?"
    r"|\s+is\s+(?:the|my)\s+(?:final\s+)?(?:answer|option|choice|one)"
    r"|\s*(?:项|項|选项|選項)?(?:是?(?:正确|正確|对|對)的?(?:答案|选项|選項)?|[がは]正解)?(?:です|である|だ)?",
    re.IGNORECASE,
)
_REASON = re.compile(r"[,;:]?\s*(?:-\s*)?(?:because|since)\b|[,;:]?\s*(?:因为|因為|なぜなら)", re.IGNORECASE)
_HEDGES = frozenset(
    ("or", "and", "not", "no", "option", "answer", "maybe", "perhaps", "possibly", "actually", "rather", "wait")
)
_HEDGES |= {"either", "neither", "nor", "also", "but", "both", "或", "和", "と", "か"}
_MARKS = re.compile(
    r"\*\*|__|`|</?(?:b|i|u|em|strong|p|span|code|br)\s*/?>|^\s*(?:#{1,6}|[->•])\s+(?=[A-Za-z*(\[])", re.IGNORECASE
)


def find_letter(text: str) -> str | None:
    """Return the letter that a text is, or is labelled with, upper case; None for other texts, and where other labels
    follow.

    >>> find_letter("(b) a dog"), find_letter("A cat"), find_letter("A. cat B. dog")
    ('B', None, None)
    """
    if _LETTER.fullmatch(text):
        return text.upper()
    label = _LABEL.match(text) or _GLOSSED.match(text)
    if label is None or not re.match(
        r"\s|$" if text[0].islower() else r"\s|$|[a-z(]|[^\x00-\x7f]", text[label.end() :]
    ):
        return None
    letter = next(letter for letter in label.groups() if letter).upper()
    return letter if _is_explanation(text[label.end() :], letter) else None


def _is_explanation(text: str, letter: str) -> bool:
    """Return whether what follows a letter names no other as an answer, neither by a label nor in a list of letters."""
    labels = {
        next(found for found in match.groups() if found)
        for match in re.finditer(rf"(?<![^\s(\[,;/])(?:{_LABEL.pattern})(?=\s|$)", text)
    }
    words = re.findall(r"\w+", text)
    others = [
        word
        for word in words
        if len(word) == 1 and word.isascii() and word.isalpha() and word.isupper() and word != letter
    ]
    is_list = bool(others) and all(len(word) == 1 or word.lower() in _HEDGES for word in words)
    return not ({label.upper() for label in labels} - {letter}) and not is_list


def find_letters(text: str, options: tuple[str, ...] = ()) -> str | None:
    """Return several letters that a text lists, in order, once each; None for other texts.

    >>> find_letters("C and A"), find_letters("AC", ("x", "y", "z")), find_letters("A or C"), find_letters("B")
    ('A, C', 'A, C', None, None)
    """
    if len(text) > LONGEST:
        return None
    bare = undress(_MARKS.sub("", text), stops=".,;!")
    if not _LETTERS.fullmatch(bare):
        return None
    letters = sorted(set(re.findall(r"(?<![A-Za-z])[A-Za-z](?![A-Za-z])|[A-Z]", bare.replace("and", " "))))
    known = {letter for letter, _ in _lettered(options)}
    letters = sorted({letter.upper() for letter in letters})
    return ", ".join(letters) if len(letters) > 1 and (not known or known.issuperset(letters)) else None


@lru_cache(maxsize=64)
def name_options(options: tuple[str, ...]) -> dict[str, str]:
    """Return the letter of every option by its plain text, with and without its label; a text of two options names
    neither.

    Options without labels are lettered in order.

    >>> name_options(("A. Cat", "B. Dog"))
    {'a. cat': 'A', 'cat': 'A', 'b. dog': 'B', 'dog': 'B'}
    """
    names: dict[str, str] = {}
    repeated: set[str] = set()
    for letter, texts in _lettered(options):
        for text in map(_plain, texts):
            if names.setdefault(text, letter) != letter:
                repeated.add(text)
    return {text: letter for text, letter in names.items() if text and text not in repeated}


@lru_cache(maxsize=64)
def _lettered(options: tuple[str, ...]) -> list[tuple[str, tuple[str, ...]]]:
    """Return the letter of each option with its text, and without its label if it has one."""
    folded = [fold_characters(option).strip() for option in options]
    spaced = [re.match(r"[(\[]?([A-Za-z])[)\].:]+\s+", option) for option in folded]
    tight = [re.match(r"[(\[]?([A-Za-z])[)\].:,]+\s*", option) for option in folded]
    in_order = [match[1].upper() if match else "" for match in tight] == [
        chr(ord("A") + index) for index in range(len(options))
    ]
    lettered: list[tuple[str, tuple[str, ...]]] = []
    for index, (option, label) in enumerate(zip(folded, tight if in_order else spaced, strict=True)):
        letter = label[1].upper() if label else chr(ord("A") + index)
        lettered.append((letter, (option, option[label.end() :]) if label else (option,)))
    return lettered


def _plain(text: str) -> str:
    """Return a text for comparing it with an option's: without case, wrappers, spare white space and a full stop at its
    end.
    """
    return " ".join(undress(_MARKS.sub("", text), stops=".,;!").casefold().split())


class MultipleChoice(Task[str]):
    """One of the options, by its letter."""

    problem_type = "multiple choice"
    key = problem_type
    instructions = "Answer with the letter of the one option that is right, and nothing else."
    example = "B"
    metrics = ("accuracy",)

    def parse(self, text: str, options: tuple[str, ...] = ()) -> str:
        """Return the letter, upper case. Raises: AnswerError: no letter, one that no option has, or several."""
        if len(text) > LONGEST:
            raise AnswerError(f"expected the letter of an option, got {len(text)} characters")
        letters = sorted({letter for letter, _ in _lettered(options)})
        letter = _read(text, name_options(options))
        if letter is None:
            raise AnswerError(f"expected the letter of an option, got {show(text)}")
        if letters and letter not in letters:
            raise AnswerError(f"expected one of the letters {', '.join(letters)}, got {letter}")
        return letter

    def parse_truth(self, text: str, options: tuple[str, ...] = ()) -> str:
        """Return the letter, or several as "A, C", in alphabetical order. Raises: AnswerError."""
        return find_letters(text, options) or self.parse(text, options)

    def read_like(self, text: str, options: tuple[str, ...], truth: str, faults: Faults) -> str:
        """Return the letters of an answer; several only where the truth has several. Raises: AnswerError."""
        return self.parse_truth(text, options) if "," in truth else self.parse(text, options)

    def repair(self, text: str, options: tuple[str, ...], reader: Reader, repairs: list[str]) -> str:
        """Return the letter that is in JSON or in a sentence, by itself or by the text of its option."""
        names = name_options(options)
        return repair_value(text, lambda part: self.parse(part, options), repairs, lambda part: letter_in(part, names))

    def score(self, answer: str, truth: str, reward_scheme: RewardScheme) -> Score:
        """Return 1 for the right letter, or for all of several right ones and no other, else 0."""
        accuracy = float(answer == truth)
        return Score(accuracy, {"accuracy": accuracy})

    def draw(self, clip: Clip, answer: str) -> Clip:
        """Return the clip with the letter written below."""
        return draw_caption(clip, answer)


def _read(text: str, names: dict[str, str]) -> str | None:
    """Return the one letter that a whole text says; None where it says none, or several."""
    if letter := _read_line(text, names):
        return letter
    first, *rest = [line.strip() for line in text.strip().splitlines() if line.strip()] or [""]
    if rest and (letter := _read_line(first, names) or _letter_of_lead(first, rest, names)):
        for line in rest:
            other = _read_line(line, names)
            if other not in (None, letter) or not _is_explanation(line, letter):
                return None
        return letter
    return None


def _letter_of_lead(first: str, rest: list[str], names: dict[str, str]) -> str | None:
    """Return the letter in the second line where the first is only "Answer:"."""
    is_lead = undress(f"{_MARKS.sub('', first)} ?", stops="") == "?"
    return _read_line(rest[0], names) if is_lead else None


def _read_line(text: str, names: dict[str, str]) -> str | None:
    """Return the letter that a text says by itself, by a label, by an option's text, or by both if they agree.

    A letter alone is one, whatever the texts of options are: in "A. B" and "B. A" the answer A is the first.
    """
    alone = _plain(text).upper()
    if alone in names.values():
        return alone
    if letter := names.get(_plain(text)):
        return letter
    text = undress(_MARKS.sub("", fold_characters(text)), stops=".,;!")
    if (choice := _CHOICE.match(text)) and choice.end() < len(text):
        text = undress(text[choice.end() :], stops=".,;!")
    if letter := names.get(_plain(text)) if len(text) > 1 else None:
        return letter
    if (meant := _text_before_letter(text, names)) is not None:
        return meant if text.rstrip(")]")[-1:].upper() == meant else None
    return _letter_at_start(text, names)


def _letter_at_start(text: str, names: dict[str, str]) -> str | None:
    """Return the letter with which a text begins, where its option's text, a verdict or a reason follows."""
    letter = find_letter(text)
    start = re.match(r"[(\[]?([A-Za-z])[)\]]?(?![A-Za-z])", text)
    if start is None:
        return letter
    behind = re.sub(r"^\s*[-.,:;)=>|]*\s*", "", text[start.end() :])
    said = names.get(_plain(behind.removeprefix("(").removesuffix(")") if behind.startswith("(") else behind))
    if said is not None:
        return said if said == start[1].upper() else None
    if letter is None and (_TAIL.fullmatch(text[start.end() :]) or _REASON.match(text[start.end() :])):
        letter = start[1].upper() if _is_explanation(behind, start[1].upper()) else None
    return letter


def _text_before_letter(text: str, names: dict[str, str]) -> str | None:
    """Return the letter of the option whose text stands before one last letter, as in "dog (B)"; None where none
    does.
    """
    last = re.search(r"(?<![A-Za-z])[A-Za-z][)\]]?$", text)
    before = _plain(text[: last.start()].rstrip(" ,:([-")) if last else ""
    return names.get(before) if len(before) > 1 else None
