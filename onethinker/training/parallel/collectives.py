"""What processes tell each other: small values and sums, and tensors in few large exchanges."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor, nn
from torch.distributed import P2POp, all_reduce, batch_isend_irecv, broadcast, get_world_size, irecv, isend
from torch.distributed.tensor import DTensor

T = TypeVar("T")
NUMBERS_AT_ONCE = 2**25
"""Gradients that are exchanged in one go."""


@dataclass(frozen=True)
class Collectives:
    """The processes of a run, as one of them sees them; all must call each method together."""

    accelerator: Accelerator

    @property
    def index(self) -> int:
        """Which process this is, from 0."""
        return int(self.accelerator.process_index)

    @property
    def count(self) -> int:
        """How many processes there are."""
        return int(self.accelerator.num_processes)

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes."""
        return self.index == 0

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        device: torch.device = self.accelerator.device
        return device

    def total(self, *numbers: float) -> list[float]:
        """Return the sums of numbers over all processes."""
        sums: Tensor = self.accelerator.reduce(torch.tensor(numbers, dtype=torch.float64, device=self.device), "sum")
        return [float(number) for number in sums]

    def gather(self, mine: Sequence[T]) -> list[T]:
        """Return the values of all processes, one process after the other."""
        gathered: list[T] = gather_object(list(mine))
        return gathered

    def from_main(self, value: T) -> T:
        """Return the main process's value in every process."""
        held: list[T] = [value]
        broadcast_object_list(held)
        return held[0]

    def exchange(self, sent: Sequence[tuple[Tensor, int]], received: Sequence[tuple[Tensor, int]]) -> None:
        """Send tensors, each to a process, and fill others with what processes send; two processes have them in one
        order. All must be contiguous, and have a dimension.
        """
        # As bytes: NCCL does not know every dtype, such as the int16 of experts.
        operations = [P2POp(isend, tensor.view(-1).view(torch.uint8), process) for tensor, process in sent]
        operations += [P2POp(irecv, tensor.view(-1).view(torch.uint8), process) for tensor, process in received]
        for work in batch_isend_irecv(operations) if operations else ():
            work.wait()

    def wait(self) -> None:
        """Return when all processes have come here."""
        self.accelerator.wait_for_everyone()


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Average the gradients of what every process holds in full over all processes; sharded parameters are left alone.

    A process without a gradient counts as zero. What no process has a gradient of, as the vision tower after questions
    without media, stays without, and the optimizer leaves it alone.
    """
    held = [parameter for parameter in parameters if parameter.requires_grad and not isinstance(parameter, DTensor)]
    if not held:
        return
    counts = torch.tensor([parameter.grad is not None for parameter in held], dtype=torch.int32, device=held[0].device)
    all_reduce(counts)
    learning = [parameter for parameter, count in zip(held, counts.tolist(), strict=True) if count]
    for parameter in learning:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    for bundle in _bundles(learning):
        flat = torch.cat([parameter.grad.flatten() for parameter in bundle if parameter.grad is not None])
        all_reduce(flat)
        flat /= get_world_size()
        for parameter, part in _parts(bundle, flat):
            parameter.grad = part


@torch.no_grad()
def broadcast_from(process: int, parameters: Iterable[nn.Parameter]) -> None:
    """Give the values that parameters have in one process to all others."""
    for bundle in _bundles(parameters):
        flat = torch.cat([parameter.flatten() for parameter in bundle])
        broadcast(flat, src=process)
        for parameter, part in _parts(bundle, flat):
            parameter.copy_(part)


def _parts(bundle: Sequence[nn.Parameter], flat: Tensor) -> Iterator[tuple[nn.Parameter, Tensor]]:
    for parameter, part in zip(bundle, torch.split(flat, [each.numel() for each in bundle]), strict=True):
        yield parameter, part.view_as(parameter)


def _bundles(parameters: Iterable[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Yield parameters of one dtype together, as many as one exchange takes: few large ones are quicker than many."""
    bundle: list[nn.Parameter] = []
    for parameter in parameters:
        if bundle and (
            parameter.dtype != bundle[0].dtype or sum(map(torch.numel, bundle)) + parameter.numel() > NUMBERS_AT_ONCE
        ):
            yield bundle
            bundle = []
        bundle.append(parameter)
    if bundle:
        yield bundle


def full_tensors(tensors: Mapping[str, Tensor], *, keep: bool, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """Return tensors as CPU tensors, put together from all processes where they are sharded; every process must call
    it.

    A process that does not `keep` them takes part and gets none, one at a time in memory. `dtype` is that of all but
    vectors: norms and the decay of recurrent layers, some of which servers hold in float32 whatever they compute in.
    """
    kept = {}
    for name, tensor in tensors.items():
        full: Any = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if keep:
            kept[name] = full.detach().to(dtype if full.ndim > 1 else None).cpu().contiguous()
    return kept
