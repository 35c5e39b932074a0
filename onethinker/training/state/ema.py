"""The moving averages of rewards that EMA-GRPO divides by; they travel in the checkpoint."""

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Moments:
    """Moving averages of a task's rewards and of their squares."""

    m1: float
    m2: float

    @property
    def sigma(self) -> float:
        """The standard deviation that the averages stand for; 0 when rounding makes the variance negative.

        >>> Moments(0.5, 0.5).sigma
        0.5
        """
        return math.sqrt(max(0.0, self.m2 - self.m1**2))


EmaState = Mapping[str, Moments]
"""Moments by task task key ("tracking", "segmentation/video", …)."""
