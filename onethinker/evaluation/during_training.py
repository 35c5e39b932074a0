"""Validation of a run: the stages of an evaluation, on the weights that are being trained."""

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from onethinker.core.errors import CheckpointError
from onethinker.core.request import Request, SamplingParams
from onethinker.core.sample import Sample
from onethinker.data.formats.released import read_samples
from onethinker.data.synthetic import make_sample
from onethinker.evaluation.examples import draw_examples
from onethinker.evaluation.metrics import Score, mean_over_tasks, score_tasks
from onethinker.evaluation.parts import check_samples
from onethinker.evaluation.results import Result, read_answers, read_settings
from onethinker.evaluation.rewarded import Rewards
from onethinker.evaluation.stages import answer, score
from onethinker.inference.engine import Completion
from onethinker.inference.local import LocalEngine
from onethinker.storage.atomic import write_atomically
from onethinker.storage.folders import ANSWERS_FILE, SETTINGS_FILE, VALIDATION
from onethinker.storage.jsonl_log import write_log
from onethinker.storage.strict_json import to_json
from onethinker.tasks.base import RewardScheme
from onethinker.training.config import Recipe, RlRecipe
from onethinker.training.session import TrainingSession
from onethinker.training.validation import ValidationSettings, drawn_kinds

SPLIT = "validation"
"""The split of synthetic scenes that training never draws from, and that evaluations leave alone."""
OnAsking = Callable[[str], Callable[[int, int], None]]
"""Makes, from what a validation is called, what hears the samples that have been asked, and all of them."""
_EDGE = 1024
"""Numbers at each end of a weight that tell two states of a model apart: training moves every one."""


def open_validator(recipe: Recipe, *, progress: OnAsking | None = None) -> "Validator | None":
    """Return what asks a recipe's model while it learns, None where the recipe has no [validation]; `progress` makes
    what hears how far each validation is.

    Raises: DataError: the samples cannot be read, or not be graded.
    """
    if recipe.validation is None:
        return None
    samples = read_validation(recipe.validation, recipe)
    check_samples(samples)
    if isinstance(recipe, RlRecipe):
        return Validator(recipe.validation, samples, recipe.rewards, recipe.grading.rewards, progress=progress)
    return Validator(recipe.validation, samples, "paper", progress=progress)


def read_validation(settings: ValidationSettings, recipe: Recipe) -> tuple[Sample, ...]:
    """Return the samples that a recipe validates on. Raises: DataError."""
    if settings.files:
        return tuple(islice((sample for file in settings.files for sample in read_samples(file)), settings.limit))
    kinds = drawn_kinds(settings.scenes, recipe.data.problem_types)
    return tuple(
        make_sample(
            settings.seed, index, problem_type=problem_type, data_type=medium, split=SPLIT, world=recipe.data.world
        )
        for index, (problem_type, medium) in enumerate(kinds)
    )


@dataclass(frozen=True)
class ModelInTraining(LocalEngine):
    """The model of a session as it is now, called in the precision of the training."""

    weights: str | None = None
    precision: Callable[[], AbstractContextManager[Any]] | None = None

    def complete_batch(self, requests: Sequence[Request], params: SamplingParams) -> list[Completion]:
        """Return one completion per request, in order. Raises: EngineError."""
        assert self.precision is not None
        with self.precision():
            return super().complete_batch(requests, params)


