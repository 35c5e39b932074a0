"""The optimizer and its schedule: AdamW (also in 8 bits), Adafactor or Muon, a linear warm-up, then a cosine or a
constant rate.

Dimensions: B matrices of one shape, N their shorter and M their longer side.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import get_rank, get_world_size, is_initialized
from torch.distributed.tensor import DTensor

from onethinker.families.base import PARTS, Part, head_of
from onethinker.families.registry import family_of
from onethinker.training.adapters import is_adapter
from onethinker.training.config import Recipe
from onethinker.training.eight_bit import BLOCK, SMALLEST, make_adamw8bit
from onethinker.training.parallel.collectives import broadcast_from
from onethinker.training.settings import OptimizerSettings

MOMENTUM, COEFFICIENTS, ITERATIONS, SMALLEST_NORM = 0.95, (3.4445, -4.7750, 2.0315), 5, 1e-7
"""Muon's, as torch has them."""
BYTES = {"bfloat16": 2, "float32": 4}
"""Of a weight, by its dtype."""
ADAPTER_BYTES = 4
"""Of a weight of an adapter, always in float32."""
NUMBERS_AT_ONCE = 2**16
"""Numbers in the matrices that are orthogonalized together: small ones are quicker so, larger ones leave the cache."""


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon for the matrices of the first groups and AdamW for the other groups, with one state.

    Each of several processes that hold the same weights and gradients orthogonalises a share of the matrices and tells
    the others what became of them; momentum, which is cheap, all of them keep.
    """

    def __init__(self, groups: list[dict[str, Any]], adamw: torch.optim.AdamW) -> None:
        muon = [{"lr": adamw.defaults["lr"], **group} for group in groups]
        super().__init__([*muon, *adamw.param_groups], {})
        self._adamw, self._muon_groups = adamw, len(muon)
        self._share_state()

    def _share_state(self) -> None:
        self._adamw.state, self._adamw.param_groups = self.state, self.param_groups[self._muon_groups :]

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a loaded state, for AdamW's parameters too."""
        super().__setstate__(state)
        if "_adamw" in self.__dict__:
            self._share_state()

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take a step of both."""
        for group in self.param_groups[: self._muon_groups]:
            self._step_muon(group)
        self._adamw.step()

    def _step_muon(self, group: dict[str, Any]) -> None:
        processes = get_world_size() if is_initialized() else 1
        shares = share_out((matrix for matrix in group["params"] if matrix.grad is not None), processes)
        for share in shares:
            for matrix in share:
                assert matrix.grad is not None
                self._momentum(matrix).lerp_(matrix.grad, 1 - MOMENTUM)
        for together in _alike(shares[get_rank() if processes > 1 else 0]):
            self._move(together, group["lr"], group["weight_decay"])
        for process, share in enumerate(shares if processes > 1 else []):
            broadcast_from(process, share)

    def _momentum(self, matrix: nn.Parameter) -> Tensor:
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        buffer: Tensor = state["momentum_buffer"]
        return buffer

    def _move(self, matrices: list[nn.Parameter], rate: float, weight_decay: float) -> None:
        """Move matrices of one shape, as Nesterov's momentum says."""
        ahead = torch.stack(
            [matrix.grad.lerp(self._momentum(matrix), MOMENTUM) for matrix in matrices if matrix.grad is not None]
        )
        # Steps as large as those of AdamW.
        scale = 0.2 * math.sqrt(max(ahead.shape[1:]))
        for matrix, direction in zip(matrices, orthogonalized(ahead), strict=True):
            matrix.mul_(1 - rate * weight_decay).add_(direction, alpha=-rate * scale)


