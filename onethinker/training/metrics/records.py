"""What the journal says of a step: every field with its unit, and how it comes out of groups, losses and clocks.

A journal is one JSON object a line, a line a step. This file is the only place that names its fields.
"""

import hashlib
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from onethinker.core.errors import CheckpointError
from onethinker.core.grammar import answer_text
from onethinker.tasks import Task, read_response

Phase = Literal["data", "rollout", "grading", "reference", "update", "checkpoint"]
"""Media and words made into prompts; answers sampled; answers graded, or waited for; the divergence's other model;
forward, backward and optimizer; files written."""
JOURNAL_FILE = "journal.jsonl"
"""The journal in a run's folder."""
WHOLE_FRAME = 0.95
"""A box that covers more of its frame than this covers the whole of it."""
LONGEST_NOTE = 60
"""Letters of an answer that the journal keeps."""


@dataclass(frozen=True)
class TaskRow:
    """What the journal says of one task in one step of RL; sums and means are over all processes.

    Means of answers are over all that were sampled, those of dropped groups included. What the loss measures is over
    the groups that were kept, and None where there are none.
    """

    reward: float
    """Mean reward, in the units of the reward profile."""
    accuracy: float
    """Mean accuracy, 0 to 1."""
    format: float
    """Share of the answers in the right form, 0 to 1."""
    sigma: float
    """Standard deviation of rewards that the moving averages stand for after this step; `ema_grpo` divides by it."""
    mean_abs_advantage: float
    """Mean of |advantage| over the answers of kept groups; 0 without any."""
    logp_gradient_share: float | None
    """The task's part of Σ |∂loss/∂log p| over all scored tokens of the step, 0 to 1: how hard it pulls at the
    probabilities of its answers; None also where nothing pulls. The gradient of the weights themselves is not divided
    by task, which would cost one backward pass for each."""
    kl: float | None
    """Mean k3 divergence from the reference model a token, in nats, with the loss's weights."""
    entropy: float | None
    """Mean entropy of the next token, in nats, with the loss's weights."""
    clipped_share: float | None
    """Share of the loss's weight on tokens whose policy ratio is outside the clip range."""
    answer_tokens: float
    """Mean length of an answer, in tokens with the end token."""
    longest_answer_tokens: int
    """Length of the longest answer, in tokens."""
    prompt_tokens: float
    """Mean length of a prompt with its pictures, in tokens."""
    answers: int
    """Answers sampled."""
    cut_answers: int
    """Answers that had not ended at `rollout.max_new_tokens`."""
    groups: int
    """Prompts asked whose groups of answers were graded; a group without grades is in no number of a task."""
    dropped_groups: int
    """Those of them without a signal: all their answers right or all wrong."""
    commonest_answer: str
    """What most answers say, shortened; "" if no answer has an answer block."""
    same_answer_share: float
    """Share of the answers that say just that, over all prompts of the task, 0 to 1."""
    whole_frame_share: float
    """Share of the answers whose boxes cover the whole frame, on average over their boxes; 0 for tasks without
    boxes.
    """


@dataclass(frozen=True)
class RlRow:
    """What the journal says of one step of RL; sums and means are over all processes, seconds are the main
    process's.
    """

    step: int
    """Steps done, this one included."""
    stage: Literal["rl"]
    """Which loop wrote the row."""
    loss: float | None
    """The loss, in the mean over the optimizer steps of this batch; None, like the next four, when there was none."""
    kl: float | None
    """As in `TaskRow`, over all tasks."""
    entropy: float | None
    """As in `TaskRow`, over all tasks."""
    clipped_share: float | None
    """As in `TaskRow`, over all tasks."""
    grad_norm: float | None
    """Norm of the weights' gradient before clipping, in the mean over the optimizer steps."""
    updates: int
    """Optimizer steps taken; 0 when no group gave a signal."""
    learning_rate: float
    """Rate of the optimizer steps."""
    groups: int
    """Groups that the update used."""
    dropped_groups: int
    """Groups that were sampled and cannot be learned from."""
    dropped: dict[str, int]
    """How many of them for which reason: "all_right", "all_wrong", "grading_failed", "reward_failed"."""
    surplus_groups: int
    """Groups with a signal that the batch had no more place for."""
    ungraded: list[dict[str, Any]]
    """Each group without grades: number in the order, task, reason and text."""
    skipped_samples: list[dict[str, Any]]
    """Each sample that could not be read: number in the order, id and reason."""
    seconds: float
    """Wall clock of the step, without the checkpoint after it."""
    seconds_by_phase: dict[Phase, float]
    """Wall clock of each phase; "checkpoint" is the one saved after the step before, which came after that step's
    row.
    """
    tokens_by_phase: dict[Phase, int]
    """Tokens that each phase has read or written: "data" prompts; "rollout" prompts, each once, and answers; "grading"
    answers; "reference" and "update" packed rows, each prompt once."""
    shared_prompt_tokens: dict[Phase, int]
    """Prompt tokens that each phase did not have to read because the G answers of a group share theirs: (G - 1) ·
    prompt, summed over groups. A batch with one row an answer would have read them in addition."""
    tasks: dict[str, TaskRow]
    """Each task of the step by its statistics name."""
    bad_steps: list[dict[str, Any]] = field(default_factory=list)
    """Each optimizer step that was not taken because something was not finite: what, the samples' ids, the largest
    |gradient| by part of the model (None where it is not finite), the last good step, the learning rate, and all that
    as a text."""
    alarms: list[dict[str, str]] = field(default_factory=list)
    """What looks like a hacked reward or a run that learns nothing: name, task ("" for the whole run) and text (see
    `alarms.py`).
    """
    not_finite: list[str] = field(default_factory=list)
    """Fields of this row, dotted, that were not finite; JSON has no such numbers, and null stands in their place."""


