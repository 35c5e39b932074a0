"""The RL loop: sample groups of answers, grade them, turn rewards into advantages, take the optimizer steps.

Dimensions: P groups, G answers per group, T tokens, S scored tokens.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor

from onethinker.data.sample import Sample
from onethinker.errors import ConfigError
from onethinker.models.loading import load_local
from onethinker.tasks import find_task, grade_response
from onethinker.tasks.task import Grade
from onethinker.training.adapters import base_weights
from onethinker.training.advantages import compute_advantages
from onethinker.training.checkpoint import Progress
from onethinker.training.config import RlRecipe
from onethinker.training.loss import clipped_policy_loss, kl_k3, token_weights
from onethinker.training.packing import Prompt, Row, Tree, use_forest_attention
from onethinker.training.rollouts import Rollout, sample_answers
from onethinker.training.run import OnStep, Run, open_run, score

Reference = Callable[[Row], Tensor]
"""Gives the log-probabilities (S,) of a row's scored tokens under the model that RL started from."""


@dataclass(frozen=True)
class Group:
    """One prompt with its G graded answers; `number` is the prompt's place in the endless order."""

    number: int
    task: str
    prompt: Prompt
    rollouts: tuple[Rollout, ...]
    grades: tuple[Grade, ...]

    @property
    def accuracy(self) -> float:
        """Mean accuracy of the answers."""
        return sum(grade.accuracy for grade in self.grades) / len(self.grades)


@dataclass(frozen=True)
class GradedTree(Tree):
    """A group as the loss needs it: old log-probabilities of all answer tokens, one advantage and one weight an answer."""

    old_logps: Tensor
    advantages: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Summary:
    """What all processes need to know of a group that one of them holds."""

    number: int
    task: str
    rewards: tuple[float, ...]
    accuracy: float
    format: float
    kept: bool
    mean_tokens: float
    cut: int


def train_rl(recipe: RlRecipe, folder: Path, *, on_step: OnStep | None = None, allow_changes: bool = False) -> Path:
    """Improve a model by multi-task reinforcement learning and return the folder of the finished one; a stopped run goes on.

    It goes on with other settings than it began with only if changes are allowed.

    Raises: CheckpointError, ConfigError, DataError, EngineError, MediaError.
    """
    run = open_run(recipe, folder, batch=recipe.rollout.prompts_per_step, allow_changes=allow_changes)
    reference = _reference(run, recipe)
    for step in range(run.progress.step, recipe.steps):
        started = time.perf_counter()
        groups, summaries, cursor = _collect(run, recipe)
        collected = time.perf_counter()
        kept = [summary for summary in summaries if summary.kept][: recipe.rollout.prompts_per_step]
        rewards_PG = torch.tensor([summary.rewards for summary in kept], dtype=torch.float64).reshape(-1, recipe.rollout.answers_per_prompt)
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
        measured = _update(run, recipe, reference, groups, advantages, step)
        row = {
            "step": step + 1,
            "stage": "rl",
            **measured,
            "groups": len(kept),
            "dropped_groups": sum(not summary.kept for summary in summaries),
            "surplus_groups": sum(summary.kept for summary in summaries) - len(kept),
            "seconds": time.perf_counter() - started,
            "rollout_seconds": collected - started,
            "tasks": _by_task(summaries, advantages, {task: moments.sigma for task, moments in ema.items()}),
        }
        run.record(row, on_step)
        run.advance(Progress(step + 1, cursor, ema))
    return run.finish()


def _reference(run: Run, recipe: RlRecipe) -> Reference | None:
    """Return what scores rows as the model that RL started from did, or None when the divergence from it has no weight.

    Under adapters that is the model itself without them, and no second copy.
    """
    if recipe.loss.kl == 0:
        return None
    if recipe.lora is not None:
        start = run.model
    else:
        dtype = "float32" if recipe.dtype == "float32" else "bfloat16"
        start = load_local(recipe.model, seed=recipe.seed, dtype=dtype).model
        use_forest_attention(start)
        start.to(run.accelerator.device).eval().requires_grad_(False)

    def reference(row: Row) -> Tensor:
        with torch.no_grad(), run.precision(), base_weights(start):
            return score(start, row)[0]

    return reference


