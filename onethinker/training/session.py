"""A training session: the parts that SFT and RL share, each with one job, and how a step of a run is closed."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from onethinker.core.errors import DataError
from onethinker.training.config import Recipe
from onethinker.training.data_source import DataSource
from onethinker.training.metrics.stopwatch import Stopwatch
from onethinker.training.outputs import Outputs
from onethinker.training.parallel.base import ParallelBackend
from onethinker.training.parallel.collectives import Collectives
from onethinker.training.scoring import precision
from onethinker.training.state.progress import Progress
from onethinker.training.step import Optimization


@dataclass
class TrainingSession:
    """A model under training; `open_session` puts it together."""

    recipe: Recipe
    collectives: Collectives
    """What processes tell each other."""
    backend: ParallelBackend
    """The model with its optimizer, and how processes share them."""
    data: DataSource
    """Samples, requests and prompts."""
    optimization: Optimization
    """Optimizer steps, taken or not."""
    outputs: Outputs
    """Journal, checkpoints and the finished model."""
    clock: Stopwatch
    progress: Progress
    """What has been done, as the next checkpoint will hold it."""

    @property
    def model(self) -> Any:
        """The model, its weights under their own names."""
        return self.backend.model

    @property
    def processor(self) -> Any:
        """The model's processor."""
        return self.data.processor

    def precision(self) -> AbstractContextManager[Any]:
        """Return the context in which the model is called."""
        return precision(self.recipe, self.collectives.device)

    def advance(self, progress: Progress) -> None:
        """Take note that a step is done and in the journal, and save when the recipe says so.

        The journal comes first: rows of steps that no checkpoint holds are cut on resume, missing ones could not be
        made again.

        Raises: DataError: more samples could not be read than the recipe allows. TrainingError: more steps in a row
        were bad than the recipe allows, or what would be saved is not finite. The step is then not saved.
        """
        self._check_streak(progress.step)
        if progress.skipped > self.data.allowed_skips(progress.cursor):
            raise DataError(
                f"{progress.skipped} of the first {progress.cursor} samples could not be read, more than"
                f" data.max_corrupt_share = {self.recipe.data.max_corrupt_share} allows. {self.outputs.folder.journal}"
                " names them under skipped_samples. Mend or remove them and run the same command again: it goes on from"
                " the last checkpoint"
            )
        self.progress = replace(progress, streak=self.optimization.streak)
        if progress.step % self.recipe.save_every and progress.step != self.recipe.steps:
            return
        with self.clock.phase("checkpoint"):
            problem = self.optimization.find_not_finite()
        if problem is not None:
            raise self.outputs.stopped(f"step {progress.step} is not saved", problem)
        self.outputs.save(self.progress)

    def _check_streak(self, step: int) -> None:
        """Raises: TrainingError: too many steps in a row, up to this one, were bad."""
        bad, allowed = self.optimization.streak.bad, self.recipe.optimizer.max_bad_steps
        if bad > allowed:
            cause = self.optimization.find_not_finite() or self.optimization.last_bad
            assert cause is not None
            raise self.outputs.stopped(
                f"{bad} optimizer steps in a row could not be taken, up to step {step}, more than"
                f" optimizer.max_bad_steps = {allowed}",
                cause,
            )

    def finish(self) -> Path:
        """Write the finished model, adapters merged, and return its folder."""
        return self.outputs.finish()
