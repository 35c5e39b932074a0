"""`onethinker data export`: answers as annotations of other tools."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from onethinker.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from onethinker.evaluation.exporting import Exported


def data_export(
    run: Annotated[Path, tyro.conf.Positional],
    output: Annotated[Path, tyro.conf.Positional],
    *,
    to: str,
    data: Path | None = None,
    media_root: Path | None = None,
    json: bool = False,
) -> None:
    """Export the answers of `onethinker ask` and `evaluate` as annotations for another tool.

    Formats: coco (boxes in pixels, points as keypoints), label-studio (tasks with predictions, and the labelling
    interface next to them), supervision (CSV); and as folders cvat (XML, one file for all pictures and one per video),
    mot (one file per video), youtube-vos and davis (masks that `evaluate --segmenter` made). Answers that cannot be
    read, or that the format cannot hold, are named on stderr and left out.

    Args:
        run: JSONL file of `onethinker ask` (several questions), or a folder of `onethinker evaluate`.
        output: New file or folder.
        to: Format to write.
        data: The file of samples that was asked about; required for a folder of `evaluate`.
        media_root: Folder that media paths in --data are relative to; by default that of the file.
        json: Print one JSON object with counts, and the answers that were left out.
    """
    from onethinker.commands.console import progress_bar
    from onethinker.commands.data_options import check_files, check_output
    from onethinker.core.nearest import no_such
    from onethinker.data.annotation_files import TOOLS
    from onethinker.data.corrections import samples_by_id
    from onethinker.data.formats.released import read_samples
    from onethinker.evaluation.exporting import export_answers

    if to not in TOOLS:
        raise ConfigError(no_such("form", to, list(TOOLS)))
    if files := [*([] if run.is_dir() else [run]), *([data] if data is not None else [])]:
        check_files(files)
    if media_root is not None and data is None:
        raise ConfigError("--media-root needs --data, whose media paths it resolves")
    check_output(output, "OUTPUT")
    output.absolute().parent.mkdir(parents=True, exist_ok=True)
    find = samples_by_id(read_samples(data, media_root)) if data is not None else None
    with progress_bar("exporting") as bar:
        done = export_answers(run, TOOLS[to], output.absolute(), find=find, on_progress=lambda rows: bar(rows, None))
    _print(done, output, as_json=json)
    if not done.marked:
        raise DataError(f"none of {done.rows:,} answers can be written as {to}; no file was written")


def _print(done: "Exported", output: Path, *, as_json: bool) -> None:
    from onethinker.storage.strict_json import to_file_json

    if as_json:
        counts = {"rows": done.rows, "written": len(done.marked), "left_out": done.left_out}
        print(to_file_json({"output": str(output) if done.marked else None, **counts}))
        return
    for line in done.left_out:
        print(line, file=sys.stderr)
    if done.marked:
        print(output)
        print(f"{len(done.marked):,} of {done.rows:,} answers written", file=sys.stderr)
