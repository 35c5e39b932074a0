"""Letters, numbers, expressions and texts that stand in a sentence, in JSON or behind "The answer is"."""

import re
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any

from onethinker.core.errors import AnswerError
from onethinker.tasks.lenient.fields import WRAPPERS, plain
from onethinker.tasks.lenient.loose_json import load_loosely, without_fence
from onethinker.tasks.notation import fold_characters, undress

_NAMED_LEAD = (
    r"(?:(?:final|correct|right|best|my|the)\s+){0,3}(?:answer|option|choice)"
    r"\s*(?:is|:|=|would be|[-–—](?=\s))+\s*:?\s*"
    r"|(?:答案|正确选项|正解|答え|정답|ответ|respuesta|réponse|antwort)\s*(?:是|为|は|は、|:|：|es|est|ist|은|는)\s*:?\s*"
)
_TOTAL = (
    r"(?:(?:a|the|in|for\sa)\s+)?\btotal\s*(?:of|is|:|=|number\sis)\s*|=\s*(?=[0-9$]+\W*\Z)"
    r"|(?:一共|总共|共有?|全部で|合計は?)\s*"
)
_LEAD = re.compile(rf"{_NAMED_LEAD}|{_TOTAL}|(?:therefore|thus|hence|so),?\s+", re.IGNORECASE)
_ANSWER_LEAD = re.compile(_NAMED_LEAD, re.IGNORECASE)
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
_VALUE_KEYS = WRAPPERS | {
    "option",
    "choice",
    "letter",
    "label",
    "value",
    "number",
    "count",
    "text",
    "content",
    "caption",
}
_VALUE_KEYS |= {"transcription", "ocr", "textcontent", "description", "selected", "estimate"}
_DENIAL = re.compile(
    r"\b(?:not|n't|no|neither|nor|except|wrong|incorrect|cannot|rather|instead|unlike|nicht|pas|or)\b|n't|不|没|ない|아니"
    r"|或|か",
    re.IGNORECASE,
)
_LETTER_NOT = re.compile(
    r"[(\[]?(?P<letter>[A-Z])[)\].]?\s*[,;]?\s*(?:and\s+)?(?:not|rather\s+than|instead\s+of|but\s+not|而不是|不是)\s+"
    r"(?:option\s+)?[(\[]?[A-Z][)\]]?(?:\s*(?:,|or|and)\s*[A-Z])*\.?",
)
_LABEL = re.compile(
    r"[(\[（]([A-Z])[)\]）]|\b(?:option|choice|answer)\s+([A-Z])\b|\*\*([A-Z])[.)]?\*\*|^([A-Z])[.):](?=\s|$)",
    re.MULTILINE,
)
_ONES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_ONES += ["thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_WORDS: Mapping[str, int] = {
    **{word: number for number, word in enumerate(_ONES)},
    **{word: 10 * number for number, word in enumerate(_TENS, 2)},
    **{f"{ten}-{_ONES[one]}": 10 * number + one for number, ten in enumerate(_TENS, 2) for one in range(1, 10)},
}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "dozen": 12}
_BEYOND = frozenset(("and", "point", "half", "halves", "third", "thirds", "quarter", "quarters", "fifths"))
"""Words behind a number that make it another one."""
_COMPOUND = re.compile(rf"\b({'|'.join(_TENS)})\s+({'|'.join(_ONES[1:10])})\b")
_FRACTION = re.compile(
    r"(?P<sign>[+-]?)(?:(?P<whole>[0-9]{1,9})\s+)?(?P<over>[0-9]{1,9})\s*[/⁄]\s*(?P<under>[0-9]{1,9})"
)
_VULGAR = {
    char: f" {over}/{under}"
    for char, over, under in zip("½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞", "112131234151357", "233445555668888", strict=True)
}
_DIGITS = re.compile(
    r"(?<![\w.,])[+-]?[0-9](?:[0-9,]*[0-9])?(?:\.[0-9]+)?(?!\s*(?:-|–|to)\s*[0-9])(?![\w/]|[.,:][0-9])"
)

_HAN_DIGITS = "零一二三四五六七八九"
_HAN = re.compile(
    rf"(?=[{_HAN_DIGITS}十])(?:(?P<tens>[一二三四五六七八九])?(?P<ten>十))?(?P<ones>[{_HAN_DIGITS}])?"
    r"\s*[个個只隻人匹本张張枚条條辆輛头頭台位名件つ]?(?:です)?\.?"
)

