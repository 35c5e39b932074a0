"""What `onethinker data` prints as tables: they fit 80 columns."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column, Table

from onethinker.data.filtering import Kept
from onethinker.data.statistics import Group, Statistics, spread_of
from onethinker.storage.strict_json import to_json

if TYPE_CHECKING:
    from onethinker.data.overlap import Overlap

_NAMED_SOURCES = 20
"""Sources that the table shows; --json has all."""


def print_statistics(statistics: Statistics) -> None:
    """Print what was counted: a table of the tasks, one of the sources, and below them answers, copies and overlap."""
    console = Console()
    console.print(f"{statistics.records:,} records, {statistics.num_unread:,} of them cannot be read", highlight=False)
    console.print(_task_table(statistics))
    console.print(_source_table(statistics))
    for line in (*_answer_lines(statistics), *_media_lines(statistics), *_overlap_lines(statistics.overlap)):
        console.print(line, markup=False, highlight=False)


def _task_table(statistics: Statistics) -> Table:
    names = ("records", "videos", "question", "response", "secs", "box", "span", "guess")
    table = _table("task", names, "medians in words, seconds and thousandths; guess: accuracy of the best constant")
    guesses, videos = statistics.guesses(), statistics.by("task", "data_type")
    for (task,), group in statistics.by("task").items():
        of_videos = videos.get((task, "video"), Group()).records
        measures = ("question_words", "response_words", "seconds", "box_side", "span_seconds")
        best = f"{guesses[task].accuracy:.2f}" if task in guesses else ""
        table.add_row(task, f"{group.records:,}", f"{of_videos:,}", *(_median(group, name) for name in measures), best)
    return table


def _source_table(statistics: Statistics) -> Table:
    sources = statistics.by("source")
    more = len(sources) - _NAMED_SOURCES
    table = _table(
        "source", ("records", "share", "seconds", "question"), f"{more:,} more in --json" if more > 0 else ""
    )
    total = max(1, sum(group.records for group in sources.values()))
    for (source,), group in list(sources.items())[:_NAMED_SOURCES]:
        share = f"{100 * group.records / total:.1f} %"
        table.add_row(source, f"{group.records:,}", share, _median(group, "seconds"), _median(group, "question_words"))
    return table


def _table(first: str, numbers: Sequence[str], caption: str) -> Table:
    columns = [Column(name, justify="right", no_wrap=True) for name in numbers]
    return Table(
        Column(first, overflow="fold", min_width=18),
        *columns,
        caption=caption,
        caption_justify="left",
        box=SIMPLE,
        padding=0,
        show_edge=False,
    )


def _answer_lines(statistics: Statistics) -> Iterator[str]:
    for task, guess in statistics.guesses().items():
        yield f"best constant answer to {task}: {guess.accuracy:.3f} {_cut(guess.answer, 60)}"
    for task, counts in statistics.answers.items():
        total = counts.total()
        top = ", ".join(f"{_cut(text, 20)} {100 * count / total:.0f} %" for text, count in counts.most_common(5))
        yield f"answers to {task}: {len(counts):,} different; {top}"


def _media_lines(statistics: Statistics) -> Iterator[str]:
    media = statistics.media
    yield f"media: {media.files:,} files, named {media.uses:,} times; {media.missing:,} are missing"
    for what, groups in (("the same bytes", media.copies()), ("the same look", media.alike())):
        if groups:
            count = sum(map(len, groups))
            yield f"{count:,} files in {len(groups):,} groups have {what}; the first: {_some(groups[0])}"


def _overlap_lines(overlap: "Overlap | None") -> Iterator[str]:
    if overlap is None:
        return
    kinds = (
        ("show media that are also in these files", overlap.media),
        ("show media that look like some in these files", overlap.only_alike),
        ("ask, about other media, word for word what these files ask", overlap.only_questions),
    )
    for what, found in kinds:
        first = min(found, default=None)
        named = f"; the first, {overlap.measured[first].id!r}, is like {found[first]!r}" if first is not None else ""
        yield f"{len(found):,} of {len(overlap):,} measured samples {what}{named}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if names[3:] else "")


def _median(group: Group, name: str) -> str:
    return f"{spread_of(group.values[name]).median:.4g}" if name in group.values else ""


def _cut(text: str, most: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def print_kept(kept: Kept, output: Path, *, as_json: bool) -> None:
    """Print how many records stay, and how many went for which reason."""
    if as_json:
        print(to_json({"records": kept.records, "written": kept.written, "dropped": dict(kept.dropped)}))
        return
    print(output)
    print(f"{kept.written:,} of {kept.records:,} records stay", file=sys.stderr)
    for reason, count in kept.dropped.most_common():
        print(f"{count:8,}  {reason}", file=sys.stderr)
