"""What a guesser gets who has seen no picture: the constant answer that earns most, graded by the task itself."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from statistics import median
from typing import Any, Generic, TypeVar

from onethinker.core.errors import AnswerError
from onethinker.storage.strict_json import to_json
from onethinker.tasks import Task, parse_truth

T = TypeVar("T")

MOST_TRUTHS = 512
"""Reference answers of a task by which constant answers are graded: a random choice where there are more."""
CANDIDATES = 24
"""Constant answers that are tried: the most frequent ones, some others, and the median of all."""
SLOW = {"math": 4}
"""Candidates of tasks that take long to compare."""

Truth = tuple[str, tuple[str, ...]]
"""A reference answer with the options of its question."""


@dataclass(frozen=True)
class Guess:
    """The best constant answer, its mean accuracy (0 to 1), and by how many reference answers it was graded."""

    answer: str
    accuracy: float
    graded: int


@dataclass
class Choice(Generic[T]):
    """A random choice of at most `most` of the things that are added, each with the same chance."""

    most: int
    chosen: list[T] = field(default_factory=list)
    seen: int = 0
    _random: Random = field(default_factory=lambda: Random(0))

    def add(self, one: T) -> None:
        """Take one more into account."""
        self.seen += 1
        if len(self.chosen) < self.most:
            self.chosen.append(one)
        elif (index := self._random.randrange(self.seen)) < self.most:
            self.chosen[index] = one


def best_constant(task: Task[Any], truths: Sequence[Truth]) -> Guess | None:
    """Return the constant answer that earns most against some reference answers; None where there are none.

    >>> from onethinker.tasks import find_task
    >>> best_constant(find_task("numerical", "image"), [("3", ()), ("3", ()), ("5", ())])
    Guess(answer='3', accuracy=0.6666666666666666, graded=3)
    """
    counts = Counter(truths)
    if not counts:
        return None
    texts = _candidates(task, counts, SLOW.get(task.key, CANDIDATES))
    totals = dict.fromkeys(texts, 0.0)
    for (truth, options), count in counts.items():
        meant = parse_truth(truth, task, options)
        for text in texts:
            try:
                answer = task.parse(text, options)
            except AnswerError:
                continue  # a letter that this question does not have
            totals[text] += count * task.score(answer, meant, "paper").accuracy
    best = max(texts, key=totals.__getitem__)
    return Guess(best, totals[best] / counts.total(), counts.total())


def _candidates(task: Task[Any], counts: Counter[Truth], most: int) -> list[str]:
    texts: Counter[str] = Counter()
    for (text, _), count in counts.items():
        texts[text] += count
    middle = middle_of(list(texts))
    return list(dict.fromkeys([*([middle] if middle else []), *(text for text, _ in texts.most_common(most))]))


def middle_of(texts: Sequence[str]) -> str | None:
    """Return the answer whose every number is the median of those at its place, over the answers that have most places
    in common; None where they are not JSON with numbers.

    >>> middle_of(['{"boxes": [0, 0, 10, 10]}', '{"boxes": [4, 2, 20, 30]}', '{"boxes": [6, 4, 40, 20]}'])
    '{"boxes": [4, 2, 20, 20]}'
    """
    try:
        values = [json.loads(text) for text in texts]
    except ValueError:
        return None
    numbers = [dict(_numbers(value)) for value in values]
    shapes = Counter(map(tuple, numbers))
    shape = max(shapes, key=lambda own: (shapes[own], len(own)), default=())
    if not shape:
        return None
    alike = [index for index, own in enumerate(numbers) if tuple(own) == shape]
    medians = {path: median(numbers[index][path] for index in alike) for path in shape}
    return to_json(_with_numbers(values[alike[0]], medians))


def _numbers(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], float]]:
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _numbers(item, (*path, key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, value


def _with_numbers(value: Any, numbers: dict[tuple[Any, ...], float], path: tuple[Any, ...] = ()) -> Any:
    if isinstance(value, dict):
        return {key: _with_numbers(item, numbers, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_numbers(item, numbers, (*path, index)) for index, item in enumerate(value)]
    number = numbers.get(path, value)
    return int(number) if isinstance(number, float) and number.is_integer() else number
