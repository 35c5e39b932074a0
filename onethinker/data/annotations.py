"""Boxes, spans and points of an answer, in the forms of other tools: COCO, MOT Challenge, Label Studio.

The tools count pixels of the source, or percent of it; frames of a video are those of the source.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple
from xml.sax.saxutils import quoteattr

import numpy as np

from onethinker.core.errors import AnswerError, MediaError
from onethinker.core.frames import Clip
from onethinker.core.geometry import Box, Point, Span, box_to_px, point_to_px
from onethinker.core.masks import mask_area, mask_bounds

LABEL = "object"
"""What the class is called where a question names none."""
POINT_KINDS = ("positive", "negative")
"""Points on the object, and points beside it."""
VISIBLE = 2
"""COCO's mark of a keypoint that is annotated and can be seen."""
Record = dict[str, Any]
BoxPx = tuple[float, float, float, float]


class FrameMask(NamedTuple):
    """When a frame is shown, and its mask in COCO's run lengths, at the size of the source."""

    time_s: float
    rle: Record


@dataclass(frozen=True)
class Annotation:
    """What one answer marks in one picture or video: boxes by second (a picture: 0), a span, points of either kind.

    `clip` says how large the source is and when its frames are shown; `name` is its file, `text` the answer in words.
    """

    clip: Clip
    name: str
    question: str
    text: str = ""
    boxes: Mapping[float, Box] = field(default_factory=dict)
    span: Span | None = None
    points: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    model: str = ""
    label: str = LABEL
    masks: Mapping[int, FrameMask] = field(default_factory=dict)
    """By the index of the source's frame, where a segmenter has made masks of the answer."""

    @cached_property
    def boxes_px(self) -> dict[float, BoxPx]:
        """Left, top, right, bottom of each box in pixels of the source."""
        return {
            time_s: box_to_px(box, width_px=self.clip.source_width, height_px=self.clip.source_height)
            for time_s, box in self.boxes.items()
        }

    @cached_property
    def rate(self) -> float:
        """Frames of the source a second, from the frames that were seen. Raises: MediaError: only one was."""
        first, last = self.clip.times_s[0], self.clip.times_s[-1]
        if last <= first:
            raise MediaError(
                f"{self.name}: numbering the frames of a video needs at least two of them, and only one was seen; raise"
                " max_frames or fps of the budget"
            )
        return (self.clip.indices[-1] - self.clip.indices[0]) / (last - first)

    @cached_property
    def num_frames(self) -> int:
        """Frames of the source, about."""
        return max(self.clip.indices[-1] + 1, round(self.clip.duration_s * self.rate))

    def frame_at(self, time_s: float) -> int:
        """Return the index of the source's frame at a second, exact where the frames are evenly spaced."""
        times_s, indices = self.clip.times_s, self.clip.indices
        if time_s > times_s[-1]:
            return min(self.num_frames - 1, round(indices[-1] + (time_s - times_s[-1]) * self.rate))
        return round(float(np.interp(time_s, times_s, indices))) if self.rate else 0

    @cached_property
    def seconds_by_frame(self) -> dict[int, float]:
        """The second of every box by its frame in the source; none for seconds that the video does not have."""
        if self.clip.kind == "image":
            return dict.fromkeys([0] if self.boxes else [], next(iter(self.boxes), 0.0))
        found: dict[int, float] = {}
        for time_s in sorted(self.boxes):
            if time_s < self.clip.duration_s:
                found.setdefault(self.frame_at(time_s), time_s)
        return found

    def need_boxes(self) -> None:
        """Raise AnswerError where there is no box to write."""
        if not self.boxes:
            raise AnswerError(f"{self.name}: the answer has no boxes: {self.text[:60]!r}")
        if not self.seconds_by_frame:
            raise AnswerError(f"{self.name}: no box lies within the {self.clip.duration_s:g} s of the video")


