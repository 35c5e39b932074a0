"""What comes back from a question: the reasoning, the typed answer, and what can be made of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

from onethinker.core.errors import AnswerError
from onethinker.core.frames import Clip
from onethinker.core.grammar import show
from onethinker.core.sources import Source
from onethinker.inference.engine import Completion
from onethinker.media.budget import MediaBudget
from onethinker.media.reading import read_clip
from onethinker.segmenters.base import MASK_BUDGET, ObjectMasks, Segmenter, cut_out
from onethinker.storage.strict_json import to_json
from onethinker.tasks import find_task
from onethinker.tasks.segmentation import Selection

if TYPE_CHECKING:
    import supervision as sv

DRAWING_BUDGET = MediaBudget(
    fps=10, max_frames=900, image_max_pixels=4096 * 4096, frame_max_pixels=1280 * 1280, video_max_pixels=300 * 640 * 640
)
"""What a drawn picture or video shows of its source: more, and larger, than the model gets to see."""


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
    """What a model said about a picture or video: its reasoning, its typed answer, and why an answer is not usable.

    `text` is the reply word for word, `answer_text` the inside of its answer block. `answer` is of the task's own type,
    or None; `problems` says why, or what else breaks the form that was asked for. `source` is what was asked about,
    `clip` what the model saw of it.
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
    source: Path | Clip | Source
    clip: Clip
    model: str

    def draw(self) -> Clip:
        """Return the source, in good size and rate, with the answer drawn in. Raises: AnswerError: there is no
        answer.
        """
        if self.answer is None:
            raise AnswerError(f"nothing to draw, the answer is not usable: {'; '.join(self.problems)}")
        shown = self.source if isinstance(self.source, Clip) else read_clip(self.source, DRAWING_BUDGET)
        return find_task(self.task, self.clip.kind).draw(shown, self.answer)

    def save(self, path: Path | str) -> None:
        """Write the drawn answer as a picture (.png, .jpg) or video (.mp4). Raises: AnswerError, MediaError."""
        from onethinker.media.writing import save_clip

        save_clip(self.draw(), Path(path))

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
                f"nothing to cut out, the answer is not usable: {reasons}; the model said {show(self.text)}"
            )
        return cut_out(segmenter, read_clip(self.source, budget), self.answer, on_progress=on_progress)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the pixels as plain values that `json` can write."""
        return {
            "question": self.question,
            "task": self.task,
            "model": self.model,
            "source": self.clip.name,
            "thinking": self.thinking,
            "answer": to_jsonable_python(self.answer),
            "problems": list(self.problems),
            "text": self.text,
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
        task = find_task(self.task, self.clip.kind)
        boxes = task.boxes(self.answer) if self.answer is not None else {}
        if not boxes:
            raise AnswerError(
                f"a {self.task} answer without boxes cannot become detections:"
                f" {'; '.join(self.problems) or self.answer!r}"
            )
        import numpy as np
        import supervision as sv

        size_px = np.array([self.clip.source_width, self.clip.source_height] * 2)
        return sv.Detections(
            xyxy=(np.array(list(boxes.values()), dtype=np.float64) * size_px / 1000).astype(np.float32),
            class_id=np.zeros(len(boxes), dtype=int),
            tracker_id=(
                np.ones(len(boxes), dtype=int) if isinstance(getattr(self.answer, "boxes", None), Mapping) else None
            ),
            data={"time_s": np.array(list(boxes), dtype=np.float64)},
        )
