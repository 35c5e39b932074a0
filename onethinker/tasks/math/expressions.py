r"""One spelling for a mathematical answer, its unit kept apart; `differences.py` compares two of them.

>>> fold_expression("5√3 cm²").value, fold_expression("5√3 cm²").unit
('5\\sqrt{3}', 'cm^2')
"""

import re
import unicodedata
from dataclasses import dataclass

from onethinker.tasks.notation import undress, without_space
from onethinker.tasks.units import LONGEST, MULTIPLIERS, read_unit

PERCENT = "%"
_RAISED, _LOWERED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱˣʸ", "₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₙᵢₓ"
_TO_LINE = str.maketrans(_RAISED + _LOWERED, "0123456789+-()nixy" + "0123456789+-()nix")
_FRACTIONS = {
    sign: rf"\frac{{{unicodedata.normalize('NFKC', sign).replace('⁄', '}{')}}}" for sign in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"
}
_SYMBOLS = {
    "×": r"\times ",
    "·": r"\cdot ",
    "⋅": r"\cdot ",
    "∙": r"\cdot ",
    "÷": r"\div ",
    "±": r"\pm ",
    "∓": r"\mp ",
    "∞": r"\infty ",
    "≤": r"\leq ",
    "⩽": r"\leq ",
    "≥": r"\geq ",
    "⩾": r"\geq ",
    "≠": r"\neq ",
    "≈": r"\approx ",
    "∪": r"\cup ",
    "∩": r"\cap ",
    "∈": r"\in ",
    "∅": r"\emptyset ",
    "∖": r"\setminus ",
    "ℝ": r"\mathbb{R}",
    "→": r"\to ",
    "∠": r"\angle ",
    "△": r"\triangle ",
    "π": r"\pi ",
    "θ": r"\theta ",
    "α": r"\alpha ",
    "β": r"\beta ",
    "γ": r"\gamma ",
    "δ": r"\delta ",
    "λ": r"\lambda ",
    "φ": r"\phi ",
    "ω": r"\omega ",
    "σ": r"\sigma ",
    "ρ": r"\rho ",
    "°": r"^\circ ",
    "º": r"^\circ ",
    "˚": r"^\circ ",
    "⁄": "/",
    "∕": "/",
    "∗": "*",
    "℃": r"^\circ C",
    "℉": r"^\circ F",
    r"\varnothing": r"\emptyset",
    r"\le ": r"\leq ",
    r"\ge ": r"\geq ",
    r"\lbrace": r"\{",
    r"\rbrace": r"\}",
    r"\langle": "(",
    r"\rangle": ")",
}
_SYMBOL = re.compile("|".join(map(re.escape, {**_SYMBOLS, **_FRACTIONS})))
_NAMES = "arcsin|arccos|arctan|sin|cos|tan|cot|sec|csc|log|ln|exp|pi|theta|alpha|beta|gamma|infty"
_ROOT = re.compile(r"√\s*(?:\(([^()√]*)\)|\{([^{}√]*)\}|([0-9]+(?:\.[0-9]+)?|[A-Za-z]|\\pi\b))")
_REWRITTEN = (
    (re.compile(r"\\(?:left|right|[bB]igg?[lr]?)\s*(?=[(\[{|.)\]]|\\[{}|lr])(?!\.)"), ""),
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\(?:mathrm|textrm|textnormal|mbox|operatorname|textbf|textit|mathit)\s*\{"), r"\\text{"),
    (re.compile(r"(?<=[0-9])(?:\{,\}|\\[,;:! ]|[\u00a0\u2009\u202f])(?=[0-9]{3}(?![0-9]))"), ""),
    (re.compile(r"\\[,;:!]|\\ |\\q?quad(?![A-Za-z])|(?<!\\)~|[\u00a0\u2009\u202f]"), " "),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"(?<![\w.\\])([0-9]+(?:\.[0-9]*)?)[eE]([+-]?[0-9]{1,3})(?![\w.])"), r"\1\\times 10^{\2}"),
    (re.compile(rf"(?<![A-Za-z\\])({_NAMES})(?![A-Za-z])"), r"\\\1 "),
    (re.compile(r"^(-?[0-9]+)\s+([0-9]+)\s*/\s*([0-9]+)$"), r"\1\\frac{\2}{\3}"),
    (re.compile(r"\binfinity\b"), r"\\infty "),
)
MATHS_INSIDE = re.compile(r"(?<!\\)\$[^$]+(?<!\\)\$|\\\(|\\\[|\\boxed")
_INSIDE = r"[^\\]*(?:\\(?![()\[\]])[^\\]*)*"
FORMULA = re.compile(rf"(?<!\\)\$\$?([^$]+?)(?<!\\)\$\$?|\\\(({_INSIDE})\\\)|\\\[({_INSIDE})\\\]")
_JOINTS = re.compile(r"(?:[\s.,;|&0-9=:<>+*/()-]|\b(?:and|or)\b|[和或と])*", re.IGNORECASE)
_STARTS = re.compile(r"(?:(?:=|≈|\\approx|~)\s*)+")
_CURRENCY = re.compile(r"([+-]?)\s*(US\\?\$|\\?\$|€|£|¥|₹|(?:Rs\.?|USD|EUR|GBP|RMB|CNY|JPY|INR)\s)\s*(?=[+-]?[0-9.])")
_VALUE_ENDS = re.compile(r"[0-9.)}\]!]|\\pi\b")
_TRIGONOMETRY = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)")
_ANGLE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*\^\s*\{?\s*\\circ\s*\}?")
_PRODUCT = re.compile(r"[xyz]+|abc|[b-df-hj-np-tv-xz]+")
"""Small letters that are variables side by side: there is no such word."""
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
GEOMETRY = re.compile(
    r"\\(triangle|angle|overline|overrightarrow|overleftrightarrow|vec|widehat)(\s*\{?\s*)([A-Z]{2,})"
)
_REPEATING = re.compile(r"(?<![0-9])([0-9]*)\.([0-9]*)\\overline\s*\{([0-9]{1,9})\}")
_GROUPED = re.compile(r"-?[0-9]{1,3}(?: [0-9]{3})+")


