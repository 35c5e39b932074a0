"""What folders of evaluations and trainings hold, and which evaluations are those of one model with one set of
settings.
"""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

from onethinker.core.errors import CheckpointError
from onethinker.evaluation.benchmarks.base import Benchmark
from onethinker.evaluation.benchmarks.registry import all_benchmarks
from onethinker.evaluation.metrics import Score, mean_accuracy, score_tasks
from onethinker.evaluation.results import Result, missing_rows, read_results, read_settings, read_unusable
from onethinker.evaluation.scoring import BenchmarkRow, score_benchmark, unparsable
from onethinker.storage.folders import JOURNAL_FILE, RECIPE_FILE, RESULTS_FILE, SETTINGS_FILE
from onethinker.storage.strict_json import to_json
from onethinker.tasks import find_task
from onethinker.training.state.run_folder import RunFolder


@dataclass(frozen=True)
class Evaluation:
    """A folder that `onethinker evaluate` wrote; `benchmark` is the one that its name and its tasks say it is."""

    name: str
    folder: Path
    settings: dict[str, Any]
    about: dict[str, Any]
    results: tuple[Result, ...]
    scores: tuple[Score, ...]
    benchmark: Benchmark | None = None
    unusable: tuple[str, ...] = ()

    @property
    def accuracy(self) -> float | None:
        """The mean of the tasks' accuracies, None while samples are without an answer."""
        return mean_accuracy(self.scores)

    @cached_property
    def rows(self) -> tuple[BenchmarkRow, ...]:
        """The numbers of its benchmark beside the published ones; none where it is of no benchmark."""
        return score_benchmark(self.benchmark, self.results) if self.benchmark else ()

    @property
    def missing_rows(self) -> tuple[str, ...]:
        """The rows that are in none of its numbers, each with the reason."""
        return missing_rows(self.unusable, self.results)

    @cached_property
    def samples_digest(self) -> str:
        """A digest of the questions and truths that were asked, in any order."""
        asked = sorted([result.sample_id, result.task, result.problem, result.truth] for result in self.results)
        return blake2b(to_json(asked).encode(), digest_size=8).hexdigest()

    def score(self, task: str) -> Score | None:
        """Return the score of a task, None if it was not asked."""
        return next((score for score in self.scores if score.task == task), None)

    def unread(self, task: str) -> int:
        """Return how many answers of a task could not be read."""
        return len(unparsable([result for result in self.results if result.task == task]))


@dataclass(frozen=True)
class Run:
    """Evaluations of one model with one set of settings: a folder of samples, or all benchmarks that lie in a
    folder.
    """

    name: str
    evaluations: tuple[Evaluation, ...]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that all its evaluations share."""
        return self.evaluations[0].settings

    @property
    def of_benchmarks(self) -> bool:
        """Whether its numbers stand beside the paper's."""
        return self.evaluations[0].benchmark is not None

    @property
    def incomplete(self) -> tuple[Evaluation, ...]:
        """The evaluations with another number of samples than their benchmark is known to have."""
        known = [(each, each.benchmark.known_sizes) for each in self.evaluations if each.benchmark]
        return tuple(each for each, sizes in known if sizes and len(each.results) not in sizes)

    @property
    def commands(self) -> tuple[str, ...]:
        """The command lines that its numbers are from, each with the folder where it was given; none where it was
        called from Python.
        """
        abouts = [evaluation.about for evaluation in self.evaluations]
        lines = [f"cd {shlex.quote(about['folder'])}\n{about['command']}" for about in abouts if about.get("command")]
        return tuple(dict.fromkeys(lines))

    def row(self, benchmark: str, metric: str) -> BenchmarkRow | None:
        """Return its number for a benchmark's metric, None where the benchmark was not run."""
        rows = [row for evaluation in self.evaluations for row in evaluation.rows]
        return next((row for row in rows if (row.benchmark, row.metric) == (benchmark, metric)), None)


@dataclass(frozen=True)
class Training:
    """A folder that `onethinker sft` or `onethinker rl` wrote: its journal and, if it is there, its recipe.

    `validations` are the journal's rows of them, `folder` is where the rest lies.
    """

    name: str
    rows: tuple[dict[str, Any], ...]
    recipe: dict[str, Any] | None
    validations: tuple[dict[str, Any], ...] = ()
    folder: Path | None = None

    @property
    def stage(self) -> str:
        """`sft` or `rl`."""
        return str(self.rows[-1].get("stage", "training"))

    @property
    def seconds(self) -> float:
        """The time that its steps took together."""
        return float(sum(row.get("seconds", 0.0) for row in self.rows))

    @property
    def tokens_a_second(self) -> float:
        """Tokens that the updates have read, by the time of all steps; 0 where the journal does not have them."""
        tokens = sum(row.get("tokens_by_phase", {}).get("update", 0) for row in self.rows)
        return float(tokens / self.seconds) if self.seconds else 0.0

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that its journal has rewards for, in alphabetical order."""
        return tuple(sorted({task for row in self.rows for task in row.get("tasks", {})}))

    def curve(self, name: str, task: str | None = None) -> list[tuple[float, float]]:
        """Return (step, value) of a column of the journal, or of a task's."""
        rows = [(row["step"], row if task is None else row.get("tasks", {}).get(task, {})) for row in self.rows]
        return [(step, values[name]) for step, values in rows if values.get(name) is not None]


