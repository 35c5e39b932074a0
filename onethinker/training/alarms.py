"""Signs that a model earns its reward without doing its task, read from the last rows of the journal."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onethinker.response import show

if TYPE_CHECKING:
    from onethinker.training.config import AlarmSettings

FEWEST_PROMPTS = 4
"""Fewer prompts than these show nothing: their truths may well be alike."""
Rows = Sequence[Mapping[str, Any]]
"""Rows of one task (`TaskRow` as the journal holds it), oldest first."""


@dataclass(frozen=True)
class Alarm:
    """One sign in one task, or in the whole run ("" as its task), with a sentence that says what is seen and what to do."""

    name: str
    task: str
    text: str


def find_alarms(journal: Sequence[Mapping[str, Any]], settings: "AlarmSettings") -> tuple[Alarm, ...]:
    """Return what the end of a journal of RL shows, by task; rows before the last 2 · `window` are not looked at.

    A task has alarms while it is in the last row and has been in `window` of those rows.
    """
    rows = [row["tasks"] for row in journal[-2 * settings.window :] if settings.window]
    found: list[Alarm] = []
    for task in sorted(rows[-1]) if rows else ():
        mine = [tasks[task] for tasks in rows if task in tasks]
        last = mine[-settings.window :]
        if len(last) == settings.window and sum(row["groups"] for row in last) >= FEWEST_PROMPTS:
            found += [Alarm(name, task, text) for name, text in _signs(last, mine[: -settings.window], settings)]
    return tuple(found)


def _signs(rows: Rows, before: Rows, settings: "AlarmSettings") -> Iterator[tuple[str, str]]:
    accuracy, form = _mean(rows, "accuracy"), _mean(rows, "format")
    if form >= settings.form and accuracy <= settings.wrong:
        yield (
            "form_without_accuracy",
            f"{form:.0%} of the answers have the right form, the mean accuracy is {accuracy:.2f}: only the form is rewarded. Look at "
            "answers/, and train longer by SFT or take easier data before more RL",
        )
    if accuracy < settings.right:
        answer, share = _commonest(rows)
        if share >= settings.same_answer:
            yield (
                "same_answer",
                f"{share:.0%} of the answers to all prompts are {show(answer)}, the mean accuracy is {accuracy:.2f}: the question is not "
                "read. Check that the truths differ, raise loss.kl, or go back to a checkpoint from before",
            )
        whole = _mean(rows, "whole_frame_share")
        if whole >= settings.whole_frame:
            yield (
                "whole_frame",
                f"{whole:.0%} of the answers are boxes around the whole frame, the mean accuracy is {accuracy:.2f}: overlap is collected "
                "without looking. Take data with smaller objects, raise loss.kl, or go back to a checkpoint from before",
            )
    cut = sum(row["cut_answers"] for row in rows) / sum(row["answers"] for row in rows)
    if cut >= settings.cut:
        yield (
            "length",
            f"{cut:.0%} of the answers are cut at rollout.max_new_tokens before they end. Raise it, shorten the responses of the SFT data, "
            "or go back to a checkpoint from before",
        )
    elif len(before) == settings.window:
        now, then = _mean(rows, "answer_tokens"), _mean(before, "answer_tokens")
        if now >= settings.growth * then and accuracy <= _mean(before, "accuracy"):
            yield (
                "length",
                f"answers have grown from {then:.0f} to {now:.0f} tokens and are no more right than before. Try loss.aggregate = "
                '"sequence_mean", lower optimizer.learning_rate, or go back to a checkpoint from before',
            )


def _mean(rows: Rows, name: str) -> float:
    """Return the mean of a field over all groups of the rows."""
    return float(sum(row[name] * row["groups"] for row in rows) / sum(row["groups"] for row in rows))


def _commonest(rows: Rows) -> tuple[str, float]:
    """Return the answer that led most often, and its share of all answers; of steps in which another one led it is counted 0."""
    counts: dict[str, float] = {}
    for row in rows:
        if row["commonest_answer"]:
            counts[row["commonest_answer"]] = counts.get(row["commonest_answer"], 0.0) + row["same_answer_share"] * row["answers"]
    answer = max(counts, key=lambda name: counts[name], default="")
    return answer, counts.get(answer, 0.0) / sum(row["answers"] for row in rows)
