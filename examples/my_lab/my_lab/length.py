"""A reward for short answers: 1 up to a number of tokens, 0 from twice as many on."""

from collections.abc import Sequence

from onethinker.rewards.extra import AnswerGroup


def short_thinking(group: AnswerGroup, *, tokens: int = 200) -> Sequence[float]:
    """Return a reward of 0 to 1 for each answer of a group."""
    return [min(1.0, max(0.0, 2 - length / tokens)) for length in group.tokens]


REWARDS = {"short_thinking": short_thinking}
"""For `plugins = ["my_lab.length"]`, where the package is not installed."""
