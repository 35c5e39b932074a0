"""One page, one file: numbers beside the paper's, models compared, training, samples to browse, and how to get the
numbers again.
"""

from base64 import b64encode
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from onethinker.core.durations import in_words
from onethinker.evaluation.benchmarks.base import Benchmark, Metric
from onethinker.evaluation.benchmarks.published import BASE_MODEL, PAPER_MODEL, published, published_values
from onethinker.evaluation.benchmarks.registry import all_benchmarks
from onethinker.evaluation.benchmarks.table import BENCHMARKS
from onethinker.evaluation.comparison import compare_to_first
from onethinker.evaluation.masking import newest_masks
from onethinker.evaluation.parts import MAX_NAMED
from onethinker.evaluation.runs import Loaded, Run, Training
from onethinker.evaluation.scoring import BenchmarkRow
from onethinker.report.gallery import RIGHT, Gallery, make_gallery
from onethinker.report.training_view import alarm_spans, chart_groups, sampled_answers, validation_table
from onethinker.storage.atomic import write_atomically, writing
from onethinker.storage.strict_json import to_json

MAX_MB = 20.0
"""How large a page becomes at most, about."""
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class PublishedRow:
    """One metric of one benchmark: what each run has, None where it was not run, and what others printed, in percent.

    `best` is the best of the other models in the paper's tables, with its name; `uncertain` are the models whose column
    in the table was inferred, `third_party` what others measured of a model.
    """

    benchmark: Benchmark
    metric: Metric
    ours: tuple[BenchmarkRow | None, ...]
    paper: float | None
    base: float | None
    best: tuple[str, float] | None
    third_party: dict[str, list[float]]
    uncertain: frozenset[str]

    @property
    def is_measured(self) -> bool:
        """Whether any run has the benchmark."""
        return any(self.ours)


def write_report(
    output: Path,
    loaded: Loaded,
    *,
    title: str = "OneThinker report",
    max_mb: float = MAX_MB,
    reload_s: int | None = None,
) -> None:
    """Write one HTML page, complete in itself, about evaluations and trainings, in the given order.

    Samples that do not fit into `max_mb` are left out, and the page shows how many. A browser loads it again every
    `reload_s` seconds, where it is of a run that goes on.

    Raises: CheckpointError: a run's masks are damaged. StorageError: `output` cannot be written.
    """
    page = make_page(loaded, title=title, max_mb=max_mb, reload_s=reload_s)
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(output, page.encode(errors="replace"))


def make_page(loaded: Loaded, *, title: str, max_mb: float = MAX_MB, reload_s: int | None = None) -> str:
    """Return the HTML of a page about runs. Raises: CheckpointError: a run's masks are damaged."""
    runs = loaded.runs
    plain = [run for run in runs if not run.of_benchmarks]
    measured = [run for run in runs if run.of_benchmarks]
    script = (_HERE / "report.js").read_text(encoding="utf-8")
    return str(
        _template().render(
            title=title,
            runs=runs,
            indices={run.name: index for index, run in enumerate(runs)},
            plain=plain,
            measured=measured,
            tasks=_tasks_of(plain),
            published=_by_group(published_rows(measured)),
            benchmarks=BENCHMARKS,
            models=(PAPER_MODEL, BASE_MODEL),
            comparisons=compare_to_first(runs),
            trainings=loaded.trainings,
            answers={training.name: _answers(training, max_mb) for training in loaded.trainings},
            reload_s=reload_s,
            gallery=make_gallery(runs, max_bytes=round(max_mb * 1e6)) if runs else Gallery((), 0),
            right=RIGHT,
            notes=notes_on(measured),
            segmenters={run.name: segmenters_of(run) for run in runs},
            max_mb=max_mb,
            max_named=MAX_NAMED,
            script=Markup(script),  # noqa: S704 (a file of ours)
            script_digest=b64encode(sha256(script.encode()).digest()).decode(),
        )
    )