def to_coco(annotations: Sequence[Annotation]) -> Record:
    """Return answers with boxes as one COCO data set: images, annotations, categories, and the videos that they are of.

    A box of a video belongs to an image of its own that is named by the video and the second ("car.mp4#t=3"), with
    "video_id", "frame_index" (from 0) and "time_s"; the boxes of one answer share a "track_id". Points are keypoints.
    Masks are run lengths in "segmentation", and "area" is theirs; "bbox" is the answer's, and that of the mask in a
    frame without an answer. A frame with neither is left out.

    Raises: AnswerError: an answer has no boxes.
    """
    data: Record = {"info": {"description": "OneThinker"}, "images": [], "annotations": [], "videos": []}
    categories: dict[str, int] = {}
    for track_id, annotation in enumerate(annotations, 1):
        annotation.need_boxes()
        category = categories.setdefault(annotation.label, len(categories) + 1)
        size = {"width": annotation.clip.source_width, "height": annotation.clip.source_height}
        if annotation.clip.kind == "video":
            data["videos"].append({"id": track_id, "name": annotation.name, **size})
        for frame, time_s, found in _coco_annotations(annotation):
            image: Record = {"id": len(data["images"]) + 1, "file_name": annotation.name, **size}
            if annotation.clip.kind == "video":
                image["file_name"] = f"{annotation.name}#t={time_s:g}"
                image |= {"video_id": track_id, "frame_index": frame, "time_s": time_s}
            data["images"].append(image)
            ids = {"id": len(data["annotations"]) + 1, "image_id": image["id"]}
            data["annotations"].append(found | ids | {"category_id": category, "track_id": track_id})
    data["categories"] = [
        {"id": category_id, "name": name, "supercategory": name, **_coco_keypoints(annotations)}
        for name, category_id in categories.items()
    ]
    return data


def _coco_annotations(annotation: Annotation) -> Iterator[tuple[int, float, Record]]:
    """Yield frame, second and annotation of each box, with its mask, and of each further mask."""
    masks = {frame: mask for frame, mask in annotation.masks.items() if mask_area(mask.rle)}
    boxes = annotation.seconds_by_frame
    for frame in sorted({*boxes, *masks}):
        found = (
            _coco_box(annotation, boxes[frame]) if frame in boxes else {"iscrowd": 0, "question": annotation.question}
        )
        if mask := masks.get(frame):
            found = {"bbox": mask_bounds(mask.rle), **found, "segmentation": mask.rle, "area": mask_area(mask.rle)}
        yield frame, boxes[frame] if frame in boxes else masks[frame].time_s, found


def _coco_box(annotation: Annotation, time_s: float) -> Record:
    left, top, right, bottom = annotation.boxes_px[time_s]
    width, height = right - left, bottom - top
    found: Record = {
        "bbox": [round(side, 2) for side in (left, top, width, height)],
        "area": round(width * height, 2),
        "iscrowd": 0,
        "question": annotation.question,
    }
    if annotation.points:
        size = {"width_px": annotation.clip.source_width, "height_px": annotation.clip.source_height}
        coordinates = [point_to_px(point, **size) for points in annotation.points.values() for point in points]
        found["keypoints"] = [number for x, y in coordinates for number in (round(x, 2), round(y, 2), VISIBLE)]
        found["num_keypoints"] = len(coordinates)
    return found


def _coco_keypoints(annotations: Sequence[Annotation]) -> Record:
    """Return the names of a category's keypoints, {} where no answer has points."""
    pointed = next((annotation for annotation in annotations if annotation.points), None)
    if pointed is None:
        return {}
    names = [f"{kind}_{index}" for kind, points in pointed.points.items() for index in range(1, len(points) + 1)]
    return {"keypoints": names, "skeleton": []}


def to_mot(annotation: Annotation, track_id: int = 1) -> str:
    """Return the boxes of an answer as lines of a MOT Challenge file: frame, id, left, top, width, height, confidence,
    and three times -1.

    Frames and pixels count from 1, as there. There is a line for every answered second, none in between; the
    confidence is 1, since a model gives none.

    Raises: AnswerError: the answer has no boxes.
    """
    annotation.need_boxes()
    lines = []
    for frame, time_s in annotation.seconds_by_frame.items():
        left, top, right, bottom = annotation.boxes_px[time_s]
        sides = ",".join(f"{side:.2f}" for side in (left + 1, top + 1, right - left, bottom - top))
        lines.append(f"{frame + 1},{track_id},{sides},1,-1,-1,-1\n")
    return "".join(lines)


