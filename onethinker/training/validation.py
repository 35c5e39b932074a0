"""Evaluation while a model learns: what is asked and when, which checkpoint is best, and when it is enough."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from onethinker.core.errors import ConfigError, DataError
from onethinker.core.nearest import no_such
from onethinker.core.sample import Sample
from onethinker.core.settings import Settings
from onethinker.data.names import scene_kinds
from onethinker.data.overlap import overlap_lines
from onethinker.data.validate import check_files, listed
from onethinker.rewards.config import RewardSettings, term_names
from onethinker.tasks import find_task

MEANS = ("accuracy", "reward", "format")
"""Scores of all tasks together: the mean over the tasks, each counting the same."""
NO_REWARDS: Mapping[str, RewardSettings] = {}
Row = Mapping[str, Any]
"""A row of the journal with the stage "validation"; `evaluation/during_training.py` writes it."""


class ValidationSettings(Settings):
    """Evaluation during training; nothing is learned from it, and the training stays the same bit for bit."""

    files: tuple[Path, ...] = ()
    """Sample files with reference answers; media paths are relative to each file."""
    scenes: int = Field(0, ge=0)
    """Instead of files: the number of synthetic scenes of the split "validation", of the world and problem types in
    [data]."""
    seed: int = Field(0, ge=0)
    """Seed of the scenes."""
    limit: int | None = Field(None, ge=1)
    """Use only the first so many samples of the files."""
    every: int = Field(100, ge=1)
    """Steps between validations; there is always one before the first step and one after the last."""
    score: str = "accuracy"
    """Which score decides the best checkpoint: "accuracy", "reward" or "format", averaged over tasks; a task's key such
    as "tracking" for its accuracy; or a task and one of its metrics, such as "temporal grounding: R@0.5"."""
    patience: int = Field(0, ge=0)
    """The run ends after this many validations in a row without a better score; 0 never ends it."""
    batch_size: int = Field(8, ge=1)
    """Samples that a process answers at the same time."""
    max_new_tokens: int = Field(4096, ge=1)
    """Maximum tokens of an answer; decoding is greedy."""
    pictures: int = Field(24, ge=0)
    """Number of samples that are drawn with truth and answer at each validation, divided among the tasks."""

    def plan(self, steps: int) -> str:
        """Return in words what is asked, and how often in a run of so many steps."""
        source = ", ".join(map(str, self.files)) if self.files else f"{self.scenes:,} synthetic scenes"
        source += f" (the first {self.limit:,})" if self.files and self.limit else ""
        times = 1 + -(-steps // self.every)
        return f"{source}, evaluated {times:,} times; the best checkpoint is the one with the highest {self.score}"

    @model_validator(mode="after")
    def _check_source(self) -> "ValidationSettings":
        if bool(self.files) == bool(self.scenes):
            raise ValueError("set exactly one of validation.files and validation.scenes (a number)")
        return self


def check_validation(
    settings: ValidationSettings,
    learned: Iterable[Sample],
    *,
    scene_types: Sequence[str] = (),
    rewards: Mapping[str, RewardSettings] = NO_REWARDS,
) -> list[str]:
    """Return what a user must know of the files that are validated on, such as samples that are learned from too, after
    every record and the header of every medium was looked at. Scenes are of the problem types that are named.

    Raises: DataError: a record cannot be graded, or its media cannot be read: then there would be no score.
    ConfigError: the samples will have no score of the name that chooses.
    """
    checked = check_files(settings.files, need="truth")
    if checked.unreadable:
        raise DataError(
            "validation.files: these media cannot be read; repair or remove their records:"
            f" {listed(checked.unreadable, checked.count)}"
        )
    measured = [record.sample for record in checked.records][: settings.limit]
    kinds = [(own.problem_type, own.data_type) for own in measured] or drawn_kinds(settings.scenes, scene_types)
    tasks = [find_task(*kind) for kind in dict.fromkeys(kinds)]
    named = {task.key: (*MEANS, *task.metrics, *term_names(rewards, task.problem_type)) for task in tasks}
    check_score(settings.score, named)
    return [*(f"validation: {line}" for line in checked.lines()), *overlap_lines(learned, measured)]


def drawn_kinds(scenes: int, problem_types: Sequence[str]) -> list[tuple[str, str]]:
    """Return the problem type and medium of each of so many scenes: the problem types that names select in turn, and
    the media of each in turn. Raises: DataError: there is no such problem type.

    >>> drawn_kinds(3, ["tracking", "numerical"])
    [('numerical', 'image'), ('tracking', 'video'), ('numerical', 'video')]
    """
    media: dict[str, list[str]] = {}
    for problem_type, medium in scene_kinds(problem_types):
        media.setdefault(problem_type, []).append(medium)
    types = list(media.items())
    turns = [(*types[index % len(types)], index // len(types)) for index in range(scenes)]
    return [(problem_type, own[turn % len(own)]) for problem_type, own, turn in turns]


def check_score(name: str, tasks: Mapping[str, Iterable[str]]) -> None:
    """Do nothing where tasks, each with the names of its numbers, have a score of this name. Raises: ConfigError: with
    those that there are.
    """
    known = [
        *MEANS,
        *tasks,
        *(f"{own}: {number}" for own, numbers in tasks.items() for number in dict.fromkeys(numbers)),
    ]
    if ": ".join(part.strip() for part in name.split(":", 1)) not in known:
        raise ConfigError(f"validation.score: {no_such('score', name, known)}")


def score_of(row: Row, name: str) -> Mapping[str, float] | None:
    """Return a validation's score of this name as mean, low and high; None where a sample has no answer.

    Raises: ConfigError: there is no such score, with those that there are.
    """
    task, _, metric = (part.strip() for part in name.partition(":"))
    scores = row if name in MEANS else row["tasks"].get(task, {})
    key = name if name in MEANS else metric or "accuracy"
    if key in scores or scores.get("failed"):
        return scores.get(key)
    check_score(name, {own: estimates(numbers) for own, numbers in row["tasks"].items()})
    return None


def estimates(scores: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
    """Return what of a task's scores has a mean and an interval."""
    return {name: value for name, value in scores.items() if isinstance(value, Mapping)}


