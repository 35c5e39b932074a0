"""ms-swift's JSONL: "messages", in which <bbox> stands for the boxes and points in "objects", in pixels of a picture.

Source: ms-swift documentation, custom dataset, grounding.
"""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from onethinker.core.errors import DataError, MediaError
from onethinker.core.geometry import FULL
from onethinker.core.grammar import answer_text, show
from onethinker.core.sample import Sample
from onethinker.data.formats.chat import own_record, read_turns, turns_of
from onethinker.data.formats.foreign import has_objects
from onethinker.data.formats.form import Form, record_with, without
from onethinker.data.formats.records import Record
from onethinker.media.headers import read_header

_BOX, _REF = "<bbox>", "<ref-object>"
_NUMBER = r"\s*\d+(?:\.\d+)?\s*"
_PLACE = re.compile(rf"\[{_NUMBER},{_NUMBER}(?:,{_NUMBER},{_NUMBER})?\]")
"""A box or a point in an answer."""
_DIGITS = 6
"""Decimals of thousandths that are read back from pixels."""


def read(record: Record, root: Path) -> Record:
    """Return a record out of a conversation, boxes and points in thousandths. Raises: DataError."""
    turns = read_turns(record["messages"], role="role", content="content", named="messages")
    record = {**record, **{name: _paths(record[name]) for name in ("images", "videos") if record.get(name)}}
    taken = ["messages"]
    if has_objects(record):
        objects = record["objects"]
        taken.append("objects")
        places, refs = _places(objects, record, root), iter(_listed(objects, "ref"))
        turns = [{**turn, "content": _filled(turn["content"], places, refs)} for turn in turns]
        if left := sum(1 for _ in places):
            raise DataError(f"'objects' has {left} boxes more than the turns have {_BOX}; they would be lost")
    turns = [_renamed(turn, "loss", "learn") for turn in turns]
    return own_record(record, turns, taken=taken)


def write(sample: Sample, root: Path) -> Record:
    """Return a sample as a conversation, the boxes and points of its response in pixels where it is about one picture.

    Raises: DataError: the picture cannot be read, or the words hold ms-swift's own marks.
    """
    record = record_with(sample, root, ("messages", "objects"))
    turns = [_renamed(turn, "learn", "loss") for turn in turns_of(sample, record)]
    for mark in (_BOX, _REF):
        if any(mark in turn["content"] for turn in turns):
            raise DataError(f"a question or response contains {mark!r}, which ms-swift would replace")
    if sample.response is not None:
        turns[-1]["content"], places = _taken_out(sample, sample.response)
        if places:
            record["objects"] = {"ref": [], "bbox": [_in_pixels(place, _size(sample.media[0])) for place in places]}
    return {**without(record, "response"), "messages": turns}


def _renamed(turn: Record, old: str, new: str) -> Record:
    return {new if name == old else name: value for name, value in turn.items()}


def _taken_out(sample: Sample, response: str) -> tuple[str, list[list[float]]]:
    """Return a response with a mark for each place in its answer block, and these; ms-swift has no places in videos."""
    inside = answer_text(response)
    if inside is None or sample.data_type != "image" or len(sample.media) != 1 or '"' not in inside:
        return response, []
    start = response.rindex(inside)
    places = [json.loads(found[0]) for found in _PLACE.finditer(inside)]
    return f"{response[:start]}{_PLACE.sub(_BOX, inside)}{response[start + len(inside) :]}", places


def _places(objects: Record, record: Record, root: Path) -> Iterator[list[float]]:
    """Yield boxes and points in thousandths. Raises: DataError."""
    boxes, indices = _listed(objects, "bbox"), _listed(objects, "image_id")
    kind, images = objects.get("bbox_type") or "real", record.get("images") or []
    if kind not in ("real", "norm1"):
        raise DataError(f"'bbox_type' must be real or norm1, got {show(kind)}")
    for box, index in zip(boxes, chain(indices, repeat(0)), strict=False):
        if not isinstance(box, list) or len(box) not in (2, 4) or not all(type(side) in (int, float) for side in box):
            raise DataError(f"a box in 'objects' must be 4 numbers, a point 2, got {show(box)}")
        if kind == "real" and not (type(index) is int and 0 <= index < len(images)):
            raise DataError(
                f"a box in 'objects' belongs to picture {show(index)}, but there are {len(images)} pictures"
            )
        yield _in_thousandths(box, _size(root / images[index]) if kind == "real" else (1, 1))


def _in_thousandths(box: Sequence[float], size: tuple[int, int]) -> list[float]:
    """Return a box or point of a frame of this size in thousandths. Raises: DataError: it lies outside."""
    if any(not 0 <= side <= size[axis % 2] for axis, side in enumerate(box)):
        raise DataError(f"a box in 'objects' lies outside its {size[0]} x {size[1]} frame: {show(box)}")
    return [_plain(side * FULL / size[axis % 2]) for axis, side in enumerate(box)]


def _filled(text: object, places: Iterator[list[float]], refs: Iterator[Any]) -> str:
    """Return a turn with its marks replaced. Raises: DataError: it has more marks than there are objects."""

    def fill(mark: re.Match[str]) -> str:
        found = next(places if mark[0] == _BOX else refs, None)
        if found is None:
            raise DataError(f"the turns have more {mark[0]} than 'objects' has entries")
        return str(found)

    return re.sub(f"{_BOX}|{_REF}", fill, str(text))


def _in_pixels(place: Sequence[float], size: tuple[int, int]) -> list[float]:
    return [side * size[axis % 2] / FULL for axis, side in enumerate(place)]


def _plain(value: float) -> float:
    rounded = round(value, _DIGITS)
    return int(rounded) if rounded.is_integer() else rounded


def _size(medium: object) -> tuple[int, int]:
    """Return width and height of a picture. Raises: DataError."""
    try:
        header = read_header(medium) if isinstance(medium, Path) else None
    except MediaError as error:
        raise DataError(f"converting pixels needs the size of the picture: {error}") from error
    if header is None:
        raise DataError("converting pixels needs the size of the picture, which is not a file")
    return header.width, header.height


def _listed(objects: Record, name: str) -> list[Any]:
    value = objects.get(name) or []
    if not isinstance(value, list):
        raise DataError(f"'objects' must have {name!r} as a list, got {show(objects)}")
    return value


def _paths(value: Any) -> list[Any]:
    """Return the paths of media, which ms-swift may also write as {"path": …}."""
    return [
        item.get("path") if isinstance(item, dict) else item for item in (value if isinstance(value, list) else [value])
    ]


def _knows(record: Record) -> bool:
    turns = record.get("messages")
    roles = [turn.get("role") for turn in turns if isinstance(turn, dict)] if isinstance(turns, list) else []
    return bool(roles) and (has_objects(record) or roles != ["user", "assistant"])


SWIFT = Form("swift", "ms-swift's JSONL, boxes in pixels", _knows, read, write)
