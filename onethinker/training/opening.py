"""How a training session begins: what is checked and loaded, in which order, before anything is written."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, ProjectConfiguration

from onethinker.core.errors import ConfigError
from onethinker.data.formats.records import write_records
from onethinker.data.validate import Checked
from onethinker.families.folder import load_adapters
from onethinker.families.packing import check_packing
from onethinker.families.registry import fit_budget
from onethinker.inference.loading import load_local
from onethinker.media.budget import MediaBudget
from onethinker.storage.folders import (
    LEARNING_FILE,
    LEFT_OUT_FILE,
    MODEL_FOLDER,
    OPTIMIZER_FILE,
    OPTIMIZER_FOLDER,
    PROGRESS_FILE,
    TENSORBOARD_FOLDER,
)
from onethinker.tasks import Coordinates
from onethinker.tasks.template import PromptTemplate
from onethinker.training.adapters import choose_trained
from onethinker.training.checkpointing import compute_again
from onethinker.training.config import FREE_SETTINGS, Recipe, RlRecipe
from onethinker.training.data_source import DataSource
from onethinker.training.inputs import Inputs, check_data, choose_inputs, measure, open_data, unused_weights
from onethinker.training.lengths import Lengths
from onethinker.training.liger import use_liger
from onethinker.training.metrics.stopwatch import Stopwatch
from onethinker.training.metrics.trackers import Trackers, check_trackers
from onethinker.training.packing.attention import use_packed_attention
from onethinker.training.parallel.base import ParallelBackend
from onethinker.training.parallel.choice import choose_backend
from onethinker.training.parallel.collectives import Collectives
from onethinker.training.preflight import check_batch, check_liger, samples_of, settings_of
from onethinker.training.routing import check_experts, router_loss_words
from onethinker.training.session import TrainingSession, Validator
from onethinker.training.state.average import WeightAverage, exchange
from onethinker.training.state.checkpoint import Start, step_of
from onethinker.training.state.progress import Progress, load_progress
from onethinker.training.state.provenance import Digests, about_start, digest_data, digest_model
from onethinker.training.state.run_folder import RunFolder
from onethinker.training.step import Optimization
from onethinker.training.validation import Curve

_log = logging.getLogger(__name__)


def open_session(
    recipe: Recipe,
    path: Path,
    *,
    allow_changes: bool = False,
    on_check: Callable[[int, int], None] | None = None,
    validator: Validator | None = None,
) -> TrainingSession:
    """Return a session that is new, or that goes on from the last complete checkpoint in its folder.

    Before anything else all records are checked, and the headers of their media; `on_check` gets how many of these
    have been. Settings that decide what is learned may differ from those that the run began with only if changes are
    allowed. `validator` asks the model while it learns, where the recipe has a [validation].

    Raises: CheckpointError: the folder holds another recipe's run, its checkpoints are damaged, or the disk is full.
    EngineError: the model cannot be loaded. ConfigError: parts to freeze are not there, or processes outnumber samples.
    """
    _check_can_be_watched(recipe, validator)
    check_liger(recipe)
    _check_gpu(recipe)
    kind = choose_backend(recipe)
    collectives = _start_processes(recipe, path)
    check_batch(samples_of(recipe), collectives.count)
    past = _Past.find(recipe, RunFolder(path), collectives, allow_changes=allow_changes, on_check=on_check)
    loaded = _load(recipe, past.start.checkpoint)
    past.check_model(recipe)
    model = _prepare(loaded.model, recipe, past.start.checkpoint)
    average = exchange(model, past.start.checkpoint / LEARNING_FILE) if past.start.checkpoint else None
    backend = kind.wrap(model, recipe, collectives.device)
    progress = past.restore(backend)
    budget = fit_budget(recipe.budget or loaded.budget, loaded.processor)
    shown, coordinates = (loaded.processor, loaded.prompt_template, budget), recipe.coordinates or loaded.coordinates
    inputs = collectives.from_main(past.choose_inputs(recipe, *shown, coordinates) if collectives.is_main else Inputs())
    recipe, mixture = open_data(recipe, inputs)
    clock = Stopwatch(torch.cuda.synchronize if collectives.device.type == "cuda" else None)
    data = DataSource(mixture, model, *shown, recipe.data.max_corrupt_fraction, recipe.data.strict_media, collectives)
    data.lengths, data.coordinates = past.lengths, coordinates
    if isinstance(recipe, RlRecipe):
        data.same_number = True
    optimization = Optimization(recipe, backend, collectives, progress.streak)
    if recipe.optimizer.ema_decay is not None:
        optimization.average = WeightAverage(backend.model, recipe.optimizer.ema_decay, average)
    session = TrainingSession(recipe, collectives, backend, data, optimization, past.folder, clock, progress)
    _begin(session, past, inputs, validator)
    return session


def _check_can_be_watched(recipe: Recipe, validator: Validator | None) -> None:
    """Raise ConfigError where a tracker of the recipe is not installed, or nothing is there to validate with."""
    check_trackers(recipe.log)
    if recipe.validation is not None and validator is None:
        raise ConfigError(
            "the recipe has a [validation] table: pass validator=open_validator(recipe) from"
            " onethinker.evaluation.during_training"
        )


def _check_gpu(recipe: Recipe) -> None:
    """Raise ConfigError where a recipe asks for what only a GPU has, and there is none."""
    if torch.cuda.is_available():
        return
    if recipe.activation_offload:
        raise ConfigError(
            "activation_offload needs a GPU to move activations from, and this machine has none: leave it out"
        )
    if recipe.liger:
        raise ConfigError("liger: its kernels need a GPU, and this machine has none: leave it out")


def _begin(session: TrainingSession, past: "_Past", inputs: Inputs, validator: Validator | None) -> None:
    """Write how a session starts, only now: a recipe that cannot start leaves no folder behind."""
    if session.collectives.is_main:
        past.begin(session, inputs)
        _open_trackers(session)
    session.collectives.wait()
    _open_validation(session, validator)


def _open_validation(session: TrainingSession, validator: Validator | None) -> None:
    """Let a session validate, if its recipe says so, after the validations that the journal has already."""
    settings, main = session.recipe.validation, session.collectives.is_main
    if settings is not None:
        before = session.collectives.from_main(session.folder.validations() if main else [])
        session.validator, session.curve = validator, Curve(settings, tuple(before))


def _start_processes(recipe: Recipe, path: Path) -> Collectives:
    patience: list[Any] = []
    if isinstance(recipe, RlRecipe) and recipe.rollout.engine == "vllm":
        # While one process waits for servers the others wait for it, which NCCL ends after 10 minutes.
        patience = [InitProcessGroupKwargs(timeout=timedelta(seconds=600 + 2 * recipe.rollout.patience_s))]
    return Collectives(
        Accelerator(
            cpu=not torch.cuda.is_available(),
            log_with=list(recipe.log.trackers) or None,
            project_config=ProjectConfiguration(logging_dir=str(path / TENSORBOARD_FOLDER)),
            kwargs_handlers=patience,
        )
    )


@dataclass
class _Past:
    """What a run's folder says of it, where it goes on, and what the main process has found to be different."""

    folder: RunFolder
    start: Start
    allow_changes: bool
    is_main: bool
    changed: list[str]
    checked: Checked
    digests: dict[str, Digests] = field(default_factory=dict)
    lengths: Lengths | None = None
    """What the lengths of samples are measured with, where they are records."""

    @classmethod
    def find(
        cls,
        recipe: Recipe,
        folder: RunFolder,
        collectives: Collectives,
        *,
        allow_changes: bool,
        on_check: Callable[[int, int], None] | None,
    ) -> "_Past":
        """Return where a run goes on; the main process reads data and checkpoints, and tells the others."""
        changed = folder.check(settings_of(recipe, folder), free=FREE_SETTINGS, allow_changes=allow_changes)
        is_main = collectives.is_main
        checked = check_data(recipe, on_check) if is_main else Checked()
        start = collectives.from_main(folder.checkpoints.find_start() if is_main else Start(None, {}))
        past = cls(folder, start, allow_changes, is_main, changed, checked)
        if is_main:
            step = step_of(start.checkpoint) if start.checkpoint else 0
            past.changed += folder.check_records(step, allow_changes=allow_changes)
            past._check_digests("data", digest_data(recipe.data.files))
        return past

    def check_model(self, recipe: Recipe) -> None:
        """Compare the model with that of the last start; after it was loaded, because only then is one of the hub here
        for certain.
        """
        if self.is_main:
            self._check_digests("model", digest_model(recipe.model))

    def _check_digests(self, group: str, digests: Digests) -> None:
        self.digests[group] = digests
        self.changed += self.folder.check_inputs({group: digests}, allow_changes=self.allow_changes)

    def choose_inputs(
        self, recipe: Recipe, processor: Any, template: PromptTemplate, budget: MediaBudget, coordinates: Coordinates
    ) -> Inputs:
        """Return which of the checked records are learned from, by their lengths, which are kept."""
        lengths = measure(
            recipe,
            self.checked,
            processor=processor,
            prompt_template=template,
            budget=budget,
            coordinates=coordinates,
        )
        inputs = choose_inputs(recipe, self.checked, lengths)
        if recipe.data.files:
            lengths.forget_samples()
            self.lengths = lengths
        return inputs

    def restore(self, backend: ParallelBackend) -> Progress:
        """Load moments and progress of the checkpoint, if there is one; another kind of optimizer begins afresh."""
        if self.start.checkpoint is None:
            return Progress()
        changed = [*self.folder.changes_since(step_of(self.start.checkpoint)), *self.changed]
        if not any(change.startswith("optimizer.kind:") for change in changed):
            shards = self.start.checkpoint / OPTIMIZER_FOLDER
            backend.load_moments(shards if shards.is_dir() else self.start.checkpoint / OPTIMIZER_FILE)
        return load_progress(self.start.checkpoint / PROGRESS_FILE)

    def begin(self, session: TrainingSession, inputs: Inputs) -> None:
        """Make the folder, and note how the run starts and what it leaves out."""
        recipe, step = session.recipe, session.progress.step
        self.folder.checkpoints.check_free_space(
            session.checkpoint_bytes, math.ceil((recipe.steps - step) / recipe.save_every), keep=recipe.keep
        )
        about = {"inputs": self.digests, **about_start(session.collectives.count)}
        settings = recipe.model_dump(mode="json")
        self.folder.begin(settings, step, changed=self.changed, torn=self.start.torn, about=about)
        for line in (*inputs.lines, *unused_weights(session.data.mixture)):
            _log.warning("%s", line)
        if words := router_loss_words(session.model, recipe.router_loss):
            _log.warning("%s", words)
        left_out = [{"file": str(each.file), "row": each.row, "reason": each.text} for each in inputs.left_out]
        write_records(self.folder.path / LEFT_OUT_FILE, left_out)


