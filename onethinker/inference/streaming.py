"""An answer while it is generated: tokens to pieces of text, a server's events to the reply that they add up to."""

from collections.abc import Callable, Sequence
from typing import Any

_INCOMPLETE = "\ufffd"
"""What a tokenizer writes for bytes that the next token makes a character of."""


class TextPieces:
    """Hands the text of tokens to a listener piece by piece, each character once and whole.

    >>> pieces = TextPieces(lambda ids: bytes(ids).decode(errors="replace"), print, frozenset([0]))
    >>> for token in "né".encode() + bytes([0, 65]): pieces.add(token)
    n
    é
    """

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        on_text: Callable[[str], None],
        ends: frozenset[int],
        opening: str = "",
    ) -> None:
        self._decode, self._on_text, self._ends = decode, on_text, ends
        self._ids: list[int] = []
        self._start = self._shown = 0
        self._text, self._opening, self._is_over = "", opening, False

    def add(self, token: int) -> None:
        """Take the next token; what comes after one that ends the answer is of no answer."""
        if self._is_over or token in self._ends:
            self._is_over = True
            return
        self._ids.append(token)
        # A token's text depends on the one before it, so the last piece is decoded again, not all that there is.
        before, now = self._decode(self._ids[self._start : self._shown]), self._decode(self._ids[self._start :])
        if len(now) > len(before) and not now.endswith(_INCOMPLETE):
            self._start, self._shown = self._shown, len(self._ids)
            self._hand_over(("" if self._text else self._opening) + now[len(before) :])

    def finish(self, text: str) -> None:
        """Hand over what the whole text has beyond the pieces."""
        if text.startswith(self._text) and text != self._text:
            self._hand_over(text[len(self._text) :])

    def _hand_over(self, piece: str) -> None:
        self._text += piece
        self._on_text(piece)


class ReplyPieces:
    """The events of a chat completion that a server streams: the text goes to a listener, the whole is a completion.

    >>> pieces = ReplyPieces(print)
    >>> for delta in ({"reasoning_content": "Two."}, {"content": "<answer>"}, {"content": "2</answer>"}):
    ...     pieces.add({"choices": [{"delta": delta}]})
    <think>Two.
    </think><answer>
    2</answer>
    """

    def __init__(self, on_text: Callable[[str], None]) -> None:
        self._on_text = on_text
        self._message: dict[str, str] = {}
        self._choice: dict[str, Any] = {"finish_reason": None}
        self._usage: dict[str, Any] = {"prompt_tokens": 0, "completion_tokens": 0}
        self._is_thinking = False

    def add(self, event: dict[str, Any]) -> None:
        """Take the next event. Raises: TypeError, KeyError, AttributeError: it is no chunk of a chat completion."""
        self._usage = event.get("usage") or self._usage
        for choice in event.get("choices") or []:
            self._choice["finish_reason"] = choice.get("finish_reason") or self._choice["finish_reason"]
            self._add_lists(choice)
            delta = choice.get("delta") or {}
            # Where a server writes the thinking under both names, once.
            thought = next((name for name in ("reasoning", "reasoning_content") if delta.get(name)), None)
            for name in filter(None, (thought, "content" if delta.get("content") else None)):
                self._message[name] = self._message.get(name, "") + delta[name]
                self._say(delta[name], is_thinking=name == thought)

    def completion(self) -> dict[str, Any]:
        """Return the body that the server would have sent without streaming."""
        return {"choices": [{**self._choice, "message": self._message}], "usage": self._usage}

    def _say(self, text: str, *, is_thinking: bool) -> None:
        if is_thinking and not self._is_thinking:
            text = f"<think>{text}"
        elif self._is_thinking and not is_thinking:
            text = f"</think>{text}"
        self._is_thinking = is_thinking
        self._on_text(text)

    def _add_lists(self, choice: dict[str, Any]) -> None:
        """Keep tokens and their log-probabilities, which come a few at a time."""
        if choice.get("token_ids"):
            self._choice.setdefault("token_ids", []).extend(choice["token_ids"])
        if content := (choice.get("logprobs") or {}).get("content"):
            self._choice.setdefault("logprobs", {"content": []})["content"].extend(content)
