"""What a run leaves behind: rows of its journal, checkpoints, and the finished model."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from onethinker.core.errors import TrainingError
from onethinker.families.folder import ModelSettings, save_model
from onethinker.inference.loading import load_local
from onethinker.media.budget import MediaBudget
from onethinker.storage.folders import MODEL_FOLDER, OPTIMIZER_FILE, PROGRESS_FILE
from onethinker.tasks.template import PromptTemplate
from onethinker.training.config import Recipe
from onethinker.training.metrics.bad_steps import BadStep
from onethinker.training.metrics.stopwatch import Stopwatch
from onethinker.training.metrics.trackers import Trackers
from onethinker.training.parallel.base import ParallelBackend
from onethinker.training.parallel.collectives import Collectives
from onethinker.training.state.checkpoint import checkpoint_bytes
from onethinker.training.state.progress import Progress, save_progress
from onethinker.training.state.run_folder import RunFolder

OnStep = Callable[[dict[str, Any]], None]
"""Called in the main process with each row of the journal, after it is on disk."""


@dataclass
class Outputs:
    """The folder of a run, which only the main process writes; all processes call `save` and `finish`."""

    recipe: Recipe
    folder: RunFolder
    backend: ParallelBackend
    collectives: Collectives
    processor: Any
    prompt_template: PromptTemplate
    budget: MediaBudget
    clock: Stopwatch
    trackers: Trackers | None = None

    @property
    def settings(self) -> ModelSettings:
        """What is written beside the weights; of adapters also which model they belong to."""
        if self.recipe.lora is None:
            return ModelSettings(prompt_template=self.prompt_template, budget=self.budget)
        folder = Path(self.recipe.model).expanduser()
        base = str(folder.resolve()) if folder.is_dir() else self.recipe.model
        return ModelSettings(prompt_template=self.prompt_template, budget=self.budget, base=base, seed=self.recipe.seed)

    def record(self, row: dict[str, Any], on_step: OnStep | None) -> None:
        """Put a row into the journal and tell trackers and whoever watches."""
        if self.collectives.is_main:
            self.folder.append(row)
            if self.trackers is not None:
                self.trackers.tell([row])
            if on_step is not None:
                on_step(row)

    def save(self, progress: Progress) -> None:
        """Write a checkpoint of weights, moments and progress."""
        keep = self.collectives.is_main
        weights, moments = self.backend.weights(keep=keep), self.backend.moments(keep=keep)
        if keep:
            model, settings = self.backend.model, self.settings
            size = size_of_checkpoint(model, self.recipe)
            with self.clock.phase("checkpoint"), self.folder.checkpoints.writing(progress.step, size=size) as partial:
                save_model(partial / MODEL_FOLDER, model, self.processor, settings=settings, state=weights)
                save_file(moments, partial / OPTIMIZER_FILE)
                save_progress(progress, partial / PROGRESS_FILE)
        self.collectives.wait()

    def finish(self) -> Path:
        """Write the finished model, adapters merged, and return its folder."""
        weights = self.backend.weights(keep=self.collectives.is_main)
        if self.collectives.is_main:
            if self.trackers is not None:
                self.trackers.finish()
            model = self.backend.model
            if self.recipe.lora is not None:
                last = self.folder.checkpoints.all()[-1] / MODEL_FOLDER
                model, weights = load_local(str(last), device="cpu", dtype=self.recipe.weights_dtype).model, None
            settings = ModelSettings(prompt_template=self.prompt_template, budget=self.budget)
            with self.folder.writing_model() as folder:
                save_model(folder, model, self.processor, settings=settings, state=weights)
        self.collectives.wait()
        return self.folder.model

    def stopped(self, what: str, bad: BadStep) -> TrainingError:
        """Return the error of a run that cannot go on, with what it has left and what to do."""
        checkpoints = self.folder.checkpoints.all()
        last = f"{checkpoints[-1].name} is the last good checkpoint" if checkpoints else "There is no checkpoint yet"
        again = "run the command again with --allow-changes" if checkpoints else "run the command again"
        return TrainingError(
            f"{what}: {bad.text()}. {last}. Lower optimizer.learning_rate, lengthen optimizer.warmup_steps, or mend the"
            f" samples that are named, and {again}"
        )


def size_of_checkpoint(model: nn.Module, recipe: Recipe) -> int:
    """Return about how many bytes a checkpoint takes; under adapters it holds nothing but them."""
    return checkpoint_bytes(
        parameter for parameter in model.parameters() if recipe.lora is None or parameter.requires_grad
    )
