"""The RL loop: sample groups of answers, grade them, turn rewards into advantages, take the optimizer steps.

Dimensions: P groups, G answers per group.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from onethinker.rewards.grader import Grader
from onethinker.rl.advantages import compute_advantages
from onethinker.rl.answers import Sampled, write_answers
from onethinker.rl.groups import Batch, collect
from onethinker.rl.update import Updated, open_reference, update_policy
from onethinker.training.config import RlRecipe
from onethinker.training.metrics.alarms import Watch
from onethinker.training.metrics.bad_steps import bad_step_rows
from onethinker.training.metrics.records import Phase, RlRow, task_rows
from onethinker.training.optimizer import learning_rate
from onethinker.training.parallel.fsdp2 import gathered
from onethinker.training.session import OnStep, Run, open_run
from onethinker.training.state.checkpoint import Progress
from onethinker.training.state.ema import EmaState


def train_rl(
    recipe: RlRecipe,
    folder: Path,
    *,
    on_step: OnStep | None = None,
    on_check: Callable[[int, int], None] | None = None,
    allow_changes: bool = False,
) -> Path:
    """Improve a model by multi-task reinforcement learning and return the folder of the finished one; a stopped run
    goes on.

    It goes on with other settings than it began with only if changes are allowed.

    Raises: CheckpointError, ConfigError, DataError, EngineError, MediaError.
    """
    with Grader(recipe.grading, recipe.rewards) as grader:
        run = open_run(
            recipe, folder, batch=recipe.rollout.prompts_per_step, allow_changes=allow_changes, on_check=on_check
        )
        return _train(run, recipe, grader, on_step)


def _train(run: Run, recipe: RlRecipe, grader: Grader, on_step: OnStep | None) -> Path:
    reference = open_reference(run, recipe)
    watch = Watch(recipe, run.folder.rows())
    for step in range(run.progress.step, recipe.steps):
        started = time.perf_counter()
        with gathered(run.model):
            batch = collect(run, recipe, grader)
        kept = [summary for summary in batch.summaries if summary.kept][: recipe.rollout.prompts_per_step]
        rewards_PG = torch.tensor([summary.rewards for summary in kept], dtype=torch.float64).reshape(
            -1, recipe.rollout.answers_per_prompt
        )
        settings = recipe.advantage
        advantages_PG, ema = compute_advantages(
            settings.algorithm,
            rewards_PG,
            [summary.task for summary in kept],
            run.progress.ema,
            decay=settings.decay,
            floor=settings.floor,
            limit=settings.limit,
            guard=settings.guard,
        )
        advantages = {summary.number: row for summary, row in zip(kept, advantages_PG.float(), strict=True)}
        with run.clock.phase("update"):
            if batch.broken:
                updated = Updated.none(run.bad_step("a log-probability of sampled answers", batch.broken, step))
            else:
                updated = update_policy(run, recipe, reference, batch.groups, advantages, step)
        if updated.bad and not updated.updates:
            ema = run.progress.ema  # nothing was learned from these rewards
        if recipe.log.answers_every and (step + 1) % recipe.log.answers_every == 0:
            _show_answers(run, step + 1, batch)
        row = _row(run, recipe, batch, step=step, advantages=advantages, ema=ema, updated=updated, started=started)
        run.record(watch.complete(row), on_step)
        watch.check()
        run.advance(Progress(step + 1, batch.cursor, ema, run.progress.skipped + len(row.skipped_samples)))
    return run.finish()


def _row(
    run: Run,
    recipe: RlRecipe,
    batch: Batch,
    *,
    step: int,
    advantages: Mapping[int, Tensor],
    ema: EmaState,
    updated: Updated,
    started: float,
) -> RlRow:
    """Return the journal's row of a step that is done, without alarms; all processes take part."""
    groups = batch.groups.values()
    prompts, answers, shared = run.total(
        sum(len(group.prompt.input_ids) for group in groups),
        sum(len(answer.ids) for group in groups for answer in group.rollouts),
        sum(len(group.prompt.input_ids) * (len(group.rollouts) - 1) for group in groups),
    )
    tokens: dict[Phase, int] = {"data": int(prompts), "rollout": int(prompts + answers), "grading": int(answers)}
    saved: dict[Phase, int] = {"rollout": int(shared)}
    if recipe.loss.kl:
        tokens["reference"], saved["reference"] = updated.tokens, updated.shared_tokens
    tokens["update"], saved["update"] = updated.tokens, updated.shared_tokens
    return RlRow(
        step=step + 1,
        stage="rl",
        loss=updated.loss,
        kl=updated.mean("kl"),
        entropy=updated.mean("entropy"),
        clipped_share=updated.mean("clipped_share"),
        grad_norm=updated.grad_norm,
        updates=updated.updates,
        learning_rate=learning_rate(recipe.optimizer, step, recipe.steps),
        groups=len(advantages),
        dropped_groups=sum(batch.dropped.values()),
        dropped=batch.dropped,
        surplus_groups=sum(summary.kept for summary in batch.summaries) - len(advantages),
        ungraded=[asdict(lost) for lost in batch.lost],
        skipped_samples=run.take_skipped(),
        seconds=time.perf_counter() - started,
        seconds_by_phase=run.clock.take(),
        tokens_by_phase=tokens,
        shared_prompt_tokens=saved,
        tasks=task_rows(
            batch.summaries,
            {number: float(advantages_G.abs().mean()) for number, advantages_G in advantages.items()},
            {task: moments.sigma for task, moments in ema.items()},
            updated.measured,
        ),
        bad_steps=bad_step_rows(updated.bad),
    )


def _show_answers(run: Run, step: int, batch: Batch) -> None:
    """Write a page with the first group of each task that the main process has graded itself; the others write
    nothing.
    """
    if not run.accelerator.is_main_process:
        return
    shown: dict[str, Sampled] = {}
    for _, group in sorted(batch.groups.items()):
        if group.grades and group.task not in shown:
            shown[group.task] = Sampled(group.sample, group.texts, group.grades)
    write_answers(run.folder.path, step, [shown[task] for task in sorted(shown)], run.budget)
