"""Seconds of each phase of a step."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

Phase = Literal["data", "rollout", "grading", "reference", "update", "checkpoint", "validation"]
"""Media and words made into prompts; answers sampled; answers graded, or waited for; the divergence's other model;
forward, backward and optimizer; files written; the model asked by a validation."""


class Stopwatch:
    """Seconds of each phase; one that begins inside another is its own and not the other's.

    `wait` is called where a phase begins and ends, so that what an accelerator still has to do counts where it was
    asked for.
    """

    def __init__(self, wait: Callable[[], None] | None = None) -> None:
        self._wait = wait
        self._seconds: dict[Phase, float] = {}
        self._phases: list[Phase] = []
        self._since = 0.0

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Count the time inside the block to a phase, and no longer to the one around it."""
        self._stop()
        self._phases.append(name)
        try:
            yield
        finally:
            self._stop()
            self._phases.pop()

    def _stop(self) -> None:
        """Count the time until now to the current phase."""
        if self._wait is not None:
            self._wait()
        now = time.perf_counter()
        if self._phases:
            current = self._phases[-1]
            self._seconds[current] = self._seconds.get(current, 0.0) + now - self._since
        self._since = now

    def take(self) -> dict[Phase, float]:
        """Return the seconds of each phase since they were last taken, in the order in which the phases came."""
        taken, self._seconds = self._seconds, {}
        return taken
