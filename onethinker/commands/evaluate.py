"""`onethinker evaluate`: a model's answers to many samples, graded, in a folder that a kill cannot harm."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING

from onethinker.errors import ConfigError, EngineError
from onethinker.tasks.task import Profile

if TYPE_CHECKING:
    from onethinker.data.sample import Sample
    from onethinker.evaluation.metrics import Score

HELD_OUT = "test"
"""The split of the synthetic scenes that training never draws from."""


def evaluate(
    *,
    model: str,
    output: Path,
    data: Path | None = None,
    media_root: Path | None = None,
    synthetic: int | None = None,
    synthetic_seed: int = 0,
    limit: int | None = None,
    rewards: Profile = "paper",
    wording: Path | None = None,
    settings: Path | None = None,
    batch_size: int = 8,
    max_new_tokens: int = 4096,
    temperature: float = 0.0,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Ask a model about every sample of a file, or about held-out synthetic scenes, and grade the answers.

    Stopped at any time, the same command goes on where it was. Samples whose media cannot be read have no grade, are
    named at the end (exit 1), and are tried again by the same command. `onethinker report` makes a page of the folder.

    Args:
        model: A Hugging Face id, a model folder, "tiny", or the address of a server such as http://host:8000/v1.
        output: Folder for results.jsonl, settings.json and example pictures.
        data: Samples in the released form (JSON or JSONL).
        media_root: Folder that the paths in the data are relative to; by default the data's own folder.
        synthetic: In place of data: so many held-out synthetic scenes.
        synthetic_seed: Which scenes.
        limit: Only so many samples, the first ones.
        rewards: The reward profile: "paper" or "release".
        wording: TOML file with the words around a question, for weights trained with other ones.
        settings: Model folder whose words and media budget to use, for a model that a server serves.
        batch_size: Samples asked together.
        max_new_tokens: Longest answer, in tokens.
        temperature: 0 gives the most likely answer, more gives variety.
        seed: Seed of the sampling.
        json: Print the scores as one JSON object.
    """
    from onethinker.evaluation.evaluate import evaluate as evaluate_samples
    from onethinker.evaluation.metrics import score_tasks
    from onethinker.models.engine import Sampling
    from onethinker.models.loading import load_engine
    from onethinker.models.wording import Wording

    if (data is None) == (synthetic is None):
        raise ConfigError("give either --data FILE or --synthetic NUMBER")
    for name, number in (("--batch-size", batch_size), ("--synthetic", synthetic), ("--limit", limit)):
        if number is not None and number < 1:
            raise ConfigError(f"{name} must be at least 1, got {number}")
    samples = read_file(data, media_root, limit) if data is not None else held_out_scenes(synthetic or 0, synthetic_seed, limit)
    engine = load_engine(model, wording=Wording.load(wording) if wording is not None else None, settings=settings)
    with progress_bar("asking") as on_progress:
        results = evaluate_samples(
            engine,
            samples,
            output=output,
            profile=rewards,
            sampling=Sampling(max_new_tokens=max_new_tokens, temperature=temperature, seed=seed),
            batch_size=batch_size,
            on_progress=on_progress,
        )
    scores = score_tasks(results)
    if json:
        print(scores_as_json(scores))
    else:
        print_scores(scores)
    failed = [result for result in results if result.grade is None]
    if failed:
        named = "\n".join(f"  {result.sample_id}: {result.error}" for result in failed[:10])
        raise EngineError(f"{len(failed)} of {len(results)} samples could not be asked and have no grade; run again to retry:\n{named}")


def read_file(path: Path, media_root: Path | None, limit: int | None) -> "list[Sample]":
    """Return the samples of a file, the first `limit` of them. Raises: DataError."""
    from onethinker.data.formats import read_samples

    return list(islice(read_samples(path, media_root), limit))


def held_out_scenes(count: int, seed: int, limit: int | None = None) -> "list[Sample]":
    """Return synthetic scenes that no training has seen, all tasks in turn."""
    from onethinker.synthetic import make_sample

    return [make_sample(seed, index, split=HELD_OUT) for index in range(min(count, limit or count))]


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function of (done, total) that moves a bar with the time left, on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)


def scores_as_json(scores: "Sequence[Score]") -> str:
    """Return the scores of all tasks, and the mean of their accuracies, as one JSON object."""
    from onethinker.evaluation.metrics import mean_accuracy

    return dumps({"mean_accuracy": mean_accuracy(scores), "tasks": [asdict(score) for score in scores]})


def print_scores(scores: "Sequence[Score]") -> None:
    """Print a table of all tasks to stdout."""
    from rich.console import Console
    from rich.table import Column, Table

    from onethinker.evaluation.metrics import mean_accuracy

    table = Table(*(Column(name, no_wrap=True) for name in ("task", "samples", "accuracy", "95 %", "reward", "format", "metrics")))
    for score in scores:
        if score.accuracy is None or score.reward is None or score.format is None:
            table.add_row(score.task, str(score.num_samples), f"{score.num_failed} not asked", "", "", "", "")
            continue
        interval = f"{score.accuracy.low:.3f}–{score.accuracy.high:.3f}"
        metrics = "\n".join(f"{name} {value.mean:.3f}" for name, value in score.metrics.items())
        numbers = [f"{value.mean:.3f}" for value in (score.accuracy, score.reward, score.format)]
        table.add_row(score.task, str(score.num_samples), numbers[0], interval, numbers[1], numbers[2], metrics)
    console = Console()
    console.print(table)
    mean = mean_accuracy(scores)
    console.print("no mean accuracy: some samples could not be asked" if mean is None else f"mean accuracy of the tasks {mean:.3f}")
