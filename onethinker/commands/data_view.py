"""`onethinker data view`: samples of files drawn on one page, with their truths and what is wrong with them."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from onethinker.commands.data_options import CHOICE, ChoiceOptions
from onethinker.commands.options import Flags
from onethinker.core.errors import ConfigError

if TYPE_CHECKING:
    from onethinker.data.blocks import Read
    from onethinker.data.filtering import Criteria

Faults = dict[tuple[Path, int], list[tuple[str, str]]]
"""By file and row, kind and text of what is wrong with a record."""


def data_view(
    files: Annotated[tuple[Path, ...], tyro.conf.Positional],
    *,
    output: Path = Path("data.html"),
    limit: int = 100,
    choice: Flags[ChoiceOptions] = CHOICE,
    check: bool = False,
    fault: tuple[str, ...] = (),
    words: str = "",
    media_root: Path | None = None,
    json: bool = False,
) -> None:
    """Draw samples on one HTML page: media with the reference boxes, points, tracks, times and masks, and responses.

    The page is a single file, and can be filtered by task, source, fault and words. Files are read until there are
    enough samples, and only the media of the samples on the page are opened. Rows that cannot be read are listed on it
    too.

    Args:
        files: JSON lists or JSONL files of samples.
        output: The HTML page.
        limit: Maximum number of samples on the page; the first selected ones are used. A page of 100 has a few
            megabytes.
        choice: Which samples are selected.
        check: Also name every fault that `onethinker data check` finds; this checks all files completely.
        fault: Only records with a fault of this kind, such as truth or media; implies --check.
        words: Only samples with this text in question, options, reference answer or response.
        media_root: Folder that media paths are relative to; by default that of the file.
        json: Print one JSON object: the page, and file, row, id and faults of each sample on it.
    """
    from onethinker.commands.data_check import counted
    from onethinker.commands.data_options import check_files
    from onethinker.core.nearest import no_such
    from onethinker.storage.atomic import check_file
    from onethinker.storage.strict_json import to_json

    check_files(files)
    check_file(output, (".html", ".htm"), flag="--output")
    if limit < 1:
        raise ConfigError(f"--limit must be 1 or more, got {limit}")
    from onethinker.data.check import KINDS
    from onethinker.report.data_page import card_of, write_page

    for kind in fault:
        if kind not in KINDS:
            raise ConfigError(f"--fault: {no_such('kind of fault', kind, list(KINDS))}")
    criteria = choice.criteria()
    faults = find_all_faults(files, media_root) if check or fault else {}
    shown, more = choose(files, criteria, faults, fault, words, limit=limit, media_root=media_root)
    cards = [card_of(read, faults.get((read.file, read.row), ())) for read in shown]
    write_page(output, cards, title="Samples", files=files, statistics=None, has_more=more)
    if json:
        rows = [
            {
                "file": str(read.file),
                "row": read.row,
                "id": card.sample_id,
                "faults": [list(own) for own in card.faults],
            }
            for read, card in zip(shown, cards, strict=True)
        ]
        print(to_json({"output": str(output), "samples": rows}, ensure_ascii=False))
    else:
        print(output)
    print(f"{counted(len(shown), 'sample')} shown{', there are more (--limit)' if more else ''}", file=sys.stderr)


def find_all_faults(files: Sequence[Path], media_root: Path | None) -> Faults:
    """Return every fault of files, with a bar on stderr. Raises: DataError: a file cannot be read."""
    from onethinker.commands.console import progress_bar
    from onethinker.data.check import Look, Tally, find_faults
    from onethinker.data.spreading import default_workers

    found: Faults = {}
    with progress_bar("checking") as on_progress:
        look, workers = Look(media_root=media_root), default_workers()
        for own in find_faults(files, Tally(), look, workers=workers, on_progress=lambda done: on_progress(done, None)):
            found.setdefault((own.file, own.row), []).append((own.kind, own.text))
    return found


def choose(
    files: Sequence[Path],
    criteria: "Criteria",
    faults: Faults,
    kinds: Sequence[str],
    words: str,
    *,
    limit: int,
    media_root: Path | None,
) -> "tuple[list[Read], bool]":
    """Return the first records that are meant, and whether there are more."""
    chosen: list[Read] = []
    for read in _meant(files, criteria, media_root):
        own = {kind for kind, _ in faults.get((read.file, read.row), ())}
        if (kinds and not own & set(kinds)) or not _has_words(read, words):
            continue
        if len(chosen) == limit:
            return chosen, True
        chosen.append(read)
    return chosen, False


def _meant(files: Sequence[Path], criteria: "Criteria", media_root: Path | None) -> "Iterator[Read]":
    from onethinker.data.blocks import read_blocks
    from onethinker.data.filtering import Chosen
    from onethinker.data.statistics import UNREAD

    chosen = Chosen(criteria)
    for some in read_blocks(files, media_root=media_root):
        for read, reason in zip(some, chosen.reasons(some), strict=True):
            if not reason or (reason == UNREAD and criteria.is_empty):
                yield read


def _has_words(read: "Read", words: str) -> bool:
    if not words:
        return True
    texts: Sequence[str] = (read.error, *map(str, read.record.values()))
    if read.sample is not None:
        texts = (read.sample.problem, *read.sample.options, read.sample.truth, read.sample.response or "")
    return any(words.casefold() in text.casefold() for text in texts)
