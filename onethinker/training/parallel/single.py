"""A full model in every process: one of them, or several that average their gradients once a step."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.distributed import is_initialized
from torch.distributed.tensor import DTensor

from onethinker.training.config import Recipe
from onethinker.training.optimizer import make_optimizer, set_learning_rate
from onethinker.training.parallel.base import NamedTensors
from onethinker.training.parallel.collectives import average_gradients, full_tensors
from onethinker.training.parallel.moments import load_optimizer, optimizer_tensors


@dataclass(frozen=True)
class Replicated:
    """A model that every process holds in full, with its optimizer."""

    model: Any
    optimizer: torch.optim.Optimizer
    max_grad_norm: float
    rows_in_step: ClassVar[bool] = False

    @classmethod
    def wrap(cls, model: Any, recipe: Recipe, device: torch.device) -> Self:
        """Return the model, brought to the device, with an optimizer of what is trainable in it."""
        return cls.of(model.to(device), recipe)

    @classmethod
    def of(cls, model: Any, recipe: Recipe) -> Self:
        """Return a model that is where it is to be with an optimizer of what is trainable in it."""
        return cls(model, make_optimizer(model, recipe.optimizer), recipe.optimizer.max_grad_norm)

    def share_frozen(self, model: Any, device: torch.device) -> Any:
        """Return the model, brought to the device: every process holds it in full."""
        return model.to(device)

    @property
    def callee(self) -> Any:
        """The model itself."""
        return self.model

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add the gradients of a row."""
        loss.backward()  # type: ignore[no-untyped-call]

    def reduce_gradients(self) -> Tensor:
        """Average what every process holds in full, and return the norm of all gradients."""
        if is_initialized():
            average_gradients(self.model.parameters())
        return gradient_norm(self.model)

    def step(self, learning_rate: float, norm: Tensor) -> None:
        """Take a step with gradients scaled down."""
        set_learning_rate(self.optimizer, learning_rate)
        scale_gradients(self.model, self.max_grad_norm, norm)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def drop(self) -> None:
        """Forget the gradients."""
        self.optimizer.zero_grad()

    def own_gradients(self) -> Iterable[tuple[str, Tensor | None]]:
        """Return the gradients, or this process's shards of them."""
        return ((name, parameter.grad) for name, parameter in self.model.named_parameters())

    def gradients(self) -> Iterable[tuple[str, Tensor | None]]:
        """Return the gradients, or this process's shards of them."""
        return self.own_gradients()

    def unsharded(self) -> AbstractContextManager[None]:
        """Do nothing: the weights are there."""
        return nullcontext()

    def together(self) -> AbstractContextManager[None]:
        """Do nothing: the weights are there."""
        return nullcontext()

    def weights(self, *, keep: bool, dtype: torch.dtype | None = None) -> dict[str, Tensor] | None:
        """Return None: the model holds its weights; all of them where they are wanted in another dtype."""
        return None if dtype is None else full_tensors(dict(self.model.named_parameters()), keep=keep, dtype=dtype)

    def own_moments(self) -> NamedTensors:
        """Return the optimizer's state, or this process's shard of it."""
        return optimizer_tensors(self.optimizer, self.model).items()

    def moments(self, *, keep: bool) -> dict[str, Tensor]:
        """Return the optimizer's state as CPU tensors, where it is kept."""
        return full_tensors(optimizer_tensors(self.optimizer, self.model), keep=keep)

    def sharded_moments(self) -> dict[str, Tensor] | None:
        """Return None: one process writes them all."""
        return None

    def load_moments(self, path: Path) -> None:
        """Read the optimizer's state. Raises: CheckpointError: the file is damaged or belongs to another model."""
        load_optimizer(self.optimizer, self.model, path)


def gradient_norm(model: nn.Module) -> Tensor:
    """Return the norm of all gradients, all processes together; 0 without any."""
    learning = [parameter for parameter in model.parameters() if parameter.grad is not None]
    if not learning:
        return torch.zeros(())
    kinds = [[p for p in learning if isinstance(p, DTensor) is sharded] for sharded in (False, True)]
    norms = [nn.utils.get_total_norm([p.grad for p in kind if p.grad is not None]) for kind in kinds if kind]
    full_norms = [norm.full_tensor() if isinstance(norm, DTensor) else norm for norm in norms]
    # Shares that are kept off the GPU have their norm there too.
    return full_norms[0] if len(full_norms) == 1 else torch.stack([norm.cpu() for norm in full_norms]).norm()


def scale_gradients(model: nn.Module, most: float, norm: Tensor) -> None:
    """Scale gradients, which have this norm, down to a norm of at most `most`."""
    learning = [parameter for parameter in model.parameters() if parameter.grad is not None]
    for sharded in (False, True):
        nn.utils.clip_grads_with_norm_([p for p in learning if isinstance(p, DTensor) is sharded], most, norm)
