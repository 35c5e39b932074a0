"""The state of an optimizer under the names of its parameters, as checkpoints hold it whatever backend wrote it."""

import math
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.distributed import get_rank
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
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


def save_shards(tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Write tensors into a folder, each process its shards into a safetensors file of its own, and the first one what
    all hold in full; all processes take part.

    Raises: OSError: a process cannot write.
    """
    mine = {name: tensor for name, tensor in tensors.items() if get_rank() == 0 or isinstance(tensor, DTensor)}
    try:
        save(mine, storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True))
    except CheckpointException as error:
        raise OSError("; ".join(str(failure) for failure, _ in error.failures.values())) from error


def load_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module, path: Path) -> None:
    """Read a file of `optimizer_tensors`, or a folder of their shards, for the parameters that are trained now.

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
    """Yield each tensor in a file of `optimizer_tensors`, or a folder of their shards, with the parameter it belongs to
    and its name, of those that are trained now.

    Raises: CheckpointError: the file is damaged or belongs to another model.
    """
    parameters = dict(model.named_parameters())
    try:
        for key, value in _tensors_in(path, parameters):
            name, _, kind = key.rpartition("/")
            parameter = parameters[name]
            if kind != "step" and value.shape != (expected := _shape(kind, parameter.shape)):
                raise ValueError(f"{key} has the shape {tuple(value.shape)}, not {tuple(expected)} as the weights need")
            if parameter.requires_grad:
                yield parameter, kind, value
    except (OSError, KeyError, ValueError, SafetensorError, CheckpointException) as error:
        raise CheckpointError(f"{path}: this optimizer state does not fit this model: {error}") from error


def _tensors_in(path: Path, parameters: Mapping[str, nn.Parameter]) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a file, one after the other, or of a folder of shards, of which a process reads what it
    holds.
    """
    if path.is_dir():
        yield from _from_shards(path, parameters).items()
        return
    with safe_open(path, "pt") as file:
        for key in file.keys():  # noqa: SIM118 (no mapping)
            yield key, file.get_tensor(key)


def _from_shards(folder: Path, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Return the tensors of a folder of shards, sharded as the parameters that they belong to."""
    reader = HuggingFaceStorageReader(str(folder))
    tensors = {}
    for key, saved in reader.read_metadata().state_dict_metadata.items():
        assert isinstance(saved, TensorStorageMetadata)
        like = parameters[key.rpartition("/")[0]].detach()
        is_as_large = saved.size == like.shape
        tensors[key] = torch.empty_like(like) if is_as_large else torch.empty(saved.size, dtype=saved.properties.dtype)
    with warnings.catch_warnings():
        # Each process reads for itself, so that none waits for another.
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        load(tensors, storage_reader=reader, no_dist=True)
    return tensors


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
    if isinstance(parameter, DTensor) and not isinstance(value, DTensor):
        return distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)
    return value.to(parameter.device)