def _collect(run: Run, recipe: RlRecipe) -> tuple[dict[int, Group], list[Summary], int]:
    """Return this process's groups by number, the summaries of everybody's in order, and the next prompt's number.

    Prompts are drawn in batches until enough groups give a signal or the refills are used up; a later step without any
    signal is a step without an update. Raises: ConfigError: there never was a signal.
    """
    settings, cursor = recipe.rollout, run.progress.cursor
    groups: dict[int, Group] = {}
    summaries: list[Summary] = []
    for _ in range(1 + settings.max_refills):
        mine = run.my_samples(cursor, settings.prompts_per_step)
        found = [
            group
            for first in range(0, len(mine), settings.prompts_at_once)
            for group in _answer(run, recipe, mine[first : first + settings.prompts_at_once])
        ]
        groups |= {group.number: group for group in found}
        summaries += gather_object([_summary(group, recipe) for group in found])
        cursor += settings.prompts_per_step
        if sum(summary.kept for summary in summaries) >= settings.prompts_per_step:
            break
    summaries.sort(key=lambda summary: summary.number)
    if not run.progress.ema and not any(summary.kept for summary in summaries):
        tasks = ", ".join(sorted({summary.task for summary in summaries}))
        raise ConfigError(
            f"none of {len(summaries)} groups gave a signal: all their answers were right or all wrong (tasks: {tasks}). Train longer "
            "by SFT first, choose other data, or widen rollout.min_accuracy and rollout.max_accuracy"
        )
    return groups, summaries, cursor


def _answer(run: Run, recipe: RlRecipe, samples: Sequence[tuple[int, Sample]]) -> list[Group]:
    """Return the graded groups of a few prompts, decoded together; the numbers alone decide what is drawn."""
    settings, config = recipe.rollout, run.model.config
    prompts = run.prompts([sample for _, sample in samples])
    size = settings.answers_per_prompt, settings.max_new_tokens
    uniforms_PGT = torch.stack(
        [torch.rand(size, generator=torch.Generator().manual_seed(recipe.seed * 1_000_003 + number)) for number, _ in samples]
    )
    tokenizer = run.processor.tokenizer
    with run.precision():
        rollouts = sample_answers(
            run.model,
            prompts,
            uniforms_PGT,
            temperature=settings.temperature,
            end_token=tokenizer.eos_token_id,
            forbidden_tokens=(config.image_token_id, config.video_token_id),
        )
    groups = []
    for (number, sample), prompt, answers in zip(samples, prompts, rollouts, strict=True):
        task = find_task(sample.problem_type, sample.data_type)
        texts = [tokenizer.decode(answer.ids[:-1] if answer.ended else answer.ids) for answer in answers]
        grades = tuple(grade_response(text, sample.truth, task=task, options=sample.options, profile=recipe.rewards) for text in texts)
        groups.append(Group(number, task.statistics, prompt, tuple(answers), grades))
    return groups


def _summary(group: Group, recipe: RlRecipe) -> Summary:
    settings, size = recipe.rollout, len(group.grades)
    return Summary(
        number=group.number,
        task=group.task,
        rewards=tuple(grade.reward for grade in group.grades),
        accuracy=group.accuracy,
        format=sum(grade.format for grade in group.grades) / size,
        kept=settings.min_accuracy < group.accuracy < settings.max_accuracy,
        mean_tokens=sum(len(answer.ids) for answer in group.rollouts) / size,
        cut=sum(not answer.ended for answer in group.rollouts),
    )


