"""What comes back from a question: the reasoning, the typed answer, and what can be made of it."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

from onethinker.core.errors import AnswerError
from onethinker.core.frames import Clip, main_index
from onethinker.core.geometry import Box, Point, Span
from onethinker.core.grammar import show
from onethinker.core.request import Turn
from onethinker.core.sample import Medium
from onethinker.data.annotations import LABEL, Annotation, BoxPx, to_coco, to_label_studio, to_mot
from onethinker.drawing.notebook import Shown, as_html
from onethinker.drawing.sheets import SHEET_FRAMES, for_sheet, sheet_webp, thinned
from onethinker.inference.engine import Completion
from onethinker.media.budget import MediaBudget
from onethinker.media.damage import all_problems
from onethinker.media.reading import read_clip
from onethinker.segmenters.base import MASK_BUDGET, ObjectMasks, Segmenter, cut_out
from onethinker.storage.strict_json import to_json
from onethinker.tasks import Task, find_task
from onethinker.tasks.places import FrameSize
from onethinker.tasks.segmentation import Selection

if TYPE_CHECKING:
    import supervision as sv
    from PIL import Image

DRAWING_BUDGET = MediaBudget(
    fps=10, max_frames=900, image_max_pixels=4096 * 4096, frame_max_pixels=1280 * 1280, video_max_pixels=300 * 640 * 640
)
"""What a drawn picture or video shows of its source: more, and larger, than the model gets to see."""
PLOT_BUDGET = DRAWING_BUDGET.model_copy(update={"max_frames": SHEET_FRAMES})
"""What a plot shows of its source: some frames of a video."""


@dataclass(frozen=True)
class Timing:
    """Where the seconds of one question went."""

    decode_s: float
    """Opening, sampling and sizing the media."""
    prompt_s: float
    """Making the request out of the sample."""
    answer_s: float
    """The engine: prefill and answer, or the server's whole reply."""


