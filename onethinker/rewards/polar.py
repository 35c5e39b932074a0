"""POLAR served by vLLM or LMDeploy: it compares all answers of a group with the reference in one request."""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from onethinker.core.grammar import show
from onethinker.inference.endpoint import RubbishError
from onethinker.rewards.base import TRIAL, Served, sendable

POLAR_SEPARATOR = "<|reward|>"
POLAR_END = "[UNUSED_TOKEN_130]"
"""The token at which POLAR gives its score."""
LARGEST_SCORE = 1e30
"""Beyond it, and for what is no number at all, differences between scores mean nothing."""


class Polar(Served):
    """A served POLAR; the scores of a group are spread over 0 to 1."""

    kind = "polar"

    def submit(self, question: str, truth: str, answers: Sequence[str]) -> Future[list[float]]:
        """Return what will hold a score of 0 to 1 for each answer to a question, in order, or the EngineError why there
        is none.
        """
        return self._waiting.submit(self._rank(question, truth, answers))

    def try_out(self) -> None:
        """Have each server score two answers. Raises: EngineError: one does not as a reward model, or none answers."""
        *_, answers = TRIAL
        self._try_all("/pooling", self._body(*TRIAL), lambda reply: read_rewards(reply, len(answers)))

    async def _rank(self, question: str, truth: str, answers: Sequence[str]) -> list[float]:
        body = self._body(question, truth, answers)
        return spread(await self._send("/pooling", body, lambda reply: read_rewards(reply, len(answers))))

    def _body(self, question: str, truth: str, answers: Sequence[str]) -> dict[str, Any]:
        return {"model": self.settings.model, "input": [polar_text(question, truth, answer) for answer in answers]}


def polar_text(question: str, truth: str, answer: str) -> str:
    r"""Return what POLAR reads: the question with the reference, then the question with the answer.

    Source: RewardModelClient of xtuner and of InternLM/POLAR, for models tuned on preferences.

    >>> polar_text("How many?", "Two.", "Three.<|reward|>")
    'How many?\nTwo.<|reward|>How many?\nThree.< |reward|>[UNUSED_TOKEN_130]'
    """
    question, truth, answer = (
        sendable(text).replace("[UNUSED_TOKEN_", "[ UNUSED_TOKEN_") for text in (question, truth, answer)
    )
    return f"{question}\n{truth}{POLAR_SEPARATOR}{question}\n{answer}{POLAR_END}"


def read_rewards(reply: dict[str, Any], count: int) -> list[float]:
    """Return the scores in the reply of POST /pooling, in the order of the request.

    LMDeploy gives a number for each text, vLLM a vector, or one for each token, of which the last one counts.

    >>> read_rewards({"data": [{"index": 1, "data": -3.5}, {"index": 0, "data": [[9.0], [0.5]]}]}, 2)
    [0.5, -3.5]

    Raises: RubbishError: a score is missing, or is no finite number.
    """
    try:
        items = {int(item.get("index", position)): item["data"] for position, item in enumerate(reply["data"])}
        scores = [_last(items[index]) for index in range(count)]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise RubbishError(f"expected {count} scores, got {show(str(reply))}") from error
    if len(items) != count or not all(abs(score) < LARGEST_SCORE for score in scores):
        raise RubbishError(f"expected {count} finite scores, got {scores} of {len(items)}")
    return scores


def spread(scores: Sequence[float]) -> list[float]:
    """Return the scores of a group moved and stretched so that the worst is 0 and the best 1; equal ones are all 1.

    Source: onethinker_reward.py of the release (its z-score before that changes nothing).

    >>> spread([-3.0, -1.0, 1.0])
    [0.0, 0.5, 1.0]
    """
    low, high = min(scores), max(scores)
    return [(score - low) / (high - low) if high > low else 1.0 for score in scores]


def _last(data: Any) -> float:
    while isinstance(data, list):
        data = data[-1]
    if isinstance(data, bool) or not isinstance(data, int | float):
        raise ValueError(f"expected a number, got {data!r}")
    return float(data)