def label_studio_config(kind: Literal["image", "video"], *labels: str) -> str:
    """Return the labelling interface that the tasks of `to_label_studio` with these labels are for, by default
    `LABEL`.
    """
    named = "".join(f"<Label value={quoteattr(label)}/>" for label in labels or (LABEL,))
    answer = '<TextArea name="answer" toName="media"/>'
    if kind == "image":
        kinds = "".join(f'<Label value="{kind}"/>' for kind in POINT_KINDS)
        return (
            f'<View><Image name="media" value="$image"/><RectangleLabels name="box" toName="media">{named}'
            f'</RectangleLabels><KeyPointLabels name="points" toName="media">{kinds}</KeyPointLabels>{answer}</View>'
        )
    return (
        f'<View><Video name="media" value="$video"/><VideoRectangle name="box" toName="media"/>'
        f'<Labels name="label" toName="media">{named}</Labels>'
        f'<TimelineLabels name="time" toName="media">{named}</TimelineLabels>{answer}</View>'
    )


def to_label_studio(annotation: Annotation, *, url: str | None = None) -> Record:
    """Return an answer as a task of Label Studio with one prediction, for the interface of `label_studio_config`.

    `url` is where Label Studio finds the file, by default the name of the source. Places are percent there, and frames
    count from 1. Every answer comes with its words; points are written for pictures only, since Label Studio has none
    in videos.
    """
    kind = annotation.clip.kind
    regions = _placed_in_picture(annotation) if kind == "image" else _placed_in_video(annotation)
    results = [*regions, ("answer", "textarea", {"text": [annotation.text]})]
    size = {"original_width": annotation.clip.source_width, "original_height": annotation.clip.source_height}
    return {
        "data": {kind: url or annotation.name, "question": annotation.question},
        "predictions": [
            {
                "model_version": annotation.model,
                "result": [
                    {"id": f"{from_name}-{index}", "from_name": from_name, "to_name": "media", "type": form}
                    | ({"image_rotation": 0, **size} if kind == "image" else {})
                    | {"value": value}
                    for index, (from_name, form, value) in enumerate(results)
                ],
            }
        ],
    }


def _placed_in_picture(annotation: Annotation) -> list[tuple[str, str, Record]]:
    found = [
        ("box", "rectanglelabels", {**_percent(box), "rotation": 0, "rectanglelabels": [annotation.label]})
        for box in annotation.boxes.values()
    ]
    return found + [
        ("points", "keypointlabels", {"x": point.x / 10, "y": point.y / 10, "width": 1, "keypointlabels": [kind]})
        for kind, points in annotation.points.items()
        for point in points
    ]


def _placed_in_video(annotation: Annotation) -> list[tuple[str, str, Record]]:
    found: list[tuple[str, str, Record]] = []
    if frames := annotation.seconds_by_frame:
        sequence = [
            # A frame that is not enabled ends the box until the next one: nothing says where it went in between.
            {"frame": frame + 1, "enabled": time_s + 1 in annotation.boxes, "rotation": 0, "time": time_s}
            | _percent(annotation.boxes[time_s])
            for frame, time_s in frames.items()
        ]
        about = {"framesCount": annotation.num_frames, "duration": annotation.clip.duration_s}
        found.append(("box", "videorectangle", {**about, "sequence": sequence, "labels": [annotation.label]}))
    if annotation.span is not None:
        start, end = (annotation.frame_at(time_s) + 1 for time_s in annotation.span)
        ranges = [{"start": start, "end": end}]
        found.append(("time", "timelinelabels", {"ranges": ranges, "timelinelabels": [annotation.label]}))
    return found


def _percent(box: Box) -> Record:
    """Return a box in percent of the frame.

    >>> _percent(Box(100, 200, 300, 250))
    {'x': 10.0, 'y': 20.0, 'width': 20.0, 'height': 5.0}
    """
    return {"x": box.x1 / 10, "y": box.y1 / 10, "width": (box.x2 - box.x1) / 10, "height": (box.y2 - box.y1) / 10}
