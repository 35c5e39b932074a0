r"""Units behind a value: centimetres, degrees, dollars, students. They are recognised and compared, never converted.

>>> read_unit(r"\text{ cm}^2"), read_unit("square centimetres"), read_unit("or 6")
('cm^2', 'cm^2', None)
"""

import re
import unicodedata
from collections import Counter

_SPELLINGS = """
m meter meters metre metres 米|cm centimeter centimeters centimetre centimetres 厘米
mm millimeter millimeters millimetre millimetres 毫米|km kilometer kilometers kilometre kilometres kms 千米 公里
nm nanometer nanometers|µm micrometer micrometers|dm decimeter decimeters|ft foot feet|inch inches in
yd yard yards|mi mile miles|ha hectare hectares|acre acres|g gram grams gm 克|kg kilogram kilograms kgs 千克 公斤
mg milligram milligrams|ton tons tonne tonnes 吨|lb lbs pound pounds £|oz ounce ounces
s sec secs second seconds 秒|ms millisecond milliseconds|min mins minute minutes 分钟|h hr hrs hour hours 小时
day days 天|week weeks|month months|year years yr yrs 年|l liter liters litre litres 升
ml milliliter milliliters millilitre millilitres 毫升|gal gallon gallons|° degree degrees deg 度|°C ℃|°F ℉
rad radian radians|N newton newtons|Pa pascal pascals|kPa|J joule joules|kJ|W watt watts|kW|V volt volts
A amp amps ampere amperes|mA|ohm ohms Ω|Hz hertz|kHz|mol mole moles|cent cents ¢|$ dollar dollars USD US$
person persons people|child children|man men|woman women
€ euro euros EUR|¥ yen yuan CNY RMB JPY 元 円|₹ rupee rupees INR Rs|% percent pct percentage
"""
_CANONICAL = {
    spelling: group.split()[0]
    for line in _SPELLINGS.strip().splitlines()
    for group in line.split("|")
    for spelling in group.split()
}
_COMPOUND = {
    "mph": "mi/h",
    "kmh": "km/h",
    "kmph": "km/h",
    "kph": "km/h",
    "sqft": "ft^2",
    "cc": "cm^3",
    "平方厘米": "cm^2",
    "平方米": "m^2",
}
_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
MULTIPLIERS = {
    "hundred": 100,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "dozen": 12,
    "万": 10**4,
    "萬": 10**4,
}
MULTIPLIERS |= {"亿": 10**8, "億": 10**8}
_NO_UNITS = frozenset(
    ("and", "or", "nor", "to", "not", "no", "but", "if", "is", "are", "was", "isn", "the", "a", "an", "than")
)
_NO_UNITS |= {
    "more",
    "less",
    "fewer",
    "plus",
    "minus",
    "half",
    "quarter",
    "over",
    "under",
    "of",
    "at",
    "st",
    "nd",
    "rd",
    "th",
    "pi",
}
"""Words that say more than a unit does, so that what they follow is not the whole value."""
_COUNTERS = frozenset("个個本人匹枚件只条張张")
LONGEST = 60
"""Characters of a unit."""
_LATEX = (
    (re.compile(r"\\(?:text|textrm|textbf|mathrm|mathit|mathbf|mbox|operatorname)\s*\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\^\s*\{?\s*(?:\\circ|∘|o)\s*\}?|\\degree|[º˚]"), "°"),
    (re.compile(r"°\s*(?=[CF]\b)"), "°"),
    (re.compile(r"\\[,;:! ]|\\q?quad|~|[\u00a0\u2009\u202f]"), " "),
    (re.compile(r"\\([%$])"), r"\1"),
    (re.compile(r"\\(?:cdot|times)|[·⋅×*]"), "·"),
    (re.compile(r"\\Omega|Ω"), "ohm"),
    (re.compile(r"\\mu\s*|μ"), "µ"),
    (re.compile(r"\^\s*\{\s*(-?[0-9])\s*\}"), r"^\1"),
    (re.compile("²"), "^2"),
    (re.compile("³"), "^3"),
    (re.compile(r"\bUS(?=\s+dollar)"), ""),
)
_TOKEN = re.compile(
    r"US\$|°[CF]?|[%$€£¥₹¢℃℉]|[A-Za-zµ]+(?:[23](?![0-9]))?\.?|[\u4e00-\u9fff]+|\^-?[0-9]|/|·|(?<=/)\(|\)"
)


def read_unit(text: str) -> str | None:
    """Return one spelling for a unit, "" for none at all, None for a text that is no unit.

    Words of one or two letters must be known units; longer ones that are not ("students") count in the singular.

    >>> read_unit("km/h"), read_unit("kilometers per hour"), read_unit("students"), read_unit("x")
    ('h^-1·km', 'h^-1·km', 'student', None)
    """
    if len(text) > LONGEST:
        return None
    text = re.sub("[\u3371-\u33df]", lambda square: unicodedata.normalize("NFKC", square[0]), text)
    for pattern, replacement in _LATEX:
        text = pattern.sub(replacement, text)
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != "".join(text.split()) or not 0 <= len(tokens) <= 8:
        return None
    return _multiply(tokens)


def _multiply(tokens: list[str]) -> str | None:
    """Return the product of the units that tokens name; "per" and "/" turn the next one over."""
    powers: Counter[str] = Counter()
    sign, raised, last = 1, 1, ""
    for token in tokens:
        word = token.rstrip(".")
        if word in ("/", "per"):
            sign = -1
        elif token.startswith("^"):
            if not last:
                return None
            powers[last] += (int(token[1:]) - 1) * (1 if powers[last] > 0 else -1)
            last = ""
        elif word.lower() in _POWERS:
            raised = _POWERS[word.lower()]
        elif word not in ("·", "(", ")"):
            factors = _factors(word)
            if factors is None:
                return None
            for unit, power in factors:
                powers[unit] += sign * raised * power
                last = unit
            sign, raised = 1, 1
    return "·".join(f"{unit}^{power}" if power != 1 else unit for unit, power in sorted(powers.items()) if power)


def _factors(word: str) -> list[tuple[str, int]] | None:
    """Return the units that a word is a product of, each with its power ("mph": miles, and hours to the -1)."""
    name = _name(word)
    if name is None:
        return None
    found = re.findall(r"(/?)([^/^]+)(?:\^([0-9]))?", name)
    return [(unit, (-1 if over else 1) * int(power or 1)) for over, unit, power in found]


def _name(word: str) -> str | None:
    """Return one spelling of a word that is a unit, "" for a word that only counts ("units"), None where it is none."""
    for spelling in (word, word.lower()) if len(word) > 1 or word == "L" else (word,):  # 12 M are millions, not metres
        if known := _CANONICAL.get(spelling) or _COMPOUND.get(spelling):
            return known
        if spelling[-1:] in ("2", "3") and (known := _CANONICAL.get(spelling[:-1])):
            return f"{known}^{spelling[-1]}"
    word = word.lower()
    if word in ("unit", "units") or all(letter in _COUNTERS for letter in word):
        return ""
    is_foreign = not word.isascii() and word.isalpha() and len(word) <= 4
    if is_foreign and not any(letter in "或和与或半百千万亿億萬兆不点" for letter in word):
        return word
    if (
        len(word) < 3
        or not word.isascii()
        or not word.isalpha()
        or word in _NO_UNITS
        or word in MULTIPLIERS
        or set(word) <= set("xyz")
    ):
        return None
    return word.removesuffix("s")
