"""What every way of sharing a model between processes does, so that nothing else asks which one it is."""

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor

from onethinker.training.config import Recipe

NamedTensors = Iterable[tuple[str, Tensor]]


def is_set(variable: str, default: str = "false") -> bool:
    """Tell whether accelerate's launcher says yes to something by a variable of the environment."""
    return os.environ.get(variable, default).lower() in ("true", "1", "yes")


class ParallelBackend(Protocol):
    """A model with its optimizer, and how the processes of a run share both.

    A step is `backward` for each row, `reduce_gradients`, then `step` or `drop`. All processes call each of them, and
    `unsharded`, `gradients`, `weights` and `moments`, together.
    """

    rows_in_step: ClassVar[bool]
    """Whether every row takes all processes, so that all need the same number of rows."""

    @property
    def model(self) -> Any:
        """The model, its weights under their own names."""

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer of what is trainable."""

    @classmethod
    def wrap(cls, model: Any, recipe: Recipe, device: torch.device) -> Self:
        """Bring a model from the computer's memory to this process's device, shared in place, and make the optimizer of
        what is trainable in it.
        """

    def share_frozen(self, model: Any, device: torch.device) -> Any:
        """Return another model that is only asked, brought and shared in place as this one is."""

    @property
    def callee(self) -> Any:
        """What is called for a forward pass that `backward` follows."""

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add the gradients of a row; `last` says that it is the last one of a step."""

    def reduce_gradients(self) -> Tensor:
        """Average the gradients over all processes and return their norm; NaN or infinite where it is not finite."""

    def step(self, learning_rate: float, norm: Tensor) -> None:
        """Take an optimizer step with gradients of this norm, scaled down to the largest that the recipe allows."""

    def drop(self) -> None:
        """Forget the gradients; weights and moments stay as they are."""

    def own_gradients(self) -> Iterable[tuple[str, Tensor | None]]:
        """Return each parameter's name and gradient as this process holds it, none where that costs an exchange."""

    def gradients(self) -> Iterable[tuple[str, Tensor | None]]:
        """Return each parameter's name and gradient; an iteration that was begun must be ended."""

    def unsharded(self) -> AbstractContextManager[None]:
        """Keep all weights in every process while this is open: each can call the model as often as it likes."""

    def together(self) -> AbstractContextManager[None]:
        """Let all processes call the model while this is open, without gradients and each as often as the others."""

    def weights(self, *, keep: bool, dtype: torch.dtype | None = None) -> dict[str, Tensor] | None:
        """Return what a model folder holds, all weights or the adapters alone, as CPU tensors where they are kept; None
        where the model holds them itself, in the dtype that is asked for: that of matrices (`full_tensors`).
        """

    def own_moments(self) -> NamedTensors:
        """Return the optimizer's state as this process holds it."""

    def moments(self, *, keep: bool) -> dict[str, Tensor]:
        """Return the optimizer's state as CPU tensors under the names of their parameters, in the processes that
        `keep` it.
        """

    def sharded_moments(self) -> dict[str, Tensor] | None:
        """Return what each process writes into a checkpoint: its shards of the `moments`; None where one writes them
        all.
        """

    def load_moments(self, path: Path) -> None:
        """Read a file of `moments`, or a folder of `save_shards`, whichever backend wrote it and in however many
        processes.

        Raises: CheckpointError: the file is damaged or belongs to another model.
        """
