"""AdamW whose two moving averages are kept in 8 bits, by bitsandbytes: a byte for each number and a scale for 256.

Source: Dettmers et al., 8-bit Optimizers via Block-wise Quantization (arXiv 2110.02861).
"""

from typing import Any

import torch

from onethinker.training.settings import OptimizerSettings

BLOCK = 256
"""Numbers that share a scale, as bitsandbytes has it."""
SMALLEST = 4096
"""Weights with fewer numbers keep averages of 32 bits, as bitsandbytes has it."""
CODE_BOOKS = {"qmap1": "dynamic", "qmap2": "udynamic"}
"""Which of the optimizer's tables says what the bytes of an average mean; all weights share them."""


def make_adamw8bit(groups: list[dict[str, Any]], settings: OptimizerSettings) -> torch.optim.Optimizer:
    """Return the optimizer over groups of parameters."""
    from bitsandbytes.optim import AdamW8bit

    betas = settings.beta1, settings.beta2
    optimizer: torch.optim.Optimizer = AdamW8bit(groups, lr=settings.learning_rate, betas=betas, min_8bit_size=SMALLEST)
    return optimizer


def share_code_books(optimizer: torch.optim.Optimizer) -> None:
    """Give averages that were read from a checkpoint the tables that it does not hold."""
    for state in optimizer.state.values():
        if "absmax1" in state:
            books = getattr(optimizer, "name2qmap")  # noqa: B009 (an attribute that torch's optimizers lack)
            for name, book in CODE_BOOKS.items():
                state[name] = books[book] = books[book].to(state["absmax1"].device)
