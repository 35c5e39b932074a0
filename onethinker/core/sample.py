"""One record: a question about pictures or videos, with its truth."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from onethinker.core.frames import Clip
from onethinker.core.geometry import Box
from onethinker.core.request import Turn
from onethinker.core.sources import Source

Medium = Path | Clip | Source
"""A file, a folder of frames, a picture in a table, or a clip made in memory."""
RunLengths = Mapping[str, Any]
"""A mask in COCO's run-length form: "size" (height, width) and "counts"."""
PICTURE = "image"
"""The key of a picture's one mask."""


@dataclass(frozen=True)
class Masks:
    """The masks of a segmentation's object by frame, in order of time; a picture has one frame, `PICTURE`.

    Each frame has run lengths, or files of palette indices, which count together; one without any was not marked, and
    the object is not in it. `fps` is how many of the frames there are a second. `objects` are the palette indices that
    are the object, None for all but 0.
    """

    frames: Mapping[str, tuple[RunLengths | Path, ...]]
    fps: float = 1.0
    objects: tuple[int, ...] | None = None

    @property
    def times_s(self) -> dict[str, float]:
        """The second of every frame; a picture's is 0."""
        return {key: index / self.fps for index, key in enumerate(self.frames)}

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of masks that are no run lengths."""
        return tuple(mark for marks in self.frames.values() for mark in marks if isinstance(mark, Path))


@dataclass(frozen=True)
class Sample:
    """A question about media with its reference answer; all readers return these and all stages take them.

    `media` are files, parts of videos, folders of frames, pictures in tables, or clips made in memory, in the order in
    which they precede the question. `truth` is the inside of the reference answer block ("" if unknown). `response` is
    a whole model text to learn from, think and answer blocks included, and `rejected` a worse one, of a preference.
    `license` is that of the media. `first_box` is where the object of a track is in the first frame, asked with the
    question. `masks` are what a segmentation is measured by, and `frame_boxes` what a track is, by second, where the
    object can be seen. `resolution` is the width and height that a record gives for its media. `extra` holds fields
    that no stage reads, kept for writing the record back.

    Some benchmarks have more: `answers` are right answers of which any counts, `questions` are what a description is
    asked about, each with its answer, and `group` names the samples (of a sub-task, of a video) that are averaged
    first.

    A sample with a `system` turn or `earlier` turns is a conversation, of which `problem` and `response` are the last
    question and answer: its turns are shown as they are written. `shown` is how many media stand before each question.
    """

    id: str
    problem: str
    problem_type: str
    data_type: Literal["image", "video"]
    media: tuple[Medium, ...]
    truth: str = ""
    options: tuple[str, ...] = ()
    response: str | None = None
    rejected: str | None = None
    source: str = ""
    license: str = ""
    first_box: Box | None = None
    masks: Masks | None = None
    frame_boxes: Mapping[float, Box] = field(default_factory=dict)
    resolution: tuple[int, int] | None = None
    answers: tuple[str, ...] = ()
    questions: tuple[tuple[str, str], ...] = ()
    group: str = ""
    system: str | None = None
    earlier: tuple[Turn, ...] = ()
    shown: tuple[int, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def is_conversation(self) -> bool:
        """Whether its turns are shown as they are written, without the words of its task."""
        return self.system is not None or bool(self.earlier)