@dataclass(frozen=True, eq=False)
class Thought:
    """What a model said about pictures or videos: its reasoning, its typed answer, and why an answer is not usable.

    `text` is the reply word for word, `answer_text` the inside of its answer block. `answer` is of the task's own type,
    or None; `problems` says why, or what else breaks the form that was asked for. `sources` are what was asked about,
    `clips` what the model saw of them.
    """

    question: str
    task: str
    text: str
    thinking: str
    answer_text: str
    answer: Any
    problems: tuple[str, ...]
    timing: Timing
    reply: Completion
    sources: tuple[Medium, ...]
    clips: tuple[Clip, ...]
    model: str
    frame_px: FrameSize | None = None
    """Size of the frames in whose pixels `text` counts places, None for thousandths."""
    turns: tuple[Turn, ...] = ()
    """What has been asked and answered about these media, this question last: what a question about this thought has
    before it. An answer without words is no turn.
    """

    def __repr__(self) -> str:
        """Return question, answer and media in a line, without pixels and reasoning."""
        answer = repr(self.answer) if self.answer is not None else f"unusable, {'; '.join(self.problems)}"
        names = ", ".join(clip.name for clip in self.clips)
        return f"Thought({show(self.question)} about {names}: {answer})"

    @property
    def source(self) -> Medium:
        """What the answer is about: the first video, or the first picture where there is none."""
        return self.sources[main_index(self.clips)]

    @property
    def clip(self) -> Clip:
        """What the model saw of the source."""
        return self.clips[main_index(self.clips)]

    @property
    def media_problems(self) -> tuple[str, ...]:
        """What is damaged or missing in the media, each with its file; () when all of them was read."""
        return all_problems(self.clips)

    @property
    def _task(self) -> Task[Any]:
        return find_task(self.task, self.clip.kind)

    @property
    def boxes(self) -> dict[float, Box]:
        """The boxes of the answer in thousandths by their second (a picture: 0), {} where it has none."""
        return dict(self._task.boxes(self.answer)) if self.answer is not None else {}

    @property
    def boxes_px(self) -> dict[float, BoxPx]:
        """The boxes of the answer, left, top, right, bottom in pixels of the source, by their second."""
        return self.annotation().boxes_px

    @property
    def span(self) -> Span | None:
        """The time that the answer names, in seconds."""
        return self._task.span(self.answer) if self.answer is not None else None

    @property
    def points(self) -> dict[str, tuple[Point, ...]]:
        """The "positive" and "negative" points of a segmentation's answer in thousandths, {} for other answers."""
        found = self._task.points(self.answer) if self.answer is not None else {}
        return {kind: tuple(points) for kind, points in found.items()}

    def annotation(self, label: str = LABEL, masks: ObjectMasks | None = None) -> Annotation:
        """Return what the answer places, for the forms of other tools; `label` is the class of the object, `masks` what
        `segment` has made of the answer.
        """
        return Annotation(
            clip=self.clip,
            name=str(self.source) if isinstance(self.source, Path) else self.clip.name,
            question=self.question,
            text=self.answer_text or self.text,
            boxes=self.boxes,
            span=self.span,
            points=self.points,
            model=self.model,
            label=label,
            masks=masks.by_frame() if masks is not None else {},
        )

    def to_coco(self, label: str = LABEL, masks: ObjectMasks | None = None) -> dict[str, Any]:
        """Return the boxes, a segmentation's points, and the masks that `segment` has made of it, as a COCO data set;
        `data.annotations.to_coco` joins several thoughts in one. Raises: AnswerError: there are no boxes.
        """
        return to_coco([self.annotation(label, masks)])

    def to_mot(self) -> str:
        """Return the boxes as the lines of a MOT Challenge file, one for each answered second. Raises: AnswerError."""
        return to_mot(self.annotation())

    def to_label_studio(self, label: str = LABEL, *, url: str | None = None) -> dict[str, Any]:
        """Return the answer as a task of Label Studio with one prediction; `url` is where that finds the file."""
        return to_label_studio(self.annotation(label), url=url)

    def draw(self) -> Clip:
        """Return the source, in good size and rate, with the answer drawn in. Raises: AnswerError: there is no
        answer.
        """
        self._need_answer()
        shown = self.source if isinstance(self.source, Clip) else read_clip(self.source, DRAWING_BUDGET)
        return self._task.draw(shown, self.answer)

    def _need_answer(self) -> None:
        if self.answer is None:
            raise AnswerError(f"nothing to draw, because the answer is not usable: {'; '.join(self.problems)}")

    def save(self, path: Path | str) -> None:
        """Write the drawn answer as a picture (.png, .jpg) or video (.mp4). Raises: AnswerError, MediaError."""
        from onethinker.media.writing import save_clip

        save_clip(self.draw(), Path(path))

    def plot(self) -> "Image.Image":
        """Return the drawn answer as a PIL image: the picture in good size, or some frames of a video with their times.

        Raises: AnswerError: there is no answer. MediaError: the source can no longer be read.
        """
        from PIL import Image

        from onethinker.media.writing import contact_sheet

        self._need_answer()
        clip = self.source if isinstance(self.source, Clip) else read_clip(self.source, PLOT_BUDGET)
        drawn = self._task.draw(thinned(clip), self.answer)
        return Image.fromarray(drawn.frames[0] if drawn.kind == "image" else contact_sheet(drawn))

    def show(self) -> None:
        """Display the answer: in a notebook as HTML, elsewhere as a picture in the viewer of the desktop.

        Raises: AnswerError: outside of a notebook, there is no answer to draw.
        """
        shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
        if shell is not None and hasattr(shell, "kernel"):
            sys.modules["IPython"].display.display(self)
        else:
            self.plot().show()

    def _repr_html_(self) -> str:
        """Return what a notebook shows: question, media with the answer drawn in, answer, problems, and thinking.

        Frames are those that the model saw, so that this works after the source is gone.
        """
        shown = []
        for index, clip in enumerate(self.clips):
            frames = for_sheet(clip, scale=2)
            if index == main_index(self.clips) and self.answer is not None:
                frames = self._task.draw(frames, self.answer)
            times = f": {', '.join(f'{time_s:.2f}' for time_s in frames.times_s)} s" if clip.kind == "video" else ""
            shown.append(Shown(sheet_webp(frames), clip.name + times))
        return as_html(
            self.question,
            f"{self.task}, {self.model}",
            self.answer_text or self.text,
            shown=shown,
            thinking=self.thinking,
            problems=(*self.media_problems, *self.problems),
        )

    def segment(
        self,
        segmenter: Segmenter,
        *,
        budget: MediaBudget = MASK_BUDGET,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> ObjectMasks:
        """Return the masks of a segmentation's answer, at the size of the source; `budget` says which frames get one.

        Raises: AnswerError: there is no such answer. MediaError: the source can no longer be read.
        """
        if not isinstance(self.answer, Selection):
            reasons = "; ".join(self.problems) or f"it was asked for {self.task}, not for segmentation"
            raise AnswerError(
                f"nothing to segment, because the answer is not usable: {reasons}; the model said {show(self.text)}"
            )
        clip = read_clip(self.source, budget)
        return cut_out(segmenter, clip, self.answer, question=self.question, on_progress=on_progress)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the pixels as plain values that `json` can write."""
        return {
            "question": self.question,
            "task": self.task,
            "model": self.model,
            "source": self.clip.name,
            "media": [clip.name for clip in self.clips],
            "thinking": self.thinking,
            "answer": to_jsonable_python(self.answer),
            "problems": list(self.problems),
            "media_problems": list(self.media_problems),
            "text": self.text,
            **({"frame_px": self.frame_px} if self.frame_px is not None else {}),
            "frames": [
                {"index": index, "time_s": time_s}
                for index, time_s in zip(self.clip.indices, self.clip.times_s, strict=True)
            ],
            "tokens": {"prompt": self.reply.prompt_tokens, "answer": self.reply.completion_tokens},
            "finish_reason": self.reply.finish_reason,
            "timing": to_jsonable_python(self.timing),
        }

    def to_json(self) -> str:
        """Return everything but the pixels as one JSON object."""
        return to_json(self.to_dict())

    def to_supervision(self) -> "sv.Detections":
        """Return the boxes of the answer as supervision's `Detections`, in pixels of the source.

        `data["time_s"]` holds the second of each (a picture: 0); the boxes of one object over time share `tracker_id`
        1.

        Raises: AnswerError: the answer has no boxes, or there is no answer.
        """
        boxes = self.boxes_px
        if not boxes:
            raise AnswerError(
                f"a {self.task} answer without boxes cannot become detections:"
                f" {'; '.join(self.problems) or self.answer!r}"
            )
        import numpy as np
        import supervision as sv

        return sv.Detections(
            xyxy=np.array(list(boxes.values()), dtype=np.float32),
            class_id=np.zeros(len(boxes), dtype=int),
            tracker_id=(
                np.ones(len(boxes), dtype=int) if isinstance(getattr(self.answer, "boxes", None), Mapping) else None
            ),
            data={"time_s": np.array(list(boxes), dtype=np.float64)},
        )
