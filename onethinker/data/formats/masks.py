"""The fields of a released record that hold the masks of a segmentation.

picture  "segmentation_output": {"segmentation_rle": RLE}
video    "segmentation_output": {"frames": ["0", "1"], "segmentation_rle": {"0": RLE, "1": null}}, "fps": 6
both     "resolution": {"width": 640, "height": 480}

RLE is COCO's run lengths {"size": [height, width], "counts": …}, or a list of them.
"""

from pathlib import Path
from typing import Any, Literal

from onethinker.core.errors import DataError
from onethinker.core.grammar import show
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
    rles = output.get("segmentation_rle")
    if data_type == "image":
        if not (marks := _marks(rles)):
            raise DataError(f"'segmentation_rle' must be the mask of the picture, got {show(rles)}")
        return Masks({PICTURE: marks})
    keys = output.get("frames")
    if not isinstance(keys, list) or not keys:
        raise DataError(f"'segmentation_output' must name its 'frames', got {show(keys)}")
    if not isinstance(rles, dict):
        raise DataError(f"'segmentation_rle' must hold the masks by frame, got {show(rles)}")
    frames = dict.fromkeys(map(str, keys), _marks(None))
    for key, value in rles.items():
        if key not in frames:
            raise DataError(f"'segmentation_rle' has a mask for {key!r}, which is not among the 'frames'")
        frames[key] = _marks(value)
    fps = record.get("fps")
    if isinstance(fps, bool) or not isinstance(fps, int | float) or fps <= 0:
        raise DataError(f"'fps' must be a number above 0, got {show(fps)}")
    return Masks(frames, float(fps))


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
        raise DataError(f"sample {sample.id!r}: masks in files of their own cannot be written into a record")
    rles = {key: _written(marks) for key, marks in sample.masks.frames.items()}
    if sample.data_type == "image":
        return {**fields, "segmentation_output": {"segmentation_rle": rles[PICTURE]}}
    output = {"frames": list(rles), "segmentation_rle": rles}
    return {**fields, "fps": sample.masks.fps, "segmentation_output": output}


def _marks(value: object) -> tuple[RunLengths | Path, ...]:
    """Return the run lengths of a field: one or a list of them, nulls left out."""
    marks = []
    for rle in value if isinstance(value, list) else [value]:
        if isinstance(rle, dict):
            marks.append(rle)
        elif rle is not None:
            raise DataError(f"a mask must be an object with 'size' and 'counts', got {show(rle)}")
    return tuple(marks)


def _written(marks: tuple[RunLengths | Path, ...]) -> Any:
    return list(marks) if len(marks) > 1 else marks[0] if marks else None
