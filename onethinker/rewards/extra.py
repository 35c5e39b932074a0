"""Rewards beside a task's own, or in its place: functions of a group of answers, ours and those of other packages.

A recipe names and weighs them (`grading.rewards`). Ours are about the length and the form of answers.
"""

import inspect
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from onethinker.core.errors import ConfigError, PluginError
from onethinker.core.nearest import no_such
from onethinker.core.plugins import check_names, load_plugins, named_plugins, naming, source_of
from onethinker.tasks.grading import Grade

GROUP = "onethinker.rewards"
"""The group of entry points under which other packages offer rewards."""
RIGHT = 0.99
"""An answer of at least this accuracy is right."""


@dataclass(frozen=True)
class AnswerGroup:
    """The answers to one question with the tasks' grades, and the question; a reward gives a number for each answer.

    `tokens` counts each answer's tokens, the end token included, of at most `max_tokens`, and is empty where that is
    not known; `truncated` says which were cut there. `extra` holds the fields of the record that are not the question's
    own.
    """

    id: str
    problem: str
    problem_type: str
    data_type: str
    truth: str
    options: tuple[str, ...]
    responses: tuple[str, ...]
    grades: tuple[Grade, ...]
    tokens: tuple[int, ...]
    truncated: tuple[bool, ...]
    max_tokens: int
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RewardedGrade(Grade):
    """A grade whose reward is a weighted sum; `rewards` are its terms before weights, "task" the task's own."""

    rewards: dict[str, float] = field(default_factory=dict)


Reward = Callable[..., Sequence[float]]
"""Takes an `AnswerGroup` and the recipe's settings by name, and returns a finite number for each answer."""


def overlong(group: AnswerGroup, *, buffer_tokens: int = 512) -> list[float]:
    """Return 0 for answers that leave the buffer free, and down to -1 for those that fill it, evenly.

        R = min(0, (L_max - L_buffer - |y|) / L_buffer), at least -1

    Source: DAPO's soft overlong punishment (arXiv 2503.14476, equation 13), with L_max = `rollout.max_new_tokens`.
    """
    start = group.max_tokens - buffer_tokens
    return [max(-1.0, min(0.0, (start - length) / buffer_tokens)) for length in group.tokens]


def length(group: AnswerGroup) -> list[float]:
    """Return 0.5 for the shortest answer of a group and -0.5 for the longest; one that is wrong gets at most 0.

        λ = 0.5 - (|y| - L_min) / (L_max - L_min)

    Where all are as long it is 0. Source: Kimi k1.5 (arXiv 2501.12599, section 2.3.3).
    """
    if len(set(group.tokens)) <= 1:
        return [0.0] * len(group.tokens)
    shortest, longest = min(group.tokens), max(group.tokens)
    gains = [0.5 - (tokens - shortest) / (longest - shortest) for tokens in group.tokens]
    right = [grade.accuracy >= RIGHT for grade in group.grades]
    return [gain if is_right else min(0.0, gain) for gain, is_right in zip(gains, right, strict=True)]


def repetition(group: AnswerGroup, *, words: int = 3) -> list[float]:
    """Return minus the share of an answer's runs of so many words that stand in it before, 0 to -1.

    Source: Demystifying Long Chain-of-Thought (arXiv 2502.03373, appendix), over the whole answer.
    """
    return [_repeated(response.lower().split(), words) for response in group.responses]


def _repeated(tokens: Sequence[str], words: int) -> float:
    runs = Counter(tuple(tokens[first : first + words]) for first in range(len(tokens) - words + 1))
    return len(runs) / runs.total() - 1.0 if runs else 0.0


REWARDS: Mapping[str, Reward] = {"overlong": overlong, "length": length, "repetition": repetition}
"""Those that come with OneThinker."""
TASK = "task"
"""Stands for a task's own reward where a recipe weighs it."""


NO_TOKENS = "; the number of tokens of the answers is not known: add 'tokens' to each record, end token included"


def find_reward(name: str) -> Reward:
    """Return the reward of this name: ours, or of another package. Raises: ConfigError: there is none, or two."""
    found = _all_rewards(named_plugins())
    if name not in found:
        raise ConfigError(f"{no_such('reward', name, (TASK, *found))}; name modules with your own rewards in `plugins`")
    return found[name]


@cache
def _all_rewards(named: tuple[str, ...]) -> dict[str, Reward]:
    plugins = load_plugins(GROUP)
    check_names(plugins, (TASK, *REWARDS), "rewards")
    for plugin in plugins:
        if not callable(plugin.value):
            raise ConfigError(f"{plugin.where} must be a function of an AnswerGroup, got {plugin.value!r}")
    return {**REWARDS, **{plugin.name: plugin.value for plugin in plugins}}


def check_settings(name: str, settings: Mapping[str, Any]) -> None:
    """Do nothing where a reward takes these settings. Raises: ConfigError: it does not, or there is no such reward."""
    reward = find_reward(name)
    try:
        inspect.signature(reward).bind(None, **settings)
    except TypeError as error:
        raise ConfigError(f"reward {name!r} ({source_of(reward)}): {error}") from error


def compute_reward(name: str, group: AnswerGroup, settings: Mapping[str, Any]) -> list[float]:
    """Return a finite number for each answer of a group. Raises: PluginError: the function failed or gave other."""
    reward = find_reward(name)
    with naming(reward, f"reward {name!r}"):
        given = reward(group, **settings)
    try:
        values = [float(value) for value in given]
    except (TypeError, ValueError):
        values = []
    if len(values) != len(group.responses) or not all(map(math.isfinite, values)):
        raise PluginError(
            f"reward {name!r} ({source_of(reward)}) must give a finite number for each of {len(group.responses)}"
            f" answers to sample {group.id!r}, got {given!r}{'' if group.tokens else NO_TOKENS}"
        )
    return values


def add_rewards(group: AnswerGroup, weights: Mapping[str, tuple[float, Mapping[str, Any]]]) -> list[RewardedGrade]:
    """Return the grades of a group with the weighted sum of its rewards; the task's own has weight 1 unless named.

    `weights` has for each reward its weight and its settings. Raises: PluginError.
    """
    own = [grade.reward for grade in group.grades]
    terms = {name: own if name == TASK else compute_reward(name, group, given) for name, (_, given) in weights.items()}
    terms = {TASK: own, **terms}
    weight = {TASK: 1.0, **{name: value for name, (value, _) in weights.items()}}
    return [
        RewardedGrade(
            **{
                **vars(grade),
                "reward": sum(weight[name] * values[index] for name, values in terms.items()),
                "rewards": {name: values[index] for name, values in terms.items()},
            }
        )
        for index, grade in enumerate(group.grades)
    ]
