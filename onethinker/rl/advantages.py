"""How much better an answer is than the others of its group: EMA-GRPO and its relatives, as pure functions.

Dimensions: P prompts, G answers per prompt.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from onethinker.core.errors import ConfigError, PluginError
from onethinker.core.nearest import ask_for
from onethinker.core.plugins import check_names, load_plugins, naming, source_of
from onethinker.training.rl_settings import ESTIMATORS_GROUP, AdvantageSettings, Guard
from onethinker.training.state.progress import EmaState, Moments

SMALLEST_STD = 1e-6
"""Added to a group's own standard deviation, so that equal rewards give advantages of zero."""


def update_moments(
    state: EmaState, rewards_PG: Tensor, tasks: Sequence[str], *, ema_decay: float
) -> dict[str, Moments]:
    """Return the state after a batch: each task in it moves towards the batch's mean and mean square.

    A task that is seen for the first time starts at the batch's values; a task that is not in the batch stays.

    Raises: ValueError: for a reward that is not finite; the state is then unchanged.

    Source: paper, equations 9 and 10.

    >>> update_moments({"math": Moments(0.0, 0.0)}, torch.tensor([[1.0, 0.0]]), ["math"], ema_decay=0.5)
    {'math': Moments(m1=0.25, m2=0.25)}
    """
    if not torch.isfinite(rewards_PG).all():
        raise ValueError(f"rewards must be finite, got {rewards_PG.tolist()}")
    after = dict(state)
    for task in sorted(set(tasks)):
        rewards = rewards_PG[[index for index, name in enumerate(tasks) if name == task]].double()
        m1, m2 = float(rewards.mean()), float(rewards.square().mean())
        if task in state:
            m1, m2 = (
                ema_decay * old + (1 - ema_decay) * new for old, new in ((state[task].m1, m1), (state[task].m2, m2))
            )
        after[task] = Moments(m1, m2)
    return after


def ema_grpo(
    rewards_PG: Tensor,
    tasks: Sequence[str],
    state: EmaState,
    *,
    ema_decay: float = 0.99,
    min_sigma: float = 1e-3,
    clip: float = 5.0,
    guard: Guard = "clip",
) -> tuple[Tensor, dict[str, Moments]]:
    """Return advantages (P, G) and the state after them: rewards centred in their group, divided by their task's sigma.

    The state is updated first and then used. Sigma is at least `min_sigma`. Advantages beyond ±`clip` are clamped
    (`guard="clip"`), or their whole group is divided by its own standard deviation instead (`"group_std"`).

    Raises: ValueError: for a reward that is not finite.

    Source: paper, equations 9 to 11; `group_std` is the released code's rule.

    >>> advantages, state = ema_grpo(torch.tensor([[1.0, 0.0]]), ["math"], {})
    >>> advantages, state
    (tensor([[ 1., -1.]]), {'math': Moments(m1=0.5, m2=0.5)})
    """
    after = update_moments(state, rewards_PG, tasks, ema_decay=ema_decay)
    sigma_P1 = torch.tensor([max(after[task].sigma, min_sigma) for task in tasks], dtype=torch.float64)[:, None]
    centred_PG = dr_grpo(rewards_PG.double())
    advantages_PG = centred_PG / sigma_P1
    if guard == "clip":
        advantages_PG = advantages_PG.clamp(-clip, clip)
    else:
        beyond_P1 = (advantages_PG.abs() > clip).any(1, keepdim=True)
        advantages_PG = torch.where(beyond_P1, grpo(rewards_PG.double()), advantages_PG)
    return advantages_PG.to(rewards_PG.dtype), after


def grpo(rewards_PG: Tensor) -> Tensor:
    """Return rewards centred in their group and divided by the group's own (population) standard deviation.

    >>> grpo(torch.tensor([[1.0, 0.0], [3.0, 3.0]])).round(decimals=3)
    tensor([[ 1., -1.],
            [ 0.,  0.]])
    """
    return dr_grpo(rewards_PG) / (rewards_PG.std(1, keepdim=True, correction=0) + SMALLEST_STD)


def dr_grpo(rewards_PG: Tensor) -> Tensor:
    """Return rewards centred in their group, not scaled.

    >>> dr_grpo(torch.tensor([[3.0, 1.0]]))
    tensor([[ 1., -1.]])
    """
    return rewards_PG - rewards_PG.mean(1, keepdim=True)


def rloo(rewards_PG: Tensor) -> Tensor:
    """Return each reward less the mean of the others in its group.

    >>> rloo(torch.tensor([[3.0, 1.0]]))
    tensor([[ 2., -2.]])
    """
    group = rewards_PG.shape[1]
    return dr_grpo(rewards_PG) * group / (group - 1)


