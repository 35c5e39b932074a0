"""Answers as files of annotation tools: many in one file, or a file a video in a folder.

Source: CVAT, XML annotation format 1.1; MOT Challenge, results; YouTube-VOS, DAVIS, layouts of masks; supervision,
CSVSink.
"""

import csv
import io
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree as ET

import numpy as np

from onethinker.core.errors import AnswerError, ConfigError
from onethinker.core.geometry import point_to_px
from onethinker.core.masks import Mask
from onethinker.data.annotations import Annotation, label_studio_config, to_coco, to_label_studio, to_mot
from onethinker.drawing.mask_files import META_FILE, indices_png
from onethinker.storage.atomic import folder_atomically, free_name, write_atomically
from onethinker.storage.strict_json import to_file_json

_COLUMNS = ("class_id", "confidence", "tracker_id", "class_name", "file", "frame_index", "time_s", "question", "id")

_NO_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML cannot hold, not even escaped."""


@dataclass(frozen=True)
class Marked:
    """An answer to write: what it places, its id, and the masks that a segmenter made of it, by the frame's name."""

    id: str
    annotation: Annotation
    masks: Mapping[str, Mask]


@dataclass(frozen=True)
class Tool:
    """A form of annotation files: whether it is a folder, why it cannot hold an answer ("" where it can), and what
    writes answers. Either may raise MediaError where the frames of a video cannot be numbered.
    """

    about: str
    is_folder: bool
    refuses: Callable[[Marked], str]
    write: Callable[[Path, Sequence[Marked]], None]


def _no_boxes(marked: Marked) -> str:
    try:
        marked.annotation.need_boxes()
    except AnswerError as error:
        return str(error)
    return ""


def _no_task(marked: Marked) -> str:
    """Return "": Label Studio has a place for all. Raises: MediaError: frames of the video cannot be numbered."""
    to_label_studio(marked.annotation)
    return ""


def _no_track(marked: Marked) -> str:
    if marked.annotation.clip.kind == "image":
        return f"{marked.annotation.name}: is a picture, but MOT is only for videos"
    return _no_boxes(marked)


def _no_masks(marked: Marked) -> str:
    if not marked.masks:
        return f"{marked.annotation.name}: there are no masks; `onethinker evaluate --segmenter` makes them of answers"
    return ""


def _write_coco(path: Path, marked: Sequence[Marked]) -> None:
    data = to_coco([one.annotation for one in marked])
    write_atomically(path, to_file_json(data) + "\n")


def _write_label_studio(path: Path, marked: Sequence[Marked]) -> None:
    """Write the tasks, and beside them the labelling interface of each kind of media. Raises: ConfigError: there is
    one already.
    """
    labels: dict[Literal["image", "video"], dict[str, None]] = {}
    for annotation in (one.annotation for one in marked):
        labels.setdefault(annotation.clip.kind, {})[annotation.label] = None
    interfaces = {
        path.with_name(f"{path.stem}.{kind}.xml"): label_studio_config(kind, *labels[kind]) for kind in labels
    }
    for interface in interfaces:
        if interface.exists():
            raise ConfigError(
                f"{interface}: already exists, and the labelling interface would be written there; name a new file"
            )
    tasks = [{**to_label_studio(one.annotation), "meta": {"id": one.id}} for one in marked]
    write_atomically(path, to_file_json(tasks, indent=1) + "\n")
    for interface, config in interfaces.items():
        write_atomically(interface, config + "\n")


def _write_supervision(path: Path, marked: Sequence[Marked]) -> None:
    """Write a row a box in the columns of supervision's CSVSink, with file, second, question and id beside them."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["x_min", "y_min", "x_max", "y_max", *_COLUMNS])
    classes: dict[str, int] = {}
    for number, one in enumerate(marked, 1):
        annotation = one.annotation
        class_id = classes.setdefault(annotation.label, len(classes))
        for frame, time_s in annotation.seconds_by_frame.items():
            sides = [round(side, 2) for side in annotation.boxes_px[time_s]]
            tracker = number if annotation.clip.kind == "video" else ""
            about = [annotation.label, annotation.name, frame, time_s, annotation.question, one.id]
            rows.writerow([*sides, class_id, "", tracker, *about])
    write_atomically(path, text.getvalue().encode(errors="replace"))


def _write_mot(path: Path, marked: Sequence[Marked]) -> None:
    with folder_atomically(path) as folder:
        for name, own in _by_video(marked).items():
            lines = [to_mot(one.annotation, number) for number, one in enumerate(own, 1)]
            (folder / f"{name}.txt").write_text("".join(lines), encoding="utf-8")


def _write_cvat(path: Path, marked: Sequence[Marked]) -> None:
    """Write images.xml for all pictures, and a file a video, as CVAT's uploads of annotations take them."""
    with folder_atomically(path) as folder:
        pictures = [one for one in marked if one.annotation.clip.kind == "image"]
        if pictures:
            _save_xml(folder / "images.xml", _cvat_images(pictures), mode="annotation")
        videos = [one for one in marked if one.annotation.clip.kind == "video"]
        for name, own in _by_video(videos, taken=["images"] if pictures else []).items():
            clip = own[0].annotation.clip
            size = {"width": clip.source_width, "height": clip.source_height}
            _save_xml(folder / f"{name}.xml", _cvat_tracks(own), mode="interpolation", original_size=size)


