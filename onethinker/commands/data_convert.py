"""`onethinker data convert`: a file of samples in the form of another program."""

import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from onethinker.commands.data_spread import SHARDS, ShardOptions
from onethinker.commands.options import Flags
from onethinker.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from onethinker.data.converting import Converted, Media, Source
    from onethinker.data.formats.form import Form, SetForm
    from onethinker.data.spreading import Row


def data_convert(
    source: Annotated[Path | None, tyro.conf.Positional] = None,
    output: Annotated[Path | None, tyro.conf.Positional] = None,
    *,
    to: str | None = None,
    from_: Annotated[str | None, tyro.conf.arg(name="from")] = None,
    split: str = "train",
    leave_out: bool = False,
    media_root: Path | None = None,
    copy_media: bool = False,
    embed_media: bool = False,
    recipe: str | None = None,
    list: bool = False,
    spread: Flags[ShardOptions] = SHARDS,
    json: bool = False,
) -> None:
    """Convert a file of samples to another format: row by row, and all or nothing.

    Formats: own (records of docs/data.md); rl, sft and evaluation (the files of the release); swift (ms-swift, boxes in
    pixels); llamafactory (ShareGPT); trl; verl; easyr1; coco; yolo; charades-sta; activitynet-captions. Only read, not
    written: coco-masks, davis, got10k, mot, refcoco, refcoco-masks, ref-vos (for Ref-YouTube-VOS, Ref-DAVIS, MeViS),
    youtube-vos. docs/data.md says what each of them keeps.

    If a row cannot be converted, it is named on stdout with what would be lost, nothing is written, and the exit code
    is 1.

    With --recipe, SOURCE is the folder of a corpus of public data sets, and OUTPUT gets the records of all sets whose
    media are there, each with its licence.

    Args:
        source: What to read: a file or folder in one of these formats; rows as a JSON list, JSONL or parquet; a data
            set of Hugging Face; or a data set on the hub as hf:ORG/NAME (hf:ORG/NAME/CONFIG for one of several), which
            is streamed. With --recipe a folder (default data/onethinker).
        output: New file: a JSON list for ".json", parquet for ".parquet", otherwise JSONL.
        to: Format to write.
        from_: Format of the source; by default it is recognized from the content.
        split: Which split of a data set to read.
        leave_out: Write the other rows even if some cannot be converted; the exit code is still 1.
        media_root: Folder that media paths are relative to; by default that of the file.
        copy_media: Copy media into the folder "media" next to the new file, each named by the digest of its content.
            Media that the source holds as bytes always go there.
        embed_media: Write media as bytes into the new parquet file. Not for evaluation and the formats of data sets
            (coco, yolo, charades-sta, activitynet-captions), which name media by path.
        recipe: The recipe of a corpus: data_onethinker for the paper's, or a file like it, with the sets, their
            expected sizes, their folders and licences.
        list: With --recipe: only list what is there and what is missing.
        spread: How the work is divided, for files of rows whose media stay where they are.
        json: Print one JSON object with counts and the rows that were lost, or the list.
    """
    if recipe is not None:
        from onethinker.commands.data_corpus import convert_by_recipe

        _check_alone(
            {
                "--to": to is not None,
                "--from": from_ is not None,
                "--split": split != "train",
                "--leave-out": leave_out,
                "--media-root": media_root is not None,
                "--copy-media": copy_media,
                "--embed-media": embed_media,
                "--shard, --parts and --ray": spread.has_parts,
            }
        )
        convert_by_recipe(recipe, source, output, only_list=list, as_json=json)
        return
    if list:
        raise ConfigError("--list lists the sets of a corpus: name its recipe with --recipe, such as data_onethinker")
    if source is None or output is None or to is None:
        raise ConfigError("give SOURCE, OUTPUT and --to FORMAT, or a corpus with --recipe")
    from onethinker.data.converting import Source
    from onethinker.data.formats.registry import find_form

    form, given = find_form(to), find_form(from_) if from_ is not None else None
    media: Media = "embedded" if embed_media else "copied" if copy_media else "named"
    _check(source, output, form, copy_media=copy_media, embed_media=embed_media)
    rows, parts = Source(source, given, split, media_root), None
    if spread.has_parts:
        if media != "named":
            raise ConfigError(
                "--copy-media and --embed-media cannot be combined with --shard, --parts and --ray: leave out one or"
                " the other"
            )
        parts = _parts(spread, rows, output, form, as_json=json)
        if parts is None:
            return
    done = _convert(rows, parts, output, form, media, leave_out=leave_out)
    _print(done, source, output, as_json=json)
    if done.lost:
        wrote = f"{done.written:,} others are in {output}" if done.is_written else "nothing was written"
        raise DataError(f"{len(done.lost):,} of {done.rows:,} rows cannot be converted; {wrote}")


