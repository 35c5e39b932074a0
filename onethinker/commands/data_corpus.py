"""`onethinker data convert --recipe`: a corpus of public sets, what is there of it, and its records in one file."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from onethinker.core.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from onethinker.data.corpus import Corpus, Survey

_NAMED = 10
"""Rows and sources that are named; --json has all."""


def convert_by_recipe(recipe: str, root: Path | None, output: Path | None, *, only_list: bool, as_json: bool) -> None:
    """Write the records of a corpus whose media are there into a new file, or only list what is there. Raises:
    ConfigError, DataError.
    """
    from onethinker.commands.console import progress_bar
    from onethinker.commands.data_options import check_output
    from onethinker.data.corpus import DATA_FOLDER, Corpus, convert_corpus, survey
    from onethinker.data.corpus import as_json as as_fields
    from onethinker.storage.strict_json import to_json

    corpus, root = Corpus.load(recipe), root or DATA_FOLDER
    if output is None and not only_list:
        raise ConfigError("--recipe needs SOURCE, the folder of the data, and OUTPUT, a new file; or use --list")
    with progress_bar("reading") as bar:
        if only_list or output is None:
            found = survey(corpus, root, on_progress=lambda done: bar(done, None))
        else:
            check_output(output, "OUTPUT")
            found = convert_corpus(corpus, root, output, on_progress=lambda done: bar(done, None))
    written = None if only_list else str(output)
    if as_json:
        print(to_json({"output": written, **as_fields(corpus, root, found)}, ensure_ascii=False))
        return
    _print_sets(corpus, root, found)
    if written:
        print(written)


def _print_sets(corpus: "Corpus", root: Path, found: "Survey") -> None:
    """Print a table of the sets, and below it what else was in the file."""
    from rich.console import Console

    Console().print(_table(corpus, found))
    there, expected = found.complete.total(), round(1000 * sum(one.thousands for one in corpus.members))
    sets = f"{len(found.complete)} of {len(corpus.members)} sets, {there:,} of about {expected:,} records are there"
    where = (
        f"read: {found.file}" if found.file else f"missing: {' or '.join(str(root / name) for name in corpus.files)}"
    )
    print(f"{sets}\n{where}", file=sys.stderr)
    for source, count in found.others.most_common(_NAMED):
        print(f"{count:8,}  of no set: {source}", file=sys.stderr)
    if more := sum(count for _, count in found.others.most_common()[_NAMED:]):
        print(f"{more:8,}  of no set: others", file=sys.stderr)
    for text in found.unread[:_NAMED]:
        print(f"{found.file}, {text}", file=sys.stderr)
    if more := len(found.unread[_NAMED:]):
        print(f"{found.file}: {more:,} more rows cannot be read; --json lists all", file=sys.stderr)


def _table(corpus: "Corpus", found: "Survey") -> "Table":
    from rich.box import SIMPLE
    from rich.markup import escape
    from rich.table import Column, Table

    numbers = (Column(name, justify="right", no_wrap=True) for name in ("paper", "there"))
    wide = Column("state", overflow="fold"), Column("licence")
    table = Table(
        Column("set", overflow="fold"),
        *numbers,
        *wide,
        box=SIMPLE,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    group = ""
    for one in corpus.members:
        if one.group != group:
            group = one.group
            table.add_row(f"[bold]{escape(group)}[/bold]")
        absent = found.missing.get(one)
        state = "found" if found.complete[one] else "missing" if found.file else "no file of records"
        if absent is not None:
            state = f"{found.records[one] - found.complete[one]:,} lack media: {escape(absent)}"
        counts = f"{round(1000 * one.thousands):,}", f"{found.complete[one]:,}"
        table.add_row(escape(one.name), *counts, f"{state}\nin {escape(one.folder)}", escape(one.license))
    return table
