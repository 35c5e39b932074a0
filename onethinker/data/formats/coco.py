"""COCO's data sets: boxes and masks of objects in pictures, as questions about one object each.

{"images": [{"id": 1, "file_name": "a.jpg", "width": 640, "height": 480}],
 "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [10, 20, 30, 40], "segmentation": RLE or polygons}],
 "categories": [{"id": 3, "name": "cat"}]}

A box is left, top, width, height in pixels as edges: one over the whole picture is [0, 0, width, height]. What we
write has the fields of our own record in each annotation; elsewhere an object is asked for by its category, of which
the picture must have one. Pictures and categories are held in memory, annotations one at a time.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from onethinker.core.errors import DataError, MediaError
from onethinker.core.geometry import FULL, Box, box_from_px, box_to_px
from onethinker.core.grammar import show
from onethinker.core.masks import decode_rle, encode_rle, rle_of_polygons
from onethinker.core.sample import PICTURE, Sample
from onethinker.data.formats.form import Read, SetForm, record_with, without
from onethinker.data.formats.records import Record, dump_record, read_members
from onethinker.data.formats.released import sample_from_record
from onethinker.data.published.masks import with_truth_from_masks
from onethinker.media.headers import read_header
from onethinker.storage.atomic import opened_atomically, writing
from onethinker.storage.strict_json import to_json
from onethinker.tasks import task_of

BOXES, MASKS = "spatial grounding", "segmentation"
LABEL = "object"
"""The category of an object that has no "category"."""
_TAKEN = ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation")
_LISTS = ("images", "annotations", "categories")
_LOOKED_AT = 1000
"""Members of a file by which it is known."""
_DECIMALS = 4
"""Of pixels, so that thousandths come back as they were."""


@dataclass(frozen=True)
class _Set:
    """The pictures and names of a data set by id, and how many objects of each category a picture has, a crowd being
    one.
    """

    images: dict[Any, Record]
    names: dict[Any, str]
    counts: Counter[tuple[Any, Any]]


def fits(path: Path) -> bool:
    """Tell whether a file is an object with COCO's lists."""
    if path.suffix.lower() != ".json":
        return False
    try:
        return any(
            (name == "annotations" and "image_id" in item) or (name == "images" and "file_name" in item)
            for name, item in islice(read_members(path), _LOOKED_AT)
            if isinstance(item, dict)
        )
    except DataError:
        return False


def read(path: Path, root: Path, split: str, *, problem_type: str) -> Iterator[Read]:
    """Yield a sample for every annotation in order, of a problem type where it names none. Raises: DataError."""
    known = _load(path)
    annotations = (item for name, item in read_members(path) if name == "annotations")
    for row, found in enumerate(annotations, 1):
        try:
            record = _record(found, known, problem_type, root)
            sample = sample_from_record(record, root=root, default_id=f"{path.stem}-{row}")
            yield row, with_truth_from_masks(sample)
        except DataError as error:
            yield row, error


def _load(path: Path) -> _Set:
    known = _Set({}, {}, Counter())
    for name, item in read_members(path):
        if name in _LISTS and not isinstance(item, dict):
            raise DataError(f"{path}: {name!r} must be a list of objects, got {show(item)}")
        if name == "images":
            known.images[_id(item, "id", f"{path}: {name!r}: ")] = {
                key: item.get(key) for key in ("file_name", "width", "height")
            }
        elif name == "categories":
            known.names[_id(item, "id", f"{path}: {name!r}: ")] = str(item.get("name"))
        elif name == "annotations":
            with suppress(DataError):  # its row says so
                known.counts[_id(item, "image_id"), _id(item, "category_id")] += 1
    return known


def _id(item: Record, name: str, where: str = "") -> Any:
    """Return an id, 1.0 being 1. Raises: DataError: it is no number and no text."""
    value = item.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise DataError(f"{where}{name!r} must be a number or a text, got {show(value)}")
    return value


def _record(found: Record, known: _Set, problem_type: str, root: Path) -> Record:
    """Return an annotation as a record of our own. Raises: DataError."""
    image = known.images.get(_id(found, "image_id"))
    if image is None or not isinstance(image["file_name"], str):
        raise DataError(f"'image_id' {show(found.get('image_id'))} does not refer to a picture with a 'file_name'")
    record = {
        "problem_type": problem_type,
        **without(found, *_TAKEN),
        "images": [image["file_name"].replace("\\", "/")],
    }
    if not record.get("problem"):
        record |= _asked(found, known)
    width, height = size = _size(image, root / record["images"][0])
    record |= {"data_type": "image", "resolution": {"width": width, "height": height}}
    if record["problem_type"] == MASKS:
        return record | {"segmentation_output": {"segmentation_rle": run_lengths(found.get("segmentation"), size)}}
    return record | {"answer": to_json({"boxes": box_of(found.get("bbox"), size)})}


def _asked(found: Record, known: _Set) -> Record:
    """Return the question about an object by its category. Raises: DataError: it is not the only one, or has none."""
    image, category = _id(found, "image_id"), _id(found, "category_id")
    if found.get("iscrowd"):
        raise DataError("'iscrowd' marks a group of objects, but a question is about one object")
    if category not in known.names:
        raise DataError(f"'category_id' {show(found.get('category_id'))} is not in 'categories'")
    return asked_by_category(known.names[category], known.counts[image, category])


def asked_by_category(label: str, count: int) -> Record:
    """Return the question that asks for the only object of a category. Raises: DataError: there are several."""
    if count > 1:
        raise DataError(f"{count} objects in the picture are {label!r}, so a question must say which one is meant")
    return {"problem": f"Where is the {label} in the picture?", "category": label}


