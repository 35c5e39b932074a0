"""Seconds and spans of time however they are written: "1:05", "00:01:05.5", "65 s", "from 5 to 12 seconds"."""

import re
from typing import Any

from onethinker.core.errors import AnswerError
from onethinker.core.grammar import show
from onethinker.tasks.lenient.fields import plain
from onethinker.tasks.notation import fold_characters

_UNITS = {
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours", "小时", "時間"), 3600.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes", "分", "分钟"), 60.0),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds", "秒"), 1.0),
    **dict.fromkeys(("ms", "millisecond", "milliseconds", "毫秒"), 0.001),
}
_UNIT = "|".join(sorted(_UNITS, key=len, reverse=True))
_NUMBER = r"[0-9]{1,9}(?:[.,][0-9]{1,9})?"
_CLOCK = r"(?:[0-9]{1,3}:)?[0-9]{1,3}:[0-9]{1,2}(?:[.,][0-9]{1,9})?"
_WITH_UNIT = rf"{_NUMBER}[ ]?(?:{_UNIT})(?![A-Za-z])"
_MOMENT = rf"(?:{_CLOCK}|-?{_WITH_UNIT}(?:[ ]?{_WITH_UNIT}){{0,3}}|-?{_NUMBER})"
_BETWEEN = (
    r"[ ]{0,3}(?:-{1,2}>?|~|〜|→|,|to|until|till|through|and|bis|à|hasta|a|до|至|到|から|"
    r"[,;]?[ ]?(?:and[ ])?(?:it[ ])?(?:end|stop|finish)(?:s|es|ing)?(?:[ ](?:at|time))?[ ]?[:=]?)[ ]{0,3}"
)
_PAIR = re.compile(
    rf"(?<![0-9.:])(?P<first>{_MOMENT}){_BETWEEN}(?P<last>{_MOMENT})(?![0-9:])[ ]?(?P<unit>{_UNIT})?(?![A-Za-z])",
    re.IGNORECASE,
)
_TWO = re.compile(rf"(?<![0-9.:]){_MOMENT}(?![0-9:])", re.IGNORECASE)
_SILENT = re.compile(
    r"(?:the|it|event|is|a|from|at|to|and|until|in|between|of|mark|times?|starts?|begins?|ends?|timestamp|seconds?|sec"
    r"|s|t)"
)
"""Words around two numbers that leave no doubt that these are times."""
_TAGGED = re.compile(r"</?[a-z_]{1,20}>|<\|?(?=[ ]?[0-9.:]+[^<>|]{0,9}\|?>)|(?<=[0-9a-z])\|?>|\|", re.IGNORECASE)
_PART = re.compile(rf"({_NUMBER})[ ]?({_UNIT})(?![A-Za-z])", re.IGNORECASE)
_ORDINAL = re.compile(r"(?<=[0-9])(?:st|nd|rd|th)\b|第(?=\s?[0-9])", re.IGNORECASE)
_THOUSANDS = re.compile(r"(?<![:0-9])([0-9]{1,3}),(?=[0-9]{3}(?![0-9]))")
_FRAMES = re.compile(r"\bframes?\s*#?[0-9]|[0-9]\s*(?:frames?\b|帧)|第?[0-9]+フレーム", re.IGNORECASE)
START_KEYS = frozenset(("start", "starttime", "startsec", "startsecond", "startseconds", "starttimestamp", "begin"))
START_KEYS |= {"from", "tstart", "onset", "starts", "begintime"}
END_KEYS = frozenset(("end", "endtime", "endsec", "endsecond", "endseconds", "endtimestamp", "stop", "finish", "to"))
END_KEYS |= {"tend", "offset", "until", "ends", "stoptime"}
TIME_KEYS = frozenset(
    ("time", "times", "timestamp", "timestamps", "timespan", "timerange", "span", "interval", "segment")
)
TIME_KEYS |= {"window", "timewindow", "timeinterval", "moment", "second", "seconds", "sec", "t", "timesec", "period"}
TIME_KEYS |= {"segments", "intervals", "spans", "timespans", "timeranges", "windows"}


def to_second(value: Any, repairs: list[str]) -> float:
    """Return a time in seconds. Raises: AnswerError.

    >>> [to_second(text, []) for text in ("1:05", "00:01:05.5", "65 s", "1m5s", "1.5 min", "500ms")]
    [65.0, 65.5, 65.0, 65.0, 90.0, 0.5]
    """
    if isinstance(value, list) and len(value) == 1:
        repairs.append("a time in a list")
        return to_second(value[0], repairs)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    text = fold_characters(value).strip().strip("<>[]()").strip() if isinstance(value, str) else ""
    if not re.fullmatch(_MOMENT, text, re.IGNORECASE):
        raise AnswerError(f"expected a time in seconds, got {show(value)}")
    repairs.append(f"the time {show(value)} in seconds")
    return _seconds(text)


