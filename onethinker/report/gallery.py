"""Which samples a page shows, within a limit of its size: each with its truth, and with every run's answer."""

import base64
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Literal

from onethinker.core.errors import AnswerError
from onethinker.core.grammar import answer_text, parse_response
from onethinker.evaluation.examples import answer_picture, is_sheet, masks_by_result, truth_picture
from onethinker.evaluation.results import Result
from onethinker.evaluation.runs import Evaluation, Run
from onethinker.evaluation.scoring import unparsable
from onethinker.tasks import all_tasks
from onethinker.tasks.pixels import response_from_px

RIGHT = 0.5
"""The accuracy from which on an answer counts as right among the samples; it is not used for any number."""
MOST_SAMPLES = 1000
"""So many samples a browser still filters at once on a phone."""
_CARD_BYTES = 1500
"""What the markup of a sample takes besides its texts and pictures, about."""

Outcome = Literal["right", "wrong", "unparsable", "not asked"]


@dataclass(frozen=True)
class ShownAnswer:
    """The answer of one run, by its index among the runs, to a sample."""

    run: int
    name: str
    result: Result
    outcome: Outcome
    thinking: str
    answer: str
    picture: str | None


@dataclass(frozen=True)
class Card:
    """A sample with its truth, and each run's answer; pictures are data addresses, None where none was drawn."""

    group: str
    sample_id: str
    problem: str
    options: tuple[str, ...]
    truth: str
    picture: str | None
    is_wide: bool
    answers: tuple[ShownAnswer, ...]

    @property
    def tags(self) -> str:
        """What the page filters by: the outcome in each run, and how the last run differs from the first."""
        tags = [f"{answer.run}-{answer.outcome.replace(' ', '-')}" for answer in self.answers]
        accuracies = [answer.result.grade.accuracy for answer in self.answers if answer.result.grade is not None]
        if len(accuracies) > 1 and accuracies[-1] != accuracies[0]:
            tags.append("better" if accuracies[-1] > accuracies[0] else "worse")
        return " ".join(tags)


@dataclass(frozen=True)
class Gallery:
    """The samples that a page shows, and how many there are in all."""

    cards: tuple[Card, ...]
    num_samples: int

    @property
    def num_left_out(self) -> int:
        """How many samples did not fit."""
        return self.num_samples - len(self.cards)

    @property
    def groups(self) -> tuple[str, ...]:
        """The benchmarks and tasks of the samples, in order."""
        return tuple(dict.fromkeys(card.group for card in self.cards))


@dataclass
class _Entry:
    """A sample before it is decided whether it is shown."""

    group: str
    asked: list[tuple[int, str, Evaluation, Result]] = field(default_factory=list)
    truth: Path | None = None
    answers: dict[int, Path] = field(default_factory=dict)

    @property
    def num_bytes(self) -> int:
        pictures = [*self.answers.values(), *([self.truth] if self.truth else [])]
        texts = [result.response for _, _, _, result in self.asked] + [self.asked[0][3].problem, self.asked[0][3].truth]
        return (
            _CARD_BYTES * len(self.asked)
            + sum(map(len, texts))
            + sum(4 * path.stat().st_size // 3 for path in pictures)
        )


def make_gallery(runs: Sequence[Run], *, max_bytes: int) -> Gallery:
    """Return the samples of runs that fit into a page, those with pictures first, as many of each task or benchmark as
    of others.
    """
    entries = _entries(runs)
    by_group: dict[str, list[_Entry]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: entry.truth is None):
        by_group[entry.group].append(entry)
    shown: set[int] = set()
    for entry in _in_turn(list(by_group.values())):
        max_bytes -= entry.num_bytes
        if max_bytes < 0 or len(shown) == MOST_SAMPLES:
            break
        shown.add(id(entry))
    cards = [_card(entry) for own in by_group.values() for entry in own if id(entry) in shown]
    return Gallery(tuple(cards), len(entries))


def outcome_of(result: Result) -> Outcome:
    """Return how a sample went."""
    if result.grade is None:
        return "not asked"
    if unparsable([result]):
        return "unparsable"
    return "right" if result.grade.accuracy >= RIGHT else "wrong"


def _entries(runs: Sequence[Run]) -> list[_Entry]:
    """Return every question once, with who was asked it; the same id with other words is another question."""
    entries: dict[tuple[str, ...], _Entry] = {}
    for index, run in enumerate(runs):
        for evaluation in run.evaluations:
            masks = masks_by_result(evaluation.folder)
            benchmark = evaluation.benchmark.name if evaluation.benchmark else ""
            for result in evaluation.results:
                question = (benchmark, result.sample_id, result.problem, result.truth)
                entry = entries.setdefault(question, _Entry(benchmark or result.task))
                entry.asked.append((index, run.name, evaluation, result))
                truth = truth_picture(evaluation.folder, result.key)
                answer = answer_picture(evaluation.folder, masks[result.key].key if result.key in masks else result.key)
                if truth.exists():
                    entry.truth = truth
                if answer.exists():
                    entry.answers[index] = answer
    return list(entries.values())


def _in_turn(groups: Sequence[Sequence[_Entry]]) -> Iterator[_Entry]:
    """Yield the first of every group, then the second of every group, and so on."""
    for row in zip_longest(*groups):
        yield from (entry for entry in row if entry is not None)


def _card(entry: _Entry) -> Card:
    first = entry.asked[0][3]
    return Card(
        group=entry.group,
        sample_id=first.sample_id,
        problem=first.problem,
        options=first.options,
        truth=first.truth,
        picture=_data_address(entry.truth) if entry.truth else None,
        is_wide=entry.truth is not None and is_sheet(entry.truth),
        answers=tuple(_answer(index, name, result, entry.answers.get(index)) for index, name, _, result in entry.asked),
    )


def _answer(index: int, name: str, result: Result, picture: Path | None) -> ShownAnswer:
    try:
        thinking = parse_response(result.response).thinking
    except AnswerError:
        thinking = ""
    task = next((task for task in all_tasks() if task.key == result.task), None)
    response = response_from_px(result.response, task, result.frame_px) if task else result.response
    answer = answer_text(response)
    answer = response if answer is None else answer
    return ShownAnswer(
        index, name, result, outcome_of(result), thinking, answer, _data_address(picture) if picture else None
    )


def _data_address(path: Path) -> str:
    return f"data:image/webp;base64,{base64.b64encode(path.read_bytes()).decode()}"
