"""Words of languages with and without spaces: Chinese, Japanese, Korean, Thai and their like count by the character."""

import re
import unicodedata

UNSPACED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff"  # Tibetan, Burmese, Khmer
    "\u3005-\u3007\u3021-\u3029\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # kana
    "\u3100-\u312f\u31a0-\u31bf\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"  # Chinese
    "\uac00-\ud7af\u1100-\u11ff"  # Korean
)
"""Characters of scripts that are written without spaces, or (Korean) with spaces that signs leave out."""
_PIECE = re.compile(f"[{UNSPACED}]|[^{UNSPACED}\\s]+")
_LATIN_OR_NO_LETTER = r"\W\d_\u0000-\u024f\u1e00-\u1eff\uff21-\uff3a\uff41-\uff5a"
_OTHER_LETTERS = re.compile(f"[{UNSPACED}]|[^{_LATIN_OR_NO_LETTER}]{{2}}")
_RUN = re.compile(f"[{UNSPACED}]|[^{_LATIN_OR_NO_LETTER}{UNSPACED}]+|[{_LATIN_OR_NO_LETTER}]+")


def words(text: str) -> list[str]:
    """Return what lies between white space, and each character of a script without spaces by itself.

    >>> words("No entry"), words("禁止 进入 No.5")
    (['No', 'entry'], ['禁', '止', '进', '入', 'No.5'])
    """
    return _PIECE.findall(unicodedata.normalize("NFC", text))


def has_other_letters(text: str) -> bool:
    """Return whether a text has words that are not in Latin letters; single letters, as in formulas, are none.

    >>> has_other_letters("a café, 5 µm, π"), has_other_letters("一只猫"), has_other_letters("Кошка")
    (False, True, True)
    """
    return _OTHER_LETTERS.search(text) is not None


def runs(text: str) -> list[tuple[str, bool]]:
    """Return a text in NFKC and lower case in pieces, each with whether it is a word in itself: a character of a script
    without spaces, or a word in letters that are not Latin.

    >>> runs("一只 cat")
    [('一', True), ('只', True), (' cat', False)]
    """
    folded = unicodedata.normalize("NFKC", text).lower()
    return [(piece, bool(_OTHER_LETTERS.match(piece))) for piece in _RUN.findall(folded)]
