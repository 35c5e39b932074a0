"""The average of the weights over the steps (EMA), which is validated, saved and exported in place of those that
learn.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from onethinker.core.errors import CheckpointError
from onethinker.training.parallel.collectives import full_tensors
from onethinker.training.parallel.moments import sharded_like


class WeightAverage:
    """The exponential moving average of every weight that is trained, as this process holds it.

    a ← decay · a + (1 − decay) · w      after each optimizer step that is taken, from the weights of the start on
    """

    def __init__(self, model: nn.Module, decay: float, start: Mapping[str, Tensor] | None = None) -> None:
        """Begin with full tensors by name, by default with the weights as they are."""
        self._model, self._decay = model, decay
        self._average = {
            name: weight.detach().clone() if start is None else sharded_like(start[name], weight)
            for name, weight in trained(model)
        }

    @torch.no_grad()
    def follow(self) -> None:
        """Take the weights of another step in."""
        for name, weight in trained(self._model):
            self._average[name].lerp_(weight, 1 - self._decay)

    @contextmanager
    def in_model(self) -> Iterator[Self]:
        """Let the model have the average while this is open; between steps only."""
        self._swap()
        try:
            yield self
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, weight in trained(self._model):
            held = weight.detach().clone()
            weight.copy_(self._average[name])
            self._average[name].copy_(held)

    def swapped_out(self, *, keep: bool) -> dict[str, Tensor]:
        """Return the weights that learn, while the model has the average, as CPU tensors where they are kept."""
        return full_tensors(self._average, keep=keep)


def trained(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the weights that learn, by name."""
    return ((name, weight) for name, weight in model.named_parameters() if weight.requires_grad)


@torch.no_grad()
def exchange(model: nn.Module, path: Path) -> dict[str, Tensor] | None:
    """Give a model that holds the average the weights that learn, out of the file beside it, and return the average;
    None where there is no such file.

    Raises: CheckpointError: the file is damaged or belongs to another model.
    """
    if not path.exists():
        return None
    average = {name: weight.detach().clone() for name, weight in trained(model)}
    fill(dict(trained(model)), path)
    return average


@torch.no_grad()
def fill(weights: Mapping[str, Tensor], path: Path) -> None:
    """Read a file of weights into tensors of these names. Raises: CheckpointError: it has not just these."""
    try:
        read = load_file(path)
        if read.keys() != weights.keys():
            raise ValueError(f"it has {len(read)} weights, and {len(weights)} are trained")
        for name, value in read.items():
            weights[name].copy_(sharded_like(value, weights[name]))
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{path}: these averaged weights do not fit this model: {error}") from error
