r"""What is around a value and does not change it: other forms of a character, wrappers, "The answer is", a full stop.

Every function takes time in proportion to the length of its text.
"""

import re
import unicodedata

_CHARACTERS = {
    **{0xFF01 + n: chr(0x21 + n) for n in range(94)},  # full-width ASCII
    **{
        start + n: chr(0x41 + n) for start in (0x24B6, 0x24D0, 0x1F130, 0x1F170) for n in range(26)
    },  # letters in circles and squares
    **{
        code: plain for code in range(0x1D400, 0x1D800) if (plain := unicodedata.normalize("NFKC", chr(code))).isascii()
    },  # bold and italic
    **{zero + n: str(n) for zero in (0x660, 0x6F0, 0x966) for n in range(10)},  # digits of Arabic, Persian and Hindi
    **dict(zip(map(ord, "٫٬٪،"), ".,%,", strict=True)),
    **dict.fromkeys(map(ord, "−‐‑‒–—﹣"), "-"),
    **dict.fromkeys(map(ord, "“”„«»「」『』"), '"'),
    **dict.fromkeys(map(ord, "‘’"), "'"),
    **dict.fromkeys(map(ord, "【〔［"), "["),
    **dict.fromkeys(map(ord, "】〕］"), "]"),
    **dict.fromkeys(map(ord, "。｡"), "."),
    **dict.fromkeys(map(ord, "、﹐"), ","),
    **dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\ufe0f"), ""),
    ord("\u3000"): " ",
}
_PAIRS = (
    ("$$", "$$"),
    ("$", "$"),
    (r"\(", r"\)"),
    (r"\[", r"\]"),
    ("**", "**"),
    ("__", "__"),
    ("*", "*"),
    ("_", "_"),
    ("```", "```"),
    ("`", "`"),
    ('"', '"'),
    ("'", "'"),
)
_STARTS = ("\\", "<", *(opening for opening, _ in _PAIRS))
_TAGS = re.compile(r"<(b|i|u|em|strong|p|span|code)>([^<>]*)</\1>", re.IGNORECASE)
_COMMAND = re.compile(
    r"\\(?:boxed|fbox|text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|operatorname|underline|bm|boldsymbol)\s*\{"
)
_MOST_WRAPPERS = 8
_LEAD = re.compile(
    r"(?P<bold>\*\*|__)?(?:(?:(?:so|thus|therefore|hence)\b[,:]?\s*|(?:∴|\\therefore\b)\s*)?(?:(?:the|my|our)\s+)?(?:(?:final|correct|right|best)\s+)*"
    r"(?:answer|option|choice|letter)\b(?:\s+(?:is|should be|would be)\b)?\s*[:=]?\s*(?:(?:option|choice)\b\s*:?\s*)?"
    r"|(?:(?:so|thus|therefore|hence)\b[,:]?\s+|(?:∴|\\therefore\b)\s*)"
    r"|(?:(?:la|die|il|a)\s+)?(?:respuesta|réponse|antwort|risposta|resposta|[Оо]твет|정답|답|الإجابة|الجواب)"
    r"(?:\s+(?:correcta|correcte|richtige|corretta|الصحيحة|الصحيح))?(?:\s+(?:es|est|ist|è|é|هي|هو)(?=[\s:])|은|는)?\s*:?"
    r"|(?:因此|所以|故|综上)?,?\s*(?:最终|最后)?(?:正确|正確)?的?(?:答案|选项|選項|選択肢|答え|正解|回答)(?:应该|應該)?(?:是|为|為|は|:)?\s*:?\s*(?:选项|選項)?\s*)(?(bold)(?:\*\*|__)?)\s*",
    re.IGNORECASE | re.ASCII,
)
_COPULA = re.compile(r"\s*(?:です|である|だ|입니다|이다)$")


def fold_characters(text: str) -> str:
    """Return a text with one form for each character: ASCII for full-width letters, digits and brackets, "-" for every
    minus sign.

    >>> fold_characters("（Ｂ）。"), fold_characters("−３")
    ('(B).', '-3')
    """
    return text.translate(_CHARACTERS)


def unwrap(text: str) -> str:
    r"""Return a text without the LaTeX, Markdown and quotes that hold all of it.

    >>> unwrap(r"$\boxed{\text{B}}$"), unwrap("**12**"), unwrap("$1$ or $2$"), unwrap(r"\$5")
    ('B', '12', '$1$ or $2$', '\\$5')
    """
    text = text.strip()
    for _ in range(_MOST_WRAPPERS):
        inside = _inside(text)
        if inside is None:
            break
        text = inside.strip()
    return text


def _inside(text: str) -> str | None:
    """Return what one pair of marks or one command holds, if it holds the whole text."""
    if not text.startswith(_STARTS):
        return None
    if command := _COMMAND.match(text):
        inside = text[command.end() : -1]
        return inside if text.endswith("}") and _is_balanced(inside) else None
    if tags := _TAGS.fullmatch(text):
        return tags[2]
    for opening, closing in _PAIRS:
        inside = text[len(opening) : -len(closing)]
        is_held = text.startswith(opening) and text.endswith(closing) and inside.strip() and not inside.endswith("\\")
        if is_held and not any(mark in inside.replace(r"\$", "") for mark in (opening, closing)):
            return inside
    return None


def _is_balanced(text: str) -> bool:
    """Return whether every brace that closes was opened before, and all are closed."""
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", text):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return False
    return depth == 0


def without_lead(text: str) -> str:
    """Return what follows words such as "The answer is", "Final answer:" or "答案是"; else the text itself.

    >>> without_lead("The final answer is 12"), without_lead("答案：B"), without_lead("option")
    ('12', 'B', 'option')
    """
    lead = _LEAD.match(fold_characters(text))
    return text[lead.end() :] if lead and lead.end() < len(text) else text


def without_space(text: str) -> str:
    """Return a text without white space, but for one blank between two digits.

    >>> without_space("x + 1"), without_space("1  1/2")
    ('x+1', '1 1/2')
    """
    return re.sub(r" (?![0-9])|(?<![0-9]) ", "", " ".join(text.split()))


def undress(text: str, stops: str = ".,;") -> str:
    r"""Return the value that a text holds, in ASCII where it can be: without wrappers, lead and the `stops` behind it.

    >>> undress("**Final answer:** $12$."), undress(r"\boxed{B}。")
    ('12', 'B')
    """
    text = fold_characters(text).strip()
    for _ in range(_MOST_WRAPPERS):
        shorter = unwrap(without_lead(_COPULA.sub("", unwrap(text).rstrip(stops + " "))).strip())
        if shorter in ("", text):
            break
        text = shorter
    return text
