"""The fields of a released record that hold the masks of a segmentation.

picture  "segmentation_output": {"segmentation_rle": RLE}
video    "segmentation_output": {"frames": ["0", "1"], "segmentation_rle": {"0": RLE, "1": null}}, "fps": 6
both     "resolution": {"width": 640, "height": 480}

RLE is COCO's run lengths {"size": [height, width], "counts": …}, or a list of them; without counts, or with null, the
mask is empty. In place of run lengths there may be "segmentation_polygon": x, y, x, y, … in pixels of the resolution,
one list or several, or a list of points.
"""

from pathlib import Path
from typing import Any, Literal

from onethinker.core.errors import DataError
from onethinker.core.grammar import show
from onethinker.core.masks import rle_of_polygons
from onethinker.core.sample import PICTURE, Masks, RunLengths, Sample

FIELDS = ("segmentation_output", "fps")


def read_masks(record: dict[str, Any], data_type: Literal["image", "video"]) -> Masks | None:
    """Return the masks of a record, None where there are none; run lengths are looked at when they are decoded.

    Raises: DataError: names the field.
    """
    output = record.get("segmentation_output")
    if output is None:
        return None
    if not isinstance(output, dict):
        raise DataError(f"'segmentation_output' must hold the masks, got {show(output)}")
    if data_type == "image":
        return Masks({PICTURE: _picture_marks(output, read_resolution(record))})
    frames = _frame_marks(output, read_resolution(record))
    fps = record.get("fps")
    if isinstance(fps, bool) or not isinstance(fps, int | float) or fps <= 0:
        raise DataError(f"'fps' must be a number above 0, got {show(fps)}")
    return Masks(frames, float(fps))


def _picture_marks(output: dict[str, Any], size: tuple[int, int] | None) -> tuple[RunLengths, ...]:
    rles, polygons = output.get("segmentation_rle"), output.get("segmentation_polygon")
    marks = _marks(rles)
    if polygons and all(_is_empty(mark) for mark in marks):
        marks = _rasterised(polygons, size)
    if not marks:
        raise DataError(f"'segmentation_rle' must be the mask of the picture, got {show(rles)}")
    return marks


def _frame_marks(output: dict[str, Any], size: tuple[int, int] | None) -> dict[str, tuple[RunLengths, ...]]:
    rles, polygons = output.get("segmentation_rle"), output.get("segmentation_polygon")
    keys = output.get("frames")
    if not isinstance(keys, list) or not keys:
        raise DataError(f"'segmentation_output' must name its 'frames', got {show(keys)}")
    if rles is None and isinstance(polygons, dict):
        rles = {key: [*_rasterised(own, size)] if own else None for key, own in polygons.items()}
    if not isinstance(rles, dict):
        raise DataError(f"'segmentation_rle' must hold the masks by frame, got {show(rles)}")
    frames = dict.fromkeys(map(str, keys), _marks(None))
    for key, value in rles.items():
        if key not in frames:
            raise DataError(f"'segmentation_rle' has a mask for {key!r}, which is not in 'frames'")
        frames[key] = _marks(value)
    return frames


def read_resolution(record: dict[str, Any]) -> tuple[int, int] | None:
    """Return the width and height in a record's "resolution", None where it has none, or something else in it."""
    value = record.get("resolution")
    width, height = (value.get("width"), value.get("height")) if isinstance(value, dict) else (None, None)
    if type(width) is not int or type(height) is not int or min(width, height) < 1:
        return None
    return width, height


def mask_fields(sample: Sample) -> dict[str, Any]:
    """Return the fields that hold a sample's masks and resolution. Raises: DataError: the masks are files."""
    fields: dict[str, Any] = {}
    if sample.resolution is not None:
        fields["resolution"] = dict(zip(("width", "height"), sample.resolution, strict=True))
    if sample.masks is None:
        return fields
    if sample.masks.files:
        raise DataError(f"sample {sample.id!r}: masks in separate files cannot be written into a record")
    rles = {key: _written(marks) for key, marks in sample.masks.frames.items()}
    if sample.data_type == "image":
        return {**fields, "segmentation_output": {"segmentation_rle": rles[PICTURE]}}
    output = {"frames": list(rles), "segmentation_rle": rles}
    return {**fields, "fps": sample.masks.fps, "segmentation_output": output}


def _marks(value: object) -> tuple[RunLengths, ...]:
    """Return the run lengths of a field: one or a list of them, nulls left out, those of an empty mask as one run."""
    marks = []
    for rle in value if isinstance(value, list) else [value]:
        if isinstance(rle, dict):
            marks.append(_with_counts(rle))
        elif rle is not None:
            raise DataError(f"a mask must be an object with 'size' and 'counts', got {show(rle)}")
    return tuple(marks)


def _with_counts(rle: dict[str, Any]) -> RunLengths:
    size = rle.get("size")
    if not isinstance(size, list) or len(size) != 2 or not all(type(side) is int and side > 0 for side in size):
        raise DataError(f"'size' of a mask must be its height and width, got {show(size)}")
    counts = rle.get("counts")
    if not isinstance(counts, str | list | None):
        raise DataError(f"'counts' of a mask must be text or a list of runs, got {show(counts)}")
    return {**rle, "counts": counts or [size[0] * size[1]]}


def _is_empty(rle: RunLengths) -> bool:
    return bool(rle["counts"] == [rle["size"][0] * rle["size"][1]])


def _rasterised(value: object, size: tuple[int, int] | None) -> tuple[RunLengths, ...]:
    """Return the run lengths of polygons. Raises: DataError: they are none, or the resolution is missing."""
    if size is None:
        raise DataError("'segmentation_polygon' needs 'resolution', a width and a height")
    return (rle_of_polygons(_polygons(value), height=size[1], width=size[0]),)


def _polygons(value: object) -> list[object]:
    """Return polygons, each a flat list: one is a list of numbers or of points, several are a list of such."""
    if not isinstance(value, list) or not value:
        raise DataError(f"'segmentation_polygon' must be a list of points in pixels, got {show(value)}")
    if not any(isinstance(item, list) for item in value):
        return [value]
    if all(isinstance(item, list) and len(item) == 2 and not isinstance(item[0], list) for item in value):
        return [[side for point in value for side in point]]
    return [polygon for item in value for polygon in _polygons(item)]


def _written(marks: tuple[RunLengths | Path, ...]) -> Any:
    return list(marks) if len(marks) > 1 else marks[0] if marks else None
