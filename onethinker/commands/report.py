"""`onethinker report`: one HTML page about runs, and the same numbers for other programs."""

import sys
from pathlib import Path
from typing import Annotated

import tyro

from onethinker.storage.folders import REPORT_FILE


def report(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional],
    *,
    output: Path = Path(REPORT_FILE),
    title: str = "OneThinker report",
    max_mb: float = 20.0,
    export: Path | None = None,
) -> None:
    """Write one self-contained HTML page about training and evaluation runs, in the given order.

    Numbers are shown next to the paper's, later runs are compared with the first one, and samples can be browsed.

    Args:
        runs: Folders of `onethinker evaluate`, `sft` or `rl`, or a folder that contains some.
        output: The HTML page to write.
        title: The title of the page.
        max_mb: Approximate maximum size of the page; samples that do not fit are left out, and the page says how many.
        export: Folder for the same numbers as scores.csv, samples.csv (every sample), report.json, and per run a
            NAME.model-index.yaml to paste at the top of its model card.
    """
    from onethinker.core.errors import ConfigError
    from onethinker.evaluation.runs import load_runs
    from onethinker.report.exports import write_exports
    from onethinker.report.page import write_report
    from onethinker.storage.atomic import check_file, check_writable

    if not runs:
        raise ConfigError("give at least one run folder")
    if not 0 < max_mb < float("inf"):
        raise ConfigError(f"--max-mb must be above 0, got {max_mb:g}")
    check_file(output, (".html", ".htm"), flag="--output")
    if export is not None:
        check_writable(export, "folder", flag="--export")
    loaded = load_runs(runs)
    write_report(output, loaded, title=title, max_mb=max_mb)
    print(output)
    print(f"wrote {output}, {output.stat().st_size / 1e6:.1f} MB: open it in a browser", file=sys.stderr)
    for path in write_exports(export, loaded) if export is not None else []:
        print(path)