def _cvat_images(marked: Sequence[Marked]) -> list[ET.Element]:
    """Return an element a picture, called by its path from the folder that has them all, as CVAT finds it in a task."""
    paths = {one.annotation.name: Path(one.annotation.name).absolute() for one in marked}
    folder = os.path.commonpath([path.parent for path in paths.values()])
    images: dict[str, ET.Element] = {}
    for one in marked:
        annotation, clip = one.annotation, one.annotation.clip
        size = {"width": clip.source_width, "height": clip.source_height}
        name = paths[annotation.name].relative_to(folder).as_posix()
        image = images.setdefault(name, _element("image", id=len(images), name=name, **size))
        shared = {"label": annotation.label, "source": "auto", "occluded": 0, "z_order": 0}
        for box in annotation.boxes_px.values():
            image.append(_element("box", **shared, **_corners(box)))
        for kind, points in annotation.points.items():
            places = (point_to_px(point, width_px=size["width"], height_px=size["height"]) for point in points)
            text = ";".join(f"{x:.2f},{y:.2f}" for x, y in places)
            image.append(_element("points", **{**shared, "label": kind}, points=text))
    return list(images.values())


def _cvat_tracks(marked: Sequence[Marked]) -> list[ET.Element]:
    tracks = []
    for number, one in enumerate(marked):
        track = _element("track", id=number, label=one.annotation.label, source="auto")
        frames = one.annotation.seconds_by_frame
        shown = {"outside": 0, "occluded": 0, "keyframe": 1, "z_order": 0}
        for frame, time_s in frames.items():
            track.append(_element("box", frame=frame, **shown, **_corners(one.annotation.boxes_px[time_s])))
        last = max(frames)
        if last + 1 < one.annotation.num_frames:  # else CVAT shows the last box to the end of the video
            corners = _corners(one.annotation.boxes_px[frames[last]])
            track.append(_element("box", frame=last + 1, **{**shown, "outside": 1}, **corners))
        tracks.append(track)
    return tracks


def _corners(box: Sequence[float]) -> dict[str, str]:
    return {name: f"{side:.2f}" for name, side in zip(("xtl", "ytl", "xbr", "ybr"), box, strict=True)}


def _element(name: str, /, **attributes: Any) -> ET.Element:
    return ET.Element(name, {key: _NO_XML.sub("\ufffd", str(value)) for key, value in attributes.items()})


def _save_xml(path: Path, elements: Sequence[ET.Element], **about: Any) -> None:
    """Write the file with what CVAT's readers want to know before: its labels, and what else it is `about`."""
    labels = dict.fromkeys(own.get("label") for element in elements for own in element.iter() if own.get("label"))
    task = {**about, "labels": [{"label": {"name": label, "attributes": ""}} for label in labels]}
    root = _tree("annotations", {"version": "1.1", "meta": {"task": task}})
    root.extend(elements)
    ET.indent(root)
    path.write_bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))


def _tree(name: str, inside: Any) -> ET.Element:
    """Return an element with what is inside: a mapping by name, a list of such mappings, or text."""
    element = _element(name)
    if isinstance(inside, Mapping | list):
        for each in inside if isinstance(inside, list) else [inside]:
            element.extend(_tree(key, value) for key, value in each.items())
    else:
        element.text = str(inside)
    return element


def _write_masks(path: Path, marked: Sequence[Marked], *, below: str) -> None:
    """Write a folder of palette pictures a video, each answer an object of its own, and what they are in meta.json."""
    meta: dict[str, Any] = {"videos": {}}
    with folder_atomically(path) as folder:
        for name, own in _by_video(marked).items():
            target = folder / below / name
            target.mkdir(parents=True)
            objects = {}
            for number, one in enumerate(own, 1):
                shown = [frame for frame, mask in one.masks.items() if mask.any()]
                about = {"question": one.annotation.question, "id": one.id}
                objects[str(number)] = {"category": one.annotation.label, "frames": shown, **about}
            meta["videos"][name] = {"objects": objects}
            for frame in dict.fromkeys(frame for one in own for frame in one.masks):
                masks = {number: one.masks[frame] for number, one in enumerate(own, 1) if frame in one.masks}
                (target / f"{Path(frame).stem}.png").write_bytes(indices_png(_numbered(masks)))
        (folder / META_FILE).write_text(to_file_json(meta, indent=1) + "\n", encoding="utf-8")


def _numbered(masks: Mapping[int, Mask]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the number of the object at each pixel, 0 for none; where several are, the last."""
    found = np.zeros(next(iter(masks.values())).shape, np.uint8)
    for number, mask in masks.items():
        found[mask] = number
    return found


def _by_video(marked: Iterable[Marked], taken: Iterable[str] = ()) -> dict[str, list[Marked]]:
    """Return answers by the video that they are about, under names that folders can have, each once."""
    found: dict[str, list[Marked]] = defaultdict(list)
    for one in marked:
        found[one.annotation.name].append(one)
    names: dict[str, list[Marked]] = {}
    used = set(taken)
    for path, own in found.items():
        name = free_name(Path(path).stem, used)
        used.add(name)
        names[name] = own
    return names


TOOLS: Mapping[str, Tool] = {
    "coco": Tool("COCO: boxes, and points as keypoints", False, _no_boxes, _write_coco),
    "label-studio": Tool("Label Studio: tasks with predictions", False, _no_task, _write_label_studio),
    "supervision": Tool("supervision: CSVSink's columns", False, _no_boxes, _write_supervision),
    "cvat": Tool("CVAT: XML 1.1", True, _no_boxes, _write_cvat),
    "mot": Tool("MOT Challenge: a file a video", True, _no_track, _write_mot),
    "youtube-vos": Tool(
        "YouTube-VOS: masks in Annotations",
        True,
        _no_masks,
        partial(_write_masks, below="Annotations"),
    ),
    "davis": Tool("DAVIS: masks by video", True, _no_masks, partial(_write_masks, below="")),
}
"""The forms by name."""
