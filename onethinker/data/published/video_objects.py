"""Objects in videos with a mask a frame and no sentence: YouTube-VOS and DAVIS as published.

YouTube-VOS  meta.json  {"videos": {"clip": {"objects": {"1": {"category": "dog", "frames": ["00000", …]}}}}}
             JPEGImages/clip/00000.jpg, 00005.jpg …, Annotations/clip/00000.png …: every fifth of 30 frames a second
DAVIS        ImageSets/2017/train.txt  a clip a line (2016's own: a frame and its mask a line)
             JPEGImages/480p/clip/00000.jpg …, Annotations/480p/clip/00000.png …: 24 frames a second

A mask is a palette PNG whose index is the object. An object is asked for by its category where it is the only one of it
in the video, else by the box of where it is first seen.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from onethinker.core.errors import DataError
from onethinker.core.grammar import show
from onethinker.core.sample import Masks, Sample
from onethinker.core.sources import FrameFolder
from onethinker.core.suffixes import PICTURE_SUFFIXES
from onethinker.data.published.expressions import DAVIS_FPS, FRAMES_PER_SECOND
from onethinker.data.published.files import Bad, field, find_folder, load_json, load_lines, refuse
from onethinker.data.published.masks import load_mask, selection_of, with_truth_from_masks
from onethinker.media.pictures import open_picture

META, LISTS = "meta.json", ("ImageSets/2017", "ImageSets/2016", "ImageSets/480p")
_SIZES = ("480p", "Full-Resolution", "1080p")
_MASKED_EVERY = 5
"""YouTube-VOS marks every fifth frame; the larger download has the frames between as well."""


def read_youtube_vos(root: Path, bad: Bad = refuse) -> Iterator[Sample]:
    """Yield a sample for every object of every video. Raises: DataError."""
    for video, record in field(load_json(root / META), "videos", dict, str(root / META)).items():
        where = f"{root / META}, {video!r}"
        try:
            objects = field(record, "objects", dict, where)
            names = {_number(key, where): _category(each, f"{where}, object {key!r}") for key, each in objects.items()}
            clip = _clip(root / "JPEGImages" / video, root / "Annotations" / video)
        except DataError as error:
            bad(error)
            continue
        yield from _samples(video, clip, names, "YouTube-VOS", bad)


def read_davis(root: Path, split: str, bad: Bad = refuse) -> Iterator[Sample]:
    """Yield a sample for every object of every video of a split, such as "train" or "val". Raises: DataError."""
    lists = [root / folder / f"{split}.txt" for folder in LISTS]
    path = next((each for each in lists if each.is_file()), None)
    if path is None:
        there = sorted({each.stem for folder in LISTS for each in (root / folder).glob("*.txt")})
        raise DataError(f"{root}: DAVIS has no split {split!r} here; name one by --split: {', '.join(there)}")
    pictures, marks = (find_folder(root / kind, *_SIZES) for kind in ("JPEGImages", "Annotations"))
    for video in dict.fromkeys(_video(line) for line in load_lines(path) if line.strip()):
        try:
            clip = _clip(pictures / video, marks / video, fps=DAVIS_FPS)
            names = dict.fromkeys(_indices(next(iter(clip.masks.values()))), "")
        except DataError as error:
            bad(error)
            continue
        yield from _samples(video, clip, names, "DAVIS", bad)


class _Clip(NamedTuple):
    """The frames of a video that are marked, and the mask file of each."""

    media: FrameFolder
    masks: dict[str, Path]


def _clip(pictures: Path, marks: Path, *, fps: float = FRAMES_PER_SECOND) -> _Clip:
    """Return a video in which every frame is marked. Raises: DataError: it is not, as in what is given for a challenge,
    or the numbers of frames are missing.
    """
    names = sorted(path.name for path in pictures.glob("*") if path.suffix.lower() in PICTURE_SUFFIXES)
    marked = sorted(path.stem for path in marks.glob("*.png"))
    if len(marked) < len(names) and fps == FRAMES_PER_SECOND:
        names = [name for name in names if _number(Path(name).stem, str(pictures)) % _MASKED_EVERY == 0]
    if not names or marked != [Path(name).stem for name in names]:
        raise DataError(
            f"{marks}: {len(marked)} masks for {len(names)} frames in {pictures}; a video needs a mask for each frame"
            " (videos of a challenge have only the first)"
        )
    masks = {Path(name).stem: marks / f"{Path(name).stem}.png" for name in names}
    return _Clip(FrameFolder(pictures, tuple(names), fps), masks)


def _samples(video: str, clip: _Clip, names: dict[int, str], source: str, bad: Bad) -> Iterator[Sample]:
    count = Counter(names.values())
    for number, category in names.items():
        try:
            yield _sample(video, clip, number, category, is_only=bool(category) and count[category] == 1, source=source)
        except DataError as error:
            bad(error)


def _sample(video: str, clip: _Clip, number: int, category: str, *, is_only: bool, source: str) -> Sample:
    masks = Masks({name: (path,) for name, path in clip.masks.items()}, clip.media.fps, (number,))
    words = f'"the {category}"' if is_only else _place(masks, category or "object", f"{video}, object {number}")
    sample = Sample(
        id=f"{video}-{number}",
        problem=f"Cut out what this describes in the video: {words}",
        problem_type="segmentation",
        data_type="video",
        media=(clip.media,),
        source=source,
        masks=masks,
    )
    return with_truth_from_masks(replace(sample, extra={"category": category} if category else {}))


def _place(masks: Masks, name: str, where: str) -> str:
    """Return which of several objects is meant: by its box, where it is first seen. Raises: DataError: nowhere."""
    for frame, time_s in masks.times_s.items():
        [mark] = masks.frames[frame]
        assert isinstance(mark, Path)
        mask = load_mask(mark, masks.objects)
        if mask.any():
            box = ",".join(map(str, selection_of(mask)["boxes"]))
            return f'"the {name} at [{box}] at {time_s:.2f} s"'
    raise DataError(f"{where}: its masks are empty in every frame, so there is nothing to find")


def _indices(path: Path) -> list[int]:
    """Return the objects of a mask. Raises: DataError: it is none."""
    load_mask(path, None)
    with path.open("rb") as file:
        image = open_picture(file)
        found = [int(index) for index in np.unique(np.asarray(image)) if index]
    if not found:
        raise DataError(f"{path}: no object is marked in the first frame")
    return found


def _video(line: str) -> str:
    first = line.split()[0]
    return Path(first).parent.name if "/" in first else first


def _number(text: str, where: str) -> int:
    if not text.isdecimal():
        raise DataError(f"{where}: expected a whole number for an object or frame, got {show(text)}")
    return int(text)


def _category(record: object, where: str) -> str:
    return field(record, "category", str, where).strip().replace("_", " ")
