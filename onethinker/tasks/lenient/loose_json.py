"""JSON as people and other models write it: in a code fence or among words, with other quotes, commas and brackets.

Everything here takes time in proportion to the length of the text.
"""

import math
import re
from typing import Any

from onethinker.core.errors import AnswerError
from onethinker.core.grammar import MAX_JSON_CHARS, MAX_JSON_DEPTH, MAX_NUMBER_CHARS, read_json, show

_FENCE = re.compile(r"```[ \t]*(?:[A-Za-z0-9]+[ \t]*(?=\n|\{|\[))?(.*?)(?:```|\Z)", re.DOTALL)
_WIDE = str.maketrans(
    {0xFF01 + index: chr(0x21 + index) for index in range(94)} | {ord("、"): ",", ord("："): ":", 0x3000: " "}
)
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "「": "」", "`": "`"}
_CLOSING = {"{": "}", "[": "]", "(": ")"}
_BARE_END = re.compile(r"[,:;=\]})\n]")
_KEY_END = re.compile(r"\s*(?::|=>?)\s*")
_SPACE = re.compile(r"(?:\s|//[^\n]*|#[^\n]*|/\*(?:[^*]|\*(?!/))*\*/)*")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_NAMED: dict[str, Any] = {"true": True, "false": False, "null": None, "none": None}


def without_fence(text: str, repairs: list[str]) -> str:
    """Return what the last code fence of a text holds, or the text itself."""
    fences = [inside for inside in _FENCE.findall(text) if inside.strip()]
    if not fences:
        return text
    repairs.append("a code fence")
    return str(fences[-1]).strip()


def load_loosely(text: str, repairs: list[str], *, truncated: bool = False) -> Any:
    """Return the value of the JSON in a text; of several that differ, a list of all.

    >>> repairs = []
    >>> load_loosely("Here: {'boxes': [1, 2, 3, 4,]}", repairs), repairs
    ({'boxes': [1, 2, 3, 4]}, ['JSON among other words', 'JSON with other quotes', 'JSON with a comma too many'])

    Raises: AnswerError: there is no object and no list in it.
    """
    if len(text) > MAX_JSON_CHARS:
        raise AnswerError(f"expected at most {MAX_JSON_CHARS} characters of JSON, got {len(text)}")
    text = without_fence(text, repairs)
    try:
        return read_json(text)
    except AnswerError:
        pass
    if (folded := text.translate(_WIDE)) != text:
        repairs.append("full-width characters")
    values = _distinct_values(_Parser(folded, truncated), repairs)
    objects = [value for value in values if isinstance(value, dict)] or values
    if not objects:
        raise AnswerError(f"expected JSON, got {show(text)}")
    return objects[0] if len(objects) == 1 else objects


def _distinct_values(parser: "_Parser", repairs: list[str]) -> list[Any]:
    """Return the different objects and lists in a text, in their order."""
    values: list[Any] = []
    while (before := parser.next_value()) is not None:
        if before:
            parser.kinds["JSON among other words"] = True
        value = parser.value(0)
        if value not in values:
            values.append(value)
    repairs += parser.kinds
    if len(values) > 1:  # "[x1, y1, x2, y2] = [10, 20, 30, 40]"
        values = [value for value in values if isinstance(value, dict) or not _are_names(value)] or values
    return values


def _are_names(value: list[Any]) -> bool:
    return bool(value) and all(isinstance(item, str) and item.isidentifier() for item in value)


class _Parser:
    """Reads one value after the other; `kinds` are the departures from JSON that it has met, in order."""

    def __init__(self, text: str, truncated: bool) -> None:
        self.text, self.truncated, self.at = text, truncated, 0
        self.kinds: dict[str, bool] = {}

    def next_value(self) -> str | None:
        """Go to the next bracket that opens an object or a list; return the words before it, None at the end."""
        found = re.compile(r"[{\[]").search(self.text, self.at)
        if found is None:
            return None
        before, self.at = self.text[self.at : found.start()], found.start()
        return before.strip()

    def value(self, depth: int) -> Any:
        if depth > MAX_JSON_DEPTH:
            raise AnswerError(f"expected JSON of at most {MAX_JSON_DEPTH} levels, got more")
        self._skip()
        first = self.text[self.at : self.at + 1]
        if first == "{":
            return self._object(depth)
        if first in ("[", "("):
            return self._list(depth)
        return self._string() if first in _QUOTES and first else self._bare()

    def _object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for _ in self._items("}"):
            key = str(self._string() if self.text[self.at] in _QUOTES else self._bare(is_key=True))
            separator = _KEY_END.match(self.text, self.at)
            if separator is None:
                continue
            self.at = separator.end()
            if self.at >= len(self.text):
                break
            value = self.value(depth + 1)
            if not (self.truncated and self.at >= len(self.text) and not isinstance(value, dict | list)):
                found.setdefault(key, value)
        return found

    def _list(self, depth: int) -> list[Any]:
        closing = _CLOSING[self.text[self.at]]
        if closing == ")":
            self.kinds["JSON with round brackets"] = True
        found: list[Any] = []
        for _ in self._items(closing):
            value = self.value(depth + 1)
            if not (self.truncated and self.at >= len(self.text) and not isinstance(value, dict | list)):
                found.append(value)
        return found

    def _items(self, closing: str) -> Any:
        """Yield before each item of an object or list; it ends with its bracket, or with the text."""
        self.at += 1
        comma = False
        while True:
            self._skip()
            if self.at >= len(self.text):
                self.kinds["JSON with a bracket left open"] = True
                return
            char = self.text[self.at]
            if char in ",;":
                self.at += 1
                comma = True
                continue
            if char in "}])":
                if comma:
                    self.kinds["JSON with a comma too many"] = True
                if char == closing:
                    self.at += 1
                else:  # the bracket of what holds this one
                    self.kinds["JSON with a bracket left open"] = True
                return
            start = self.at
            yield
            comma = False
            if self.at == start:
                self.at += 1

    def _string(self) -> str:
        quote = self.text[self.at]
        if quote != '"':
            self.kinds["JSON with other quotes"] = True
        pieces: list[str] = []
        start = self.at = self.at + 1
        while (end := self.text.find(_QUOTES[quote], self.at)) >= 0:
            self.at = end + 1
            if self.text[end - 1] != "\\" and (quote == '"' or self._is_end(end + 1)):
                pieces.append(self.text[start:end])
                return pieces[0].replace("\\" + quote, quote)
        self.at = len(self.text)
        return self.text[start:]

    def _is_end(self, at: int) -> bool:
        """Return whether a quote can close here: "'" may be an apostrophe."""
        return self.text[at : at + 8].lstrip()[:1] in ("", ",", ":", "}", "]", ")", ";", "=")

    def _bare(self, *, is_key: bool = False) -> Any:
        """Return a number, a name such as true, or words without quotes."""
        end = _BARE_END.search(self.text, self.at)
        stop = end.start() if end else len(self.text)
        if end and end[0] == ":" and not is_key and (clock := re.compile(r"[0-9:.]+").match(self.text, self.at)):
            stop = clock.end()
        word = self.text[self.at : stop].strip()
        self.at = stop
        if _NUMBER.fullmatch(word) and len(word) <= MAX_NUMBER_CHARS and math.isfinite(float(word)):
            return float(word) if not re.fullmatch(r"[+-]?[0-9]+", word) else int(word)
        if word.lower() in _NAMED and not is_key:
            return _NAMED[word.lower()]
        self.kinds["JSON without quotes"] = True
        return word

    def _skip(self) -> None:
        space = _SPACE.match(self.text, self.at)
        self.at = space.end() if space else self.at
