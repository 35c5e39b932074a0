"""The optimizer and its schedule: AdamW or Muon, a linear warm-up, then a cosine or a constant rate."""

import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.distributed import get_rank, get_world_size, is_initialized
from torch.distributed.tensor import DTensor

from onethinker.training.config import OptimizerSettings
from onethinker.training.sharding import broadcast_from


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon for some parameters and AdamW for the others, under one list of groups and one state.

    Each of several processes that hold the same weights and gradients orthogonalises a share of the matrices and tells the
    others what became of them; momentum, which is cheap, all of them keep.
    """

    def __init__(self, muon: torch.optim.Muon, adamw: torch.optim.AdamW) -> None:
        super().__init__([*muon.param_groups, *adamw.param_groups], {})
        self._both = muon, adamw
        for optimizer in self._both:
            optimizer.state = self.state
        muon.param_groups, adamw.param_groups = self.param_groups[:1], self.param_groups[1:]

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take a step of both."""
        muon, adamw = self._both
        (group,) = muon.param_groups
        matrices = group["params"]
        processes = get_world_size() if is_initialized() else 1
        shares = share_out((matrix for matrix in matrices if matrix.grad is not None), processes)
        group["params"] = shares[get_rank() if processes > 1 else 0]
        muon.step()  # type: ignore[no-untyped-call]
        group["params"] = matrices
        for process, share in enumerate(shares if processes > 1 else []):
            if process != get_rank():
                self._remember(share, group["momentum"])
            broadcast_from(process, share)
        adamw.step()

    @torch.no_grad()
    def _remember(self, matrices: Iterable[nn.Parameter], momentum: float) -> None:
        """Take note of the gradients of matrices that another process moves, as Muon does of those that it moves."""
        for matrix in matrices:
            assert matrix.grad is not None
            state = self.state[matrix]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(matrix)
            state["momentum_buffer"].lerp_(matrix.grad, 1 - momentum)


def share_out(matrices: Iterable[nn.Parameter], processes: int) -> list[list[nn.Parameter]]:
    """Return matrices by process, so that each has about as many multiplications to do: short side times short side times long side.

    >>> [[tuple(matrix.shape) for matrix in share] for share in share_out([torch.empty(4, 2), torch.empty(8, 8), torch.empty(2, 4)], 2)]
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

    Muon takes the matrices inside the layers, with steps as large as those of AdamW; embeddings, the head, convolutions and
    vectors stay with AdamW.

    Source: Jordan et al., Muon (2024); scale of the steps from Liu et al., Muon is scalable for LLM training (2025).
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    tables |= {id(parameter) for name, parameter in model.named_parameters() if name.endswith("lm_head.weight")}
    hidden = [p for p in trained if p.ndim == 2 and id(p) not in tables] if settings.kind == "muon" else []
    rest = [p for p in trained if id(p) not in set(map(id, hidden))]
    # What is dealt to processes and what is whole cannot move in one call.
    kinds = [(dealt, is_matrix) for dealt in (False, True) for is_matrix in (True, False)]
    groups = [
        {
            "params": [p for p in rest if isinstance(p, DTensor) is dealt and (p.ndim > 1) is is_matrix],
            "weight_decay": settings.weight_decay if is_matrix else 0.0,
        }
        for dealt, is_matrix in kinds
    ]
    adamw = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(settings.beta1, settings.beta2), fused=True)
    if not hidden:
        return adamw
    muon = torch.optim.Muon(hidden, lr=settings.learning_rate, weight_decay=settings.weight_decay, adjust_lr_fn="match_rms_adamw")
    return MuonWithAdamW(muon, adamw)


def learning_rate(settings: OptimizerSettings, step: int, steps: int) -> float:
    """Return the rate of a step (counted from 0): a linear warm-up, then a cosine down to the final share.

    >>> learning_rate(OptimizerSettings(learning_rate=1.0, warmup_steps=4), 1, 100)
    0.5
    >>> learning_rate(OptimizerSettings(learning_rate=1.0), 50, 100)
    0.5
    """
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    share = (step - settings.warmup_steps) / max(1, steps - settings.warmup_steps)
    final = settings.final_learning_rate_share
    return settings.learning_rate * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * share)))
