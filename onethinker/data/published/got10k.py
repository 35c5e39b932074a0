"""GOT-10k as published: a folder a video, with its frames at 10 a second, a box a frame and what can be seen of the
object.

val/list.txt, val/GOT-10k_Val_000001/00000001.jpg …, groundtruth.txt (x,y,w,h a line, pixels), absence.label,
cover.label
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from onethinker.core.errors import DataError
from onethinker.core.geometry import FULL, Box, box_from_px
from onethinker.core.grammar import show
from onethinker.core.sample import Sample
from onethinker.core.sources import FrameFolder
from onethinker.data.published.files import Bad, load_lines, refuse
from onethinker.storage.strict_json import to_json
from onethinker.tasks.tracking import MAX_KEY, with_first_box

FPS = 10
"""Frames a second of all videos. Source: GOT-10k."""


def read_got10k(folder: Path, bad: Bad = refuse) -> Iterator[Sample]:
    """Yield a sample for every video of a subset: its box at each whole second, the first 32 at most, where it can be
    seen.

    The boxes of all frames are in `frame_boxes`, for the numbers that count frames.

    Source: got10k toolkit, which leaves frames out whose object is hidden ("cover" 0); the paper for 32 seconds.

    Raises: DataError: names the file and the line.
    """
    for name in filter(None, map(str.strip, load_lines(folder / "list.txt"))):
        try:
            sample = _read_video(folder / name)
        except DataError as error:
            bad(error)
            continue
        yield sample


def with_frames(samples: Iterable[Sample], folder: Path, bad: Bad = refuse) -> Iterator[Sample]:
    """Yield samples of the released file, each with the box of every frame where the subset lies in a folder.

    Which video a sample is about is in the name of its file or folder of frames. `bad` gets those whose video is not
    among them, or cannot be read.
    """
    if not (folder / "list.txt").exists():
        yield from samples
        return
    for sample in samples:
        name = re.search(r"GOT-10k_\w+_[0-9]+", str(sample.media[0]))
        try:
            if name is None:
                raise DataError(f"sample {sample.id!r}: {sample.media[0]} does not name a video of {folder}")
            boxes = _by_second(_read_boxes(folder / name[0])[0])
        except DataError as error:
            bad(error)
            continue
        yield replace(sample, frame_boxes=boxes)


def _by_second(boxes: Sequence[Box | None]) -> dict[float, Box]:
    """Return the boxes of the frames in which the object can be seen, by their second."""
    return {index / FPS: Box(*(round(side, 3) for side in box)) for index, box in enumerate(boxes) if box is not None}


def _read_video(folder: Path) -> Sample:
    boxes, names = _read_boxes(folder)
    if boxes[0] is None:
        raise DataError(f"{folder}: the object is hidden in the first frame, where its box is given to the model")
    by_second = _by_second(boxes)
    by_key = {str(second + 1): by_second[second] for second in range(MAX_KEY) if second in by_second}
    problem = with_first_box("Track the object that in the first frame is", boxes[0])
    media = (FrameFolder(folder, names, FPS),)
    return Sample(
        folder.name,
        problem,
        "tracking",
        "video",
        media,
        truth=to_json({"boxes": by_key}),
        source="GOT-10k",
        frame_boxes=by_second,
    )


def _read_boxes(folder: Path) -> tuple[list[Box | None], tuple[str, ...]]:
    """Return a video's boxes, None where the object is hidden, and the names of its frames. Raises: DataError."""
    names = tuple(sorted(path.name for path in folder.glob("*.jpg")))
    path = folder / "groundtruth.txt"
    lines = [line for line in load_lines(path) if line.strip()]
    if not names or len(names) != len(lines):
        raise DataError(f"{path}: {len(lines)} boxes for {len(names)} frames (*.jpg)")
    hidden, size = _hidden(folder, len(lines)), _size(folder / names[0])
    return [None if n in hidden else _box(line, f"{path}, line {n + 1}", size) for n, line in enumerate(lines)], names


def _hidden(folder: Path, count: int) -> set[int]:
    """Return the numbers of the frames in which nothing of the object can be seen."""
    hidden: set[int] = set()
    for name, means_hidden in (("absence.label", "1"), ("cover.label", "0")):
        path = folder / name
        if not path.is_file():
            continue
        marks = [line.strip() for line in load_lines(path) if line.strip()]
        if len(marks) != count or not all(re.fullmatch(r"[0-9]+", mark) for mark in marks):
            raise DataError(f"{path}: expected {count} whole numbers, one a frame, got {len(marks)} lines")
        hidden |= {index for index, mark in enumerate(marks) if mark == means_hidden}
    return hidden


def _size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path, formats=("JPEG",)) as image:
            return image.size
    except OSError as error:
        raise DataError(f"{path}: cannot be read as a JPEG: {error}") from error


def _box(line: str, where: str, size: tuple[int, int]) -> Box:
    try:
        x, y, width, height = (float(side) for side in re.split(r"[,\t ]+", line.strip()))
    except ValueError as error:
        raise DataError(f"{where}: expected x,y,width,height, got {show(line)}") from error
    box = Box(
        *(
            min(max(side, 0.0), FULL)
            for side in box_from_px((x, y, x + width, y + height), width_px=size[0], height_px=size[1])
        )
    )
    if box.x1 >= box.x2 or box.y1 >= box.y2:
        raise DataError(
            f"{where}: expected a box with an area inside the {size[0]} x {size[1]} frame, got {show(line)}"
        )
    return box