@dataclass(frozen=True)
class SftRow:
    """What the journal says of one step of SFT; sums and means are over all processes, seconds are the main
    process's.
    """

    step: int
    """Steps done, this one included."""
    stage: Literal["sft"]
    """Which loop wrote the row."""
    loss: float
    """Mean negative log-probability of a response's token, in nats."""
    entropy: float
    """Mean entropy of the next token over the responses, in nats."""
    grad_norm: float
    """Norm of the weights' gradient before clipping."""
    learning_rate: float
    """Rate of the optimizer step."""
    answer_tokens: int
    """Tokens of all responses, which are the ones that count."""
    seconds: float
    """Wall clock of the step, without the checkpoint after it."""
    seconds_by_phase: dict[Phase, float]
    """Wall clock of each phase, as in `RlRow`."""
    tokens_by_phase: dict[Phase, int]
    """Tokens that each phase has read, as in `RlRow`."""
    shared_prompt_tokens: dict[Phase, int]
    """Prompt tokens that the update did not have to read because n questions about one clip share it: (n - 1) · what
    they share.
    """
    skipped_samples: list[dict[str, Any]]
    """Each sample that could not be read: number in the order, id and reason."""
    bad_steps: list[dict[str, Any]] = field(default_factory=list)
    """As in `RlRow`, at most one; loss and gradient of the row are then what they were."""
    alarms: list[dict[str, str]] = field(default_factory=list)
    """As in `RlRow`."""
    not_finite: list[str] = field(default_factory=list)
    """As in `RlRow`."""


@dataclass(frozen=True)
class Summary:
    """What all processes need to know of a group that one of them holds.

    `answers` are the notes that `note_answer` makes of what each answer says, `whole_frames` tells which cover the
    whole frame.
    """

    number: int
    task: str
    rewards: tuple[float, ...]
    accuracy: float
    format: float
    dropped: Literal["all_right", "all_wrong"] | None
    prompt_tokens: int
    lengths: tuple[int, ...]
    cut: int
    answers: tuple[str, ...]
    whole_frames: tuple[bool, ...]

    @property
    def kept(self) -> bool:
        """Whether the group's answers differ enough to be learned from."""
        return self.dropped is None


MEASURED = ("loss", "kl", "entropy", "clipped_share", "weight", "pull")
"""What a loss sums up over scored tokens, for each task, all but the last with the loss's own weights: the loss,
divergence and entropy, clipped tokens, the weight itself, and |∂loss/∂log p|."""
Measured = Mapping[str, Mapping[str, float]]
"""Sums by task and by name."""


def task_rows(
    summaries: Sequence[Summary],
    mean_abs_advantages: Mapping[int, float],
    sigmas: Mapping[str, float],
    measured: Measured,
) -> dict[str, TaskRow]:
    """Return what the journal says of each task in the batch.

    `mean_abs_advantages` are by the number of each group that was kept, `measured` by task.
    """
    pull = sum(sums["pull"] for sums in measured.values())
    rows = {}
    for task in sorted({summary.task for summary in summaries}):
        mine = [summary for summary in summaries if summary.task == task]
        used = [mean_abs_advantages[summary.number] for summary in mine if summary.number in mean_abs_advantages]
        rewards, lengths, notes, whole_frames = (
            [value for summary in mine for value in getattr(summary, name)]
            for name in ("rewards", "lengths", "answers", "whole_frames")
        )
        commonest, count = Counter(filter(None, notes)).most_common(1)[0] if any(notes) else ("", 0)
        sums = measured.get(task, dict.fromkeys(MEASURED, 0.0))
        kl, entropy, clipped_share = (
            sums[name] / sums["weight"] if sums["weight"] else None for name in ("kl", "entropy", "clipped_share")
        )
        rows[task] = TaskRow(
            reward=sum(rewards) / len(rewards),
            accuracy=sum(summary.accuracy for summary in mine) / len(mine),
            format=sum(summary.format for summary in mine) / len(mine),
            sigma=sigmas.get(task, 0.0),
            mean_abs_advantage=sum(used) / len(used) if used else 0.0,
            logp_gradient_share=sums["pull"] / pull if pull and sums["weight"] else None,
            kl=kl,
            entropy=entropy,
            clipped_share=clipped_share,
            answer_tokens=sum(lengths) / len(lengths),
            longest_answer_tokens=max(lengths),
            prompt_tokens=sum(summary.prompt_tokens for summary in mine) / len(mine),
            answers=len(rewards),
            cut_answers=sum(summary.cut for summary in mine),
            groups=len(mine),
            dropped_groups=sum(not summary.kept for summary in mine),
            commonest_answer=commonest,
            same_answer_share=count / len(notes),
            whole_frame_share=sum(whole_frames) / len(whole_frames),
        )
    return rows


