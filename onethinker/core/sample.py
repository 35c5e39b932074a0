"""One record: a question about pictures or videos, with its truth."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from onethinker.core.frames import Clip
from onethinker.core.sources import Source

Medium = Path | Clip | Source
"""A file, a folder of frames, a picture in a table, or a clip made in memory."""


@dataclass(frozen=True)
class Sample:
    """A question about media with its reference answer; all readers return these and all stages take them.

    `media` are files, folders of frames, pictures in tables, or clips made in memory, in the order in which they
    precede the question. `truth` is the inside of the reference answer block ("" if unknown). `response` is a whole
    model text to learn from, think and answer blocks included. `extra` holds fields that no stage reads, kept for
    writing the record back.
    """

    id: str
    problem: str
    problem_type: str
    data_type: Literal["image", "video"]
    media: tuple[Medium, ...]
    truth: str = ""
    options: tuple[str, ...] = ()
    response: str | None = None
    source: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