Parse = Callable[[str], Any]


def passages(text: str) -> Iterator[tuple[str, str]]:
    """Yield the parts of a text that may hold a structured answer, with what they are, the surest first; then all."""
    if (boxed := last_boxed(text)) is not None:
        yield "the last box", boxed.replace("\\{", "{").replace("\\}", "}")
    leads = list(_ANSWER_LEAD.finditer(text)) if not text.lstrip().startswith(("{", "[", "```")) else []
    if leads and leads[-1].start() and re.search("[0-9]", text[leads[-1].end() :]):
        yield "the words behind the lead", text[leads[-1].end() :]
    yield "", text


def repair_value(text: str, parse: Parse, repairs: list[str], *others: Callable[[str], str | None]) -> str:
    """Return the part of a text that a task can parse: in JSON, boxed, behind a lead, or what `others` find.

    A text that parses as it stands is returned as it is; so is one in which nothing parses.
    """
    if _parses(text, parse):
        return text
    for name, found in _candidates(without_fence(text, []), parse):
        for candidate in (found, *(other(found) for other in others)):
            if candidate is not None and _parses(candidate, parse):
                repairs.append(name if candidate == found else f"{name}, read as {candidate}")
                return candidate
    return text


def _candidates(text: str, parse: Parse) -> list[tuple[str, str]]:
    """Return the parts of a text that may be the answer, with what they are, the surest first.

    The last line is none where another line is an answer by itself.
    """
    found = [("the value in JSON", value)] if (value := value_in_json(text)) is not None else []
    if (boxed := last_boxed(text)) is not None:
        return [*found, ("the last box", boxed)]
    leads = list(_LEAD.finditer(text))
    if leads:
        rest = text[leads[-1].end() :].strip()
        found += [("the words behind the lead", piece) for piece in (rest, rest.split("\n")[0], _sentence(rest))]
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    found.append(("the whole text", text.strip()))
    if len(lines) > 1 and not any(_parses(line, parse) for line in lines[:-1]):
        found.append(("the last line", lines[-1]))
    return found


def _sentence(text: str) -> str:
    """Return the words up to the end of the first sentence."""
    return re.split(r"(?<=[^\d\s])[.;。](?:\s|$)|\.\s", text, maxsplit=1)[0].strip()


def _parses(text: str, parse: Parse) -> bool:
    try:
        parse(text)
    except AnswerError:
        return False
    return True


def value_in_json(text: str) -> str | None:
    """Return the value of a text that is an object with one known field, as a text; None for other texts.

    >>> value_in_json('{"answer": "B", "reason": "It barks."}'), value_in_json('{"n": 1}'), value_in_json("B")
    ('B', None, None)
    """
    if not text.lstrip().startswith(("{", "[", "```")):
        return None
    try:
        value = _one_field(load_loosely(text, []))
    except AnswerError:
        return None
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    return value if isinstance(value, str) else f"{value:.15g}"


def _one_field(value: Any) -> Any:
    """Return the value under the key of an answer, or under the only known key; other values as they are."""
    if isinstance(value, list) and len(value) == 1:
        [value] = value
    if not isinstance(value, dict):
        return value
    known = [item for key, item in value.items() if plain(key) in _VALUE_KEYS]
    answers = [item for key, item in value.items() if plain(key) in WRAPPERS]
    return next(iter(answers), known[0] if len(known) == 1 else None)


def last_boxed(text: str) -> str | None:
    r"""Return what the last \boxed{…} holds, None without one.

    >>> last_boxed(r"So $x = \boxed{\frac{1}{2}}$.")
    '\\frac{1}{2}'
    """
    starts = [match.end() for match in _BOXED.finditer(text)]
    if not starts:
        return None
    depth = 1
    for brace in re.finditer(r"[{}]", text[starts[-1] :]):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return text[starts[-1] : starts[-1] + brace.start()].strip()
    return None


def letter_in(text: str, names: Mapping[str, str]) -> str | None:
    """Return the one letter that a sentence names, by itself or by the text of its option; None for none or several."""
    folded = fold_characters(text).strip()
    if match := _LETTER_NOT.fullmatch(folded):
        return match["letter"]
    if _DENIAL.search(folded):
        return None
    labels = {next(filter(None, match.groups())) for match in _LABEL.finditer(folded)}
    words = " ".join(folded.casefold().split())
    by_text = {letter for name, letter in names.items() if len(name) > 1 and _has_words(words, name)}
    found = labels or by_text
    return next(iter(found)) if len(found) == 1 and (not labels or not by_text or labels == by_text) else None