@dataclass(frozen=True)
class Curve:
    """The validations of a run up to now, oldest first, and what follows from them."""

    settings: ValidationSettings
    rows: tuple[Row, ...] = ()

    def with_row(self, row: Row) -> "Curve":
        """Return the curve with one more validation."""
        return replace(self, rows=(*self.rows, row))

    def is_due(self, step: int, steps: int) -> bool:
        """Tell whether the model is to be asked after this step, and was not yet."""
        is_time = step % self.settings.every == 0 or step == steps
        return is_time and not any(row["step"] == step for row in self.rows)

    @property
    def comparable(self) -> tuple[Row, ...]:
        """The validations on the samples of the last one: other samples may be easier."""
        return tuple(row for row in self.rows if row["samples"] == self.rows[-1]["samples"])

    @property
    def best(self) -> Row | None:
        """The first validation with the highest score; None where none has one."""
        scored = [(row, score) for row in self.comparable if (score := score_of(row, self.settings.score))]
        return max(scored, key=lambda pair: pair[1]["mean"])[0] if scored else None

    @property
    def is_over(self) -> bool:
        """Whether so many validations in a row as the recipe allows have not been better than the best before them."""
        best = self.best
        if not self.settings.patience or best is None:
            return False
        return len([row for row in self.comparable if row["step"] > best["step"]]) >= self.settings.patience

    @property
    def standing(self) -> dict[str, Any]:
        """What the last validation means for the run, as the journal says it: the chosen score, the best step, and
        whether the run ends.
        """
        score, best = score_of(self.rows[-1], self.settings.score), self.best
        return {
            "score": {"name": self.settings.score, **(score or {})},
            "best_step": None if best is None else best["step"],
            "ends_run": self.is_over,
        }