def orthogonalized(matrices_BNM: Tensor) -> Tensor:
    """Return for each matrix about the nearest one with orthonormal rows or columns: its singular values become 0.7 to
    1.2.

    Five iterations of Newton and Schulz with Jordan's coefficients: in bfloat16, as torch's Muon has them, but on the
    CPU in float32. Most processors have no bfloat16 and emulate it, ten times slower.

    >>> matrix = torch.diag(torch.tensor([3.0, 2.0, 1.0]))
    >>> [round(value, 1) for value in torch.linalg.svdvals(orthogonalized(matrix[None]))[0].tolist()]
    [1.1, 0.7, 0.7]
    """
    lying_BNM = matrices_BNM.mT if matrices_BNM.shape[1] > matrices_BNM.shape[2] else matrices_BNM
    found_BNM = lying_BNM.to(torch.float32 if matrices_BNM.device.type == "cpu" else torch.bfloat16)
    found_BNM = found_BNM / found_BNM.norm(dim=(1, 2), keepdim=True).clamp(min=SMALLEST_NORM)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram_BNN = found_BNM @ found_BNM.mT
        change_BNN = torch.baddbmm(gram_BNN, gram_BNN, gram_BNN, beta=b, alpha=c)
        found_BNM = torch.baddbmm(found_BNM, change_BNN, found_BNM, beta=a)
    return found_BNM.mT if lying_BNM is not matrices_BNM else found_BNM