def to_span(value: Any, repairs: list[str]) -> list[float]:
    """Return two times in seconds, the earlier one first. Raises: AnswerError: there are not two.

    >>> to_span("from 5 to 12 seconds", []), to_span("00:05 - 00:12", []), to_span({"start": 1, "end": 2}, [])
    ([5.0, 12.0], [5.0, 12.0], [1.0, 2.0])
    """
    if isinstance(value, list) and len(value) == 1:
        repairs.append("one time in a list")
        return to_span(value[0], repairs)
    if isinstance(value, list) and len(value) == 2:
        return _ordered([to_second(item, repairs) for item in value], repairs)
    if isinstance(value, dict):
        return _span_of_object(value, repairs)
    if isinstance(value, str):
        return _span_in(value, repairs)
    raise AnswerError(f"expected two times, got {show(value)}")


def _span_of_object(value: dict[str, Any], repairs: list[str]) -> list[float]:
    """Return the span under a start and an end, or under one key for both. Raises: AnswerError."""
    fields = {plain(key): item for key, item in value.items()}
    ends = [next((item for key, item in fields.items() if key in known), None) for known in (START_KEYS, END_KEYS)]
    if None not in ends:
        repairs.append("'start' and 'end' as a time")
        return _ordered([to_second(end, repairs) for end in ends], repairs)
    inside = [item for key, item in fields.items() if key in TIME_KEYS]
    if len(inside) != 1:
        raise AnswerError(f"expected two times, got {show(value)}")
    return to_span(inside[0], repairs)


def _span_in(text: str, repairs: list[str]) -> list[float]:
    """Return the one pair of times that words name. Raises: AnswerError: there is none, or several that differ."""
    folded = fold_characters(text)
    if _FRAMES.search(folded):
        raise AnswerError(f"expected two times, got frames: {show(text)}")
    folded = _THOUSANDS.sub(r"\1", _ORDINAL.sub("", _TAGGED.sub(" ", folded)))
    folded = re.sub(r"\s+", " ", folded).replace("'", "").replace('"', "")
    pairs = {
        tuple(_in_one_unit(match["first"], match["last"], match["unit"])) for match in _PAIR.finditer(folded)
    } or _apart(folded)
    if len(pairs) != 1:
        raise AnswerError(f"expected two times, got {show(text)}")
    repairs.append(f"the times in {show(text.strip())}")
    return _ordered([*pairs.pop()], repairs)


def _in_one_unit(first: str, last: str, unit: str | None) -> list[float]:
    """Return two times in seconds; a unit behind the last one holds for both."""
    unit = unit or next(iter(re.findall(rf"[0-9][ ]?({_UNIT})$", last, re.IGNORECASE)), None)
    ends = [end if ":" in end or _PART.search(end) or unit is None else f"{end} {unit}" for end in (first, last)]
    return [_seconds(end) for end in ends]


def _apart(text: str) -> set[tuple[float, ...]]:
    """Return the only two times that stand apart in a text: with units or colons, or with nothing else beside them
    than words that mean times; {} otherwise.
    """
    found = [match[0] for match in _TWO.finditer(text)]
    if len(found) != 2 or len(re.findall("[0-9][0-9.,:]*", text)) != sum(map(_count_numbers, found)):
        return set()
    words = re.findall(r"[^\W\d_]+", _TWO.sub(" ", text).lower())
    if not all(map(_SILENT.fullmatch, words)) and not all(":" in each or _PART.search(each) for each in found):
        return set()
    return {tuple(_in_one_unit(found[0], found[1], None))}


def _count_numbers(time: str) -> int:
    return len(re.findall("[0-9][0-9.,:]*", time))


def _seconds(text: str) -> float:
    text = text.lower().replace(",", ".")
    sign = -1 if text.startswith("-") else 1
    text = text.lstrip("-")
    if ":" in text:
        seconds = 0.0
        for part in text.split(":"):
            seconds = 60 * seconds + float(part)
        return seconds
    if parts := _PART.findall(text):
        return sign * round(sum(float(number) * _UNITS[unit] for number, unit in parts), 6)
    return sign * float(text)


def _ordered(span: list[float], repairs: list[str]) -> list[float]:
    if span[0] > span[1]:
        repairs.append("times swapped")
        return span[::-1]
    return span
