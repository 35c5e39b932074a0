"""MOT Challenge: a folder a video with its frames, and a line for each box of each object.

MOT17-02/seqinfo.ini        [Sequence] with imDir, frameRate, imWidth, imHeight
MOT17-02/img1/000001.jpg …  frames
MOT17-02/gt/gt.txt          frame, id, left, top, width, height, 1 or 0 (not counted), class, visibility; pixels, from 1

Every object that is in the first frame becomes a question of tracking, with its box at each whole second, the first
32 at most. It is only read: a track with one box a second is no ground truth of every frame.
"""

import configparser
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from onethinker.core.errors import DataError
from onethinker.core.geometry import FULL, Box, box_from_px
from onethinker.core.grammar import show
from onethinker.core.sample import Sample
from onethinker.core.sources import FrameFolder
from onethinker.core.suffixes import PICTURE_SUFFIXES
from onethinker.data.formats.form import Read, SetForm
from onethinker.data.published.files import load_lines
from onethinker.storage.strict_json import to_json
from onethinker.tasks.tracking import MAX_KEY, with_first_box

_INFO, _TRUTH = "seqinfo.ini", Path("gt/gt.txt")


@dataclass(frozen=True)
class _Sequence:
    name: str
    media: FrameFolder
    width: int
    height: int


def _folders(path: Path) -> list[Path]:
    """Return the folder itself where it is a video, else those in it that are."""
    return [path] if (path / _INFO).is_file() else sorted(found.parent for found in path.glob(f"*/{_INFO}"))


def fits(path: Path) -> bool:
    """Tell whether a folder has videos of MOT Challenge."""
    return path.is_dir() and bool(_folders(path))


def read(path: Path, root: Path, split: str) -> Iterator[Read]:
    """Yield a sample for every object, video by video; a file that is wrong is a row of its own.

    Raises: DataError: there is no video.
    """
    row, folders = 0, _folders(path)
    if not folders:
        raise DataError(f"{path}: there is no {_INFO} in it or in a folder directly inside it")
    for folder in folders:
        try:
            sequence = _sequence(folder)
            tracks = _tracks(folder / _TRUTH, sequence)
        except DataError as error:
            row += 1
            yield row, error
            continue
        for number, boxes in tracks.items():
            row += 1
            yield row, _sample(sequence, number, boxes)


def _sequence(folder: Path) -> _Sequence:
    path = folder / _INFO
    try:
        parser = configparser.ConfigParser()
        parser.read_string("\n".join(load_lines(path)))
        info = parser["Sequence"]
        frames, fps = folder / info.get("imDir", "img1"), float(info["frameRate"])
        width, height = int(info["imWidth"]), int(info["imHeight"])
    except (configparser.Error, KeyError, ValueError) as error:
        raise DataError(f"{path}: expected [Sequence] with frameRate, imWidth and imHeight: {error}") from error
    names = sorted(found.name for found in frames.glob("*") if found.suffix.lower() in PICTURE_SUFFIXES)
    if not names or not fps > 0 or min(width, height) < 1:
        raise DataError(f"{path}: {len(names)} frames in {frames}, {fps:g} a second, {width} x {height} pixels")
    return _Sequence(info.get("name", folder.name), FrameFolder(frames, tuple(names), fps), width, height)


def _tracks(path: Path, sequence: _Sequence) -> dict[int, dict[int, Box]]:
    """Return the boxes of each object by frame, from 0, cut to the frame. Raises: DataError: names the line."""
    tracks: dict[int, dict[int, Box]] = defaultdict(dict)
    for number, line in enumerate(load_lines(path), 1):
        if not line.strip():
            continue
        try:
            frame, track, left, top, width, height, counted = map(_finite, line.split(",")[:7])
        except ValueError as error:
            raise DataError(
                f"{path}, line {number}: expected frame,id,left,top,width,height,counted,…, got {show(line)}"
            ) from error
        if not counted:
            continue
        if not 1 <= frame <= len(sequence.media.names):
            raise DataError(f"{path}, line {number}: frame {frame:g} of {len(sequence.media.names)}")
        sides = (left - 1, top - 1, left - 1 + width, top - 1 + height)
        box = _cut(box_from_px(sides, width_px=sequence.width, height_px=sequence.height))
        if box.x1 >= box.x2 or box.y1 >= box.y2:
            raise DataError(
                f"{path}, line {number}: expected a box inside the {sequence.width} x {sequence.height} frame, got"
                f" {show(line)}"
            )
        tracks[int(track)][int(frame) - 1] = box
    return tracks


def _finite(text: str) -> float:
    """Return a number. Raises: ValueError: it is none, or not finite."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not finite")
    return number


def _cut(box: Box) -> Box:
    return Box(*(round(min(max(side, 0.0), FULL), 2) for side in box))


def _sample(sequence: _Sequence, number: int, boxes: dict[int, Box]) -> Sample | DataError:
    if 0 not in boxes:
        return DataError(f"{sequence.name}: object {number} is not in the first frame, where its box is given")
    frames = {second + 1: round(second * sequence.media.fps) for second in range(MAX_KEY)}
    truth = {str(key): boxes[frame] for key, frame in frames.items() if frame in boxes}
    return Sample(
        f"{sequence.name}-{number}",
        with_first_box("Track the object that in the first frame is", boxes[0]),
        "tracking",
        "video",
        (sequence.media,),
        truth=to_json({"boxes": truth}),
        source="MOT",
        resolution=(sequence.width, sequence.height),
    )


MOT = SetForm("mot", "MOT Challenge, a folder a video", fits, read, takes_media_root=False)
