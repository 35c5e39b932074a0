"""RefCOCO, RefCOCO+ and RefCOCOg as published: refs(…).p says what is meant, instances.json where it is, COCO has the
pictures.

refs        [{"ref_id", "ann_id", "image_id", "split": "testA", "sentences": [{"sent_id", "sent": "the left cat"}, …]},
…], pickled instances   {"images": [{"id", "file_name", "width", "height"}], "annotations": [{"id", "bbox": [x, y, w,
h], "segmentation"}]}
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from onethinker.core.errors import DataError
from onethinker.core.geometry import FULL, box_from_px
from onethinker.core.grammar import show
from onethinker.core.masks import rle_of_polygons
from onethinker.core.sample import PICTURE, Masks, Sample
from onethinker.data.published.files import Bad, field, find_folder, load_json, refuse
from onethinker.data.published.masks import with_truth_from_masks
from onethinker.data.published.pickles import load_plain_pickle
from onethinker.storage.strict_json import to_json

IMAGE_FOLDERS = ("train2014", "images/mscoco/images/train2014", "coco/train2014")
"""Where COCO's pictures may lie, below the data folder."""


def read_refcoco(
    root: Path, name: str, refs: str, split: str, *, masks: bool = False, bad: Bad = refuse
) -> Iterator[Sample]:
    """Yield a sample for every sentence of a split; with `masks` for segmentation, else for its box.

    Source: the refer toolkit's layout: ROOT/NAME/REFS and ROOT/NAME/instances.json.

    Raises: DataError: names the file, the reference and the field.
    """
    refs_path, instances_path = root / name / refs, root / name / "instances.json"
    instances = load_json(instances_path)
    images, objects = (_by_id(instances, name, instances_path) for name in ("images", "annotations"))
    folder = find_folder(root, *IMAGE_FOLDERS)
    listed = load_plain_pickle(refs_path)
    if not isinstance(listed, list):
        raise DataError(f"{refs_path}: expected a list of references, got {show(listed)}")
    is_empty = True
    for index, ref in enumerate(listed, 1):
        where = f"{refs_path}, reference {index}"
        samples: list[Sample] = []
        try:
            if field(ref, "split", str, where) != split:
                continue
            image = _look_up(images, field(ref, "image_id", int, where), f"{where}: 'image_id'", instances_path)
            item = _look_up(objects, field(ref, "ann_id", int, where), f"{where}: 'ann_id'", instances_path)
            try:
                template = _mask_sample(image, item, folder) if masks else _box_sample(image, item, folder)
            except DataError as error:
                raise DataError(f"{where}: annotation {ref['ann_id']} of {instances_path.name}: {error}") from error
            samples += _sentence_samples(ref, replace(template, source=name), where)
        except DataError as error:
            bad(error)
        is_empty = is_empty and not samples
        yield from samples
    if is_empty:
        raise DataError(f"{refs_path}: the split {split!r} has no references")


def _sentence_samples(ref: Any, template: Sample, where: str) -> Iterator[Sample]:
    """Yield a sample for every sentence of a reference, like `template`. Raises: DataError."""
    asking = "Cut out" if template.masks is not None else "Where is"
    for sentence in field(ref, "sentences", list, where):
        text = field(sentence, "sent", str, f"{where}, 'sentences'").strip()
        name = f"{ref['ref_id']}-{field(sentence, 'sent_id', int, where)}"
        yield replace(template, id=name, problem=f'{asking} what this describes: "{text}"')


def _by_id(instances: object, name: str, path: Path) -> dict[int, Any]:
    """Return the records of a list in instances.json by their id. Raises: DataError."""
    return {field(item, "id", int, f"{path}, {name}"): item for item in field(instances, name, list, str(path))}


def _look_up(table: dict[int, Any], key: int, what: str, path: Path) -> Any:
    if key not in table:
        raise DataError(f"{what} is {key}, which is not in {path}")
    return table[key]


def _box_sample(image: Any, item: Any, folder: Path) -> Sample:
    width, height = _size(image)
    sides = field(item, "bbox", list, "an annotation")
    if len(sides) != 4 or not all(isinstance(side, int | float) for side in sides) or sides[2] <= 0 or sides[3] <= 0:
        raise DataError(f"'bbox' must be [x, y, width, height] with an area, got {show(sides)}")
    x, y, w, h = sides
    box = box_from_px((x, y, x + w, y + h), width_px=width, height_px=height)
    truth = to_json({"boxes": [round(min(max(side, 0), FULL), 3) for side in box]})
    return Sample(
        "", "", "spatial grounding", "image", (folder / field(image, "file_name", str, "an image"),), truth=truth
    )


def _mask_sample(image: Any, item: Any, folder: Path) -> Sample:
    width, height = _size(image)
    masks = Masks({PICTURE: (_rle(item.get("segmentation"), width, height),)})
    path = folder / field(image, "file_name", str, "an image")
    sample = Sample("annotation", "", "segmentation", "image", (path,), masks=masks, resolution=(width, height))
    return with_truth_from_masks(sample)


def _size(image: Any) -> tuple[int, int]:
    return field(image, "width", int, "an image"), field(image, "height", int, "an image")


def _rle(segmentation: object, width: int, height: int) -> dict[str, Any]:
    """Return COCO's polygons, or run lengths, as one run length code. Raises: DataError."""
    if isinstance(segmentation, dict):
        return segmentation
    try:
        return rle_of_polygons(segmentation if isinstance(segmentation, list) else [], height=height, width=width)
    except DataError as error:
        raise DataError(f"'segmentation' must be polygons or run lengths: {error}") from error
