"""What is logged of a step of RL: its step record, and now and then a page of sampled completions.

Dimensions: G answers per group.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict

from torch import Tensor

from onethinker.rl.answers import Sampled, write_answers
from onethinker.rl.filter import Batch
from onethinker.rl.update import Updated
from onethinker.training.config import RlRecipe
from onethinker.training.metrics.bad_steps import bad_step_rows
from onethinker.training.metrics.records import RlRow
from onethinker.training.metrics.stopwatch import Phase
from onethinker.training.metrics.task_rows import task_rows
from onethinker.training.optimizer import learning_rate
from onethinker.training.session import TrainingSession
from onethinker.training.state.ema import EmaState


def step_row(
    session: TrainingSession,
    recipe: RlRecipe,
    batch: Batch,
    *,
    step: int,
    advantages: Mapping[int, Tensor],
    ema: EmaState,
    updated: Updated,
    started: float,
) -> RlRow:
    """Return the record of a finished step, without alarms; all processes take part."""
    tokens, shared = _tokens(session, recipe, batch, updated)
    sizes = {index: float(advantages_G.abs().mean()) for index, advantages_G in advantages.items()}
    return RlRow(
        step=step + 1,
        stage="rl",
        loss=updated.loss,
        kl=updated.mean("kl"),
        entropy=updated.mean("entropy"),
        clip_fraction=updated.mean("clip_fraction"),
        grad_norm=updated.grad_norm,
        updates=updated.updates,
        learning_rate=learning_rate(recipe.optimizer, step, recipe.steps),
        groups=len(advantages),
        dropped_groups=sum(batch.dropped.values()),
        dropped=batch.dropped,
        surplus_groups=len(batch.with_signal) - len(advantages),
        ungraded=[asdict(lost) for lost in batch.lost],
        skipped_samples=session.data.take_skipped(),
        seconds=time.perf_counter() - started,
        seconds_by_phase=session.clock.take(),
        tokens_by_phase=tokens,
        shared_prompt_tokens=shared,
        tasks=task_rows(
            batch.summaries, sizes, {task: moments.sigma for task, moments in ema.items()}, updated.measured
        ),
        bad_steps=bad_step_rows(updated.bad),
    )


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


def show_answers(session: TrainingSession, step: int, batch: Batch) -> None:
    """Write a page with the first group of each task that the main process has graded itself; the others write
    nothing.
    """
    if not session.collectives.is_main:
        return
    shown: dict[str, Sampled] = {}
    for _, group in sorted(batch.groups.items()):
        if group.grades and group.task not in shown:
            shown[group.task] = Sampled(group.sample, group.texts, group.grades)
    write_answers(session.outputs.folder.path, step, [shown[task] for task in sorted(shown)], session.data.budget)