def _alike(matrices: Iterable[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Yield matrices of one shape, together while they are small."""
    kinds: dict[tuple[Any, ...], list[nn.Parameter]] = {}
    for matrix in matrices:
        kinds.setdefault((matrix.shape, matrix.dtype, matrix.device), []).append(matrix)
    for kind in kinds.values():
        size = max(1, NUMBERS_AT_ONCE // kind[0].numel())
        yield from (kind[first : first + size] for first in range(0, len(kind), size))


def share_out(matrices: Iterable[nn.Parameter], processes: int) -> list[list[nn.Parameter]]:
    """Return matrices by process, so that each has about as many multiplications to do: short side times short side
    times long side.

    >>> shares = share_out([torch.empty(4, 2), torch.empty(8, 8), torch.empty(2, 4)], 2)
    >>> [[tuple(matrix.shape) for matrix in share] for share in shares]
    [[(8, 8)], [(4, 2), (2, 4)]]
    """
    shares: list[list[nn.Parameter]] = [[] for _ in range(processes)]
    work = [0] * processes
    for matrix in sorted(matrices, key=_work, reverse=True):
        least = work.index(min(work))
        shares[least].append(matrix)
        work[least] += _work(matrix)
    return shares


def _work(matrix: nn.Parameter) -> int:
    return min(matrix.shape) * matrix.numel()


def make_optimizer(model: nn.Module, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """Return the optimizer over what is trainable; only matrices decay.

    Muon takes the matrices inside the layers, with steps as large as those of AdamW; embeddings, the head, convolutions
    and vectors stay with AdamW.

    Source: Jordan et al., Muon (2024); scale of the steps from Liu et al., Muon is scalable for LLM training (2025).
    Shazeer and Stern, Adafactor (arXiv 1804.04235), as torch has it: no momentum, and a step is as large as its rate
    times the root mean square of the weights.
    """
    matrices = hidden_matrices(model) if settings.kind == "muon" else []
    taken = set(map(id, matrices))
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in taken]
    factors = _rate_factors(model, settings.rates)
    groups: list[dict[str, Any]] = []
    # Sharded and unsharded parameters cannot be updated in one call.
    for is_sharded in (False, True):
        alike = [p for p in rest if isinstance(p, DTensor) is is_sharded]
        groups += _by_factor([p for p in alike if p.ndim > 1], factors, settings.weight_decay)
        groups += _by_factor([p for p in alike if p.ndim <= 1], factors, 0.0)
    if settings.kind == "adafactor":
        return torch.optim.Adafactor(groups, lr=settings.learning_rate)
    if settings.kind == "adamw8bit":
        return make_adamw8bit(groups, settings)
    adamw = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(settings.beta1, settings.beta2), fused=True)
    if not matrices:
        return adamw
    return MuonWithAdamW(_by_factor(matrices, factors, settings.weight_decay), adamw)


def _rate_factors(model: nn.Module, rates: Mapping[str, float]) -> dict[int, float]:
    """Return, by the id of a parameter, what its rate is multiplied by, for those that `rates` name; of several names
    the longest beginning counts, and a part least.
    """
    found: dict[int, float] = {}
    for name, parameter in model.named_parameters() if rates else ():
        beginnings = [beginning for beginning in rates if name.startswith(beginning)]
        key = max(beginnings, key=len) if beginnings else family_of(model).part_of(name)
        found[id(parameter)] = rates.get(key, 1.0)
    return found


def _by_factor(
    parameters: list[nn.Parameter], factors: Mapping[int, float], weight_decay: float
) -> list[dict[str, Any]]:
    """Return groups for an optimizer, one for each factor of the rate."""
    by_factor: dict[float, list[nn.Parameter]] = {} if factors else {1.0: parameters}
    for parameter in parameters if factors else ():
        by_factor.setdefault(factors[id(parameter)], []).append(parameter)
    return [
        {"params": alike, "weight_decay": weight_decay, "rate_factor": factor} for factor, alike in by_factor.items()
    ]


def set_learning_rate(optimizer: Any, rate: float) -> None:
    """Set the rate of the next step, times the factor of each group."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate_factor"]


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """Return the trained matrices inside the layers: neither embeddings nor the head."""
    head = head_of(model)
    tables = {id(module.weight) for module in model.modules() if module is head or isinstance(module, nn.Embedding)}
    return [p for p in model.parameters() if p.requires_grad and p.ndim == 2 and id(p) not in tables]


def state_bytes(model: nn.Module, recipe: Recipe) -> dict[Part, float]:
    """Return the bytes of the optimizer's state by part of the model, whose weights may be on the meta device."""
    family, kind = family_of(model), recipe.optimizer.kind
    with_momentum = set(map(id, hidden_matrices(model))) if kind == "muon" else set()
    sizes: dict[Part, float] = dict.fromkeys(PARTS, 0.0)
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            each = ADAPTER_BYTES if is_adapter(name) else BYTES[recipe.weights_dtype]
            sizes[family.part_of(name)] += _state_bytes(
                "momentum" if id(weight) in with_momentum else kind, weight.shape, each
            )
    return sizes


def _state_bytes(kind: str, shape: torch.Size, each: int) -> int:
    """Return the bytes of the state of weights of this shape, of `each` bytes.

    >>> shape = torch.Size([512, 256])
    >>> [_state_bytes(kind, shape, 4) // 1024 for kind in ("adamw", "momentum", "adafactor", "adamw8bit")]
    [1024, 512, 3, 260]
    """
    numbers = shape.numel()
    if kind == "momentum":
        return numbers * each
    if kind == "adafactor":
        return each * (numbers // shape[-1] + numbers // shape[-2] if len(shape) > 1 else numbers)
    if kind == "adamw8bit":
        return 2 * (numbers + 4 * math.ceil(numbers / BLOCK)) if numbers >= SMALLEST else 2 * 4 * numbers
    return 2 * numbers * each


def learning_rate(settings: OptimizerSettings, step: int, steps: int) -> float:
    """Return the rate of a step (counted from 0): a linear warm-up, then a cosine down to its lowest rate.

    >>> learning_rate(OptimizerSettings(learning_rate=1.0, warmup_steps=4), 1, 100)
    0.5
    >>> learning_rate(OptimizerSettings(learning_rate=1.0), 50, 100)
    0.5
    """
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    progress = (step - settings.warmup_steps) / max(1, steps - settings.warmup_steps)
    lowest = settings.min_lr_ratio
    return settings.learning_rate * (lowest + (1 - lowest) * 0.5 * (1 + math.cos(math.pi * progress)))
