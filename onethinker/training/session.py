"""A training session: the parts that SFT and RL share, each with one job, and how a step of a run is closed: its row in
the journal, the checkpoint, at last the finished model.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from onethinker.core.errors import DataError, TrainingError
from onethinker.families.built_in import TINY, folder_of
from onethinker.families.folder import ModelSettings, save_model
from onethinker.inference.loading import load_local
from onethinker.storage.folders import LEARNING_FILE, MODEL_FOLDER, OPTIMIZER_FILE, OPTIMIZER_FOLDER, PROGRESS_FILE
from onethinker.training.config import Recipe
from onethinker.training.data_source import DataSource
from onethinker.training.memory import is_refreshed
from onethinker.training.metrics.bad_steps import BadStep, bad_step_rows
from onethinker.training.metrics.gpu_memory import peak_gib
from onethinker.training.metrics.stopwatch import Stopwatch
from onethinker.training.metrics.trackers import Trackers
from onethinker.training.optimizer import learning_rate, state_bytes
from onethinker.training.parallel.base import ParallelBackend
from onethinker.training.parallel.collectives import Collectives, full_tensors
from onethinker.training.parallel.moments import save_shards
from onethinker.training.scoring import precision
from onethinker.training.state.average import WeightAverage
from onethinker.training.state.checkpoint import checkpoint_bytes
from onethinker.training.state.progress import Progress, save_progress
from onethinker.training.state.run_folder import RunFolder
from onethinker.training.step import Optimization
from onethinker.training.validation import Curve

OnStep = Callable[[dict[str, Any]], None]
"""Called in the main process with each row of the journal, after it is on disk."""


@dataclass
class TrainingSession:
    """A model under training; `open_session` puts it together.

    Only the main process writes into the folder; all processes call each method.
    """

    recipe: Recipe
    """What it does; its steps are those of its epochs, where it has them."""
    collectives: Collectives
    """What processes tell each other."""
    backend: ParallelBackend
    """The model with its optimizer, and how processes share them."""
    data: DataSource
    """Samples, requests and prompts."""
    optimization: Optimization
    """Optimizer steps, taken or not."""
    folder: RunFolder
    """Journal, checkpoints and the finished model."""
    clock: Stopwatch
    progress: Progress
    """What has been done, as the next checkpoint will hold it."""
    trackers: Trackers | None = None
    validator: "Validator | None" = None
    """Asks the model while it learns, where the recipe has a [validation]."""
    curve: Curve | None = None
    """What it has found."""
    kept: dict[str, Mapping[str, Tensor]] = field(default_factory=dict)
    """Further files of a checkpoint, each with its tensors as this process holds them."""
    started: float = 0.0
    """When the step began that is being done, as `time.perf_counter` has it."""

    @property
    def model(self) -> Any:
        """The model, its weights under their own names."""
        return self.backend.model

    @property
    def processor(self) -> Any:
        """The model's processor."""
        return self.data.processor

    @property
    def checkpoint_bytes(self) -> int:
        """About how many bytes a checkpoint takes; under adapters it holds nothing but them."""
        weights, everything = list(self.model.parameters()), self.recipe.lora is None
        state = sum(state_bytes(self.model, self.recipe).values())
        size = checkpoint_bytes((weight for weight in weights if everything or weight.requires_grad), state)
        copies = (self.optimization.average is not None) + is_refreshed(self.recipe)
        return size + copies * sum(int(weight.nbytes) for weight in weights if weight.requires_grad)

    @contextmanager
    def averaged(self) -> Iterator[WeightAverage | None]:
        """Let the model have the average of its weights while this is open, where the recipe keeps one."""
        average = self.optimization.average
        with average.in_model() if average is not None else nullcontext():
            yield average

    def precision(self) -> AbstractContextManager[Any]:
        """Return the context in which the model is called."""
        return precision(self.recipe, self.collectives.device)

    def record(self, row: dict[str, Any], on_step: OnStep | None) -> None:
        """Append a row to the journal, log it to the trackers, and call `on_step` with it."""
        if self.collectives.is_main:
            self.folder.append(row)
            if self.trackers is not None:
                self.trackers.log([row])
            if on_step is not None:
                on_step(row)

    def steps(self, on_step: OnStep | None) -> Iterator[int]:
        """Yield the index of each step that is left, and validate between them; the end may come early where
        validations say so.
        """
        began = self.progress.step
        self._name_best()
        while True:
            step = self.progress.step
            if self.curve is not None and self.curve.is_due(step, self.recipe.steps):
                self._validate(on_step, is_saved=step == began or self._is_saved_after(step))
            if step == self.recipe.steps or (self.curve is not None and self.curve.is_over):
                return
            self.started = time.perf_counter()
            yield step

    def measured(self, *, drawn: int, bad: Sequence[BadStep]) -> dict[str, Any]:
        """Return what the row of every loop says of the step that is being done; all processes take part.

        `drawn` samples of the order have been drawn since the run began; `bad` optimizer steps were not taken.
        """
        recipe, data, step = self.recipe, self.data, self.progress.step
        return {
            "step": step + 1,
            "learning_rate": learning_rate(recipe.optimizer, step, recipe.steps),
            "skipped_samples": data.take_skipped(),
            "seconds": time.perf_counter() - self.started,
            "seconds_by_phase": self.clock.take(),
            "passes": data.mixture.passes(drawn),
            "file_passes": data.mixture.file_passes(drawn),
            "memory_gib": peak_gib(self.collectives),
            "bad_steps": bad_step_rows(bad),
            "router_coefficient": self.optimization.router_coefficient,
        }

    def _validate(self, on_step: OnStep | None, *, is_saved: bool) -> None:
        """Ask the model, and save it where it is better than ever before, or will learn no more."""
        assert self.validator is not None
        assert self.curve is not None
        step = self.progress.step
        with self.clock.phase("validation"), self.averaged(), self.backend.unsharded():
            row = self.validator(self, self.folder.validation(step))
        self.curve = self.curve.with_row(row)
        row |= self.curve.standing
        self.record(row, on_step)
        if not is_saved and (row["best_step"] == step or row["ends_run"]):
            self._save()
        self._name_best()

    def _name_best(self) -> None:
        if self.curve is not None and self.collectives.is_main:
            best = self.curve.best
            self.folder.checkpoints.name_best(None if best is None else int(best["step"]))

    def _is_saved_after(self, step: int) -> bool:
        """Tell whether the recipe has a step saved."""
        return step % self.recipe.save_every == 0 or step == self.recipe.steps

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
                f" data.max_corrupt_fraction = {self.recipe.data.max_corrupt_fraction} allows. {self.folder.journal}"
                " names them under skipped_samples. Repair or remove them and run the same command again: it resumes"
                " from the last checkpoint"
            )
        self.progress = replace(progress, streak=self.optimization.streak)
        if self._is_saved_after(progress.step):
            self._save()

    def _check_streak(self, step: int) -> None:
        """Raises: TrainingError: too many steps in a row, up to this one, were bad."""
        bad, allowed = self.optimization.streak.bad, self.recipe.optimizer.max_bad_steps
        if bad > allowed:
            cause = self.optimization.find_not_finite() or self.optimization.last_bad
            assert cause is not None
            raise self._stopped(
                f"{bad} optimizer steps in a row, up to step {step}, were not finite, more than"
                f" optimizer.max_bad_steps = {allowed} allows",
                cause,
            )

    def _stopped(self, what: str, bad: BadStep) -> TrainingError:
        """Return the error of a run that cannot go on, with what it has left and what to do."""
        checkpoints = self.folder.checkpoints.all()
        last = f"{checkpoints[-1].name} is the last good checkpoint" if checkpoints else "There is no checkpoint yet"
        again = "run the command again with --allow-changes" if checkpoints else "run the command again"
        return TrainingError(
            f"{what}: {bad.text()}. {last}. Lower optimizer.learning_rate, lengthen optimizer.warmup_steps, or repair"
            f" the samples that are named, and {again}"
        )

    def _save(self) -> None:
        """Write a checkpoint of weights, moments and progress. Raises: TrainingError: something in it is not finite."""
        with self.clock.phase("checkpoint"):
            problem = self.optimization.find_not_finite()
        if problem is not None:
            raise self._stopped(f"step {self.progress.step} is not saved", problem)
        keep = self.collectives.is_main
        with self.averaged() as average, self.clock.phase("checkpoint"), ExitStack() as whole:
            partial = self.collectives.from_main(whole.enter_context(self._writing()) if keep else Path())
            shards = self.backend.sharded_moments()
            if shards is not None:
                save_shards(shards, partial / OPTIMIZER_FOLDER)
            # Only now: the main process would hold all weights beside the copies of its shards.
            weights = self.backend.weights(keep=keep)
            files = {OPTIMIZER_FILE: self.backend.moments(keep=keep)} if shards is None else {}
            files |= {LEARNING_FILE: average.swapped_out(keep=keep)} if average is not None else {}
            files |= {name: full_tensors(tensors, keep=keep) for name, tensors in self.kept.items()}
            if keep:
                self._write(partial, weights, files)
        self.collectives.wait()

    def _writing(self) -> AbstractContextManager[Path]:
        """Return the folder of a new checkpoint, in the main process."""
        size = self.checkpoint_bytes
        return self.folder.checkpoints.writing(self.progress.step, size=size, keep=self.recipe.keep)

    def _write(self, partial: Path, weights: dict[str, Tensor] | None, files: dict[str, dict[str, Tensor]]) -> None:
        """Write what the main process writes of a checkpoint."""
        settings = self.checkpoint_settings()
        save_model(partial / MODEL_FOLDER, self.model, self.processor, settings=settings, state=weights)
        for name, named in files.items():
            save_file(named, partial / name)
        save_progress(self.progress, partial / PROGRESS_FILE)

    @property
    def _settings(self) -> ModelSettings:
        """What is written beside the weights of the finished model."""
        data = self.data
        return ModelSettings(prompt_template=data.prompt_template, budget=data.budget, coordinates=data.coordinates)

    def checkpoint_settings(self) -> ModelSettings:
        """Return what is written beside the weights; of adapters also which model they belong to."""
        if self.recipe.lora is None:
            return self._settings
        model = self.recipe.model
        base = str(folder_of(model).resolve()) if model != TINY and folder_of(model).is_dir() else model
        return self._settings.model_copy(update={"base": base, "seed": self.recipe.seed})

    def finish(self) -> Path:
        """Write the finished model, adapters merged, and return its folder."""
        with self.averaged():
            weights = self.backend.weights(keep=self.collectives.is_main)
            if self.collectives.is_main:
                if self.trackers is not None:
                    self.trackers.finish()
                model = self.model
                if self.recipe.lora is not None:
                    last = self.folder.checkpoints.all()[-1] / MODEL_FOLDER
                    model, weights = load_local(str(last), device="cpu", dtype=self.recipe.weights_dtype).model, None
                with self.folder.writing_model() as folder:
                    save_model(folder, model, self.processor, settings=self._settings, state=weights)
        self.collectives.wait()
        return self.folder.model


Validator = Callable[[TrainingSession, Path], dict[str, Any]]
"""Asks the model of a session as it is now, into a folder, and returns the journal's row; all processes call it
together and get the same one."""