def _open_trackers(session: TrainingSession) -> None:
    """Connect the trackers of the recipe, if any, and send them the step records that the journal has already."""
    recipe, folder = session.recipe, session.folder
    if recipe.log.trackers:
        settings, accelerator = recipe.model_dump(mode="json"), session.collectives.accelerator
        session.trackers = Trackers(accelerator, recipe.log, folder.path, recipe=settings, step=session.progress.step)
        session.trackers.log(folder.all_rows())


def _load(recipe: Recipe, checkpoint: Path | None) -> Any:
    """Return the model of a checkpoint, or the one that the recipe names: adapters are loaded onto that one later."""
    lora = recipe.lora
    weights = str(checkpoint / MODEL_FOLDER) if checkpoint and lora is None else recipe.model
    four_bit = lora is not None and lora.four_bit
    engine = load_local(weights, seed=recipe.seed, dtype=recipe.weights_dtype, four_bit=four_bit)
    check_packing(engine.model, recipe.max_row_tokens)
    check_experts(engine.model, recipe)
    return engine


def _prepare(model: Any, recipe: Recipe, checkpoint: Path | None) -> Any:
    """Return a model, changed in place, that reads packed rows and of which is trained what the recipe says."""
    use_packed_attention(model)
    if recipe.liger:
        use_liger(model)
    model.train()
    choose_trained(model, recipe)
    if checkpoint and recipe.lora is not None:
        load_adapters(checkpoint / MODEL_FOLDER, model)
    compute_again(model, recipe.computed_again, offloaded=recipe.offloaded)
    return model
