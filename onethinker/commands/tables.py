"""Numbers on stdout, as tables or as JSON: scores of tasks, rows of benchmarks, and what data are there."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

from onethinker.evaluation.benchmarks.data import DATA_FOLDER, examine
from onethinker.evaluation.benchmarks.media_files import unopened
from onethinker.evaluation.benchmarks.published import BASE_MODEL, PAPER_MODEL
from onethinker.evaluation.benchmarks.registry import all_benchmarks
from onethinker.evaluation.comparison import RunComparison
from onethinker.evaluation.masking import newest_masks
from onethinker.evaluation.metrics import Estimate, Score, mean_accuracy, score_tasks
from onethinker.evaluation.parts import MAX_NAMED
from onethinker.evaluation.results import Result, missing_rows
from onethinker.evaluation.runner import PartResults
from onethinker.evaluation.scoring import BenchmarkRow, score_benchmark, unparsable
from onethinker.storage.strict_json import to_json


def print_results(done: Sequence[PartResults], *, as_json: bool, note: Callable[[str], None]) -> None:
    """Print the numbers, those of benchmarks beside the published ones; `note` gets what a reader of them must know."""
    unread = {own.part.benchmark.name if own.part.benchmark else "": unparsable(own.results) for own in done}
    damaged = {own.part.folder.name: _damaged(own.results) for own in done}
    missing = _missing_rows(done)
    rows = [row for own in done if own.part.benchmark for row in score_benchmark(own.part.benchmark, own.results)]
    if as_json:
        print(_rows_json(rows, unread, damaged, missing) if rows else _scores_json(done[0].results, damaged))
    elif rows:
        print_rows(rows, missing)
    else:
        print_scores(score_tasks(done[0].results))
    for line in _doubts(done, unread, damaged):
        note(line)


def _rows_json(
    rows: Sequence[BenchmarkRow],
    unread: Mapping[str, Sequence[str]],
    damaged: Mapping[str, Mapping[str, Sequence[str]]],
    missing: Mapping[str, Sequence[str]],
) -> str:
    record = {
        "benchmarks": [asdict(row) for row in rows],
        "unparsable": unread,
        "media_problems": damaged,
        "missing_rows": {name: {"count": len(own), "first": own[:MAX_NAMED]} for name, own in missing.items()},
    }
    return to_json(record, ensure_ascii=False)


def _scores_json(results: Sequence[Result], damaged: Mapping[str, Mapping[str, Sequence[str]]]) -> str:
    scores = score_tasks(results)
    record = {
        "mean_accuracy": mean_accuracy(scores),
        "tasks": [asdict(score) for score in scores],
        "media_problems": damaged,
    }
    return to_json(record)


def _missing_rows(done: Sequence[PartResults]) -> dict[str, tuple[str, ...]]:
    """Return the rows that are in no number of a benchmark, by its name; without those that miss none."""
    found = {
        own.part.benchmark.name: missing_rows(own.part.unusable, own.results) for own in done if own.part.benchmark
    }
    return {name: rows for name, rows in found.items() if rows}


def _doubts(
    done: Sequence[PartResults], unread: Mapping[str, Sequence[str]], damaged: Mapping[str, Mapping[str, Sequence[str]]]
) -> Iterator[str]:
    """Yield what a reader of the numbers must know: answers that could not be read, damaged media, masks that are not
    for benchmarks.
    """
    for name, ids in unread.items():
        if ids:
            yield f"{name}{': ' if name else ''}{len(ids)} answers could not be read and count as 0: {_listed(ids)}"
    for name, problems in damaged.items():
        if problems:
            some = "; ".join(f"{key}: {', '.join(own)}" for key, own in list(problems.items())[:MAX_NAMED])
            yield f"{name}: media of {len(problems)} samples are damaged: {some}"
    for name in _segmenters_for_trials(done):
        yield f"masks were made by {name}: their numbers are for experiments, not for comparison with the paper"


def _damaged(results: Sequence[Result]) -> dict[str, Sequence[str]]:
    """Return what the media of samples lack, by sample."""
    return {result.sample_id: result.media_problems for result in results if result.media_problems}


def _listed(ids: Sequence[str]) -> str:
    return ", ".join(ids[:MAX_NAMED]) + (", …" if len(ids) > MAX_NAMED else "")


def _segmenters_for_trials(done: Sequence[PartResults]) -> list[str]:
    """Return the names of the segmenters whose masks are in the numbers, but are not for benchmarks."""
    newest = [made for own in done for made in newest_masks(own.part.folder)[-1:]]
    return sorted({made.segmenter for made in newest if not made.for_benchmarks})


def print_rows(rows: Sequence[BenchmarkRow], missing: Mapping[str, Sequence[str]]) -> None:
    """Print the numbers of benchmarks, in percent, beside the published ones, and below them the rows that are in no
    number.
    """
    table = Table("benchmark", "metric", "here", "95 %", f"{PAPER_MODEL} (paper)", f"{BASE_MODEL} (paper)")
    for row in rows:
        found, ours = row.estimate, (row.missing, "")
        if found:
            ours = f"{100 * found.mean:.1f}", f"{100 * found.low:.1f}–{100 * found.high:.1f}"
        printed = [row.published.get(model) for model in (PAPER_MODEL, BASE_MODEL)]
        table.add_row(row.benchmark, row.metric, *ours, *("" if value is None else f"{value:.1f}" for value in printed))
    console = Console()
    console.print(table)
    for name, lines in missing.items():
        some = "; ".join(lines[:MAX_NAMED]) + ("; …" if lines[MAX_NAMED:] else "")
        console.print(f"{name}: {len(lines)} rows are missing from its numbers: {some}", markup=False, soft_wrap=True)


def print_scores(scores: Sequence[Score]) -> None:
    """Print a table of all tasks: a row for each measure, so that it fits a terminal of 80 columns."""
    numbers = [Column(name, no_wrap=True) for name in ("measure", "mean (95 %)")]
    table = Table(Column("task"), Column("n", no_wrap=True, justify="right"), *numbers, box=SIMPLE_HEAD)
    for score in scores:
        table.add_row(score.task, str(score.num_samples), *_measures(score))
    console, mean = Console(), mean_accuracy(scores)
    console.print(table)
    console.print(
        "no mean accuracy, because some samples could not be asked"
        if mean is None
        else f"mean accuracy over tasks {mean:.3f}"
    )


def _measures(score: Score) -> tuple[str, str]:
    """Return the names of a task's measures and their values, a line each."""
    if score.accuracy is None or score.format is None:
        return "", f"{score.num_failed} not asked"
    measures = {"accuracy": score.accuracy, "format": score.format, **score.metrics}
    return "\n".join(measures), "\n".join(map(in_words, measures.values()))