def _has_words(text: str, name: str) -> bool:
    """Return whether a text has an option's words as whole words."""
    at = text.find(name)
    while at >= 0:
        before, after = text[at - 1 : at], text[at + len(name) : at + len(name) + 1]
        if not (name[0].isascii() and before.isalnum()) and not (name[-1].isascii() and after.isalnum()):
            return True
        at = text.find(name, at + 1)
    return False


def number_in(text: str) -> str | None:
    """Return the one number that a text names, in digits: a fraction, a number word, or the only number of a sentence.

    >>> number_in("three"), number_in("1 1/2 cups"), number_in("There are 3 cats."), number_in("3 or 4")
    ('3', '1.5', '3', None)
    """
    folded = undress(fold_characters("".join(_VULGAR.get(char, char) for char in text)).strip()).strip()
    if han := _HAN.fullmatch(folded):
        tens, ten, ones = han["tens"], han["ten"], han["ones"]
        return str((_HAN_DIGITS.index(tens) if tens else 1) * 10 * bool(ten) + (_HAN_DIGITS.index(ones) if ones else 0))
    if fraction := re.fullmatch(rf"{_FRACTION.pattern}\s*(?:of\s.*|[a-z%]*)", folded, re.IGNORECASE | re.DOTALL):
        return _fraction(fraction)
    words = _COMPOUND.sub(r"\1-\2", folded.lower())
    if " or " in words or _FRACTION.search(words):
        return None
    numbers = [match[0] for match in _DIGITS.finditer(words)]
    if numbers or re.search("[0-9]", words):
        return numbers[0] if len(numbers) == 1 and len(re.findall(r"[0-9][0-9.,]*", words)) == 1 else None
    return _number_word(words)


def _fraction(match: re.Match[str]) -> str | None:
    if not int(match["under"]):
        return None
    value = int(match["whole"] or 0) + Fraction(int(match["over"]), int(match["under"]))
    return f"{match['sign']}{float(value):.15g}"


def _number_word(words: str) -> str | None:
    """Return the only number that is spelled out in lower case words."""
    spelled = re.findall(r"[a-z]+(?:-[a-z]+)?", words)
    found = [index for index, word in enumerate(spelled) if word in _WORDS]
    if not found and spelled.count("dozen") == 1:
        return "12"
    if len(found) != 1:
        return None
    [index] = found
    behind = [*spelled[index + 1 :], ""]
    if behind[0] in _BEYOND or (behind[0] in _SCALES and not _BEYOND.union(_SCALES).isdisjoint(behind[1:])):
        return None
    sign = "-" if index and spelled[index - 1] in ("minus", "negative") else ""
    return f"{sign}{_WORDS[spelled[index]] * _SCALES.get(behind[0], 1)}"


def repair_text(text: str, repairs: list[str], *, quotes: bool) -> str:
    """Return free text without the code fence, the JSON or (where asked) the quotes around all of it."""
    if (value := value_in_json(text)) is not None:
        repairs.append("the value in JSON")
        return value
    if re.fullmatch(r"\s*```.*```\s*", text, re.DOTALL):
        return without_fence(text, repairs)
    inside = text.strip()[1:-1]
    if (
        quotes
        and text.strip()[:1] + text.strip()[-1:] in ('""', "“”", "''", "「」", "‘’")
        and not set('"“”') & set(inside)
    ):
        repairs.append("quotes around the text")
        return inside.strip()
    return text


def repair_expression(text: str, repairs: list[str]) -> str:
    """Return the expression that a worked solution ends in: in JSON, the last box, or what follows the last lead."""
    if (value := value_in_json(text)) is not None and text.lstrip().startswith(("{", "```")):
        repairs.append("the value in JSON")
        return value
    boxed = last_boxed(text)
    if boxed is not None and boxed:
        if not re.fullmatch(r"\W*\\(?:boxed|fbox)\s*\{.*\}\W*", text.strip(), re.DOTALL) or text.count("boxed") > 1:
            repairs.append("the last box")
            return boxed
        return text
    leads = [lead for lead in _LEAD.finditer(text) if lead.start() > 0]
    if leads and (rest := _sentence(text[leads[-1].end() :])):
        repairs.append("the words behind the lead")
        return rest.strip("*").rstrip(".") or text
    return text
