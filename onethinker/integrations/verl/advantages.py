"""EMA-GRPO on what verl hands an advantage estimator: a reward for each answer, in any order, groups of any size.

Dimensions: N answers, P prompts, G answers per prompt.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from onethinker.rl.advantages import ema_grpo, update_moments
from onethinker.training.rl_settings import AdvantageSettings
from onethinker.training.state.progress import EmaState


def answer_advantages(
    rewards_N: Tensor, groups: Sequence[str], tasks: Mapping[str, str], state: EmaState, settings: AdvantageSettings
) -> tuple[Tensor, EmaState]:
    """Return the advantage of each answer, and the state after the batch.

    `groups` names the group of each answer, `tasks` the task of each group; answers of other groups (verl fills batches
    up) get 0 and do not count. A group may have lost some of its answers; one alone gets 0.

    Raises: ValueError: for a reward that is not finite.

    >>> rewards_N, groups = torch.tensor([1.0, 7.0, 0.0]), ["a", "filler", "a"]
    >>> answer_advantages(rewards_N, groups, {"a": "math"}, {}, AdvantageSettings())[0]
    tensor([ 1.,  0., -1.])
    """
    rows: dict[str, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        if group in tasks:
            rows[group].append(row)
    advantages_N = torch.zeros_like(rewards_N)
    if not rows:
        return advantages_N, state
    answers = [(row, tasks[group]) for group, members in rows.items() for row in members]
    rewards_N1 = rewards_N[[row for row, _ in answers], None]
    after = update_moments(state, rewards_N1, [task for _, task in answers], ema_decay=settings.ema_decay)
    for size in {len(members) for members in rows.values()}:
        alike = {group: members for group, members in rows.items() if len(members) == size}
        rows_PG = torch.tensor(list(alike.values()))
        advantages_N[rows_PG], _ = ema_grpo(
            rewards_N[rows_PG],
            [tasks[group] for group in alike],
            after,
            ema_decay=1.0,  # the state is that of the whole batch already
            min_sigma=settings.min_sigma,
            clip=settings.clip,
            guard=settings.guard,
        )
    return advantages_N, after
