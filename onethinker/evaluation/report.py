"""One page, one file: how accuracy changed, how training went, what the model says, and how to get the numbers again."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from onethinker.errors import AnswerError, CheckpointError, ConfigError
from onethinker.evaluation.charts import line_chart
from onethinker.evaluation.metrics import Score, mean_accuracy, score_tasks
from onethinker.evaluation.pictures import answer_picture, is_sheet, truth_picture
from onethinker.evaluation.results import RESULTS_FILE, Result, read_results, read_settings
from onethinker.files import write_atomically
from onethinker.response import find_answer, parse_response
from onethinker.training.monitoring import JOURNAL_FILE, in_words, read_journal

RECIPE_FILE = "recipe.json"


@dataclass(frozen=True)
class Evaluation:
    """A folder that `onethinker evaluate` wrote."""

    name: str
    folder: Path
    settings: dict[str, Any]
    about: dict[str, Any]
    results: tuple[Result, ...]
    scores: tuple[Score, ...]

    @property
    def accuracy(self) -> float | None:
        """The mean of the tasks' accuracies, None while samples are without an answer."""
        return mean_accuracy(self.scores)

    def score(self, task: str) -> Score | None:
        """Return the score of a task, None if it was not asked."""
        return next((score for score in self.scores if score.task == task), None)

    def result(self, sample_id: str) -> Result | None:
        """Return the result of a sample, None if it was not asked."""
        return next((result for result in self.results if result.sample_id == sample_id), None)


@dataclass(frozen=True)
class Training:
    """A folder that `onethinker sft` or `onethinker rl` wrote: its journal and, if it is there, its recipe."""

    name: str
    rows: tuple[dict[str, Any], ...]
    recipe: dict[str, Any] | None

    @property
    def stage(self) -> str:
        """`sft` or `rl`."""
        return str(self.rows[-1].get("stage", "training"))

    @property
    def seconds(self) -> float:
        """The time that its steps took together."""
        return float(sum(row.get("seconds", 0.0) for row in self.rows))

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that its journal has rewards for, in alphabetical order."""
        return tuple(sorted({task for row in self.rows for task in row.get("tasks", {})}))

    def curve(self, name: str, task: str | None = None) -> list[tuple[float, float]]:
        """Return (step, value) of a column of the journal, or of a task's."""
        rows = [(row["step"], row if task is None else row.get("tasks", {}).get(task, {})) for row in self.rows]
        return [(step, values[name]) for step, values in rows if values.get(name) is not None]


@dataclass(frozen=True)
class ExampleAnswer:
    """What one evaluation says to an example."""

    evaluation: str
    result: Result
    thinking: str
    answer: str
    picture: str | None


@dataclass(frozen=True)
class Example:
    """A sample with its truth, and what each evaluation says to it; pictures are data addresses."""

    task: str
    problem: str
    truth: str
    picture: str
    is_wide: bool
    answers: tuple[ExampleAnswer, ...]


def write_report(output: Path, runs: Sequence[Path], *, title: str = "OneThinker report") -> None:
    """Write one HTML page, complete in itself, about evaluation and training folders, in the given order.

    A folder that is neither is searched one level down, in the order in which the runs in it were started.

    Raises: CheckpointError: a folder without any run, or with a damaged one. ConfigError: `output` cannot be written.
    """
    folders = [found for run in runs for found in find_runs(run)]
    evaluations = [load_evaluation(folder) for folder in folders if (folder / RESULTS_FILE).exists()]
    trainings = [load_training(folder) for folder in folders if (folder / JOURNAL_FILE).exists()]
    page = _template().render(
        title=title,
        evaluations=evaluations,
        tasks=list(dict.fromkeys(score.task for evaluation in evaluations for score in evaluation.scores)),
        trainings=trainings,
        num_samples=lambda task: max(score.num_samples for evaluation in evaluations if (score := evaluation.score(task))),
        examples=load_examples(evaluations),
    )
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(output, page.encode(errors="replace"))
    except OSError as error:
        raise ConfigError(f"{output}: expected a file that can be written: {error.strerror}") from error


def find_runs(folder: Path) -> list[Path]:
    """Return the folders with results or a journal: the folder itself, else those in it by time. Raises: CheckpointError."""
    if any((folder / name).exists() for name in (RESULTS_FILE, JOURNAL_FILE)):
        return [folder]
    inside = [path for path in folder.glob("*") if any((path / name).exists() for name in (RESULTS_FILE, JOURNAL_FILE))]
    if not inside:
        raise CheckpointError(f"{folder}: expected a run, with {RESULTS_FILE} or {JOURNAL_FILE} in it or in a folder of it")
    return sorted(inside, key=_started)


def load_evaluation(folder: Path) -> Evaluation:
    """Return an evaluation folder's content with its scores. Raises: CheckpointError."""
    stored, results = read_settings(folder), tuple(read_results(folder).values())
    return Evaluation(folder.name, folder, stored["settings"], stored["about"], results, score_tasks(results))


def load_training(folder: Path) -> Training:
    """Return a training folder's journal, a row a step: a step that was done again counts once. Raises: CheckpointError."""
    rows, recipe = read_journal(folder / JOURNAL_FILE), folder / RECIPE_FILE
    try:
        settings = json.loads(recipe.read_bytes()) if recipe.exists() else None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{recipe}: not the recipe of a training run: {error}") from error
    if not rows:
        raise CheckpointError(f"{folder / JOURNAL_FILE}: the run has not finished a step yet")
    return Training(folder.name, tuple(rows), settings)


def load_examples(evaluations: Sequence[Evaluation]) -> list[Example]:
    """Return the samples that have pictures in the last evaluation, with what every evaluation says to them."""
    if not evaluations:
        return []
    last = evaluations[-1]
    shown = [result for result in last.results if truth_picture(last.folder, result.key).exists()]
    return [
        Example(
            task=result.task,
            problem=result.problem,
            truth=result.truth,
            picture=_data_address(truth_picture(last.folder, result.key)),
            is_wide=is_sheet(truth_picture(last.folder, result.key)),
            answers=tuple(
                _example_answer(evaluation, own)
                for evaluation in evaluations
                if (own := evaluation.result(result.sample_id)) is not None and own.grade is not None
            ),
        )
        for result in shown
    ]


def _example_answer(evaluation: Evaluation, result: Result) -> ExampleAnswer:
    try:
        thinking = parse_response(result.response).thinking
    except AnswerError:
        thinking = ""
    try:
        answer = find_answer(result.response)
    except AnswerError:
        answer = result.response
    path = answer_picture(evaluation.folder, result.key)
    return ExampleAnswer(evaluation.name, result, thinking, answer, _data_address(path) if path.exists() else None)


def _data_address(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _started(folder: Path) -> float:
    """Return when a run began: its settings are written once, first."""
    files = [folder / name for name in ("settings.json", RECIPE_FILE, RESULTS_FILE, JOURNAL_FILE)]
    return min(path.stat().st_mtime for path in files if path.exists())


def _template() -> Any:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["line_chart"] = line_chart
    environment.filters["number"] = _number
    environment.filters["percent"] = lambda share: f"{100 * min(max(share, 0.0), 1.0):.1f}%"
    environment.filters["duration"] = in_words
    environment.filters["pretty_json"] = _pretty_json
    return environment.get_template("report.html.jinja")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _pretty_json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
