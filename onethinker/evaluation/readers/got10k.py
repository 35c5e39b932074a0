"""GOT-10k as published: a folder a video, with its frames at 10 a second, a box a frame and what can be seen of the object.

val/list.txt, val/GOT-10k_Val_000001/00000001.jpg …, groundtruth.txt (x,y,w,h a line, pixels), absence.label, cover.label
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from onethinker.data.sample import Sample
from onethinker.errors import DataError
from onethinker.evaluation.readers.files import load_lines
from onethinker.geometry import FULL, Box, box_from_px
from onethinker.media.sources import FrameFolder
from onethinker.response import show
from onethinker.tasks.tracking import MAX_KEY

FPS = 10
"""Frames a second of all videos. Source: GOT-10k."""


def read_got10k(folder: Path) -> Iterator[Sample]:
    """Yield a sample for every video of a subset: its box at each whole second, the first 32 at most, where it can be seen.

    Source: got10k toolkit, which leaves frames out whose object is hidden ("cover" 0); the paper for 32 seconds.

    Raises: DataError: names the file and the line.
    """
    for name in filter(None, map(str.strip, load_lines(folder / "list.txt"))):
        yield _read_video(folder / name)


def _read_video(folder: Path) -> Sample:
    from onethinker.inference import with_first_box  # loads torch, which a list of benchmarks does not need

    names = tuple(sorted(path.name for path in folder.glob("*.jpg")))
    path = folder / "groundtruth.txt"
    lines = [line for line in load_lines(path) if line.strip()]
    if not names or len(names) != len(lines):
        raise DataError(f"{path}: {len(lines)} boxes for {len(names)} frames (*.jpg)")
    hidden = _hidden(folder, len(lines))
    size = _size(folder / names[0])
    boxes = {
        str(second + 1): _box(lines[frame], f"{path}, line {frame + 1}", size)
        for second, frame in enumerate(range(0, min(len(lines), MAX_KEY * FPS), FPS))
        if frame not in hidden
    }
    if "1" not in boxes:
        raise DataError(f"{path}: the object is hidden in the first frame, where its box is given to the model")
    problem = with_first_box("Track the object that in the first frame is", boxes["1"])
    truth = json.dumps({"boxes": {key: [round(side, 3) for side in box] for key, box in boxes.items()}})
    return Sample(folder.name, problem, "tracking", "video", (FrameFolder(folder, names, FPS),), truth=truth, source="GOT-10k")


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
        hidden |= {number for number, mark in enumerate(marks) if mark == means_hidden}
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
    box = Box(*(min(max(side, 0.0), FULL) for side in box_from_px((x, y, x + width, y + height), width_px=size[0], height_px=size[1])))
    if box.x1 >= box.x2 or box.y1 >= box.y2:
        raise DataError(f"{where}: expected a box with an area inside the {size[0]} x {size[1]} frame, got {show(line)}")
    return box