def print_comparison(compared: RunComparison) -> None:
    """Print a table of what is different in the later of two runs."""
    numbers = [Column(name, no_wrap=True, justify="right") for name in ("difference (95 %)", "")]
    runs = [Column(name, overflow="fold", max_width=8) for name in (compared.before, compared.after)]
    table = Table("task", "n", *runs, *numbers, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for row in compared.rows:
        what = row.what if row.metric == "accuracy" else f"{row.what}, {row.metric}"
        change = f"{row.difference:+.3f} ({row.low:+.2f} to {row.high:+.2f})"
        verdict = row.verdict if row.verdict in ("better", "worse") else "–"
        table.add_row(what, str(row.num_pairs), f"{row.before:.3f}", f"{row.after:.3f}", change, verdict)
    console = Console()
    console.print(table)
    console.print("–: no significant difference, or too few answers differ to tell")


def in_words(value: Estimate) -> str:
    """Return a mean with its interval.

    >>> in_words(Estimate(0.5, 0.25, 0.75))
    '0.500 (0.25–0.75)'
    """
    return f"{value.mean:.3f} ({value.low:.2f}–{value.high:.2f})"


def print_benchmarks(data: Path | None, media_root: Path | None, *, as_json: bool) -> None:
    """Print all benchmarks with what is measured and published, which of their data are in a folder, and what of these
    does not look as expected.
    """
    root = data or DATA_FOLDER
    records = [examine(benchmark, root, media_root) for benchmark in all_benchmarks()]
    archives = unopened(root)
    if as_json:
        print(to_json({"data": str(root), "benchmarks": records, "unopened": archives}, ensure_ascii=False))
        return
    table = Table(
        "benchmark", f"metrics: {PAPER_MODEL} / base", Column(f"data in {root}", overflow="fold"), show_lines=True
    )
    for record in records:
        table.add_row(*_benchmark_cells(record))
    console = Console()
    console.print(table)
    for command in archives:
        console.print(f"an archive that is not unpacked yet: {command}", markup=False, soft_wrap=True)
    found = sum(record["found"] for record in records)
    console.print(
        f"data found for {found} of {len(records)} benchmarks; --benchmark takes names, or paper for all of the paper's"
        " whose data were found, or all"
    )


def _benchmark_cells(record: dict[str, Any]) -> tuple[str, str, str]:
    """Return a benchmark with its size, its metrics with the published numbers, and its files, as cells of a table."""
    values = [record["published"].get(name, {}) for name in record["metrics"]]
    known = [f": {own[PAPER_MODEL]:.1f} / {own[BASE_MODEL]:.1f}" if own else "" for own in values]
    metrics = "\n".join(name + numbers for name, numbers in zip(record["metrics"], known, strict=True))
    missing = "\nor ".join(", ".join(names) for names in record["missing"])
    files = (
        "\n".join(("found: " + ", ".join(record["files"]), *_state(record)))
        if record["found"]
        else f"missing: {missing}"
    )
    samples = f"{record['num_samples']} samples" if record["num_samples"] else "number of samples unknown"
    return f"{record['name']}\n{record['group']}\n{samples}", metrics, files


def _state(record: dict[str, Any]) -> list[str]:
    """Return in lines what is in a benchmark's files, and what does not look as expected."""
    if record["rows"] is None:
        return [f"cannot be read: {record['error']}"]
    expected = "" if record["expected"] in (None, record["rows"]) else f", {record['expected']} are expected"
    lines = [f"{record['rows']} samples{expected}"]
    for name, what in (("unusable", "rows cannot be used"), ("odd", "rows are odd, and were read with a correction")):
        if record[name]:
            lines.append(f"{len(record[name])} {what}: {record[name][0]}")
    if count := record["samples_without_media"]:
        lines.append(f"the media of {count} samples are missing: {record['missing_media'][0]}")
    return lines
