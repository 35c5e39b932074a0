"""What a page shows of a training run: its curves in groups, its alarms as spans of steps, its sampled answers."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onethinker.evaluation.runs import Training
from onethinker.report.charts import Chart, band_chart, line_chart
from onethinker.report.progress import unread_samples, value_of
from onethinker.storage.folders import ANSWERS_FOLDER
from onethinker.training.validation import estimates, score_of

Row = Mapping[str, Any]
Value = Callable[[Row], float | None]

RUN_CURVES: tuple[tuple[str, str], ...] = (
    ("loss", "Loss"),
    ("reward", "Reward, mean over tasks"),
    ("accuracy", "Accuracy, mean over tasks"),
    ("preference_accuracy", "Preferences that the model agrees with"),
    ("margin", "Reward of chosen above rejected responses"),
    ("chosen_reward", "Reward of chosen responses"),
    ("rejected_reward", "Reward of rejected responses"),
    ("kl", "KL from the reference, nats per token"),
    ("entropy", "Entropy, nats per token"),
    ("clip_fraction", "Clipped fraction of the loss weight"),
    ("ratio", "Ratio to the sampling policy, mean"),
    ("grad_norm", "Gradient norm"),
    ("learning_rate", "Learning rate"),
)
"""Fields of a step, or their means over tasks, and what the page calls them."""
TASK_CURVES: tuple[tuple[str, str, str], ...] = (
    ("reward", "Reward by task", "Mean over all sampled answers, including those of dropped groups."),
    ("accuracy", "Accuracy by task", "Like the reward, but without the format reward."),
    ("answer_tokens", "Length of an answer by task", "Mean number of tokens."),
    ("sigma", "σ by task", "The standard deviation of rewards by which ema_grpo divides."),
    (
        "logp_gradient_fraction",
        "Share of the gradient by task",
        "Share of Σ |∂loss/∂log p|: how strongly each task drives the update.",
    ),
    ("kl", "KL by task", "Nats per token."),
    ("entropy", "Entropy by task", "Nats per token."),
)
"""Fields of a task in a step, each with the heading and the note of its group."""


@dataclass(frozen=True)
class ChartGroup:
    """Charts that belong together."""

    title: str
    note: str
    charts: tuple[tuple[str, Chart], ...]
    is_open: bool = False


@dataclass(frozen=True)
class AlarmSpan:
    """An alarm that was there from one step to another, not in all of them perhaps, and what it said at last."""

    name: str
    task: str
    first: int
    last: int
    steps: int
    text: str


def chart_groups(training: Training) -> list[ChartGroup]:
    """Return all curves that a run has values for: of the run and of validations open, by task and of machines
    folded.
    """
    groups = [
        ChartGroup("The run", "", _curves(training, [(text, _field(name)) for name, text in RUN_CURVES]), is_open=True),
        validation_charts(training),
        *(
            ChartGroup(
                title,
                note,
                _curves(training, [(task, _field(name, task)) for task in training.tasks], f"{name} of "),
                not index,
            )
            for index, (name, title, note) in enumerate(TASK_CURVES)
        ),
        ChartGroup(
            "Dropped groups by task",
            "Fraction of the graded groups whose answers are all right or all wrong.",
            _curves(training, [(task, _dropped(task)) for task in training.tasks], "dropped groups of "),
        ),
        ChartGroup("Speed, memory and data", "", _curves(training, _machine(training))),
    ]
    return [group for group in groups if group.charts]


def validation_charts(training: Training) -> ChartGroup:
    """Return the curves of a run's validations with their intervals."""
    rows, chosen = training.validations, (training.recipe or {}).get("validation") or {}
    names = dict.fromkeys([chosen.get("score", "accuracy"), *(rows[-1]["tasks"] if rows else ())])
    points = {
        name: [(row["step"], *map(found.get, ("mean", "low", "high"))) for row in rows if (found := _score(row, name))]
        for name in names
    }
    charts = ((name, band_chart(own, label=f"validation: {name}")) for name, own in points.items())
    return ChartGroup(
        "Validation",
        "Scores on samples that are not trained on; for a task its accuracy. The band is the 95 % bootstrap interval.",
        tuple((name, chart) for name, chart in charts if chart),
        is_open=True,
    )