def _size(image: Record, path: Path) -> tuple[int, int]:
    width, height = image.get("width"), image.get("height")
    if type(width) is int and type(height) is int and min(width, height) > 0:
        return width, height
    return picture_size(path)


def picture_size(path: Path) -> tuple[int, int]:
    """Return width and height of a picture file. Raises: DataError."""
    try:
        header = read_header(path)
    except MediaError as error:
        raise DataError(f"converting pixels needs the size of the picture: {error}") from error
    return header.width, header.height


def box_of(bbox: Any, size: tuple[int, int]) -> list[float]:
    """Return a box in thousandths. Raises: DataError: it is none, or not inside the picture."""
    is_box = isinstance(bbox, list) and len(bbox) == 4 and all(type(side) in (int, float) for side in bbox)
    if not is_box or min(bbox[2:]) <= 0:
        raise DataError(f"'bbox' must be left, top, width and height in pixels, got {show(bbox)}")
    left, top, width, height = bbox
    box = box_from_px((left, top, left + width, top + height), width_px=size[0], height_px=size[1])
    rounded = [round(side, 2) for side in box]
    if min(rounded) < 0 or max(rounded) > FULL:
        raise DataError(f"'bbox' {show(bbox)} is not inside the {size[0]} x {size[1]} picture")
    return plain(rounded)


def plain(sides: Iterable[float]) -> list[float]:
    """Return numbers, whole ones without a point.

    >>> plain([0.0, 0.5])
    [0, 0.5]
    """
    return [int(side) if side == int(side) else side for side in sides]


def run_lengths(value: Any, size: tuple[int, int]) -> Record:
    """Return the run lengths of a mask in any of COCO's forms. Raises: DataError."""
    if not isinstance(value, dict):
        return dict(rle_of_polygons(value if isinstance(value, list) else [], height=size[1], width=size[0]))
    shape = decode_rle(value).shape
    if shape != size[::-1]:
        raise DataError(f"'segmentation' has {shape[1]} x {shape[0]} pixels, the picture {size[0]} x {size[1]}")
    return value


def write(sample: Sample, root: Path) -> tuple[Record, str, Record]:
    """Return the picture, the category and the annotation of a sample. Raises: DataError: COCO has no place for it."""
    if sample.data_type != "image" or len(sample.media) != 1 or sample.problem_type not in (BOXES, MASKS):
        raise DataError(f"COCO has boxes and masks of one picture; this is {sample.problem_type}")
    record = record_with(sample, root, _TAKEN)
    [name] = record["images"]
    width, height = size = sample.resolution or picture_size(root / name)
    own = without(record, "images", "data_type", "segmentation_output", "resolution")
    if sample.problem_type == BOXES:
        place, own = _box(sample, size), without(own, "answer")
    else:
        place = _mask(sample)
    image = {"file_name": name, "width": width, "height": height}
    return image, str(sample.extra.get("category") or LABEL), {**own, "iscrowd": 0, **place}


def _box(sample: Sample, size: tuple[int, int]) -> Record:
    left, top, right, bottom = box_to_px(only_box(sample), width_px=size[0], height_px=size[1])
    sides = [round(side, _DECIMALS) for side in (left, top, right - left, bottom - top)]
    return {"bbox": sides, "area": round(sides[2] * sides[3], _DECIMALS)}


def only_box(sample: Sample) -> Box:
    """Return the box of a sample's reference answer. Raises: DataError: there is none."""
    if not sample.truth:
        raise DataError("there is no reference answer, which must be a box")
    task = task_of(sample)
    [box] = task.boxes(task.parse_truth(sample.truth)).values()
    return Box(*box)


def _mask(sample: Sample) -> Record:
    if sample.masks is None or len(sample.masks.frames[PICTURE]) != 1:
        raise DataError("COCO has one mask per picture, but this has none or several")
    [mark] = sample.masks.frames[PICTURE]
    mask = decode_rle(mark)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    bbox = [0, 0, 0, 0]
    if len(rows):
        left, top = int(columns[0]), int(rows[0])
        bbox = [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top]
    return {"segmentation": encode_rle(mask), "bbox": bbox, "area": int(mask.sum())}


def write_all(path: Path, made: Iterable[tuple[Record, str, Record]]) -> None:
    """Write a data set, whole or not at all. Raises: StorageError."""
    images: dict[str, Record] = {}
    categories: dict[str, Record] = {}
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with opened_atomically(path) as file:
        file.write(b'{"annotations": [')
        for number, (image, label, annotation) in enumerate(made, 1):
            known = images.setdefault(image["file_name"], {"id": len(images) + 1, **image})
            category = categories.setdefault(label, {"id": len(categories) + 1, "name": label})
            ids = {"id": number, "image_id": known["id"], "category_id": category["id"]}
            file.write(b",\n" * (number > 1) + dump_record({**ids, **annotation}).encode())
        rest = {"images": list(images.values()), "categories": list(categories.values())}
        file.write(f"],\n{dump_record(rest)[1:]}\n".encode())


def _form(name: str, about: str, problem_type: str, knows: Callable[[Path], bool]) -> SetForm:
    return SetForm(name, about, knows, partial(read, problem_type=problem_type), write, write_all)


COCO = _form("coco", "COCO's data sets, boxes and masks", BOXES, fits)
COCO_MASKS = _form("coco-masks", "COCO's data sets, read as masks", MASKS, lambda path: False)
