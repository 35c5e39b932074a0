"""YOLO's data sets: a folder with data.yaml, pictures, and beside each a file of labels.

data.yaml           path, train, val, test (folders of pictures, or files that list them), names (list, or id to name)
images/train/a.jpg
labels/train/a.txt  a line an object: class, then centre x, centre y, width, height, or x, y, x, y, … around it

Numbers are fractions of the frame. An object is asked for by its class, of which the picture must have one; one with an
outline is a segmentation. Questions, ids and sources have no place here.
"""

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from onethinker.core.errors import DataError
from onethinker.core.geometry import FULL
from onethinker.core.grammar import show
from onethinker.core.masks import rle_of_polygons
from onethinker.core.sample import Sample
from onethinker.core.suffixes import PICTURE_SUFFIXES
from onethinker.data.formats.coco import MASKS, asked_by_category, only_box, picture_size, plain
from onethinker.data.formats.form import Read, SetForm
from onethinker.data.formats.records import Record
from onethinker.data.formats.released import sample_from_record
from onethinker.data.published.files import load_lines
from onethinker.data.published.masks import with_truth_from_masks
from onethinker.storage.atomic import folder_atomically, free_name
from onethinker.storage.strict_json import to_file_json, to_json

CONFIG = "data.yaml"
_DIGITS = 6
Label = tuple[Path, str, str]
"""Picture, class, and its four numbers."""


def fits(path: Path) -> bool:
    """Tell whether it is YOLO's data.yaml, or a folder with one."""
    return (path / CONFIG).is_file() or (path.name == CONFIG and path.is_file())


def read(path: Path, root: Path, split: str) -> Iterator[Read]:
    """Yield a sample for every label of a split; a picture whose labels cannot be read is a row of its own.

    Raises: DataError: data.yaml cannot be read, or has no such split.
    """
    config_path = path / CONFIG if path.is_dir() else path
    config = _config(config_path)
    names = _names(config.get("names"), config_path)
    row = 0
    for picture in _pictures(config, split, config_path):
        try:
            labels = _labels(_labels_of(picture))
        except DataError as error:
            row += 1
            yield row, error
            continue
        counts = Counter(number for _, number, _ in labels)
        for where, number, sides in labels:
            row += 1
            try:
                yield row, _sample(picture, names, number, sides, counts[number], where, row)
            except DataError as error:
                yield row, DataError(f"{where}: {error}")


def _config(path: Path) -> Record:
    import yaml

    try:
        config = yaml.safe_load("\n".join(load_lines(path)))
    except yaml.YAMLError as error:
        raise DataError(f"{path}: not YAML: {error}") from error
    if not isinstance(config, dict):
        raise DataError(f"{path}: expected fields such as names and train, got {show(config)}")
    return config


def _names(value: Any, path: Path) -> dict[int, str]:
    if isinstance(value, list):
        return {number: str(name) for number, name in enumerate(value)}
    if isinstance(value, dict) and all(isinstance(number, int) for number in value):
        return {number: str(name) for number, name in value.items()}
    raise DataError(f"{path}: 'names' must be the classes, a list or by number, got {show(value)}")


def _pictures(config: Record, split: str, path: Path) -> list[Path]:
    """Return the pictures of a split in order. Raises: DataError: there is no such split, or nothing in it."""
    given = config.get(split)
    entries = given if isinstance(given, list) else [given]
    if not all(isinstance(entry, str) and entry for entry in entries):
        raise DataError(f"{path}: {split!r} must be a folder or a file of pictures, got {show(given)}; see --split")
    root = path.parent / str(config.get("path") or "")
    found: list[Path] = []
    for entry in map(str, entries):
        place = next((base / entry for base in (root, path.parent) if (base / entry).exists()), root / entry)
        if place.suffix == ".txt":
            found += [place.parent / line.strip() for line in load_lines(place) if line.strip()]
        else:
            found += sorted(one for one in place.rglob("*") if one.suffix.lower() in PICTURE_SUFFIXES)
    if not found:
        raise DataError(f"{path}: there is no picture in {split!r}, {show(given)}")
    return found


