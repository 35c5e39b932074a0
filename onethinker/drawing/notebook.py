"""How a notebook shows an answer: one piece of HTML that needs nothing from elsewhere."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

PICTURE = '<img src="data:image/webp;base64,{}" alt="{}" style="max-width:100%;display:block;margin:4px 0">'
TEXT = "white-space:pre-wrap;overflow-wrap:anywhere;margin:4px 0"


@dataclass(frozen=True)
class Shown:
    """A picture, or the frames of a video side by side, as WebP, and what stands below."""

    webp: bytes
    caption: str


def as_html(
    question: str, about: str, answer: str, *, shown: Sequence[Shown], thinking: str = "", problems: Sequence[str] = ()
) -> str:
    """Return a question with its media, answer, problems and, folded, the thinking; every text is escaped.

    >>> "&lt;script&gt;" in as_html("<script>", "open-ended", "2", shown=[])
    True
    """
    parts = [f"<b>{_text(question)}</b> <small>{_text(about)}</small>"]
    for each in shown:
        picture = PICTURE.format(base64.b64encode(each.webp).decode(), _text(each.caption))
        parts.append(f"{picture}<small>{_text(each.caption)}</small>")
    parts.append(f'<div style="{TEXT}">{_text(answer)}</div>')
    if problems:
        listed = "".join(f"<li>{_text(problem)}</li>" for problem in problems)
        parts.append(f'<ul style="{TEXT};color:#c00">{listed}</ul>')
    if thinking:
        parts.append(f'<details><summary>thinking</summary><div style="{TEXT}">{_text(thinking)}</div></details>')
    return f"<div>{''.join(parts)}</div>"


def _text(text: str) -> str:
    """Return a text that HTML shows as it is; halves of characters, which no file can hold, as a question mark."""
    return escape(text.encode(errors="replace").decode())
