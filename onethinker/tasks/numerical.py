"""Numerical: a number that is exactly right, to two decimals.

"How many cups are on the shelf?" -> 12
"""

import math
import re

from onethinker.core.errors import AnswerError
from onethinker.core.frames import Clip
from onethinker.core.grammar import MAX_NUMBER_CHARS, show
from onethinker.drawing.draw import draw_caption
from onethinker.tasks.base import Reader, RewardScheme, Score, Task
from onethinker.tasks.lenient.words import number_in, repair_value
from onethinker.tasks.notation import undress
from onethinker.tasks.units import MULTIPLIERS, read_unit

LONGEST = 200
"""Characters of a number with all that is around it."""
_SPACES = " \u00a0\u2009\u202f"
_FORMS = (
    (re.compile(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+"), "", ""),
    (re.compile(r"[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]*)?"), ",", ""),
    (re.compile(rf"[1-9][0-9]{{0,2}}(?:[{_SPACES}][0-9]{{3}})+(?:[.,][0-9]+)?"), _SPACES, ","),
    (re.compile(r"[1-9][0-9]{0,2}(?:\.[0-9]{3})+,[0-9]+|[1-9][0-9]{0,2}(?:\.[0-9]{3}){2,}"), ".", ","),
    (re.compile(r"(?:0|[1-9][0-9]*),[0-9]+"), "", ","),
)
"""How digits are written, which marks only group them, and which other mark than "." begins the decimals; the first
that fits counts.
"""
_NUMBER = re.compile(
    rf"""(?:[A-Za-z]\s*)?(?:[=≈~]|\\approx)?\s*
    (?P<sign>[+-]?)\s*(?P<currency>US\$|\\?\$|€|£|¥|₹|(?:USD|EUR|GBP|RMB|CNY|JPY|INR)(?=\s*-?[0-9.]))?\s*(?P<minus>-?)
    (?P<digits>[0-9.](?:[0-9.,]|[{_SPACES}](?=[0-9]))*)
    (?:[eE](?P<e>[+-]?[0-9]{{1,3}})|\s*(?:×|·|\*|x|\\times|\\cdot)\s*10\s*\^\s*(?:\{{\s*(?P<braced>[+-]?[0-9]{{1,3}})\s*\}}|(?P<power>[+-]?[0-9]{{1,3}})))?
    (?P<unit>.*)""",
    re.VERBOSE | re.DOTALL,
)
_VARIABLE = re.compile(r"[A-Za-z]\s*[0-9.]")
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")


class Quantity(float):
    """A number, with the unit that stood behind or before it; "" for none."""

    unit: str

    def __new__(cls, value: float, unit: str = "") -> "Quantity":
        """Return the number; a percent sign is a unit, not a hundredth."""
        quantity = super().__new__(cls, value)
        quantity.unit = unit
        return quantity


def parse_number(text: str) -> Quantity:
    r"""Return the number that a text is, with its unit.

    Commas separate groups of three digits ("1,234,567") or are a decimal comma where they can be nothing else ("3,5").
    Wrappers, a currency sign, a unit, "=" and a full stop around it are read over; a sentence, several numbers,
    fractions, "nan" and "inf" are refused.

    >>> [parse_number(text) for text in ("1,250.5", "−3", r"$\boxed{12}$", "3,5")], parse_number("50%").unit
    ([1250.5, -3.0, 12.0, 3.5], '%')

    Raises: AnswerError
    """
    if len(text) > LONGEST:
        raise AnswerError(f"expected a number of at most {MAX_NUMBER_CHARS} characters, got {len(text)}")
    bare = re.sub(r"(?<=[0-9])(?:\\[,;: ]|\{,\})(?=[0-9]{3})", "\u2009", undress(text))
    bare = re.sub("10([⁻⁰¹²³⁴-⁹]+)", lambda match: f"10^{match[1].translate(_RAISED)}", bare)
    match = _NUMBER.fullmatch(bare)
    if match is None or (_VARIABLE.match(bare) and "=" not in bare) or (match["sign"] and match["minus"]):
        raise AnswerError(f"expected a number in plain digits, got {show(text)}")
    power = match["e"] or match["braced"] or match["power"] or "0"
    number = float(f"{match['sign']}{match['minus']}{_plain_digits(match['digits'])}e{power}")
    factor, behind = _multiplier(match["unit"])
    unit = read_unit(behind + (match["currency"] or ""))
    if unit is None:
        raise AnswerError(f"expected one number, then at most a unit, got {show(text)}")
    if not math.isfinite(number * factor):
        raise AnswerError(f"expected a finite number, got {show(text)}")
    return Quantity(number * factor, unit)


def _plain_digits(digits: str) -> str:
    """Return digits without groups and with "." before the decimals. Raises: AnswerError."""
    if len(digits) > MAX_NUMBER_CHARS:
        raise AnswerError(f"expected a number of at most {MAX_NUMBER_CHARS} characters, got {len(digits)}")
    for form, groups, comma in _FORMS:
        if form.fullmatch(digits):
            for mark in groups:
                digits = digits.replace(mark, "")
            return digits.replace(comma, ".") if comma else digits
    raise AnswerError(
        "expected a number with commas between groups of three digits (1,234,567) or one decimal comma (3,5), got"
        f" {show(digits)}"
    )


def _multiplier(text: str) -> tuple[int, str]:
    """Return the number that a first word such as "million" stands for, 1 for none, and what follows it."""
    word = re.match(r"\s*(?:\\text\s*\{\s*)?([A-Za-z]+|[万萬亿億])(?![A-Za-z])\s*(\}?)", text)
    if word is None or (factor := MULTIPLIERS.get(word[1].lower())) is None:
        return 1, text
    opened = "\\text" in word[0] and not word[2]
    return factor, (r"\text{" if opened else "") + text[word.end() :]


def units_agree(answer: float, truth: float) -> bool:
    """Return whether two numbers are in one unit, as far as they say one.

    >>> units_agree(Quantity(12, "cm"), Quantity(12, "m")), units_agree(Quantity(12, "cm"), 12.0)
    (False, True)
    """
    units = {unit for number in (answer, truth) if (unit := getattr(number, "unit", ""))}
    return len(units) < 2


class Numerical(Task[float]):
    """One number; there is no credit for a near miss."""

    problem_type = "numerical"
    key = problem_type
    instructions = "Answer with one number in digits, without words or unit."
    example = "12"
    metrics = ("accuracy",)

    def parse(self, text: str, options: tuple[str, ...] = ()) -> float:
        """Return the number, with its unit if it has one. Raises: AnswerError."""
        return parse_number(text)

    def repair(self, text: str, options: tuple[str, ...], reader: Reader, repairs: list[str]) -> str:
        """Return the number that is in JSON, in a sentence or in words, in digits."""
        return repair_value(text, parse_number, repairs, number_in)

    def score(self, answer: float, truth: float, reward_scheme: RewardScheme) -> Score:
        """Return 1 where both numbers are the same to two decimals, and not in two different units, else 0."""
        accuracy = float(round(answer, 2) == round(truth, 2) and units_agree(answer, truth))
        return Score(accuracy, {"accuracy": accuracy})

    def draw(self, clip: Clip, answer: float) -> Clip:
        """Return the clip with the number written below."""
        return draw_caption(clip, f"{answer:.12g}")
