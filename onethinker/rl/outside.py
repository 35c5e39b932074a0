"""Objectives of other packages: what they are given, how they are found by name, and what is checked of a loss.

Dimensions: S scored tokens of a row, A answers of a row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from torch import Tensor

from onethinker.core.errors import ConfigError, PluginError
from onethinker.core.nearest import no_such
from onethinker.core.plugins import check_names, load_plugins, named_plugins, naming, source_of
from onethinker.training.rl_settings import BUILT_IN_OBJECTIVES, LOSSES_GROUP, LossSettings


@dataclass(frozen=True)
class PolicyTokens:
    """The scored tokens of a row: log-probabilities now and when they were sampled, the advantage of each one's answer,
    and which of the row's answers it belongs to. Only `logps_S` has a gradient.
    """

    logps_S: Tensor
    old_logps_S: Tensor
    advantages_S: Tensor
    answer_S: Tensor
    num_answers: int


Objective = Callable[[PolicyTokens, LossSettings], Tensor]
"""Gives the loss of each token (S,) before its weight (`loss.reduction`)."""


def outside_losses(tokens: PolicyTokens, settings: LossSettings) -> Tensor:
    """Return the loss of each token by the objective of another package.

    Raises: ConfigError: there is none of this name. PluginError: it failed, or gave no number for each token, or none
    with a gradient.
    """
    found = _outside(named_plugins())
    if settings.objective not in found:
        raise ConfigError(f"loss.objective: {no_such('objective', settings.objective, (*BUILT_IN_OBJECTIVES, *found))}")
    objective = found[settings.objective]
    with naming(objective, f"loss {settings.objective!r}"):
        loss_S = objective(tokens, settings)
    where = f"loss {settings.objective!r} ({source_of(objective)})"
    if not isinstance(loss_S, Tensor) or loss_S.shape != tokens.logps_S.shape or not loss_S.requires_grad:
        got = f"{tuple(loss_S.shape)}" if isinstance(loss_S, Tensor) else repr(loss_S)
        raise PluginError(f"{where} must give a tensor of {len(tokens.logps_S)} losses with a gradient, got {got}")
    inputs = (tokens.logps_S, tokens.old_logps_S, tokens.advantages_S)
    if not bool(loss_S.isfinite().all()) and all(bool(value_S.isfinite().all()) for value_S in inputs):
        raise PluginError(
            f"{where} returned a loss that is not finite, although the log-probabilities of the tokens are finite"
        )
    return loss_S


@cache
def _outside(named: tuple[str, ...]) -> dict[str, Objective]:
    plugins = load_plugins(LOSSES_GROUP)
    check_names(plugins, BUILT_IN_OBJECTIVES, "losses")
    return {plugin.name: plugin.value for plugin in plugins}