def note_answer(response: str) -> str:
    """Return what an answer says, in a form in which equal answers are equal and long ones short; "" without an answer
    block.

    >>> note_answer("<think>a</think><answer> A </answer>"), note_answer("A")
    ('a', '')
    """
    said = " ".join((answer_text(response) or "").lower().split())
    if len(said) <= LONGEST_NOTE:
        return said
    return f"{said[: LONGEST_NOTE - 10]}… {hashlib.sha256(said.encode(errors='replace')).hexdigest()[:8]}"


def covers_whole_frame(response: str, task: Task[Any], options: tuple[str, ...] = ()) -> bool:
    """Tell whether the boxes of an answer cover nearly the whole frame, in the mean over them; an unusable answer has
    none.

    >>> from onethinker.tasks import find_task
    >>> task = find_task("spatial grounding", "image")
    >>> covers_whole_frame('<think></think><answer>{"boxes": [0, 0, 1000, 1000]}</answer>', task)
    True
    """
    if not task.structured:
        return False
    answer = read_response(response, task, options).answer
    boxes = task.boxes(answer) if answer is not None else {}
    shares = [(box.x2 - box.x1) * (box.y2 - box.y1) / 1_000_000 for box in boxes.values()]
    return bool(shares) and sum(shares) / len(shares) > WHOLE_FRAME


class Stopwatch:
    """Seconds of each phase; one that begins inside another is its own and not the other's.

    `wait` is called where a phase begins and ends, so that what an accelerator still has to do counts where it was
    asked for.
    """

    def __init__(self, wait: Callable[[], None] | None = None) -> None:
        self._wait = wait
        self._seconds: dict[Phase, float] = {}
        self._phases: list[Phase] = []
        self._since = 0.0

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Count the time inside the block to a phase, and no longer to the one around it."""
        self._stop()
        self._phases.append(name)
        try:
            yield
        finally:
            self._stop()
            self._phases.pop()

    def _stop(self) -> None:
        """Count the time until now to the phase that was under way."""
        if self._wait is not None:
            self._wait()
        now = time.perf_counter()
        if self._phases:
            current = self._phases[-1]
            self._seconds[current] = self._seconds.get(current, 0.0) + now - self._since
        self._since = now

    def take(self) -> dict[Phase, float]:
        """Return the seconds of each phase since they were last taken, in the order in which the phases came."""
        taken, self._seconds = self._seconds, {}
        return taken


def as_record(row: RlRow | SftRow) -> dict[str, Any]:
    """Return a row as the journal holds it: None in place of every number that is not finite, with its name under
    `not_finite`.
    """
    names: list[str] = []
    record: dict[str, Any] = _finite(asdict(row), "", names)
    return {**record, "not_finite": names}


def _finite(value: Any, name: str, names: list[str]) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        names.append(name)
        return None
    if isinstance(value, Mapping):
        return {key: _finite(each, f"{name}.{key}" if name else str(key), names) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each, f"{name}.{place}", names) for place, each in enumerate(value)]
    return value


def read_line(line: str | bytes) -> Any:
    """Return a line of a journal; a bare NaN or Infinity, which older journals have, is None.

    >>> read_line('{"step": 1, "loss": NaN}')
    {'step': 1, 'loss': None}
    """
    return json.loads(line, parse_constant=lambda _: None)


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Return a journal's rows, one a step in their order; a last line that is not finished yet is left out.

    Raises: CheckpointError: there is no journal, or it is damaged before its end.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: not the journal of a training run: {error}") from error
    return read_rows(content.rpartition(b"\n")[0], path)


def read_rows(lines: bytes, path: Path) -> list[dict[str, Any]]:
    """Return the rows in whole lines of a journal, one a step in their order.

    Raises: CheckpointError: they are damaged; the text names the file.
    """
    try:
        rows = {int(row["step"]): row for row in map(read_line, lines.splitlines())}
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not the journal of a training run: {error}") from error
    return [rows[step] for step in sorted(rows)]


def in_words(seconds: float) -> str:
    """Return seconds as people say them.

    >>> in_words(75.4), in_words(7200)
    ('1 min 15 s', '2 h 0 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def scalars(record: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return the numbers of a row by names with slashes, as trackers want them; `step`, texts and what is None are left
    out.

    >>> scalars({"step": 3, "loss": 0.5, "tasks": {"ocr": {"reward": 1, "kl": None}}, "stage": "rl"})
    {'loss': 0.5, 'tasks/ocr/reward': 1.0}
    """
    found: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            found |= scalars(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and name != "step":
            found[f"{prefix}{name}"] = float(value)
    return found
