"""The RL loop: sample groups of answers, grade them, turn rewards into advantages, take the optimizer steps.

Dimensions: P groups, G answers per group.
"""

import time
from collections.abc import Callable
from pathlib import Path

import torch

from onethinker.rewards.grader import Grader
from onethinker.rl.advantages import AdvantageEstimator, compute_advantages, find_estimator
from onethinker.rl.filter import collect
from onethinker.rl.in_process import InProcessSampler
from onethinker.rl.reference import open_reference
from onethinker.rl.report import show_answers, step_row
from onethinker.rl.sampler import Sampler
from onethinker.rl.update import Updated, update_policy
from onethinker.training.config import RlRecipe
from onethinker.training.metrics.alarms import Watch
from onethinker.training.opening import open_session
from onethinker.training.outputs import OnStep
from onethinker.training.session import TrainingSession
from onethinker.training.state.progress import Progress


def train_rl(
    recipe: RlRecipe,
    folder: Path,
    *,
    on_step: OnStep | None = None,
    on_check: Callable[[int, int], None] | None = None,
    allow_changes: bool = False,
    open_sampler: Callable[[TrainingSession], Sampler] = InProcessSampler,
) -> Path:
    """Improve a model by multi-task reinforcement learning and return the folder of the finished one; a stopped run
    goes on.

    It goes on with other settings than it began with only if changes are allowed. `open_sampler` gives what answers the
    prompts, by default the model in training itself.

    Raises: CheckpointError, ConfigError, DataError, EngineError, MediaError.
    """
    estimator = find_estimator(recipe.advantage.algorithm)
    with Grader(recipe.grading, recipe.rewards) as grader:
        session = open_session(
            recipe, folder, batch=recipe.rollout.generation_batch_size, allow_changes=allow_changes, on_check=on_check
        )
        return _train(session, recipe, open_sampler(session), grader, estimator, on_step)


def _train(
    session: TrainingSession,
    recipe: RlRecipe,
    sampler: Sampler,
    grader: Grader,
    estimator: AdvantageEstimator,
    on_step: OnStep | None,
) -> Path:
    reference = open_reference(session, recipe)
    watch = Watch(recipe, session.outputs.folder.rows())
    for step in range(session.progress.step, recipe.steps):
        started = time.perf_counter()
        with session.backend.unsharded():
            batch = collect(session, recipe, sampler, grader)
        kept = batch.with_signal[: recipe.rollout.generation_batch_size]
        rewards_PG = torch.tensor([group.rewards for group in kept], dtype=torch.float64).reshape(
            -1, recipe.rollout.group_size
        )
        tasks = [group.task for group in kept]
        advantages_PG, ema = compute_advantages(estimator, rewards_PG, tasks, session.progress.ema, recipe.advantage)
        advantages = {group.index: row for group, row in zip(kept, advantages_PG.float(), strict=True)}
        with session.clock.phase("update"):
            if batch.broken:
                bad = session.optimization.bad_step("a log-probability of sampled answers", batch.broken, step)
                updated = Updated(0, (bad,))
            else:
                updated = update_policy(session, recipe, reference, batch.groups, advantages, step)
        if updated.bad and not updated.updates:
            ema = session.progress.ema  # nothing was learned from these rewards
        sampler.load_weights(step + 1)
        if recipe.log.answers_every and (step + 1) % recipe.log.answers_every == 0:
            show_answers(session, step + 1, batch)
        row = step_row(
            session, recipe, batch, step=step, advantages=advantages, ema=ema, updated=updated, started=started
        )
        session.outputs.record(watch.complete(row), on_step)
        watch.check()
        skipped = session.progress.skipped + len(row.skipped_samples)
        session.advance(Progress(step + 1, batch.cursor, ema, skipped))
    return session.finish()
