"""The optimizer and its schedule: AdamW, a linear warm-up, then a cosine or a constant rate."""

import math

import torch
from torch import nn

from onethinker.training.config import OptimizerSettings


def make_optimizer(model: nn.Module, settings: OptimizerSettings) -> torch.optim.AdamW:
    """Return AdamW over what is trainable; only matrices decay."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices, others = [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(settings.beta1, settings.beta2), fused=True)


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
