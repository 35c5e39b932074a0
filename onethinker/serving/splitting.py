"""A reply as it comes, split into thinking and answer, without the tags of either."""

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

Part = Literal["thinking", "answer"]
_TAG = re.compile(r"<\s*(/?)\s*(think|thinking|answer)\s*>", re.IGNORECASE)
_BEGINS_TAG = re.compile(r"<[\s/]{0,4}[a-z]{0,8}\s{0,4}\Z", re.IGNORECASE)
"""An end of a text that the next piece may make a tag of."""


class Piece(NamedTuple):
    """Some text of a reply, and what it is part of."""

    part: Part
    text: str


class Splitter:
    """Takes the pieces of a reply and gives those of its thinking and its answer.

    With `keep_answer_tags` the answer's own tags stay, for clients that look for them.

    >>> splitter = Splitter()
    >>> texts = "<thi", "nk>Two", " cats.</think><ans", "wer>2</answer>"
    >>> [tuple(piece) for text in texts for piece in splitter.add(text)]
    [('thinking', 'Two'), ('thinking', ' cats.'), ('answer', '2')]
    """

    def __init__(self, *, keep_answer_tags: bool = False) -> None:
        self._part: Part = "answer"
        self._rest, self._keeps, self._begun = "", keep_answer_tags, False

    def add(self, text: str) -> Iterator[Piece]:
        """Yield what is certain once this piece is there."""
        text, self._rest = self._rest + text, ""
        position = 0
        for tag in _TAG.finditer(text):
            is_answer = tag[2].lower() == "answer"
            stop = tag.end() if is_answer and self._keeps else tag.start()
            yield from self._pieces(text[position:stop])
            position = tag.end()
            if not is_answer:
                self._part, self._begun = ("answer" if tag[1] else "thinking"), False
        text = text[position:]
        if begun := _BEGINS_TAG.search(text):
            text, self._rest = text[: begun.start()], begun[0]
        yield from self._pieces(text)

    def finish(self) -> Iterator[Piece]:
        """Yield what was held back because it might have become a tag."""
        text, self._rest = self._rest, ""
        yield from self._pieces(text)

    def _pieces(self, text: str) -> Iterator[Piece]:
        if not self._begun:
            text = text.lstrip()
        if text:
            self._begun = True
            yield Piece(self._part, text)


def _nothing() -> dict[Part, str]:
    return {"thinking": "", "answer": ""}


def split_reply(text: str, *, keep_answer_tags: bool = False) -> dict[Part, str]:
    """Return thinking and answer of a whole reply, joined from what a stream of it would be.

    >>> split_reply("<think>Two cats.</think> <answer>2</answer>")
    {'thinking': 'Two cats.', 'answer': '2'}
    """
    splitter, found = Splitter(keep_answer_tags=keep_answer_tags), _nothing()
    for piece in (*splitter.add(text), *splitter.finish()):
        found[piece.part] += piece.text
    return found
