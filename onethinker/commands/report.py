"""`onethinker report`: one HTML page about runs."""

import sys
from pathlib import Path
from typing import Annotated

import tyro


def report(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional],
    *,
    output: Path = Path("report.html"),
    title: str = "OneThinker report",
) -> None:
    """Write one self-contained HTML page about training and evaluation runs, in the given order (first before, then after).

    Args:
        runs: Folders of `onethinker evaluate`, `sft` or `rl`, or a folder that holds such ones.
        output: The page to write.
        title: What stands above it.
    """
    from onethinker.errors import ConfigError
    from onethinker.evaluation.report import write_report

    if not runs:
        raise ConfigError("give at least one run folder")
    write_report(output, runs, title=title)
    print(output)
    print(f"wrote {output}, {output.stat().st_size / 1e6:.1f} MB: open it in a browser", file=sys.stderr)
