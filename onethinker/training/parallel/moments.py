"""The state of an optimizer under the names of its parameters, as checkpoints hold it whatever backend wrote it."""

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from onethinker.core.errors import CheckpointError
from onethinker.training.eight_bit import BLOCK, CODE_BOOKS, share_code_books

EIGHT_BIT = ("state1", "state2", "absmax1", "absmax2")
"""Bytes and scales of averages in 8 bits, whatever the dtype of the weights."""


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """Return the optimizer's tensors under the names of their parameters; one that never had a gradient has none."""
    states = ((name, optimizer.state.get(parameter, {})) for name, parameter in model.named_parameters())
    return {
        f"{name}/{key}": torch.as_tensor(value)
        for name, state in states
        for key, value in state.items()
        if key not in CODE_BOOKS
    }


def load_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module, path: Path) -> None:
    """Read a file of `optimizer_tensors`, for the parameters that are trained now.

    Raises: CheckpointError: the file is damaged or belongs to another model.
    """
    for parameter, kind, value in read_moments(model, path):
        state = optimizer.state[parameter]
        if kind == "step":
            state[kind] = value.to(parameter.device) if value.is_floating_point() else int(value)
        elif kind in EIGHT_BIT:
            state[kind] = value.to(parameter.device)
        else:
            state[kind] = sharded_like(value.to(parameter.dtype), parameter)
    share_code_books(optimizer)


def read_moments(model: nn.Module, path: Path) -> Iterator[tuple[nn.Parameter, str, Tensor]]:
    """Yield each tensor in a file of `optimizer_tensors` with the parameter it belongs to and its name, of those that
    are trained now.

    Raises: CheckpointError: the file is damaged or belongs to another model.
    """
    parameters = dict(model.named_parameters())
    try:
        for key, value in load_file(path).items():
            name, _, kind = key.rpartition("/")
            parameter = parameters[name]
            if kind != "step" and value.shape != (expected := _shape(kind, parameter.shape)):
                raise ValueError(f"{key} has the shape {tuple(value.shape)}, not {tuple(expected)} as the weights need")
            if parameter.requires_grad:
                yield parameter, kind, value
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not the optimizer of this model: {error}") from error


def _shape(kind: str, shape: torch.Size) -> torch.Size:
    """Return the shape of a tensor of the state of a parameter that has this shape."""
    of = {
        "row_var": (*shape[:-1], 1),
        "col_var": (*shape[:-2], 1, shape[-1]) if shape else (),
        "absmax1": (math.ceil(shape.numel() / BLOCK),),
    }
    of["absmax2"] = of["absmax1"]
    return torch.Size(of.get(kind, shape))


def sharded_like(value: Tensor, parameter: Tensor) -> Tensor:
    """Return a full tensor on the parameter's device, or this process's shard of it where the parameter is sharded."""
    if isinstance(parameter, DTensor):
        return distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)
    return value.to(parameter.device)
