"""The RL loop: sample groups of answers, grade them, turn rewards into advantages, take the optimizer steps.

Dimensions: P groups, G answers per group.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing, nullcontext
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from onethinker.rewards.grader import Grader
from onethinker.rl.advantages import AdvantageEstimator, compute_advantages, find_estimator
from onethinker.rl.ahead import Ahead
from onethinker.rl.answers import show_answers
from onethinker.rl.groups import Batch, collect
from onethinker.rl.in_process import InProcessSampler
from onethinker.rl.remote import RemoteSampler
from onethinker.rl.rollouts import keep_rollouts
from onethinker.rl.sampler import EngineSampler, Sampler
from onethinker.rl.update import Updated, update_policy
from onethinker.storage.rollouts import drop_rollouts_after
from onethinker.training.config import RlRecipe
from onethinker.training.metrics.alarms import Watch
from onethinker.training.metrics.engine_difference import engine_difference
from onethinker.training.metrics.records import RlRow
from onethinker.training.metrics.stopwatch import Phase
from onethinker.training.metrics.task_rows import task_rows
from onethinker.training.opening import open_session
from onethinker.training.reference import open_reference
from onethinker.training.session import OnStep, TrainingSession, Validator
from onethinker.training.state.progress import EmaState, Progress


def train_rl(
    recipe: RlRecipe,
    folder: Path,
    *,
    on_step: OnStep | None = None,
    on_check: Callable[[int, int], None] | None = None,
    allow_changes: bool = False,
    validator: Validator | None = None,
    open_sampler: Callable[[TrainingSession], Sampler | EngineSampler] | None = None,
) -> Path:
    """Improve a model by multi-task reinforcement learning and return the folder of the finished one; a stopped run
    goes on.

    It goes on with other settings than it began with only if changes are allowed. `open_sampler` gives what answers the
    prompts, by default what the recipe's `rollout.engine` says. `validator` asks the model while it learns, where the
    recipe has a [validation].

    Raises: CheckpointError, ConfigError, DataError, EngineError, MediaError.
    """
    estimator = find_estimator(recipe.advantage.algorithm)
    with Grader(recipe.grading, recipe.rewards) as grader:
        session = open_session(recipe, folder, allow_changes=allow_changes, on_check=on_check, validator=validator)
        recipe = recipe.model_copy(update={"steps": session.recipe.steps})
        if open_sampler is None:
            open_sampler = RemoteSampler.open if recipe.rollout.engine == "vllm" else InProcessSampler
        with closing(open_sampler(session)) as sampler:
            return _train(session, recipe, sampler, grader, estimator, on_step)


def _train(
    session: TrainingSession,
    recipe: RlRecipe,
    sampler: Sampler | EngineSampler,
    grader: Grader,
    estimator: AdvantageEstimator,
    on_step: OnStep | None,
) -> Path:
    reference = open_reference(
        session, temperature=recipe.rollout.temperature, refresh_every=recipe.loss.reference_refresh
    )
    if session.collectives.is_main:
        drop_rollouts_after(session.folder.path, session.progress.step)
    watch = Watch(recipe, session.folder.rows())
    ahead: Ahead | None = None
    batch_size = recipe.rollout.generation_batch_size
    for step in session.steps(on_step):
        if step + 1 < recipe.steps:
            session.data.read_soon(session.progress.cursor + batch_size, batch_size)
        with nullcontext() if isinstance(sampler, EngineSampler) else session.backend.unsharded():
            batch = collect(session, recipe, sampler, grader, ahead.groups(grader) if ahead is not None else None)
        has_next = recipe.rollout.lag and step + 1 < recipe.steps
        ahead = Ahead.ask(session, recipe, sampler, batch.cursor) if has_next else None
        advantages, ema = _advantages(batch, recipe, estimator, session.progress.ema)
        with session.clock.phase("update"):
            if batch.broken:
                bad = session.optimization.bad_step("a log-probability of sampled answers", batch.broken, step)
                updated = Updated(0, (bad,))
            else:
                updated = update_policy(session, recipe, reference, batch.groups, advantages, step)
        if updated.bad and not updated.updates:
            ema = session.progress.ema  # nothing was learned from these rewards
        if ahead is not None:
            ahead.wait()
        sampler.load_weights(step + 1)
        if recipe.log.answers_every and (step + 1) % recipe.log.answers_every == 0:
            show_answers(session, step + 1, batch.groups)
        if recipe.log.rollouts_mb:
            keep_rollouts(session, batch, step=step, advantages=advantages, ema=ema, max_mb=recipe.log.rollouts_mb)
        row = _row(session, recipe, batch, advantages=advantages, ema=ema, updated=updated)
        session.record(watch.complete(row), on_step)
        watch.check()
        if reference is not None:
            reference.refresh(step + 1)
        skipped = session.progress.skipped + len(row.skipped_samples)
        session.advance(Progress(step + 1, batch.cursor, ema, skipped))
    return session.finish()


def _advantages(
    batch: Batch, recipe: RlRecipe, estimator: AdvantageEstimator, ema: EmaState
) -> tuple[dict[int, Tensor], EmaState]:
    """Return the advantages (G,) of each group that is learned from, by its index, and the moving averages after it."""
    kept = batch.with_signal[: recipe.rollout.generation_batch_size]
    rewards_PG = torch.tensor([group.rewards for group in kept], dtype=torch.float64)
    rewards_PG = rewards_PG.reshape(-1, recipe.rollout.group_size)
    tasks = [group.task for group in kept]
    advantages_PG, ema = compute_advantages(estimator, rewards_PG, tasks, ema, recipe.advantage)
    return {group.index: row for group, row in zip(kept, advantages_PG.float(), strict=True)}, ema


def _row(
    session: TrainingSession,
    recipe: RlRecipe,
    batch: Batch,
    *,
    advantages: Mapping[int, Tensor],
    ema: EmaState,
    updated: Updated,
) -> RlRow:
    """Return the step record, without alarms; all processes take part."""
    tokens, shared = _tokens(session, recipe, batch, updated)
    sizes = {index: float(advantages_G.abs().mean()) for index, advantages_G in advantages.items()}
    sigmas = {task: moments.sigma for task, moments in ema.items()}
    return RlRow(
        **session.measured(drawn=batch.cursor, bad=updated.bad),
        stage="rl",
        loss=updated.loss,
        kl=updated.mean("kl"),
        entropy=updated.mean("entropy"),
        clip_fraction=updated.mean("clip_fraction"),
        ratio=updated.mean("ratio"),
        grad_norm=updated.grad_norm,
        router_loss=updated.router_loss,
        moved_tokens=updated.moved_tokens,
        updates=updated.updates,
        groups=len(advantages),
        dropped_groups=sum(batch.dropped.values()),
        dropped=batch.dropped,
        surplus_groups=len(batch.with_signal) - len(advantages),
        ungraded=[asdict(lost) for lost in batch.lost],
        tokens_by_phase=tokens,
        shared_prompt_tokens=shared,
        engine_difference=engine_difference(
            ((each.logps, each.engine_logps) for group in batch.groups.values() for each in group.rollouts),
            session.collectives,
        ),
        answers_by_version=_versions(session, batch),
        tasks=task_rows(batch.summaries, sizes, sigmas, updated.measured),
    )


def _versions(session: TrainingSession, batch: Batch) -> dict[str, int]:
    """Return how many answers of all processes are by the weights after so many steps, {} where no server sampled."""
    versions = [each.version for group in batch.groups.values() for each in group.rollouts]
    counts = Counter(session.collectives.gather([version for version in versions if version is not None]))
    return {str(version): count for version, count in sorted(counts.items())}


def _tokens(
    session: TrainingSession, recipe: RlRecipe, batch: Batch, updated: Updated
) -> tuple[dict[Phase, int], dict[Phase, int]]:
    """Return by phase the tokens that were read or written, and those of prompts that were not read again."""
    groups = batch.groups.values()
    prompts, answers, saved = session.collectives.total(
        sum(len(group.prompt.input_ids) for group in groups),
        sum(len(rollout.ids) for group in groups for rollout in group.rollouts),
        sum(len(group.prompt.input_ids) * (len(group.rollouts) - 1) for group in groups),
    )
    tokens: dict[Phase, int] = {"data": int(prompts), "rollout": int(prompts + answers), "grading": int(answers)}
    shared: dict[Phase, int] = {"rollout": int(saved)}
    phases: tuple[Phase, ...] = ("reference", "update") if recipe.loss.kl_coefficient else ("update",)
    for phase in phases:
        tokens[phase], shared[phase] = updated.tokens, updated.shared_tokens
    return tokens, shared
