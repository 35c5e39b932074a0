"""What the step record holds of each task, from the groups that all processes sampled."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from onethinker.core.grammar import answer_text
from onethinker.tasks import Reader, Task, read_response
from onethinker.tasks.places import FrameSize
from onethinker.training.metrics.records import TaskRow

WHOLE_FRAME = 0.95
"""A box that covers more of its frame than this covers the whole of it."""
LONGEST_NOTE = 60
"""Letters of an answer that the journal keeps."""


@dataclass(frozen=True)
class Summary:
    """What all processes need to know of a group that one of them holds.

    `answers` are the notes that `note_answer` makes of what each answer says, `whole_frames` tells which cover the
    whole frame.
    """

    index: int
    task: str
    rewards: tuple[float, ...]
    accuracy: float
    format: float
    dropped: Literal["all_right", "all_wrong"] | None
    prompt_tokens: int
    lengths: tuple[int, ...]
    truncated: int
    answers: tuple[str, ...]
    whole_frames: tuple[bool, ...]
    terms: Mapping[str, float] = field(default_factory=dict)
    """Mean of each term of the answers' rewards, where there are several."""

    @property
    def kept(self) -> bool:
        """Whether the group's answers differ enough to be learned from."""
        return self.dropped is None


MEASURED = ("loss", "kl", "entropy", "clip_fraction", "ratio", "weight", "pull")
"""What a loss sums up over scored tokens, for each task, all but the last with the loss's own weights: the loss,
divergence and entropy, clipped tokens, their ratio to the sampling policy, the weight itself, and |∂loss/∂log p|."""
Measured = Mapping[str, Mapping[str, float]]
"""Sums by task and by name."""


def task_rows(
    summaries: Sequence[Summary],
    mean_abs_advantages: Mapping[int, float],
    sigmas: Mapping[str, float],
    measured: Measured,
) -> dict[str, TaskRow]:
    """Return the step record's part of each task in the batch.

    `mean_abs_advantages` are by the index of each group that was kept, `measured` by task.
    """
    total_pull = sum(sums["pull"] for sums in measured.values())
    rows = {}
    for task in sorted({summary.task for summary in summaries}):
        mine = [summary for summary in summaries if summary.task == task]
        used = [mean_abs_advantages[summary.index] for summary in mine if summary.index in mean_abs_advantages]
        sums = measured.get(task, dict.fromkeys(MEASURED, 0.0))
        rows[task] = TaskRow(
            **_of_answers(mine),
            **_of_loss(sums, total_pull),
            sigma=sigmas.get(task, 0.0),
            mean_abs_advantage=sum(used) / len(used) if used else 0.0,
        )
    return rows


def _of_answers(mine: Sequence[Summary]) -> dict[str, Any]:
    """Return the fields of a task's record that its sampled answers decide."""
    rewards, lengths, notes, whole_frames = (
        [value for summary in mine for value in getattr(summary, name)]
        for name in ("rewards", "lengths", "answers", "whole_frames")
    )
    commonest, count = Counter(filter(None, notes)).most_common(1)[0] if any(notes) else ("", 0)
    return {
        "reward": _mean(rewards),
        "accuracy": _mean([summary.accuracy for summary in mine]),
        "format": _mean([summary.format for summary in mine]),
        "answer_tokens": _mean(lengths),
        "longest_answer_tokens": max(lengths),
        "prompt_tokens": _mean([summary.prompt_tokens for summary in mine]),
        "answers": len(rewards),
        "truncated_answers": sum(summary.truncated for summary in mine),
        "groups": len(mine),
        "dropped_groups": sum(not summary.kept for summary in mine),
        "commonest_answer": commonest,
        "same_answer_fraction": count / len(notes),
        "whole_frame_fraction": _mean(whole_frames),
        "rewards": _term_means(mine),
    }


def _term_means(mine: Sequence[Summary]) -> dict[str, float]:
    """Return the mean of each term of the rewards."""
    return {name: _mean([summary.terms[name] for summary in mine]) for name in mine[0].terms}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _of_loss(sums: Mapping[str, float], total_pull: float) -> dict[str, Any]:
    """Return the fields of a task's record that the loss measures; None where the task has no weight in it."""
    weight = sums["weight"]
    means = {name: sums[name] / weight if weight else None for name in ("kl", "entropy", "clip_fraction", "ratio")}
    return {**means, "logp_gradient_fraction": sums["pull"] / total_pull if total_pull and weight else None}


def note_answer(response: str) -> str:
    """Return what an answer says, in a form in which equal answers are equal and long ones short; "" without an answer
    block.

    >>> note_answer("<think>a</think><answer> A </answer>"), note_answer("A")
    ('a', '')
    """
    text = " ".join((answer_text(response) or "").lower().split())
    if len(text) <= LONGEST_NOTE:
        return text
    return f"{text[: LONGEST_NOTE - 10]}… {hashlib.sha256(text.encode(errors='replace')).hexdigest()[:8]}"


def covers_whole_frame(
    response: str, task: Task[Any], options: tuple[str, ...] = (), frame_px: FrameSize | None = None
) -> bool:
    """Tell whether the boxes of an answer cover nearly the whole frame, in the mean over them; an unusable answer has
    none.

    >>> from onethinker.tasks import find_task
    >>> task = find_task("spatial grounding", "image")
    >>> covers_whole_frame('<think></think><answer>{"boxes": [0, 0, 1000, 1000]}</answer>', task)
    True
    """
    if not task.structured:
        return False
    answer = read_response(response, task, options, Reader(frame_px=frame_px)).answer
    boxes = task.boxes(answer) if answer is not None else {}
    areas = [(box.x2 - box.x1) * (box.y2 - box.y1) / 1_000_000 for box in boxes.values()]
    return bool(areas) and sum(areas) / len(areas) > WHOLE_FRAME
