"""A report's numbers for other programs: CSV for tables, JSON with everything, and the metadata of a Hugging Face model
card.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from onethinker.evaluation.benchmarks.published import BASE_MODEL, PAPER_MODEL
from onethinker.evaluation.comparison import compare_to_first
from onethinker.evaluation.metrics import Estimate
from onethinker.evaluation.runs import Evaluation, Loaded, Run
from onethinker.report.gallery import outcome_of
from onethinker.storage.atomic import write_atomically, writing
from onethinker.storage.strict_json import to_json

PIPELINE = "image-text-to-text"
"""What the hub calls the task of such models."""
SAMPLES = "samples"
"""What the hub's metadata call samples that are of no benchmark."""

Record = dict[str, Any]


def write_exports(folder: Path, loaded: Loaded) -> list[Path]:
    """Write scores.csv, samples.csv, report.json and a model-index file for each run with numbers; return the paths.

    Raises: StorageError: `folder` cannot be written to.
    """
    scores = [record for run in loaded.runs for record in score_records(run)]
    samples = [record for run in loaded.runs for record in sample_records(run)]
    contents = {
        "scores.csv": as_csv(scores),
        "samples.csv": as_csv(samples),
        "report.json": to_json(report_record(loaded), indent=2) + "\n",
    }
    contents |= {f"{_file_name(run.name)}.model-index.yaml": card for run in loaded.runs if (card := model_index(run))}
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            write_atomically(folder / name, content.encode(errors="replace"))
    return [folder / name for name in contents]


def score_records(run: Run) -> list[Record]:
    """Return a record for every number of a run: fractions with their 95 % interval, and the published ones, in
    percent.

    A number that could not be measured is None, and "missing" names the reason.
    """
    return [record for evaluation in run.evaluations for record in _score_records(run, evaluation)]


def sample_records(run: Run) -> list[Record]:
    """Return a record for every sample of a run, with its answer, its grade and reasons, and what its media lack."""
    return [
        {
            "run": run.name,
            "set": _set_name(evaluation),
            "task": result.task,
            "sample_id": result.sample_id,
            "problem": result.problem,
            "options": " | ".join(result.options),
            "truth": result.truth,
            "response": result.response,
            "outcome": outcome_of(result),
            "accuracy": result.grade.accuracy if result.grade else None,
            "format": result.grade.format if result.grade else None,
            "reward": result.grade.reward if result.grade else None,
            "reasons": "; ".join(result.grade.reasons) if result.grade else result.error,
            "media_problems": "; ".join(result.media_problems),
        }
        for evaluation in run.evaluations
        for result in evaluation.results
    ]


def report_record(loaded: Loaded) -> Record:
    """Return all of a report but its pictures: settings, numbers, comparisons of later runs with the first one, and
    samples.
    """
    return {
        "runs": [
            {
                "name": run.name,
                "settings": run.settings,
                "evaluations": [
                    {
                        "set": _set_name(evaluation),
                        "about": evaluation.about,
                        "samples_digest": evaluation.samples_digest,
                        "missing_rows": evaluation.missing_rows,
                    }
                    for evaluation in run.evaluations
                ],
                "scores": score_records(run),
                "samples": sample_records(run),
            }
            for run in loaded.runs
        ],
        "comparisons": [
            {
                "before": compared.before,
                "after": compared.after,
                "rows": [
                    {**asdict(row), "difference": row.difference, "verdict": row.verdict} for row in compared.rows
                ],
            }
            for compared in compare_to_first(loaded.runs)
        ],
        "trainings": [
            {"name": run.name, "stage": run.stage, "seconds": run.seconds, "recipe": run.recipe}
            for run in loaded.trainings
        ],
    }


def model_index(run: Run) -> str:
    """Return the metadata that the hub reads at the top of a model's README.md, between its lines of dashes; "" without
    a number.

    The values are percent, as the hub shows them.
    """
    from huggingface_hub import EvalResult, ModelCardData

    numbers = [
        EvalResult(
            task_type=PIPELINE,
            task_name=record["task"],
            dataset_type=_file_name(record["set"]) if record["is_benchmark"] else SAMPLES,
            dataset_name=record["set"],
            dataset_config=record["task"],
            dataset_args={"num_samples": record["samples"]},
            metric_type=record["metric"],
            metric_name=f"{record['metric']} (percent)",
            metric_value=round(100 * record["mean"], 2),
        )
        for record in score_records(run)
        if record["mean"] is not None and record["metric"] not in ("reward", "format")
    ]
    model = run.settings["model"]
    name = model if model.count("/") == 1 and not Path(model).exists() else run.name
    return ModelCardData(model_name=name, eval_results=numbers).to_yaml() + "\n" if numbers else ""


def as_csv(records: Sequence[Record]) -> str:
    r"""Return records with the same fields as CSV with a header; None is an empty cell.

    A text that a spreadsheet would take for a formula gets an apostrophe in front.

    >>> as_csv([{"name": "=1+1", "mean": None}])
    "name,mean\r\n'=1+1,\r\n"
    """
    file = io.StringIO()
    writer = csv.DictWriter(file, list(records[0]) if records else [])
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in record.items()} for record in records)
    return file.getvalue()


def _score_records(run: Run, evaluation: Evaluation) -> list[Record]:
    known = {
        "run": run.name,
        "model": run.settings["model"],
        "set": _set_name(evaluation),
        "is_benchmark": evaluation.benchmark is not None,
        "missing_rows": len(evaluation.missing_rows),
    }
    records = _benchmark_numbers(evaluation) if evaluation.benchmark else _task_numbers(evaluation)
    return [known | record for record in records]


def _benchmark_numbers(evaluation: Evaluation) -> Iterator[Record]:
    tasks = " and ".join(score.task for score in evaluation.scores)
    for row in evaluation.rows:
        yield _number(tasks, len(evaluation.results), row.metric, row.estimate, row.missing, row.published)


def _task_numbers(evaluation: Evaluation) -> Iterator[Record]:
    for score in evaluation.scores:
        values = {"accuracy": score.accuracy, "reward": score.reward, "format": score.format, **score.metrics}
        missing = f"{score.num_failed} of {score.num_samples} samples not asked"
        for name, value in values.items():
            yield _number(score.task, score.num_samples, name, value, "" if value else missing, {})


def _number(
    task: str, samples: int, metric: str, value: Estimate | None, missing: str, published: Mapping[str, float]
) -> Record:
    return {
        "task": task,
        "samples": samples,
        "metric": metric,
        "mean": value.mean if value else None,
        "low": value.low if value else None,
        "high": value.high if value else None,
        "missing": missing,
        f"{PAPER_MODEL} (paper, percent)": published.get(PAPER_MODEL),
        f"{BASE_MODEL} (paper, percent)": published.get(BASE_MODEL),
    }


def _set_name(evaluation: Evaluation) -> str:
    return evaluation.benchmark.name if evaluation.benchmark else evaluation.name


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _file_name(name: str) -> str:
    """Return a name of letters, digits, dots and dashes only.

    >>> _file_name("a/scores")
    'a-scores'
    """
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "run"
