"""`onethinker evaluate`: a model's answers to many samples, graded, in a folder that a kill cannot harm."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from onethinker.commands.options import Flags
from onethinker.core.errors import EngineError
from onethinker.evaluation.config import EvaluationConfig
from onethinker.storage.folders import REPORT_FILE

MAX_NAMED = 10
"""Samples without a grade that an error names at most."""


def defaults_in(arguments: Sequence[str]) -> dict[str, EvaluationConfig]:
    """Return what the file of a command line's --config sets, which its flags then replace. Raises: ConfigError."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", type=Path)
    path = parser.parse_known_args(arguments)[0].config
    return {} if path is None else {"options": EvaluationConfig.load(path)}


def evaluate(
    options: Flags[EvaluationConfig], *, config: Path | None = None, list: bool = False, json: bool = False
) -> None:
    """Ask a model about every sample of a benchmark, a file or held-out synthetic scenes, and grade the answers.

    If the command is stopped, running it again resumes; --stage repeats a single stage. Samples whose media cannot be
    read have no grade, are named at the end (exit 1), and are tried again by the next run. `onethinker report` compares
    several folders on a page.

    Args:
        options: What is evaluated, and how.
        config: TOML file with these options; flags override it. Keys: plugins (a list), output, stage, shard, and the
            tables samples, asking and grading, with underscores in the names.
        list: List every benchmark without evaluating: its metrics and published numbers, which of its data are found,
            the number of samples found and expected, odd rows and missing media.
        json: Print the scores, or the list, as one JSON object.
    """
    from onethinker.commands.console import StderrListener
    from onethinker.commands.tables import print_benchmarks, print_results

    if list:
        print_benchmarks(options.samples.data, options.samples.media_root, as_json=json)
        return
    from onethinker.evaluation.runner import run_evaluation
    from onethinker.evaluation.runs import load_runs
    from onethinker.report.page import write_report

    listener = StderrListener()
    done = run_evaluation(options, listener)
    if options.draws and options.output is not None:
        page = options.output / REPORT_FILE
        write_report(page, load_runs([own.part.folder for own in done]))
        listener.note(f"wrote {page}: open it in a browser")
    if options.stage != "answer":
        print_results(done, as_json=json, note=listener.note)
    failed = [failure for own in done for failure in own.failed]
    if failed:
        count = sum(len(own.part.samples) for own in done)
        named = "\n".join(f"  {name}: {error}" for name, error in failed[:MAX_NAMED])
        raise EngineError(
            f"{len(failed)} of {count} samples have no grade; run the same command again to retry them:\n{named}"
        )