@dataclass
class PolicyLoss:
    """The loss of one optimizer step, row by row, with what is measured on the way.

    `measured` sums loss, divergence, entropy and clipped share over this process's rows, with the weights of the loss.
    """

    recipe: RlRecipe
    reference: Reference | None
    num_tokens: int
    num_answers: int
    measured: Tensor

    def __call__(self, row: Row, members: Sequence[Tree], logps_S: Tensor, entropy_S: Tensor) -> Tensor:
        """Return a row's part of the batch's loss."""
        settings = self.recipe.loss
        trees = [tree for tree in members if isinstance(tree, GradedTree)]
        old_logps_S = torch.cat([tree.old_logps for tree in trees])
        advantages_S = torch.cat([tree.advantages for tree in trees]).to(logps_S)[row.answer_S]
        weights_S = torch.cat([tree.weights for tree in trees]).to(logps_S)[row.answer_S] * token_weights(
            row.answer_S,
            num_answers_in_row=row.num_answers,
            num_tokens=self.num_tokens,
            num_answers=self.num_answers,
            aggregate=settings.aggregate,
        )
        loss_S = clipped_policy_loss(logps_S, old_logps_S, advantages_S, clip_low=settings.clip_low, clip_high=settings.clip_high)
        kl_S = torch.zeros_like(loss_S)
        if self.reference is not None:
            kl_S = kl_k3(logps_S, self.reference(row))
        loss_S = loss_S + settings.kl * kl_S
        ratio_S = (logps_S - old_logps_S).detach().exp()
        clipped_S = ((ratio_S < 1 - settings.clip_low) | (ratio_S > 1 + settings.clip_high)).to(logps_S)
        self.measured += (torch.stack([loss_S, kl_S, entropy_S, clipped_S]).detach() * weights_S).sum(1).cpu()
        return (loss_S * weights_S).sum()


def _update(
    run: Run, recipe: RlRecipe, reference: Reference | None, groups: Mapping[int, Group], advantages: Mapping[int, Tensor], step: int
) -> dict[str, Any]:
    """Take the optimizer steps on one batch of groups, each on its share of them, and return what was measured in the mean."""
    numbers, updates = sorted(advantages), recipe.loss.updates_per_batch
    totals, norms = torch.zeros(4), []
    for part in range(updates):
        trees = [_tree(groups[number], advantages[number]) for number in numbers[part::updates] if number in groups]
        answers = [answer for tree in trees for answer in tree.answers]
        num_tokens, num_answers = run.total(sum(map(len, answers)), len(answers))
        if not num_answers:
            continue
        if not trees:
            # Every process takes part in every exchange of gradients, this one with a tree that weighs nothing.
            group = next(iter(groups.values()))
            trees = [_tree(group, torch.zeros(len(group.rollouts)), weight=0.0)]
        loss = PolicyLoss(recipe, reference, int(num_tokens), int(num_answers), torch.zeros(4))
        norms.append(run.update(trees, step, loss))
        totals += loss.measured
    names, taken = ("loss", "kl", "entropy", "clipped_share"), max(1, len(norms))
    means = [total / taken for total in run.total(*totals.tolist())]
    return {**dict(zip(names, means, strict=True)), "grad_norm": sum(norms) / taken, "updates": len(norms)}


def _tree(group: Group, advantages_G: Tensor, *, weight: float = 1.0) -> GradedTree:
    answers = tuple(answer.ids for answer in group.rollouts)
    return GradedTree(
        group.prompt, answers, torch.cat([answer.logps for answer in group.rollouts]), advantages_G, torch.full((len(answers),), weight)
    )


def _by_task(summaries: Sequence[Summary], advantages: Mapping[int, Tensor], sigmas: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Return what the journal says of each task in the batch: means over all sampled groups, the dropped ones included."""
    rows = {}
    for task in sorted({summary.task for summary in summaries}):
        mine = [summary for summary in summaries if summary.task == task]
        rewards = [reward for summary in mine for reward in summary.rewards]
        used = [float(advantages[summary.number].abs().mean()) for summary in mine if summary.number in advantages]
        rows[task] = {
            "reward": sum(rewards) / len(rewards),
            "accuracy": sum(summary.accuracy for summary in mine) / len(mine),
            "format": sum(summary.format for summary in mine) / len(mine),
            "answer_tokens": sum(summary.mean_tokens for summary in mine) / len(mine),
            "cut_answers": float(sum(summary.cut for summary in mine)),
            "groups": float(len(mine)),
            "dropped_groups": float(sum(not summary.kept for summary in mine)),
            "mean_abs_advantage": sum(used) / len(used) if used else 0.0,
            "sigma": sigmas.get(task, 0.0),
        }
    return rows
