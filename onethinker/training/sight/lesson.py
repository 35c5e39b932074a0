"""A lesson of a vision tower: steps that go on from where the same command was stopped."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from onethinker.storage.atomic import writing
from onethinker.training.optimizer import learning_rate, make_optimizer, set_learning_rate
from onethinker.training.settings import OptimizerSettings

SAVE_EVERY = 100


@dataclass
class Lesson:
    """A teacher with its optimizer and how far it is; `file` keeps all three."""

    teacher: Any
    optimizer: torch.optim.Optimizer
    settings: OptimizerSettings
    file: Path
    step: int = 0

    @classmethod
    def of(cls, teacher: Any, file: Path, *, learning_rate: float, min_lr_ratio: float) -> "Lesson":
        """Begin with a teacher that has a tower `visual` and returns a loss and an accuracy, or go on from `file`."""
        teacher.train().visual.patch_embed.requires_grad_(False)
        settings = OptimizerSettings(
            kind="muon",
            learning_rate=learning_rate,
            warmup_steps=50,
            beta2=0.98,
            weight_decay=0.01,
            min_lr_ratio=min_lr_ratio,
        )
        lesson = cls(teacher, make_optimizer(teacher, settings), settings, file)
        if file.exists():
            state = torch.load(file, weights_only=True)
            teacher.load_state_dict(state["teacher"])
            lesson.optimizer.load_state_dict(state["optimizer"])
            lesson.step = state["step"]
        return lesson

    def update(self, batch: tuple[Tensor, ...], steps: int) -> tuple[float, float]:
        """Take one step of `steps`; return the loss and the fraction of tokens named right."""
        set_learning_rate(self.optimizer, learning_rate(self.settings, self.step, steps))
        loss, accuracy = self.teacher(*batch)
        loss.backward()
        nn.utils.clip_grad_norm_(self.teacher.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        return float(loss.detach()), float(accuracy)

    def teach(
        self,
        steps: int,
        draw: Callable[[int], tuple[Tensor, ...]],
        what: str,
        on_progress: Callable[[int, int, str], None] | None = None,
    ) -> None:
        """Take all steps that are left of `steps`, on what `draw` returns for each."""
        if on_progress is not None:
            on_progress(self.step, steps, what)
        while self.step < steps:
            loss, right = self.update(draw(self.step), steps)
            if on_progress is not None:
                on_progress(self.step, steps, f"{what}, loss {loss:.2f}, named right {right:.2f}")
            if self.step % SAVE_EVERY == 0 or self.step == steps:
                self.save()

    def save(self) -> None:
        """Write the state completely or not at all."""
        state = {"teacher": self.teacher.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step}
        with writing(self.file):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            part = self.file.with_suffix(".part")
            torch.save(state, part)
            part.replace(self.file)