def _convert(
    rows: "Source",
    parts: "Iterator[Any] | None",
    output: Path,
    to: "Form | SetForm",
    media: "Media",
    *,
    leave_out: bool,
) -> "Converted":
    """Write the rows, or what was made of them in parts, with progress."""
    from onethinker.commands.console import progress_bar
    from onethinker.data.converting import convert_file, write_converted

    with progress_bar("converting") as bar:

        def on_progress(count: int) -> None:
            bar(count, None)

        if parts is not None:
            return write_converted(parts, output, leave_out=leave_out, on_progress=on_progress)
        return convert_file(rows, output, to, media=media, leave_out=leave_out, on_progress=on_progress)


def _parts(
    spread: ShardOptions, source: "Source", output: Path, to: "Form | SetForm", *, as_json: bool
) -> "Iterator[Any] | None":
    """Return what was made of each block of a file of rows; None where only a part was written. Raises: ConfigError: it
    is no file of rows, or is to become something else.
    """
    from onethinker.data.converting import Converting
    from onethinker.data.formats.form import SetForm
    from onethinker.data.formats.registry import set_form_of
    from onethinker.data.spreading import ready

    form = source.form or (set_form_of(source.path) if source.path.exists() else None)
    if isinstance(to, SetForm) or isinstance(form, SetForm) or not source.path.is_file():
        raise ConfigError(
            "--shard, --parts and --ray only work from a file of rows to a format of rows: leave them out here"
        )
    about = {"to": to.name, "from": form.name if form is not None else None, "split": source.split}
    asked = {"command": "convert", **about, "media_root": source.media_root, "output": output}
    work = ready(Converting(source, to, output.absolute().parent))
    return spread.results([source.path], work, asked, as_json=as_json, read=partial(_rows, source))


def _rows(source: "Source") -> "Iterator[Row]":
    from onethinker.data.formats.form import read_rows

    for row, record in read_rows(source.path, source.split):
        yield source.path, row, record


def _check_alone(given: Mapping[str, bool]) -> None:
    """Raise ConfigError for flags that say what a recipe says."""
    if named := [flag for flag, is_given in given.items() if is_given]:
        raise ConfigError(
            "--recipe decides what is read, and writes records in the format own without moving media: leave out"
            f" {', '.join(named)}"
        )


def _check(source: Path, output: Path, to: "Form | SetForm", *, copy_media: bool, embed_media: bool) -> None:
    """Raise ConfigError for what is not there, what is there already, and media that cannot be kept so."""
    from onethinker.commands.data_options import check_files, check_output
    from onethinker.data.formats.form import SetForm
    from onethinker.data.formats.hub import is_hub_name
    from onethinker.data.formats.parquet import SUFFIX

    if to.write is None:
        raise ConfigError(f"--to {to.name}: {to.about} can only be read")
    if not source.is_dir() and not is_hub_name(source):
        check_files([source])
    check_output(output, "OUTPUT")
    if embed_media and (copy_media or output.suffix.lower() != SUFFIX):
        raise ConfigError(f"--embed-media writes media into a {SUFFIX} file, without --copy-media; got {output}")
    if embed_media and not to.can_embed:
        raise ConfigError(f"--embed-media: {to.about} names media by their paths; use --copy-media")
    if isinstance(to, SetForm) and to.is_folder and copy_media:
        raise ConfigError(f"--copy-media: {to.about} has its own copies of the pictures")


def _print(done: "Converted", source: Path, output: Path, *, as_json: bool) -> None:
    from onethinker.storage.strict_json import to_file_json

    if as_json:
        lost = [{"row": row, "text": text} for row, text in done.lost]
        counts = {
            "rows": done.rows,
            "written": done.written,
            "forms": dict(done.forms),
            "lost": lost,
            "media": done.media,
        }
        print(to_file_json({"output": str(output) if done.is_written else None, **counts}))
        return
    for row, text in done.lost:
        print(f"{source}, row {row}: {text}")
    if done.is_written:
        print(output)
        forms = ", ".join(done.forms)
        media = f", {done.media:,} media written" if done.media else ""
        print(f"{done.written:,} of {done.rows:,} rows written, read as {forms}{media}", file=sys.stderr)