@dataclass(frozen=True)
class Expression:
    """A value in LaTeX without delimiters, and the unit behind or before it, "" for none."""

    value: str
    unit: str = ""

    @property
    def compact(self) -> str:
        r"""The value without white space and \text, for comparing letter by letter."""
        return without_space(_TEXT.sub(r"\1", self.value)).replace(r"\displaystyle", "")

    def says(self) -> tuple[str, ...] | None:
        r"""Return the words that the value consists of, one for each place of a list; None for a formula.

        A run of capitals is a name ("ABCD"), a run of three small letters or more a word, unless it is known to be a
        product ("xyz").
        """
        text = " ".join(re.sub(r",?\s+(?:and|or)\s+", ", ", _TEXT.sub(r"\1", self.value)).split())
        runs = re.findall(r"[A-Za-z]+", text)
        if not runs or re.search(r"[^A-Za-z' ,.\-]", text):
            return None
        is_list = len(runs) > 1 and all(len(run) == 1 and run.isupper() for run in runs)
        is_words = any(
            (
                run.isupper() or run.lower() in ("no", "on")
                if len(run) == 2
                else len(run) > 2 and not _PRODUCT.fullmatch(run)
            )
            for run in runs
        )
        if not (is_list or is_words):
            return None
        return tuple(item.strip(" .").casefold() for item in text.split(","))


def fold_expression(text: str) -> Expression:
    r"""Return one spelling for an answer: wrappers, lead, forms of characters, roots, units and currency signs are
    folded.

    >>> fold_expression(r"\$25").value, fold_expression("60°"), fold_expression("= 5.")
    ('25', Expression(value='60', unit='°'), Expression(value='5', unit=''))
    >>> fold_expression("2 million dollars")
    Expression(value='2\\times 1000000', unit='$')
    """
    text = undress(text)
    if (start := _STARTS.match(text)) and start.end() < len(text):
        text = undress(text[start.end() :])
    if MATHS_INSIDE.search(text):
        if (formulas := _only_formulas(text)) is None:
            return Expression(text)  # prose around LaTeX; math-verify finds it
        text = formulas
    text = _fold_symbols(text)
    if _TRIGONOMETRY.search(text):
        text = _ANGLE.sub(r"(\\frac{\1\\pi}{180})", text)
    if currency := _CURRENCY.match(text):
        unit = read_unit(currency[2].replace("\\", "").replace("US$", "$").rstrip())
        value = _split_unit(text[currency.end() :])
        return Expression(currency[1] + value.value, unit or "")
    return _split_unit(text)


def _only_formulas(text: str) -> str | None:
    r"""Return the list that several formulas without any word between them are; None for prose.

    >>> _only_formulas("$12$ $13$"), _only_formulas("$12$ cm")
    ('12, 13', None)
    """
    formulas = [
        next(group for group in found.groups() if group is not None).strip() for found in FORMULA.finditer(text)
    ]
    between = FORMULA.sub(" ", text)
    if not formulas or not _JOINTS.fullmatch(between):
        return None
    if re.search("[0-9=:<>+*/()-]", between):
        return re.sub(r"\$|\\[()\[\]]", " ", text)
    joined = formulas[0]
    for formula in formulas[1:]:
        joined += f" {formula}" if read_unit(formula) else f", {formula}"
    return joined