@dataclass(frozen=True)
class Loaded:
    """All that some folders hold, in the order in which they were named."""

    runs: tuple[Run, ...]
    trainings: tuple[Training, ...]


def load_runs(folders: Sequence[Path]) -> Loaded:
    """Return the evaluations and trainings in folders; one that is neither is searched one level down, by time.

    Raises: CheckpointError: a folder without any run, or with a damaged one.
    """
    found = list(dict.fromkeys(inner for folder in folders for inner in find_runs(folder)))
    evaluations = [load_evaluation(folder) for folder in found if (folder / RESULTS_FILE).exists()]
    trainings = [load_training(folder) for folder in found if (folder / JOURNAL_FILE).exists()]
    validated = [run for training in trainings for run in load_validations(training)]
    return Loaded((*_runs(evaluations), *validated), tuple(trainings))


def find_runs(folder: Path) -> list[Path]:
    """Return the folders with results or a journal: the folder itself, else those in it by time. Raises:
    CheckpointError.
    """
    if any((folder / name).exists() for name in (RESULTS_FILE, JOURNAL_FILE)):
        return [folder]
    inside = [path for path in folder.glob("*") if any((path / name).exists() for name in (RESULTS_FILE, JOURNAL_FILE))]
    if not inside:
        raise CheckpointError(
            f"{folder}: not a run: there is no {RESULTS_FILE} or {JOURNAL_FILE} in it, nor in a folder directly inside"
            " it"
        )
    return sorted(inside, key=_started)


def load_evaluation(folder: Path) -> Evaluation:
    """Return an evaluation folder's content with its scores. Raises: CheckpointError."""
    stored, results = read_settings(folder), tuple(read_results(folder).values())
    benchmark = _benchmark_of(folder.name, results)
    return Evaluation(
        folder.name,
        folder,
        stored["settings"],
        stored["about"],
        results,
        score_tasks(results),
        benchmark,
        read_unusable(folder),
    )


def load_training(folder: Path) -> Training:
    """Return a training folder's journal, a row a step: a step that was done again counts once. Raises:
    CheckpointError.
    """
    run = RunFolder(folder)
    rows = run.rows()
    if not rows:
        raise CheckpointError(f"{run.journal}: the run has not finished a step yet")
    return Training(folder.resolve().name, tuple(rows), run.recipe(), tuple(run.validations()), folder)


def load_validations(training: Training) -> tuple[Run, ...]:
    """Return the first and the last validation of a run as evaluations, so far as their folders are there. Raises:
    CheckpointError.
    """
    assert training.folder is not None
    steps = dict.fromkeys(int(row["step"]) for row in training.validations[:1] + training.validations[-1:])
    folders = {step: RunFolder(training.folder).validation(step) for step in steps}
    return tuple(
        Run(f"{training.name}, step {step}", (load_evaluation(folder),))
        for step, folder in folders.items()
        if (folder / RESULTS_FILE).exists()
    )


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """Return a name for every folder: its own, with as many of those above it as tell all apart.

    >>> distinct_names([Path("a/scores"), Path("b/scores")])
    ['a/scores', 'b/scores']
    """
    parts = [folder.parts for folder in folders]
    for depth in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(own[-depth:]) for own in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{folder} ({index})" for index, folder in enumerate(folders, 1)]


def _runs(evaluations: Iterable[Evaluation]) -> tuple[Run, ...]:
    """Return the runs: benchmarks that lie side by side and share their settings are one."""
    groups: dict[tuple[Path, str], list[Evaluation]] = {}
    for evaluation in evaluations:
        settings = to_json(evaluation.settings, sort_keys=True)
        where = evaluation.folder.parent if evaluation.benchmark else evaluation.folder
        groups.setdefault((where, settings), []).append(evaluation)
    names = distinct_names([where.resolve() for where, _ in groups])
    return tuple(Run(name, tuple(own)) for name, own in zip(names, groups.values(), strict=True))


def _benchmark_of(name: str, results: Sequence[Result]) -> Benchmark | None:
    for benchmark in all_benchmarks():
        tasks = {find_task(task, benchmark.data_type).key for task in benchmark.tasks}
        if benchmark.key == name and {result.task for result in results} <= tasks:
            return benchmark
    return None


def _started(folder: Path) -> float:
    """Return when a run began: its settings are written once, first."""
    files = [folder / name for name in (SETTINGS_FILE, RECIPE_FILE, RESULTS_FILE, JOURNAL_FILE)]
    return min(path.stat().st_mtime for path in files if path.exists())