@dataclass(frozen=True)
class Validator:
    """Asks a model while it learns: each process its share of the samples, and the main one grades."""

    settings: ValidationSettings
    samples: tuple[Sample, ...]
    reward_scheme: RewardScheme
    rewards: Rewards = field(default_factory=dict)
    progress: OnAsking | None = field(default=None, kw_only=True)
    """Of the main process, which asks as many as the others."""

    def __call__(self, session: TrainingSession, folder: Path) -> dict[str, Any]:
        """Return the journal's row of a validation, once its answers, results and pictures lie in the folder.

        Answers that are there already, of these very weights, count.

        Raises: EngineError, DataError, MediaError, CheckpointError.
        """
        started = time.perf_counter()
        processes = session.collectives
        mine = folder if processes.count == 1 else folder / f"process-{processes.index}-of-{processes.count}"
        if share := self.samples[processes.index :: processes.count]:
            self._ask(session, share, mine)
        processes.wait()
        row: dict[str, Any] = {}
        if processes.is_main:
            if processes.count > 1:
                _join_answers(folder, self.samples)
            row = self._grade(session, folder, started)
        return processes.from_main(row)

    def _ask(self, session: TrainingSession, share: Sequence[Sample], folder: Path) -> None:
        """Have the model answer what it has not, with its weights as they are, into a folder."""
        engine = ModelInTraining(
            session.model,
            session.processor,
            session.data.prompt_template,
            session.data.budget,
            name=f"{session.folder.path.resolve().name}, step {session.progress.step}",
            max_in_flight=self.settings.batch_size,
            coordinates=session.data.coordinates,
            weights=weights_now(session.model),
            precision=session.precision,
        )
        _drop_others(folder, engine)
        sampling = SamplingParams(self.settings.max_new_tokens, 0.0)
        on_progress = None
        if self.progress is not None and session.collectives.is_main:
            on_progress = self.progress(f"validation after step {session.progress.step}")
        with engine:
            answer(
                engine,
                share,
                output=folder,
                reward_scheme=self.reward_scheme,
                rewards=self.rewards,
                sampling=sampling,
                on_progress=on_progress,
            )

    def _grade(self, session: TrainingSession, folder: Path, started: float) -> dict[str, Any]:
        """Grade and draw the answers in a folder, and return the journal's row."""
        results = score(
            self.samples,
            output=folder,
            reward_scheme=self.reward_scheme,
            coordinates=session.data.coordinates,
            rewards=self.rewards,
        )
        if self.settings.pictures:
            draw_examples(self.samples, results, folder, most=self.settings.pictures)
        return {
            "step": session.progress.step,
            "stage": VALIDATION,
            **scores(results),
            "seconds": time.perf_counter() - started,
        }


def scores(results: Sequence[Result]) -> dict[str, Any]:
    """Return what the journal says of results: the means over tasks and each task's numbers, with 95 % intervals; and a
    digest of what was asked.
    """
    asked = [[result.sample_id, result.task, result.problem, result.truth] for result in results]
    by_task = score_tasks(results)
    means = {name: mean_over_tasks(results, name) for name in ("accuracy", "reward", "format")}
    return {
        **{name: mean and asdict(mean) for name, mean in means.items()},
        "tasks": {own.task: _of_task(own) for own in by_task},
        "samples": blake2b(to_json(asked).encode(), digest_size=8).hexdigest(),
    }


def _of_task(own: Score) -> dict[str, Any]:
    numbers = {"accuracy": own.accuracy, "reward": own.reward, "format": own.format, **own.metrics}
    found = {name: asdict(number) for name, number in numbers.items() if number is not None}
    return {"asked": own.num_samples, "failed": own.num_failed, **found}


def weights_now(model: Any) -> str:
    """Return a digest of a model's weights as they are, of both ends of each; the same on every device."""
    digest = blake2b(digest_size=16)
    for name, weight in model.named_parameters():
        flat = getattr(weight, "data", weight).reshape(-1)
        local = flat.to_local() if hasattr(flat, "to_local") else flat
        for end in (local[:_EDGE], local[-_EDGE:]):
            # A copy: numpy would keep a sharded weight's memory from being given back.
            digest.update(name.encode() + end.detach().to("cpu", torch.float32, copy=True).numpy().tobytes())
    return digest.hexdigest()


def _drop_others(folder: Path, engine: ModelInTraining) -> None:
    """Remove the answers of other weights: those of a step that was made again with other settings."""
    if not (folder / SETTINGS_FILE).exists():
        return
    try:
        weights = read_settings(folder)["settings"].get("weights")
    except CheckpointError:
        weights = None
    if weights != engine.weights:
        shutil.rmtree(folder)


def _join_answers(folder: Path, samples: Sequence[Sample]) -> None:
    """Put the answers of all processes into one log, in the samples' order, as one process would have left them."""
    parts = sorted(path.parent for path in folder.glob(f"process-*/{ANSWERS_FILE}"))
    found = {answer.sample_id: answer for part in parts for answer in read_answers(part).values()}
    write_atomically(folder / SETTINGS_FILE, (parts[0] / SETTINGS_FILE).read_bytes())
    write_log(folder / ANSWERS_FILE, [found[sample.id] for sample in samples if sample.id in found])
    for part in parts:
        shutil.rmtree(part)
