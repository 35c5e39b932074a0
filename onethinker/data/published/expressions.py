"""Objects in videos named by a sentence, with a mask a frame: MeViS, ReasonVOS, Ref-YouTube-VOS and Ref-DAVIS as
published.

meta_expressions.json  {"videos": {"clip": {"frames": ["00000", …], "expressions": {"0": {"exp": "the dog", …}, …}}}}
frames                 JPEGImages/clip/00000.jpg
masks                  MeViS: mask_dict.json, run lengths a frame by "anno_id"
                       YouTube-VOS, DAVIS: Annotations/clip/00000.png, palette index = "obj_id"
                       ReasonVOS: Annotations/SOURCE_CLIP_OBJ-ID/00000.png, and "expressions" is a list with "exp_text"
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onethinker.core.errors import DataError
from onethinker.core.grammar import show
from onethinker.core.sample import Masks, RunLengths, Sample
from onethinker.core.sources import FrameFolder
from onethinker.core.suffixes import PICTURE_SUFFIXES
from onethinker.data.published.files import Bad, field, load_json, refuse
from onethinker.data.published.masks import with_truth_from_masks

FRAMES_PER_SECOND = 6.0
"""YouTube-VOS keeps every fifth of 30 frames a second; MeViS and ReasonVOS do not say, and are shown as fast."""
DAVIS_FPS = 24.0


def read_mevis(root: Path, bad: Bad = refuse) -> Iterator[Sample]:
    """Yield a sample for every expression of a MeViS subset with masks; all objects of an expression are one mask.
    Raises: DataError.
    """
    masks_path = root / "mask_dict.json"
    masks = load_json(masks_path)
    for video, names, expression, where in _expressions(root / "meta_expressions.json", bad):
        try:
            rles: dict[str, tuple[RunLengths, ...]] = dict.fromkeys(names, ())
            for number in _numbers(expression, "anno_id", where):
                own = masks.get(str(number)) if isinstance(masks, dict) else None
                if not isinstance(own, list) or len(own) != len(names):
                    raise DataError(
                        f"{masks_path}: {str(number)!r} must be a list of {len(names)} masks, one a frame of {video!r},"
                        f" got {show(own)}"
                    )
                for name, rle in zip(names, own, strict=True):
                    if rle is not None:
                        rles[name] += (rle,)
            sample = _sample(root, video, names, expression, Masks(rles, FRAMES_PER_SECOND))
        except DataError as error:
            bad(error)
            continue
        yield sample


def read_palettes(
    root: Path, meta: str = "meta_expressions.json", fps: float = FRAMES_PER_SECOND, bad: Bad = refuse
) -> Iterator[Sample]:
    """Yield a sample for every expression whose masks are palette PNGs, as those of YouTube-VOS and DAVIS. Raises:
    DataError.
    """
    for video, names, expression, where in _expressions(root / meta, bad):
        try:
            objects = _numbers(expression, "obj_id", where)
            files = {name: _existing(root / "Annotations" / video / f"{name}.png") for name in names}
            sample = _sample(root, video, names, expression, Masks(files, fps, tuple(objects)))
        except DataError as error:
            bad(error)
            continue
        yield sample


def read_reasonvos(root: Path, bad: Bad = refuse) -> Iterator[Sample]:
    """Yield a sample for every expression of ReasonVOS, whose objects have a folder of gray PNGs each.

    A folder's name ends in the object's id as it is written: "000000012" for VIPSeg. Source: VideoLISA,
    evaluation/reason_vos/eval_reason_vos.py.

    Raises: DataError.
    """
    for video, names, expression, where in _expressions(root / "meta_expressions.json", bad):
        try:
            objects = _texts(expression, "obj_id", where)
            folders = [root / "Annotations" / f"{expression['source']}_{video}_{name}" for name in objects]
            for folder in folders:
                if not folder.is_dir():
                    raise DataError(f"{where}: there is no folder of masks {folder}")
            files = {name: _existing(*(folder / f"{name}.png" for folder in folders)) for name in names}
            sample = _sample(root, video, names, expression, Masks(files, FRAMES_PER_SECOND))
        except DataError as error:
            bad(error)
            continue
        yield sample


def _expressions(path: Path, bad: Bad) -> Iterator[tuple[str, tuple[str, ...], Mapping[str, Any], str]]:
    """Yield video, frame names, expression and its location for messages, for every expression; "exp", "id" and
    "source" are always there.
    """
    videos = field(load_json(path), "videos", dict, str(path))
    for video, record in videos.items():
        try:
            names, listed = _video(record, f"{path}, {video!r}")
        except DataError as error:
            bad(error)
            continue
        for name, item in listed.items():
            where = f"{path}, {video!r}, expression {name!r}"
            text = item.get("exp_text", item.get("exp")) if isinstance(item, dict) else None
            if not isinstance(text, str) or not text.strip():
                bad(DataError(f"{where}: 'exp' must be a text, got {show(text)}"))
                continue
            yield video, names, {**item, "exp": text.strip(), "id": name, "source": record.get("source", "")}, where


def _video(record: object, where: str) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return the names of a video's frames and its expressions. Raises: DataError."""
    names = tuple(Path(str(name)).stem for name in field(record, "frames", list, where))
    if not names:
        raise DataError(f"{where}: 'frames' must name at least one frame")
    assert isinstance(record, dict)
    listed = record.get("expressions")
    if isinstance(listed, list):
        listed = {str(index): item for index, item in enumerate(listed)}
    if not isinstance(listed, dict):
        raise DataError(f"{where}: 'expressions' must be an object or a list, got {show(listed)}")
    return names, listed


def _texts(expression: Mapping[str, Any], name: str, where: str) -> list[str]:
    """Return the object or annotation ids of an expression, one or a list, as they are written."""
    value = expression.get(name)
    items = value if isinstance(value, list) else [value]
    texts = [str(item) for item in items]
    if not items or not all(
        re.fullmatch(r"[A-Za-z0-9_-]+", text) and item is not None for text, item in zip(texts, items, strict=True)
    ):
        raise DataError(f"{where}: {name!r} must be an id or a list of them, got {show(value)}")
    return texts


def _numbers(expression: Mapping[str, Any], name: str, where: str) -> list[int]:
    """Return the object or annotation numbers of an expression: one or a list, as numbers or texts."""
    texts = _texts(expression, name, where)
    if not all(text.isdecimal() for text in texts):
        raise DataError(f"{where}: {name!r} must be a number or a list of them, got {show(expression.get(name))}")
    return [int(text) for text in texts]


def _existing(*paths: Path) -> tuple[Path, ...]:
    """Return the paths at which there is a file: a frame without one has no mask of the object."""
    return tuple(path for path in paths if path.is_file())


def _sample(root: Path, video: str, names: tuple[str, ...], expression: Mapping[str, Any], masks: Masks) -> Sample:
    folder = root / "JPEGImages" / video
    suffix = next((suffix for suffix in PICTURE_SUFFIXES if (folder / f"{names[0]}{suffix}").is_file()), ".jpg")
    return with_truth_from_masks(
        Sample(
            id=f"{video}-{expression['id']}",
            problem=f'Cut out what this describes in the video: "{expression["exp"]}"',
            problem_type="segmentation",
            data_type="video",
            media=(FrameFolder(folder, tuple(f"{name}{suffix}" for name in names), masks.fps),),
            source=str(expression["source"]),
            masks=masks,
        )
    )
