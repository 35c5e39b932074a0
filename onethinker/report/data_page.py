"""One page about files of samples: their numbers with plots, and samples with media, truth and response, to browse."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from onethinker.core.errors import AnswerError, DataError, MediaError
from onethinker.core.grammar import answer_text, parse_response
from onethinker.core.sample import Medium, Sample
from onethinker.data.blocks import Read, read_again
from onethinker.data.measures import MEASURES
from onethinker.data.statistics import NO_SOURCE, TOP_ANSWERS, Group, Statistics, spread_of
from onethinker.drawing.sheets import for_sheet, sheet_webp
from onethinker.evaluation.examples import truth_sheet
from onethinker.media.budget import MediaBudget
from onethinker.media.reading import read_clip
from onethinker.report.charts import Histogram, histogram
from onethinker.storage.atomic import write_atomically, writing
from onethinker.storage.strict_json import to_json
from onethinker.tasks import task_of

MOST_MEDIA = 6
"""Media of a sample that are shown."""
_BUDGET = MediaBudget(max_frames=32, image_max_pixels=640 * 640, frame_max_pixels=256 * 256)
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class SampleCard:
    """A sample on a page: `pictures` are data addresses with whether they are wide; `faults` what is wrong with it."""

    group: str
    source: str
    where: str
    sample_id: str
    problem: str
    options: tuple[str, ...]
    truth: str
    thinking: str
    answer: str
    response: str
    pictures: tuple[tuple[str, bool], ...]
    faults: tuple[tuple[str, str], ...]
    num_left_out: int = 0

    @property
    def tags(self) -> str:
        """What the page filters by: source, and kinds of fault."""
        return " ".join([tag("source", self.source), *(tag("fault", kind) for kind, _ in self.faults)])


def tag(kind: str, name: str) -> str:
    """Return a word that stands for a source or a kind of fault.

    >>> tag("fault", "too long")
    'fault-too%20long'
    """
    from urllib.parse import quote

    return f"{kind}-{quote(name, safe='')}"


def card_of(read: Read, faults: Sequence[tuple[str, str]] = ()) -> SampleCard:
    """Return what a page shows of a sample; media that cannot be read, or not be drawn on, are among its faults."""
    sample = read.sample
    if sample is None:
        return _unread_card(read)
    task, found = task_of(sample), list(faults)
    response, thinking = sample.response or "", ""
    try:
        thinking = parse_response(response).thinking if response else ""
    except AnswerError as error:
        found.append(("grammar", str(error)))
    pictures = []
    for index, medium in enumerate(sample.media[:MOST_MEDIA]):
        try:
            pictures.append(_picture(sample, medium, is_first=not index))
        except (MediaError, DataError) as error:
            found.append(("media", str(error)))
    return SampleCard(
        group=task.key if "/" in task.key else f"{task.key}/{sample.data_type}",
        source=sample.source or NO_SOURCE,
        where=f"{read.file}, row {read.row}",
        sample_id=sample.id,
        problem=sample.problem,
        options=sample.options,
        truth=sample.truth,
        thinking=thinking,
        answer=answer_text(response) or "",
        response=response,
        pictures=tuple(pictures),
        faults=tuple(dict.fromkeys(found)),
        num_left_out=max(0, len(sample.media) - MOST_MEDIA),
    )


def _unread_card(read: Read) -> SampleCard:
    """Return what a page shows of a record that is no sample: what there is of it, and why."""
    return SampleCard(
        group="cannot be read",
        source=str(read.record.get("data_source") or NO_SOURCE),
        where=f"{read.file}, row {read.row}",
        sample_id=str(read.record.get("problem_id", "")),
        problem=str(read.record.get("problem", "")),
        options=(),
        truth=to_json(read.record, ensure_ascii=False) if read.record else "",
        thinking="",
        answer="",
        response="",
        pictures=(),
        faults=(("record", read.error),),
    )


def _picture(sample: Sample, medium: Medium, *, is_first: bool) -> tuple[str, bool]:
    clip = for_sheet(read_clip(medium, _BUDGET))
    content = truth_sheet(sample, clip) if is_first else sheet_webp(clip)
    return f"data:image/webp;base64,{b64encode(content).decode()}", len(clip.frames) * clip.width > 2 * clip.height


def write_statistics(output: Path, statistics: Statistics, files: Sequence[Path], media_root: Path | None) -> None:
    """Write a page with what was counted of files, plots, and samples of each task. Raises: StorageError."""
    chosen = [row for choice in statistics.shown.values() for row in choice.chosen]
    cards = [card_of(read) for read in read_again(files, chosen, media_root)]
    write_page(output, cards, title="Data overview", files=files, statistics=statistics, has_more=None)


def write_page(
    output: Path,
    cards: Iterable[SampleCard],
    *,
    title: str,
    files: Sequence[Path],
    statistics: Statistics | None,
    has_more: bool | None,
) -> None:
    """Write a page of samples, after numbers where there are some, complete in itself; `has_more` says whether
    there are more than these, None where they are chosen by chance. Raises: StorageError.
    """
    shown = list(cards)
    script = (_HERE / "report.js").read_text(encoding="utf-8")
    page = _template().render(
        title=title,
        files=files,
        cards=shown,
        has_more=has_more,
        groups=sorted({card.group for card in shown}),
        sources=sorted({card.source for card in shown}),
        faults=sorted({kind for card in shown for kind, _ in card.faults}),
        tag=tag,
        statistics=statistics,
        numbers=_numbers(statistics) if statistics is not None else None,
        script=Markup(script),  # noqa: S704 (a file of ours)
        script_digest=b64encode(sha256(script.encode()).digest()).decode(),
    )
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(output, page.encode(errors="replace"))


def _numbers(statistics: Statistics) -> dict[str, Any]:
    media, overlap = statistics.media, statistics.overlap
    answers = {
        task: (len(counts), counts.total(), counts.most_common(TOP_ANSWERS))
        for task, counts in statistics.answers.items()
    }
    return {
        "tasks": [(key, group) for key, group in statistics.by("task", "data_type").items()],
        "sources": [(key[0], group) for key, group in statistics.by("source").items()],
        "guesses": statistics.guesses(),
        "answers": answers,
        "charts": [("all samples", _charts(_one(statistics.by())))]
        + [(key[0], _charts(group)) for key, group in statistics.by("task").items()],
        "copies": media.copies(),
        "alike": media.alike(),
        "overlap": [
            (what, [(overlap.measured[index].id, own[index]) for index in sorted(own)])
            for what, own in (
                ("show media that are also in these files", overlap.media),
                ("show media that look like some in these files", overlap.only_alike),
                ("ask, about other media, word for word what these files ask", overlap.only_questions),
            )
        ]
        if overlap is not None
        else [],
    }


def _one(groups: dict[tuple[str, ...], Group]) -> Group:
    return next(iter(groups.values()), Group())


def _charts(group: Group) -> list[tuple[str, str, Histogram, float]]:
    """Return name, explanation, plot and median of each measure that a group has."""
    found = [
        (name, text, histogram(group.values[name], label=name))
        for name, text in MEASURES.items()
        if name in group.values
    ]
    return [
        (name.replace("_", " "), text, chart, spread_of(group.values[name]).median)
        for name, text, chart in found
        if chart is not None
    ]


def _template() -> Any:
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["count"] = lambda value: f"{value:,}"
    environment.filters["median"] = lambda group, name: (
        f"{spread_of(group.values[name]).median:.4g}" if name in group.values else "–"
    )
    return environment.get_template("data.html.jinja")