def reinforce_pp(rewards_PG: Tensor) -> Tensor:
    """Return rewards centred in their group and divided by the standard deviation of these over the whole batch.

    Source: REINFORCE++ with the group's mean as baseline (arXiv 2501.03262), over answers where verl counts tokens.

    >>> reinforce_pp(torch.tensor([[1.0, 0.0], [3.0, 3.0]])).round(decimals=3)
    tensor([[ 1.4140, -1.4140],
            [ 0.0000,  0.0000]])
    """
    centred_PG = dr_grpo(rewards_PG)
    return centred_PG / (centred_PG.std(correction=0) + SMALLEST_STD)


class AdvantageEstimator(Protocol):
    """Turns the rewards of one batch into advantages; `state` is what it remembers from the batches before."""

    def __call__(
        self, rewards_PG: Tensor, tasks: Sequence[str], state: EmaState, settings: AdvantageSettings
    ) -> tuple[Tensor, EmaState]:
        """Return advantages of the shape of the rewards, and the state after them; `tasks` are those of the prompts."""


def _ema_grpo(
    rewards_PG: Tensor, tasks: Sequence[str], state: EmaState, settings: AdvantageSettings
) -> tuple[Tensor, EmaState]:
    return ema_grpo(
        rewards_PG,
        tasks,
        state,
        ema_decay=settings.ema_decay,
        min_sigma=settings.min_sigma,
        clip=settings.clip,
        guard=settings.guard,
    )


def _within_groups(formula: Callable[[Tensor], Tensor]) -> AdvantageEstimator:
    """Return the estimator of a formula that looks at one batch alone; the averages are kept all the same."""

    def estimator(
        rewards_PG: Tensor, tasks: Sequence[str], state: EmaState, settings: AdvantageSettings
    ) -> tuple[Tensor, EmaState]:
        after = update_moments(state, rewards_PG, tasks, ema_decay=settings.ema_decay)
        return formula(rewards_PG), after

    return estimator


ESTIMATORS: dict[str, AdvantageEstimator] = {
    "ema_grpo": _ema_grpo,
    "grpo": _within_groups(grpo),
    "dr_grpo": _within_groups(dr_grpo),
    "rloo": _within_groups(rloo),
    "reinforce_pp": _within_groups(reinforce_pp),
}
"""Those that come with OneThinker; `advantage.algorithm` names one of them, or an entry point of another package."""


def find_estimator(name: str) -> AdvantageEstimator:
    """Return the estimator of this name: ours, or the one that an installed package offers as an entry point.

    Raises: ConfigError: there is none, or two; or it cannot be loaded.
    """
    plugins = load_plugins(ESTIMATORS_GROUP)
    check_names(plugins, tuple(ESTIMATORS), "estimators")
    if name in ESTIMATORS:
        return ESTIMATORS[name]
    offered = [plugin for plugin in plugins if plugin.name == name]
    if len(offered) != 1:
        raise ConfigError(
            f"advantage.algorithm: expected one entry point {name!r} in the group {ESTIMATORS_GROUP}, got"
            f" {', '.join(plugin.where for plugin in offered) or 'none'}{ask_for(name, ESTIMATORS)}"
        )
    estimator: AdvantageEstimator = offered[0].value
    return estimator


def compute_advantages(
    estimator: AdvantageEstimator,
    rewards_PG: Tensor,
    tasks: Sequence[str],
    state: EmaState,
    settings: AdvantageSettings,
) -> tuple[Tensor, EmaState]:
    """Return the advantages of one batch and the state after it.

    Raises: PluginError: the estimator failed, or gave something else than a finite advantage for each completion.
    """
    with naming(estimator, f"estimator {settings.algorithm!r}"):
        given = estimator(rewards_PG, tasks, state, settings)
    where = f"estimator {settings.algorithm!r} ({source_of(estimator)})"
    if not isinstance(given, tuple) or len(given) != 2 or not isinstance(given[0], Tensor):
        raise PluginError(f"{where} must return advantages and the state after them, got {given!r}")
    advantages_PG, after = given
    if advantages_PG.shape != rewards_PG.shape or not bool(advantages_PG.isfinite().all()):
        raise PluginError(
            f"{where} must give a finite advantage for each of {tuple(rewards_PG.shape)} rewards, got"
            f" {advantages_PG.tolist()} of shape {tuple(advantages_PG.shape)}"
        )
    if not isinstance(after, Mapping) or not all(isinstance(moments, Moments) for moments in after.values()):
        raise PluginError(f"{where} must return a state that has Moments for each task, got {after!r}")
    return advantages_PG, after