def validation_table(training: Training) -> list[tuple[str, str, Mapping[str, float], Mapping[str, float] | None]]:
    """Return (task, metric, last estimate, first one) of all that the last validation has measured."""
    if not training.validations:
        return []
    first, last = training.validations[0], training.validations[-1]
    rows = [("all tasks", name, last.get(name), first.get(name)) for name in ("accuracy", "reward", "format")]
    for task, scores in last["tasks"].items():
        before = first["tasks"].get(task, {})
        rows += [(task, name, value, before.get(name)) for name, value in estimates(scores).items()]
    return [(task, name, found, before) for task, name, found, before in rows if found]


def alarm_spans(rows: Iterable[Row]) -> list[AlarmSpan]:
    """Return each alarm of a journal once, the latest ones first."""
    spans: dict[tuple[str, str], AlarmSpan] = {}
    for row in rows:
        for alarm in row.get("alarms", ()):
            key, step = (alarm["name"], alarm["task"]), int(row["step"])
            before = spans.get(key, AlarmSpan(*key, step, step, 0, ""))
            spans[key] = AlarmSpan(*key, before.first, step, before.steps + 1, alarm["text"])
    return sorted(spans.values(), key=lambda span: (-span.last, span.first))


def sampled_answers(folder: Path | None, max_bytes: int) -> tuple[str, str] | None:
    """Return the name and the content of the last page of sampled answers, None where there is none so small."""
    pages = sorted((folder / ANSWERS_FOLDER).glob("step-*.html")) if folder is not None else []
    if not pages or pages[-1].stat().st_size > max_bytes:
        return None
    # Scripts cannot run in it: the page that shows it forbids all but its own.
    main = re.search(r"<main>\s*<h1>(.*?)</h1>(.*)</main>", pages[-1].read_text(encoding="utf-8"), re.DOTALL)
    return (main[1], main[2]) if main else None


def _curves(training: Training, values: Iterable[tuple[str, Value]], what: str = "") -> tuple[tuple[str, Chart], ...]:
    """Return the charts of those values that a run has, each by its heading; a reader of screens hears `what` before
    it.
    """
    found = []
    for label, value in values:
        points = [(row["step"], number) for row in training.rows if (number := value(row)) is not None]
        if points and (chart := line_chart(points, label=what + label.lower())):
            found.append((label, chart))
    return tuple(found)


def _field(name: str, task: str | None = None) -> Value:
    return lambda row: value_of(row, name, task)


def _dropped(task: str | None = None) -> Value:
    """Return the share of groups that were dropped, of a task or of all."""

    def share(row: Row) -> float | None:
        mine = row.get("tasks", {}).get(task, {}) if task is not None else row
        asked = mine.get("groups", 0) + (mine.get("dropped_groups", 0) + mine.get("surplus_groups", 0)) * (task is None)
        return mine["dropped_groups"] / asked if asked and "dropped_groups" in mine else None

    return share


def _machine(training: Training) -> list[tuple[str, Value]]:
    phases = dict.fromkeys(phase for row in training.rows for phase in row.get("seconds_by_phase", {}))
    passed = {
        field: dict.fromkeys(kind for row in training.rows for kind in row.get(field, {}))
        for field in ("passes", "file_passes")
    }
    return [
        ("Seconds per step", _field("seconds")),
        *((f"Tokens per second, {phase}", _speed(phase)) for phase in phases),
        *((f"Seconds of {phase}", _seconds(phase)) for phase in phases),
        ("Peak GPU memory, GiB", _field("memory_gib")),
        ("Fraction of dropped groups", _dropped()),
        ("Samples that could not be read", lambda row: float(unread_samples(row)) or None),
        *((f"Passes over {kind}", _passes(field, kind)) for field, kinds in passed.items() for kind in kinds),
    ]


def _speed(phase: str) -> Value:
    return lambda row: speeds(row).get(phase)


def _passes(field: str, kind: str) -> Value:
    return lambda row: row.get(field, {}).get(kind)


def _seconds(phase: str) -> Value:
    return lambda row: row.get("seconds_by_phase", {}).get(phase)


def speeds(row: Row) -> dict[str, float]:
    """Return the tokens a second of each phase that has read or written some.

    >>> speeds({"seconds_by_phase": {"update": 2.0, "data": 1.0}, "tokens_by_phase": {"update": 100}})
    {'update': 50.0}
    """
    seconds, tokens = row.get("seconds_by_phase", {}), row.get("tokens_by_phase", {})
    return {phase: count / seconds[phase] for phase, count in tokens.items() if count and seconds.get(phase)}


def _score(row: Row, name: str) -> Mapping[str, float] | None:
    """Return a score of a validation, None where it has none, as one of before the recipe chose another."""
    task = name.partition(":")[0].strip()
    return score_of(row, name) if name in row or task in row["tasks"] else None