def attached_unit(answer: Expression, truth: Expression) -> Expression:
    """Return the answer with its last letter as a unit ("5m") where the truth has no letter that it could be
    instead.
    """
    split = re.fullmatch(r"([0-9.,]+)([A-Za-z])", answer.compact)
    if answer.unit or split is None or re.search(r"[A-Za-z]", truth.value) or not (unit := read_unit(split[2])):
        return answer
    return Expression(split[1], unit)


def _fold_symbols(text: str) -> str:
    text = re.sub("[\U0001d400-\U0001d7ff]+", lambda match: unicodedata.normalize("NFKC", match[0]), text)
    text = re.sub(rf"([{_RAISED}]+)\s*√", lambda match: rf"\root[{match[1].translate(_TO_LINE)}]", text)
    text = re.sub(r"(?<![A-Za-z\\])sqrt(?![A-Za-z])", "√", text).replace("∛", r"\root[3]").replace("∜", r"\root[4]")
    text = re.sub(rf"[{_RAISED}]+", lambda match: f"^{{{match[0].translate(_TO_LINE)}}}", text)
    text = re.sub(rf"[{_LOWERED}]+", lambda match: f"_{{{match[0].translate(_TO_LINE)}}}", text)
    text = re.sub(r"\\root(\[[^\]]*\])", r"√\1", text)
    text = _SYMBOL.sub(lambda match: _SYMBOLS.get(match[0]) or _FRACTIONS[match[0]], text)
    for pattern, replacement in _REWRITTEN:
        text = pattern.sub(replacement, text)
    text = re.sub(
        r"√(\[[^\]]*\])\s*(?:\(([^()]*)\)|\{([^{}]*)\}|([0-9]+|[A-Za-z]))",
        lambda m: rf"\sqrt{m[1]}{{{m[2] or m[3] or m[4]}}}",
        text,
    )
    for _ in range(4):
        text = _ROOT.sub(lambda match: rf"\sqrt{{{match[1] or match[2] or match[3]}}}", text)
    text = GEOMETRY.sub(_same_figure, _REPEATING.sub(_repeated, text)).strip()
    return text.replace(" ", "") if _GROUPED.fullmatch(text) else text


def _same_figure(match: re.Match[str]) -> str:
    """Return a name of geometry with its letters in one order, where another names the same: triangles, angles,
    segments, lines.
    """
    figure, letters = match[1], match[3]
    if figure == "triangle":
        letters = "".join(sorted(letters))
    elif figure not in ("vec", "overrightarrow"):
        letters = min(letters, letters[::-1])
    return rf"\{figure}{match[2]}{letters}"


def _repeated(match: re.Match[str]) -> str:
    """Return a decimal whose last digits repeat as a fraction."""
    whole, first, again = match[1] or "0", match[2], match[3]
    bottom = 10 ** len(first) * (10 ** len(again) - 1)
    return rf"\frac{{{int(whole + first + again) - int(whole + first)}}}{{{bottom}}}"


def _split_unit(text: str) -> Expression:
    """Return the longest unit that ends a text, and the value before it."""
    text = text.rstrip(" .")
    for end in _VALUE_ENDS.finditer(text, max(0, len(text) - LONGEST)):
        value, tail = text[: end.end()], text[end.end() :]
        if not tail or value.count("{") != value.count("}"):
            continue
        is_attached = re.fullmatch(r"[A-Za-z]", tail) is not None
        value, tail = _multiplied(value, tail)
        unit = None if is_attached else read_unit(tail)
        if unit is not None and (unit or value != text[: end.end()] or re.search(r"unit|[^\x00-\x7f]", tail)):
            return Expression(value.rstrip(" ."), unit)
    return Expression(text)


def _multiplied(value: str, tail: str) -> tuple[str, str]:
    """Return a value times the "million" that follows it, and what follows that."""
    match = re.match(r"\s*(?:\\text\s*\{\s*)?([A-Za-z]+|[万萬亿億])(?![A-Za-z])\s*(\}?)", tail)
    if match is None or (factor := MULTIPLIERS.get(match[1].lower())) is None:
        return value, tail
    rest = tail[match.end() :]
    if "\\text" in match[0] and not match[2]:
        rest = rf"\text{{{rest}"
    return rf"{value}\times {factor}", rest