def _answers(training: Training, max_mb: float) -> tuple[str, Markup] | None:
    """Return heading and content of a run's last page of sampled answers."""
    found = sampled_answers(training.folder, round(max_mb * 1e6 / 2))
    return found and (found[0], Markup(found[1]))  # noqa: S704 (a page of ours)


def _tasks_of(runs: Sequence[Run]) -> dict[str, int]:
    """Return the tasks of runs that are of no benchmark, each with its largest number of samples."""
    counts: dict[str, int] = {}
    for score in (score for run in runs for score in run.evaluations[0].scores):
        counts[score.task] = max(score.num_samples, counts.get(score.task, 0))
    return counts


def _by_group(rows: Sequence[PublishedRow]) -> list[tuple[str, list[PublishedRow]]]:
    return [(group, list(own)) for group, own in groupby(rows, lambda row: row.benchmark.group)]


def published_rows(runs: Sequence[Run]) -> list[PublishedRow]:
    """Return a row for every metric of every benchmark of the paper, and of others that were run, in the order of the
    tables.
    """
    rows = []
    for benchmark in all_benchmarks():
        for metric in benchmark.metrics:
            ours = tuple(run.row(benchmark.name, metric.name) for run in runs)
            if any(ours) or published_values(benchmark, metric):
                rows.append(_published_row(benchmark, metric, ours))
    return rows


def _published_row(benchmark: Benchmark, metric: Metric, ours: tuple[BenchmarkRow | None, ...]) -> PublishedRow:
    known = published_values(benchmark, metric)
    others = {model: known[model] for model in known if model != BASE_MODEL and not model.startswith("OneThinker")}
    printed = [row for row in published() if (row.benchmark, row.metric) == (benchmark.name, metric.published)]
    third_party: dict[str, list[float]] = defaultdict(list)
    for row in printed:
        if row.source.startswith("third party"):
            third_party[row.model].append(row.value)
    return PublishedRow(
        benchmark=benchmark,
        metric=metric,
        ours=ours,
        paper=known.get(PAPER_MODEL),
        base=known.get(BASE_MODEL),
        best=max(others.items(), key=lambda other: other[1], default=None),
        third_party=dict(third_party),
        uncertain=frozenset(row.model for row in printed if not row.certain),
    )


def notes_on(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Return what must be known of the numbers of benchmarks that were run, each note with the benchmarks that it is
    about.
    """
    names: dict[str, list[str]] = defaultdict(list)
    for benchmark in dict.fromkeys(evaluation.benchmark for run in runs for evaluation in run.evaluations):
        if benchmark is not None and benchmark.note:
            names[benchmark.note].append(benchmark.name)
    return names


def segmenters_of(run: Run) -> dict[str, bool]:
    """Return what made the masks of a run's answers, and whether such masks may stand beside published numbers."""
    return {
        made.segmenter: made.for_benchmarks
        for evaluation in run.evaluations
        for made in newest_masks(evaluation.folder)
    }


def _template() -> Any:
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["chart_groups"] = chart_groups
    environment.globals["alarm_spans"] = alarm_spans
    environment.globals["validation_table"] = validation_table
    environment.filters["number"] = _number
    environment.filters["p_value"] = _p_value
    environment.filters["percent"] = lambda fraction: f"{100 * min(max(fraction, 0.0), 1.0):.1f}%"
    environment.filters["points"] = lambda fraction: f"{100 * fraction:.1f}"
    environment.filters["signed"] = lambda value: f"{value:+.3f}".replace("-", "−")
    environment.filters["duration"] = in_words
    environment.filters["pretty_json"] = _pretty_json
    environment.filters["digest"] = lambda value: sha256(to_json(value, sort_keys=True).encode()).hexdigest()[:12]
    return environment.get_template("report.html.jinja")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _p_value(value: float) -> str:
    """Return a p-value as papers print it.

    >>> _p_value(0.0321), _p_value(0.00002)
    ('0.032', '< 0.001')
    """
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _pretty_json(value: object) -> str:
    return to_json(value, indent=2, ensure_ascii=False)