def _labels_of(picture: Path) -> Path:
    """Return the file of a picture's labels: "labels" in place of the last "images" of its path."""
    parts = list(picture.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _labels(path: Path) -> list[tuple[str, int, list[float]]]:
    """Return where each label stands, its class and its numbers; a picture without a file has none."""
    found = []
    for number, line in enumerate(load_lines(path) if path.exists() else [], 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            kind, *sides = line.split()
            found.append((where, int(kind), [float(side) for side in sides]))
        except ValueError as error:
            raise DataError(f"{where}: expected a class and fractions of the frame, got {show(line)}") from error
    return found


def _sample(
    picture: Path, names: dict[int, str], number: int, sides: list[float], count: int, where: str, row: int
) -> Sample:
    if number not in names:
        raise DataError(f"class {number} is not in 'names'")
    if len(sides) != 4 and (len(sides) < 6 or len(sides) % 2):
        raise DataError(f"expected 4 numbers of a box or x, y of three points and more, got {len(sides)}")
    if not all(0 <= side <= 1 for side in sides):
        raise DataError(f"a point lies outside the picture: {show(sides)}; numbers must be fractions from 0 to 1")
    record: Record = {**asked_by_category(names[number], count), "data_type": "image", "images": [str(picture)]}
    if len(sides) == 4:
        record |= {"problem_type": "spatial grounding", "answer": to_json({"boxes": _box(sides)})}
    else:
        width, height = picture_size(picture)
        outline = [side * (height if axis % 2 else width) for axis, side in enumerate(sides)]
        rle = rle_of_polygons([outline], height=height, width=width)
        record |= {"problem_type": MASKS, "segmentation_output": {"segmentation_rle": rle}}
        record |= {"resolution": {"width": width, "height": height}}
    sample = sample_from_record(record, root=Path(), default_id=f"{picture.stem}-{row}")
    return with_truth_from_masks(sample)


def _box(sides: list[float]) -> list[float]:
    """Return a box in thousandths, whose sides may be outside by what was rounded. Raises: DataError."""
    x, y, width, height = (side * FULL for side in sides)
    box = [round(side, 2) for side in (x - width / 2, y - height / 2, x + width / 2, y + height / 2)]
    if min(box) < -1 or max(box) > FULL + 1 or box[0] >= box[2] or box[1] >= box[3]:
        raise DataError(f"the box {show(sides)} has no area, or lies outside the picture")
    return plain(min(max(side, 0), FULL) for side in box)


def write(sample: Sample, root: Path) -> Label:
    """Return a sample as a label. Raises: DataError: it is no box in one picture, or of no class."""
    label = sample.extra.get("category")
    if sample.problem_type != "spatial grounding" or len(sample.media) != 1 or not isinstance(sample.media[0], Path):
        raise DataError(f"YOLO has boxes of one picture; this is {sample.problem_type}")
    if not isinstance(label, str) or not label:
        raise DataError(
            "YOLO needs a class for each box: name it in 'category', because YOLO cannot hold the text of the question"
        )
    x1, y1, x2, y2 = (side / FULL for side in only_box(sample))
    sides = (round(side, _DIGITS) for side in ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1))
    if not sample.media[0].is_file():
        raise DataError(f"{sample.media[0]}: no such picture, but YOLO needs it next to the labels")
    return sample.media[0], label, " ".join(f"{side:g}" for side in sides)


def write_all(path: Path, made: Iterable[Label]) -> None:
    """Write a folder with copies of the pictures, whole or not at all. Raises: StorageError."""
    names: dict[str, int] = {}
    pictures: dict[Path, str] = {}
    taken: set[str] = set()
    with folder_atomically(path) as folder:
        images, labels = folder / "images", folder / "labels"
        images.mkdir()
        labels.mkdir()
        for picture, label, sides in made:
            if picture not in pictures:
                pictures[picture] = free_name(picture.stem, taken)
                taken.add(pictures[picture])
                shutil.copyfile(picture, images / f"{pictures[picture]}{picture.suffix}")
            with (labels / f"{pictures[picture]}.txt").open("a", encoding="utf-8") as file:
                file.write(f"{names.setdefault(label, len(names))} {sides}\n")
        listed = "".join(f"  {number}: {to_file_json(name)}\n" for name, number in names.items())
        (folder / CONFIG).write_text(f"train: images\nval: images\nnames:\n{listed}", encoding="utf-8")


YOLO = SetForm(
    "yolo", "YOLO's folder with data.yaml", fits, read, write, write_all, is_folder=True, takes_media_root=False
)
