"""Mixtures of experts in training: which experts tokens went to, and the loss that keeps these evenly used.

Dimensions: S scored tokens of a row, L layers with experts, E experts, K experts that a token goes to, A answers.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from onethinker.core.errors import ConfigError
from onethinker.families.registry import family_of
from onethinker.training.config import Recipe, RlRecipe


@dataclass
class Heard:
    """What the routers of a model have said in one forward, layer after layer."""

    logits: list[Tensor] = field(default_factory=list)
    """(tokens, E) each."""
    experts: list[Tensor] = field(default_factory=list)
    """(tokens, K) each."""

    def add(self, _module: nn.Module, _inputs: Any, said: tuple[Tensor, Tensor, Tensor]) -> None:
        """Take what a router says: logits, weights and indices of the experts."""
        self.logits.append(said[0])
        self.experts.append(said[2])

    def of_last(self, batch_size: int) -> Tensor | None:
        """Return the experts (B, L, K) of the last token of each row of a batch; None without experts."""
        if not self.experts:
            return None
        return torch.stack([experts.reshape(batch_size, -1, experts.shape[-1])[:, -1] for experts in self.experts], 1)


@contextmanager
def listening(routers: Sequence[nn.Module]) -> Iterator[Heard]:
    """Yield what routers say while this is open; a layer that checkpointing computes again later is heard once."""
    heard = Heard()
    hooks = [router.register_forward_hook(heard.add) for router in routers]
    try:
        yield heard
    finally:
        for hook in hooks:
            hook.remove()


def replay(routers: Sequence[nn.Module], tokens_S: Tensor, experts_SLK: Tensor) -> list[RemovableHandle]:
    """Send some tokens of a row to given experts, in place of those that the routers choose, until the hooks are
    removed: also while checkpointing computes a layer again. Their weights are the routers' own for these experts.
    """
    # Answers of one prompt share the position that predicts their first token, so it is replaced once.
    tokens_S, which = torch.unique(tokens_S, return_inverse=True)
    first = torch.full_like(tokens_S, len(which)).scatter_reduce(0, which, torch.arange(len(which)).to(which), "amin")

    def replayed(chosen_SK: Tensor, said: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        logits, weights, experts = said
        own_SK = logits[tokens_S].softmax(-1, dtype=torch.float).gather(1, chosen_SK)
        own_SK = (own_SK / own_SK.sum(-1, keepdim=True)).to(weights)
        return logits, weights.index_put((tokens_S,), own_SK), experts.index_put((tokens_S,), chosen_SK)

    return [
        router.register_forward_hook(lambda _, __, said, chosen_SK=chosen_SK: replayed(chosen_SK, said))
        for router, chosen_SK in zip(routers, experts_SLK[first].long().unbind(1), strict=True)
    ]


def balance_losses(logits_LSE: Tensor, answer_S: Tensor, num_answers: int, top_k: int) -> Tensor:
    """Return how unevenly each answer's tokens go to the experts (A,): top_k where they are spread evenly, E at most.

        ℓ_a = E · Σ_e f_ae · P_ae

    f is the mean number of an answer's tokens, over all layers, that go to an expert, and P its mean probability. This
    is what transformers computes of a batch with one answer, so that it does not hang on what shares a row.

    Source: Switch Transformers (arXiv 2101.03961, equations 4 to 6); `load_balancing_loss_func` of transformers.
    """
    layers, _, num_experts = logits_LSE.shape
    probabilities_LSE = logits_LSE.float().softmax(-1)
    chosen_LSE = torch.zeros_like(probabilities_LSE).scatter_(-1, probabilities_LSE.topk(top_k, -1).indices, 1.0)
    tokens_A1 = torch.bincount(answer_S, minlength=num_answers).clamp(min=1)[:, None] * layers
    zeros_AE = probabilities_LSE.new_zeros(num_answers, num_experts)
    means = [zeros_AE.index_add(0, answer_S, each.sum(0)) / tokens_A1 for each in (chosen_LSE, probabilities_LSE)]
    return num_experts * (means[0] * means[1]).sum(1)


def check_experts(model: Any, recipe: Recipe) -> None:
    """Do nothing where a model has the experts that a recipe speaks of. Raises: ConfigError: it has none."""
    if family_of(model).routers(model):
        return
    for setting, is_set in (
        ("router_loss", recipe.router_loss is not None),
        ("rollout.replay_experts", isinstance(recipe, RlRecipe) and recipe.rollout.replay_experts),
    ):
        if is_set:
            raise ConfigError(
                f"{setting}: this model has no experts with routers that are supported here; leave it out"
            )


def router_loss_coefficient(model: Any, setting: float | None) -> float:
    """Return what the routers' loss is multiplied by: a recipe's number, else as the config of a model with experts
    says, 0 where its `output_router_logits` is false.
    """
    text = model.config.get_text_config()
    return (text.router_aux_loss_coef if text.output_router_logits else 0.0) if setting is None else setting


def router_loss_words(model: Any, setting: float | None) -> str | None:
    """Return what is to be said of the routers' loss, None for a model without experts."""
    if not family_of(model).routers(model):
        return None
    coefficient, text = router_loss_coefficient(model, setting), model.config.get_text_config()
    by = (
        "the recipe's router_loss"
        if setting is not None
        else f"config.json: output_router_logits {str(text.output_router_logits).lower()}, router_aux_loss_coef"
        f" {text.router_aux_loss_coef:g}"
    )
    return f"auxiliary loss of the routers: {f'times {coefficient:g}' if coefficient else 'off'} ({by})"


def moved_tokens(before_SLK: Tensor, after_SLK: Tensor) -> tuple[int, int]:
    """Return how many tokens went to other experts in any layer, and how many there are.

    >>> moved_tokens(torch.tensor([[[0, 1]], [[0, 1]]]), torch.tensor([[[1, 0]], [[0, 2]]]))
    (1, 2)
    """
    differ_SLK = before_SLK.sort(-1).values != after_SLK.sort(-1).values
    return int(differ_SLK.flatten(1).any(1).sum()), len(differ_SLK)
