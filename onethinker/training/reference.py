"""The reference: the model that a run started from, or was a while ago; the one that learns is measured against it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from onethinker.inference.loading import load_local
from onethinker.storage.folders import REFERENCE_FILE
from onethinker.training.adapters import base_weights, choose_trained
from onethinker.training.liger import use_liger
from onethinker.training.packing.attention import use_packed_attention
from onethinker.training.packing.row import PackedRow
from onethinker.training.session import TrainingSession
from onethinker.training.state.average import fill, trained


@dataclass
class Reference:
    """Gives the log-probabilities (S,) of a row's scored tokens under a model, in a context in which it is the
    reference.

    `weights` are those of a reference that is refreshed every so many steps.
    """

    session: TrainingSession
    model: Any
    in_context: Callable[[], AbstractContextManager[None]]
    temperature: float
    every: int | None = None
    weights: Mapping[str, Tensor] | None = None

    def __call__(self, row: PackedRow) -> Tensor:
        """Return them."""
        with self.session.clock.phase("reference"), torch.no_grad(), self.in_context():
            return self.session.optimization.score(row, self.model, temperature=self.temperature)[0]

    def refresh(self, step: int) -> None:
        """Become the model that learns, where it is time to after a step."""
        if self.every is not None and self.weights is not None and step % self.every == 0:
            _copy_trained(self.session.model, self.weights)


def open_reference(
    session: TrainingSession, *, temperature: float = 1.0, refresh_every: int | None = None
) -> Reference | None:
    """Return what scores rows as the model that the run started from did, or None where its recipe needs none.

    Under adapters that is the model itself without them, and no second copy. One that is refreshed is the model with
    other weights in what is trained, which checkpoints hold too. Where weights are sharded a second model is, too.
    Where the last checkpoint holds none, it begins as the policy is: at the start, or where a run goes on with this
    setting that was without it.

    Raises: CheckpointError: the file of the reference's weights is damaged.
    """
    recipe, model = session.recipe, session.model
    if not recipe.has_reference:
        return None
    if refresh_every is None:
        if recipe.lora is not None:
            return Reference(session, model, lambda: base_weights(model), temperature)
        dtype = "float32" if recipe.dtype == "float32" else "bfloat16"
        return Reference(session, _second_model(session, dtype), nullcontext, temperature)
    if any(isinstance(weight, DTensor) for weight in model.parameters()):
        second = _second_model(session, recipe.weights_dtype, adapters=True)
        weights = {name: second.get_parameter(name).detach() for name, _ in trained(model)}
        _copy_trained(model, weights)
        reference = Reference(session, second, nullcontext, temperature, refresh_every, weights)
    else:
        weights = {name: weight.detach().clone() for name, weight in trained(model)}
        reference = Reference(session, model, lambda: lent(model, weights), temperature, refresh_every, weights)
    checkpoints = session.folder.checkpoints.all()
    if checkpoints and (path := checkpoints[-1] / REFERENCE_FILE).exists():
        fill(weights, path)
    session.kept[REFERENCE_FILE] = weights
    return reference


@torch.no_grad()
def _copy_trained(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    for name, weight in trained(model):
        weights[name].copy_(weight)


def _second_model(session: TrainingSession, dtype: str, *, adapters: bool = False) -> Any:
    """Return the model that the run started from once more, with fresh adapters where they are asked for; frozen, and
    sharded where the one that learns is.
    """
    recipe = session.recipe
    start = load_local(recipe.model, seed=recipe.seed, dtype=dtype).model
    use_packed_attention(start)
    if recipe.liger:
        use_liger(start)
    if adapters:
        choose_trained(start, recipe)
    start.eval().requires_grad_(False)
    return session.backend.share_frozen(start, session.collectives.device)


@contextmanager
def lent(model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Let a model have other weights while this is open, also between a forward and its backward pass: nothing is
    written over.
    """
    own = [(weight, weight.data, weights[name]) for name, weight in trained(model)]
    for weight, _, other in own:
        weight.data = other
    try:
        yield
    finally:
        for weight, before, _ in own:
            weight.data = before
